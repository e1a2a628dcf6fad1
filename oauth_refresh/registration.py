"""What makes a registration acceptable: RFC 7591 section 2, as a pure rule over the JSON that was sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from .errors import InvalidClientMetadata, InvalidRedirectUri
from .parameters import printable
from .redirects import check_redirect_uri

GRANT_TYPES = ("authorization_code", "refresh_token")
AUTH_METHODS = ("none", "client_secret_basic", "client_secret_post")

REDIRECT_URIS_MAX = 50
NAME_MAX = 200
TEXT_MAX = 2048

_URLS = ("client_uri", "logo_uri", "tos_uri", "policy_uri")
_NAMES = ("client_name", "software_id", "software_version", "application_type")


class Registration(NamedTuple):
    """What a client asked for, as far as it is granted. `metadata` is echoed beside the other fields."""

    redirect_uris: tuple[str, ...]
    auth_method: str
    grant_types: tuple[str, ...]
    response_types: tuple[str, ...]
    scopes: tuple[str, ...] | None
    metadata: dict[str, object]


def accept(
    sent: Mapping[str, object], *, known_scopes: Iterable[str], private_schemes: Iterable[str] | None
) -> Registration:
    """The registration that this JSON object asks for.

    Members that are unknown or null are ignored, `client_id` among them: no client chooses its own.
    Raises `InvalidRedirectUri` or `InvalidClientMetadata`, naming the member.
    """
    members = {name: value for name, value in sent.items() if value is not None and value != ""}
    if "jwks" in members and "jwks_uri" in members:
        raise InvalidClientMetadata("jwks, jwks_uri: only one of the two")
    auth_method = _text(members, "token_endpoint_auth_method") or "client_secret_basic"
    if auth_method not in AUTH_METHODS:
        raise InvalidClientMetadata(f"token_endpoint_auth_method: one of {', '.join(AUTH_METHODS)}")
    grant_types = _grant_types(members)
    return Registration(
        _redirect_uris(members, None if private_schemes is None else tuple(private_schemes)),
        auth_method,
        grant_types,
        _response_types(members),
        _scopes(members, tuple(known_scopes)),
        _display(members),
    )


def canonical(registration: Registration) -> bytes:
    """The same bytes for the same registration, in whatever order its members were sent."""
    return msgspec.json.encode(registration, order="deterministic")


def _grant_types(members: Mapping[str, object]) -> tuple[str, ...]:
    asked = _texts(members, "grant_types")
    if not asked:
        # RFC 7591 section 2 says authorization_code alone, and section 3.2.1 lets a server replace what it is
        # sent. Known clients leave the member out and lose their connection when the access token expires;
        # the answer says what they have got.
        return GRANT_TYPES
    # Types beyond ours are dropped and the answer shows it: known clients list all that they can do.
    granted = tuple(grant_type for grant_type in GRANT_TYPES if grant_type in asked)
    if "authorization_code" not in granted:
        raise InvalidClientMetadata("grant_types: must contain authorization_code")
    return granted


def _response_types(members: Mapping[str, object]) -> tuple[str, ...]:
    asked = _texts(members, "response_types")
    if asked and "code" not in asked:
        raise InvalidClientMetadata("response_types: only code is supported")
    return ("code",)


def _redirect_uris(members: Mapping[str, object], private_schemes: tuple[str, ...] | None) -> tuple[str, ...]:
    uris = members.get("redirect_uris")
    if not isinstance(uris, list) or not uris or not all(isinstance(uri, str) for uri in uris):
        raise InvalidRedirectUri("redirect_uris: a list of at least one URI is needed")
    if len(uris) > REDIRECT_URIS_MAX:
        raise InvalidRedirectUri(f"redirect_uris: at most {REDIRECT_URIS_MAX} are allowed")
    for number, uri in enumerate(uris, 1):
        defect = check_redirect_uri(uri, private_schemes=private_schemes)
        if defect is not None:
            raise InvalidRedirectUri(f"redirect_uris, number {number}: {defect}")
    return tuple(dict.fromkeys(uris))


def _scopes(members: Mapping[str, object], known: tuple[str, ...]) -> tuple[str, ...] | None:
    """The known ones among the scopes asked for; None (no restriction) where none is left."""
    asked = _text(members, "scope")
    if asked is None:
        return None
    return tuple(sorted({scope for scope in asked.split(" ") if scope in known})) or None


def _display(members: Mapping[str, object]) -> dict[str, object]:
    shown: dict[str, object] = {}
    for name in members:
        base = name.partition("#")[0]
        if base in _NAMES:
            shown[name] = _text(members, name, NAME_MAX)
        elif base in _URLS:
            url = _text(members, name)
            # A link that is not https is left out rather than refused: many clients send one in development.
            if url is not None and _is_https(url):
                shown[name] = url
    if contacts := _texts(members, "contacts"):
        shown["contacts"] = list(contacts)
    return shown


def _is_https(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "https" and bool(parts.hostname) and printable(url) and " " not in url


def _text(members: Mapping[str, object], name: str, longest: int = TEXT_MAX) -> str | None:
    value = members.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidClientMetadata(f"{_safe(name)}: must be a string")
    if len(value) > longest:
        raise InvalidClientMetadata(f"{_safe(name)}: at most {longest} characters are allowed")
    return value


def _texts(members: Mapping[str, object], name: str) -> tuple[str, ...]:
    value = members.get(name)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(
        isinstance(item, str) and len(item) <= NAME_MAX for item in value
    ):
        raise InvalidClientMetadata(f"{name}: must be a list of strings of at most {NAME_MAX} characters")
    if len(value) > REDIRECT_URIS_MAX:
        raise InvalidClientMetadata(f"{name}: at most {REDIRECT_URIS_MAX} are allowed")
    return tuple(value)


def _safe(name: str) -> str:
    """A member's name as it may stand in a description: language tags come from the client."""
    return name.partition("#")[0]
