"""What makes a client metadata document acceptable, and its URL as a client id?

draft-ietf-oauth-client-id-metadata-document: the client id is an https URL, and the JSON document behind it
says what another client would have registered.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import unquote

from .errors import DocumentRefused, InvalidClientMetadata, InvalidRedirectUri
from .registration import GRANT_TYPES, Registration, accept

BYTES_MAX = 5 * 1024
URL_MAX = 2048
BRACKETS_MAX = 500
"""How many lists and objects a document may be made of."""

_PORTS = {"https": 443, "http": 80}
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})

_URL = re.compile(r"(https?)://([^/?#]*)(/[^?#]*)?(?:\?[^#]*)?(#.*)?")
_URL_TEXT = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?")
_NAME = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
# Names that no public document can have, and that a resolver here may answer with something inside.
_SPECIAL_USE = re.compile(
    r"(?:.*\.)?(?:localhost|local|internal|intranet|lan|home|corp|test|example|invalid|onion|alt|arpa)"
)
_SECRET_MEMBERS = ("client_secret", "client_secret_expires_at")


class Location(NamedTuple):
    """Where a document is. `target` is path and query as they were written."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def shown(self) -> str:
        """The host, with its port where that is not the usual one."""
        return self.host if self.port == _PORTS[self.scheme] else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        return self.host in LOOPBACK_HOSTS


def is_document_url(client_id: str, *, loopback: bool = False) -> bool:
    """Whether this client id can only be the URL of a document. With `loopback`, http is one too."""
    return client_id.startswith(("https://", "http://") if loopback else "https://")


def locate(url: str, *, loopback: bool = False) -> Location | str:
    """Where the document with this URL is, or why no document may be there.

    With `loopback`, for development, the loopback hosts are allowed as well, with http or https.
    """
    if len(url) > URL_MAX:
        return f"it is longer than {URL_MAX} characters"
    if _URL_TEXT.fullmatch(url) is None:
        return "it contains a character that does not belong in a URL"
    parts = _URL.fullmatch(url)
    if parts is None:
        return "it is no https URL"
    scheme, authority, path, fragment = parts.groups()
    if fragment is not None:
        return "it contains a fragment"
    if "@" in authority:
        return "it contains user information"
    if path in (None, "/"):
        return "it has no path"
    # Decoded, so that %2e hides nothing; a doubled encoding is an ordinary name.
    if {".", ".."} & set(unquote(path).replace("\\", "/").split("/")):
        return "it contains a dot segment"
    where = _AUTHORITY.fullmatch(authority)
    if where is None or not 0 < (port := int(where[2] or _PORTS[scheme])) < 65536:
        return "its host or port is malformed"
    host = where[1].lower()
    defect = _host_defect(scheme, host, loopback)
    return defect or Location(scheme, host, port, url[len(f"{scheme}://{authority}") :])


def _host_defect(scheme: str, host: str, loopback: bool) -> str | None:
    if loopback and host in LOOPBACK_HOSTS:
        return None
    if scheme != "https":
        return "it is no https URL"
    # The last label begins with a letter: whatever a resolver might read as an address is none of these.
    if len(host) > 253 or _NAME.fullmatch(host) is None:
        return "its host is not a full domain name"
    if _SPECIAL_USE.fullmatch(host):
        return "its host has a name that is not public"
    return None


def read_document(
    url: str, body: bytes, *, known_scopes: Iterable[str], private_schemes: Iterable[str] | None
) -> Registration:
    """What the document at `url` registers. Raises `DocumentRefused`, which says what is wrong in it."""
    try:
        members = _read_object(body)
        _judge_members(url, members)
        return accept(_as_registration(members), known_scopes=known_scopes, private_schemes=private_schemes)
    except (InvalidClientMetadata, InvalidRedirectUri) as error:
        raise DocumentRefused(f"the client metadata document at {url}: {error.description}") from None


def _read_object(body: bytes) -> dict[str, object]:
    if len(body) > BYTES_MAX:
        raise InvalidClientMetadata(f"it is larger than {BYTES_MAX} bytes")
    # A parser that nests as deep as it is told to would end at the bottom of the stack.
    if body.count(b"[") + body.count(b"{") > BRACKETS_MAX:
        raise InvalidClientMetadata(f"it is made of more than {BRACKETS_MAX} lists and objects")
    try:
        found = json.loads(
            body.decode("utf-8"), object_pairs_hook=_without_doubles, parse_constant=_no_constant
        )
        # Half a character can be written in JSON, and stored nowhere.
        json.dumps(found, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        raise InvalidClientMetadata("it is not valid JSON in UTF-8") from None
    if not isinstance(found, dict):
        raise InvalidClientMetadata("it is not a JSON object")
    return found


def _without_doubles(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        # Two parsers would read two documents.
        raise InvalidClientMetadata("a member occurs more than once")
    return members


def _no_constant(text: str) -> object:
    raise ValueError(text)


def _judge_members(url: str, members: Mapping[str, object]) -> None:
    if members.get("client_id") != url:
        raise InvalidClientMetadata("client_id: must be the URL of the document, character by character")
    for secret in _SECRET_MEMBERS:
        if secret in members:
            raise InvalidClientMetadata(f"{secret}: everybody can read this document, it may hold no secret")
    name = members.get("client_name")
    if not isinstance(name, str) or not name.strip():
        raise InvalidClientMetadata("client_name: missing")


def _as_registration(members: Mapping[str, object]) -> dict[str, object]:
    """The document as a registration that asks for the same, with the defaults of documents filled in."""
    preferred = members.get("token_endpoint_auth_method")
    others = members.get("token_endpoint_auth_methods_supported")
    able_without = isinstance(others, list) and "none" in others
    if preferred in (None, "", "none") or (able_without and isinstance(preferred, str)):
        method: object = "none"
    elif preferred == "private_key_jwt":
        raise InvalidClientMetadata(
            "token_endpoint_auth_method: private_key_jwt is not supported here; none can be listed beside it "
            "in token_endpoint_auth_methods_supported"
        )
    else:
        raise InvalidClientMetadata("token_endpoint_auth_method: must be none, there is no shared secret")
    # Without a list, refresh tokens are wanted: who publishes a document is there to stay.
    grant_types = members.get("grant_types") or list(GRANT_TYPES)
    return {**members, "token_endpoint_auth_method": method, "grant_types": grant_types}
