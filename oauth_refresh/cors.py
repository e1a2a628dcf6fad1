"""Which answers a browser may read across origins (the Fetch standard; RFC 9700 section 2.6)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

EXPOSED = "WWW-Authenticate, DPoP-Nonce, Mcp-Session-Id, MCP-Protocol-Version, Retry-After"
ALLOWED_HEADERS = (
    "Authorization, Content-Type, Accept, MCP-Protocol-Version, Mcp-Session-Id, Mcp-Method, Mcp-Name, "
    "Last-Event-ID, DPoP"
)
MAX_AGE = "3600"

METHOD_OVERRIDES = ("HTTP_X_HTTP_METHOD_OVERRIDE", "HTTP_X_METHOD_OVERRIDE", "HTTP_X_HTTP_METHOD")
"""Headers that some applications take for the method of a request, as they stand in an environ."""

_TO_ANYONE = (("Access-Control-Allow-Origin", "*"), ("Access-Control-Expose-Headers", EXPOSED))
_HEADER_LIST = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+(?:\s*,\s*[A-Za-z0-9!#$%&'*+.^_`|~-]+)*")


def is_preflight(environ: Mapping[str, Any]) -> bool:
    """Whether a browser asks for leave to send a request: no token can come with it, so none is needed.

    Browsers send neither a method override nor a body with it. An application that honours overrides would
    take such a request for another method, without anybody having looked at a token.
    """
    return (
        environ["REQUEST_METHOD"] == "OPTIONS"
        and "HTTP_ORIGIN" in environ
        and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ
        and environ.get("CONTENT_LENGTH", "") in ("", "0")
        and "HTTP_TRANSFER_ENCODING" not in environ
        and not any(name in environ for name in METHOD_OVERRIDES)
    )


def actual(environ: Mapping[str, Any], origins: Sequence[str]) -> list[tuple[str, str]]:
    """The headers of an answer, errors included: without them a browser client cannot read what is wrong."""
    if "*" in origins:
        return [*_TO_ANYONE]
    allowed = _allow_origin(environ, origins)
    if not _is_allowed(allowed):
        return allowed
    return [*allowed, ("Access-Control-Expose-Headers", EXPOSED)]


def preflight(
    environ: Mapping[str, Any], origins: Sequence[str], methods: Sequence[str]
) -> list[tuple[str, str]]:
    """The headers that answer a preflight. Never credentials: nothing here works by cookie across origins."""
    allowed = _allow_origin(environ, origins)
    if not _is_allowed(allowed):
        return allowed
    wanted = environ.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS", "")
    headers = wanted if len(wanted) <= 1024 and _HEADER_LIST.fullmatch(wanted) else ALLOWED_HEADERS
    return [
        *allowed,
        ("Access-Control-Allow-Methods", ", ".join(methods)),
        ("Access-Control-Allow-Headers", headers),
        ("Access-Control-Max-Age", MAX_AGE),
    ]


def _is_allowed(headers: Sequence[tuple[str, str]]) -> bool:
    return any(name == "Access-Control-Allow-Origin" for name, _ in headers)


def _allow_origin(environ: Mapping[str, Any], origins: Sequence[str]) -> list[tuple[str, str]]:
    if "*" in origins:
        return [("Access-Control-Allow-Origin", "*")]
    if not origins:
        return []
    origin = environ.get("HTTP_ORIGIN")
    vary = [("Vary", "Origin")]
    return [("Access-Control-Allow-Origin", str(origin)), *vary] if origin in origins else vary
