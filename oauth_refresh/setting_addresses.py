"""How settings that name places are read: issuer, prefix, login page, origins, networks, schemes, headers."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlsplit

from .proxies import UNIX
from .redirects import check_redirect_uri
from .setting_values import Kind, Refused, list_of, read_text, shown

_URI = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")
_SEGMENT = re.compile(r"[A-Za-z0-9._~-]+")
_HOST_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?\.?")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_HEADER = re.compile(r"[A-Za-z0-9_-]+")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Address(NamedTuple):
    """The parts of a URL that was found to be well-formed. `host` is lower-case, without brackets."""

    scheme: str
    host: str
    port: int | None
    path: str
    query: str | None
    fragment: str | None


def is_loopback_host(host: str) -> bool:
    """Whether `host` (no port, no brackets, any case) is this machine: localhost, 127.0.0.0/8 or ::1."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_address(value: object) -> Address:
    """An absolute URL with a host, in the characters of RFC 3986, without user and password."""
    text = read_text(value)
    if not _URI.fullmatch(text):
        raise Refused("has a character that a URL cannot have")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise Refused("has no valid host and port") from None
    if "@" in parts.netloc:
        raise Refused("contains a user name or password")
    if not _is_host(host, bracketed="[" in parts.netloc) or port == 0 or parts.netloc.endswith(":"):
        raise Refused("has no valid host and port")
    before_fragment = text.partition("#")[0]
    return Address(
        scheme=parts.scheme,
        host=host,
        port=port,
        path=parts.path,
        query=parts.query if "?" in before_fragment else None,
        fragment=parts.fragment if "#" in text else None,
    )


def read_issuer(value: object) -> str:
    """An issuer identifier (RFC 8414 section 2), byte for byte; whether http will do is judged elsewhere."""
    text = read_text(value)
    if not text.startswith(("https://", "http://")):
        raise Refused("does not begin with https://")
    address = read_address(text)
    if address.query is not None or address.fragment is not None:
        raise Refused("has a query or a fragment")
    inner = address.path.split("/")[1:-1]
    if "" in inner or {".", ".."}.intersection(address.path.split("/")):
        raise Refused("has an empty or a dot segment in its path")
    return text


def _read_prefix(value: object) -> str:
    text = read_text(value)
    if not text.startswith("/"):
        raise Refused('does not begin with "/"')
    if text.endswith("/"):
        raise Refused('ends with "/"')
    segments = text[1:].split("/")
    if "" in segments or {".", ".."}.intersection(segments):
        raise Refused("has an empty or a dot segment")
    if not all(_SEGMENT.fullmatch(segment) for segment in segments):
        raise Refused("has a character other than letters, digits and . _ ~ -")
    if segments[0] == ".well-known":
        raise Refused("lies below /.well-known, whose documents have fixed places")
    return text


def _read_login_url(value: object) -> str:
    text = read_text(value)
    if "#" in text:
        raise Refused("has a fragment")
    if text.startswith("/"):
        # Browsers read "//host" and "/\host" as another host.
        if text.startswith("//") or not _URI.fullmatch(text):
            raise Refused("is no path on this host")
        return text
    if "://" not in text:
        raise Refused('a path begins with "/"')
    address = read_address(text)
    if address.scheme != "https" and not (address.scheme == "http" and is_loopback_host(address.host)):
        raise Refused("is neither a path nor https")
    return text


def _read_origin(text: str) -> str:
    if text == "*":
        return text
    address = _of(text, read_address)
    if address.path or address.query is not None or address.fragment is not None:
        raise Refused(f'{shown(text)} has more than scheme, host and port (not even a "/" at its end)')
    if text != text.lower() or address.port == _DEFAULT_PORTS.get(address.scheme, -1):
        raise Refused(f"{shown(text)} is not what browsers send: lower case, without the default port")
    return text


def _read_origins(value: object) -> tuple[str, ...]:
    origins = _EACH_ORIGIN.read(value)
    if "*" in origins and len(origins) > 1:
        raise Refused('"*" already means every origin')
    return origins


def _read_network(text: str) -> str:
    if text == UNIX:
        return text
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        raise Refused(f"{shown(text)} is no network (are bits set to the right of the prefix?)") from None


def _read_private_scheme(text: str) -> str:
    if not _SCHEME.fullmatch(text):
        raise Refused(f"{shown(text)} is no scheme in lower case, written without the colon")
    if text in _DEFAULT_PORTS or check_redirect_uri(f"{text}://host/path", (text,)) is not None:
        raise Refused(f"{shown(text)} is a scheme that browsers handle themselves")
    return text


def _read_header(text: str) -> str:
    if not _HEADER.fullmatch(text):
        raise Refused(f"{shown(text)} is no header name")
    return text


def read_redirect_uri(value: object) -> str:
    """A redirect URI that the operator vouches for: any private scheme will do, the other rules hold."""
    text = read_text(value)
    defect = check_redirect_uri(text, (text.partition(":")[0],))
    if defect is not None:
        raise Refused(f"{shown(text)}: {defect}")
    return text


def _read_logo(value: object) -> str:
    text = os.fspath(value) if isinstance(value, os.PathLike) else read_text(value)
    if text.lower().startswith("http:"):
        raise Refused("does not begin with https://")
    if text.startswith("https://"):
        address = read_address(text)
        # Either would end the place of a Content-Security-Policy in which it has to stand.
        if set(";,'") & set(text) or address.fragment is not None:
            raise Refused("has a fragment, or a character that a Content-Security-Policy cannot have")
    return str(text)


def _of(text: str, read: Callable[[object], Address]) -> Address:
    try:
        return read(text)
    except Refused as refusal:
        raise Refused(*(f"{shown(text)} {reason}" for reason in refusal.reasons)) from None


def _is_host(host: str, *, bracketed: bool) -> bool:
    if not bracketed:
        return _HOST_NAME.fullmatch(host) is not None and ".." not in host
    try:
        return "%" not in host and ipaddress.ip_address(host).version == 6
    except ValueError:
        return False


_EACH_ORIGIN = list_of(_read_origin, "")

ISSUER = Kind(
    read_issuer,
    "an https URL with a host, perhaps a port and a path, and nothing else (http on loopback)",
)
PREFIX = Kind(_read_prefix, 'a path such as "/oauth", without a slash at its end')
LOGIN_URL = Kind(_read_login_url, 'a path such as "/login", or an https URL (http on loopback)')
LOGO = Kind(_read_logo, "the path of an image file, or an https URL")
ORIGINS = Kind(_read_origins, '"*", or a list of origins such as "https://app.example.org"')
NETWORKS = list_of(_read_network, 'a list of IP addresses and networks such as "10.0.0.0/8", or "unix"')
PRIVATE_SCHEMES = list_of(_read_private_scheme, 'a list of URL schemes such as "vscode"')
HEADERS = list_of(_read_header, 'a list of header names such as "X-Remote-User"')
