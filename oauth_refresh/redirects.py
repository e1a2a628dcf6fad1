"""When is a redirect URI acceptable, when does one match, and how does an answer get into it?"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import quote, urlencode

PRIVATE_SCHEMES = ("cursor", "vscode", "vscode-insiders")
"""Schemes without a dot that are accepted unless configured otherwise: editors that clients live in."""

MAX_LENGTH = 2048
"""Characters in a redirect URI, at most."""

# A browser or the operating system acts on these itself instead of handing them to a client. Most have no
# dot and would be refused for that already: the list also stands above what an operator allows.
_NEVER = re.compile(
    r"about|blob|chrome|chrome-extension|cid|content|data|edge|feed|file|filesystem|ftp|ftps|gopher|imap|intent"
    r"|jar|javascript|ldap|ldaps|livescript|magnet|mailto|mhtml|mid|mk|mocha|moz-extension|ms-its|news|nntp"
    r"|resource|sftp|sms|smb|ssh|tel|telnet|urn|vbscript|view-source|ws|wss",
    re.IGNORECASE,
)

_LOOPBACK_HOSTS = frozenset({"127.0.0.1", "[::1]", "localhost"})

# Encoded control characters too: a proxy that decodes a Location header would turn them into header lines.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]|%[01][0-9A-Fa-f]|%7[Ff]")
_URI_TEXT = re.compile(r"(?:[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+")
_PARTS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?://([^/?]*))?([^?]*)(\?.*)?")
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]*\]|[^:\[\]]*)(?::(.*))?")
_PORT = re.compile(r"[0-9]{1,5}")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_DOT_SEGMENT = re.compile(r"(?:\A|/)(?:\.|%2[Ee]){1,2}(?:/|\Z)")
_REVERSE_DOMAIN = re.compile(r"[a-z][a-z0-9+-]*(?:\.[a-z0-9+-]+)+")


class _Redirect(NamedTuple):
    """The parts of an acceptable redirect URI as they were written. `query` starts with "?" or is empty."""

    scheme: str
    host: str
    port: str | None
    path: str
    query: str

    @property
    def web(self) -> bool:
        return self.scheme.lower() in ("http", "https")

    @property
    def loopback(self) -> bool:
        return self.scheme.lower() == "http" and self.host.lower() in _LOOPBACK_HOSTS

    @property
    def without_port(self) -> tuple[str, str, str, str]:
        return self.scheme, self.host, self.path or "/", self.query


def check_redirect_uri(uri: str, private_schemes: Sequence[str] | None = PRIVATE_SCHEMES) -> str | None:
    """Why a client cannot register `uri`, or None if it can.

    Accepted are https URIs, http on the loopback hosts 127.0.0.1, [::1] and localhost (RFC 8252 section
    7.3), and, unless `private_schemes` is None, private-use schemes that contain a dot or are listed there
    (section 7.1). The reason names the kind of defect, never quotes the URI, and is fit for an
    `error_description`.
    """
    read = _read(uri)
    if isinstance(read, str):
        return read
    scheme = read.scheme.lower()
    if read.web:
        return None
    if private_schemes is None:
        return "only https and loopback are allowed here"
    if scheme in {allowed.lower() for allowed in private_schemes}:
        return None
    if _REVERSE_DOMAIN.fullmatch(scheme) is None:
        return "a private scheme must be a reversed domain name such as com.example.app"
    return None


def redirect_matches(registered: str, requested: str) -> bool:
    """Whether a request may use `requested` because of the registered URI `registered`.

    The strings must be equal (RFC 9700 section 2.1). Only the port of an http URI on 127.0.0.1, [::1] or
    localhost is free, also where one of the two has none, and there an empty path equals "/". These hosts
    do not stand for each other. What `check_redirect_uri` refuses whatever the private schemes matches
    nothing, even if it was registered once.
    """
    wanted = _read(requested)
    if isinstance(wanted, str):
        return False
    if registered == requested:
        return True
    known = _read(registered)
    if isinstance(known, str) or not known.loopback:
        return False
    return known.without_port == wanted.without_port


def find_redirect(registered: Sequence[str], requested: str | None) -> str | None:
    """The URI that the answer goes to: `requested` itself if a registered one matches it, else None.

    A request that names none (`requested` is None) gets the registered one, if there is exactly one
    (RFC 6749 section 3.1.2.3); a loopback URI without a port is complete and means port 80.
    """
    if requested is None:
        only = set(registered)
        requested = only.pop() if len(only) == 1 else None
    if requested is not None and any(redirect_matches(known, requested) for known in registered):
        return requested
    return None


def add_query(uri: str, params: Sequence[tuple[str, str]]) -> str:
    """`uri` with `params` appended to its query, which is otherwise kept byte for byte.

    `uri` is one that `find_redirect` returned. The result is ASCII. Names and values are percent-encoded
    UTF-8; a space becomes %20, which form decoders and plain percent-decoders, the only ones at hand for
    many private schemes, read alike.
    """
    if not params:
        return uri
    query = uri.partition("?")[2]
    joint = "?" if "?" not in uri else "&" if query and not query.endswith("&") else ""
    return uri + joint + urlencode(params, quote_via=quote, safe="")


def is_loopback_redirect(uri: str) -> bool:
    """Whether any program on the user's own device may be listening at `uri`."""
    read = _read(uri)
    return not isinstance(read, str) and read.loopback


def display_host(uri: str) -> str:
    """Where `uri` sends the user, in the words of a consent page: always ASCII, still to be escaped.

    A host with its port if one is written, in lower case (international names stay in their `xn--` form,
    which imitates nobody); of a private scheme its name and the colon. Raises ValueError if `uri` is not
    acceptable.
    """
    read = _accepted(uri)
    if not read.web:
        return f"{read.scheme.lower()}:"
    host = read.host.lower()
    return host if read.port is None else f"{host}:{read.port}"


def form_action_source(uri: str) -> str:
    """The CSP source that lets a form's answer redirect to `uri`, and little else.

    Browsers apply `form-action` to the redirect after the form too. An origin for https and loopback (the
    port is part of it), the scheme for private ones, and also for IPv6 hosts: CSP's grammar has none, and
    browsers drop a source that they cannot read. Raises ValueError if `uri` is not acceptable.
    """
    read = _accepted(uri)
    scheme = read.scheme.lower()
    if not read.web or read.host.startswith("["):
        return f"{scheme}:"
    port = "" if read.port is None else f":{read.port}"
    return f"{scheme}://{read.host.lower()}{port}"


def _accepted(uri: str) -> _Redirect:
    read = _read(uri)
    if isinstance(read, str):
        raise ValueError(f"not an acceptable redirect URI: {read}")
    return read


def _read(uri: str) -> _Redirect | str:
    """The parts of `uri`, or why no configuration could accept it."""
    defect = _text_defect(uri)
    if defect is not None:
        return defect
    parts = _PARTS.fullmatch(uri)
    if parts is None:
        return "it is not absolute: there is no scheme"
    scheme, authority, path, query = parts[1], parts[2], parts[3], parts[4] or ""
    if _NEVER.fullmatch(scheme):
        return "this scheme is never allowed"
    if "[" in path + query or "]" in path + query:
        return "it contains a bracket outside of an IPv6 address"
    if _DOT_SEGMENT.search(path):
        return "it contains a dot segment"
    if "*" in path:
        return "it contains a wildcard: every complete URI is registered by itself"
    where = _read_authority(authority or "")
    if isinstance(where, str):
        return where
    read = _Redirect(scheme, *where, path, query)
    return _completeness_defect(read) or read


def _text_defect(uri: str) -> str | None:
    if not uri:
        return "it is empty"
    if len(uri) > MAX_LENGTH:
        return f"it is longer than {MAX_LENGTH} characters"
    if not uri.isascii():
        return "it contains a character that is not ASCII"
    if _CONTROL.search(uri):
        return "it contains a control character"
    if " " in uri:
        return "it contains whitespace"
    if "\\" in uri:
        return "it contains a backslash"
    if "#" in uri:
        return "it contains a fragment"
    if _URI_TEXT.fullmatch(uri) is None:
        return "it contains a character that must be percent-encoded"
    return None


def _read_authority(authority: str) -> tuple[str, str | None] | str:
    """Host and port, or what is wrong with them. The host may be empty: a private scheme can do without."""
    if "@" in authority:
        return "it contains user information"
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None or not _is_host(parts[1]):
        return "its host is malformed"
    port: str | None = parts[2]
    if port is not None and (not parts[1] or not _is_port(port)):
        return "its port is malformed"
    return parts[1], port


def _is_host(host: str) -> bool:
    if not host:
        return True
    try:
        if host.startswith("["):
            ipaddress.IPv6Address(host[1:-1])
        elif _NUMBER.fullmatch(host.rpartition(".")[2]):
            # Browsers read 127.1 or 0x7f.1 as IPv4 addresses; only the ordinary form says where it leads.
            ipaddress.IPv4Address(host)
        else:
            return len(host) <= 253 and _NAME.fullmatch(host) is not None
    except ValueError:
        return False
    return True


def _is_port(port: str) -> bool:
    return _PORT.fullmatch(port) is not None and int(port) <= 65535


def _completeness_defect(read: _Redirect) -> str | None:
    if read.web:
        if not read.host:
            return "it has no host"
        if read.scheme.lower() == "http" and not read.loopback:
            return "http is allowed on 127.0.0.1, [::1] and localhost only"
        return None
    # A rootless path is most likely a web address whose scheme was forgotten: example.com:8443/callback.
    if not read.host and not read.path.startswith("/"):
        return "it has neither a host nor a path that starts with a slash"
    return None
