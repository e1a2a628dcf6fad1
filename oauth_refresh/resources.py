"""Which resources is a token good for? (RFC 8707)

The resources of a deployment are its public base URL and, below it, one URL for each protected prefix. They
are exact strings, echoed byte for byte; only requests may write them in one of a few equivalent ways.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import quote

from .errors import InvalidTarget

_TOLD_MAX = 400

MAX_LENGTH = 2048
"""Characters in a requested resource, at most."""

_ABSOLUTE_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})+")
_WEB_URL = re.compile(r"(https?)://([^/?]*)([^?]*)(.*)", re.IGNORECASE)
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}

_PATH_CHARACTERS = "/:@!$&'()*+,;=~"


def parse_resource(text: str) -> str:
    """`text` itself if it is an absolute URI without a fragment (section 2), else raises InvalidTarget."""
    if len(text) > MAX_LENGTH or _ABSOLUTE_URI.fullmatch(text) is None:
        raise InvalidTarget("resource must be an absolute URI without a fragment")
    return text


def resource_url(base: str, prefix: str) -> str:
    """The resource of a protected prefix; `base` itself, as it is written, for the prefix "/".

    What a URL cannot contain is percent-encoded as UTF-8. A slash at the end of `base` is not doubled.
    """
    if prefix == "/":
        return base
    return base.removesuffix("/") + quote(prefix, safe=_PATH_CHARACTERS)


@lru_cache(64)
def known_resources(base: str, prefixes: tuple[str, ...]) -> tuple[str, ...]:
    """All resources of a deployment: `base` first, then those of `prefixes` in their order, each once."""
    return tuple(dict.fromkeys([base, *(resource_url(base, prefix) for prefix in prefixes)]))


def select(requested: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The audience that an authorization request asks for, in canonical strings, sorted, each once.

    `known` comes from `known_resources`; its first, the base URL, is the answer if nothing is requested.
    A request may write scheme and host in upper case, the default port, and one slash more or less where
    there is no path. Raises InvalidTarget for anything else, also for a URL below a known one.
    """
    return _selected(tuple(requested), tuple(known))


@lru_cache(64)
def _selected(requested: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    """`select`. MCP clients name the same resource in every renewal."""
    if not requested:
        return (known[0],)
    return tuple(sorted({_canonical(text, known) for text in requested}))


def covers(audience: str, resource: str) -> bool:
    """Whether a token for `audience` is good for `resource`: the same URL, or one below it by segments."""
    return resource == audience or resource.startswith(audience.removesuffix("/") + "/")


def _canonical(text: str, known: Sequence[str]) -> str:
    """The known resource that `text` means. Raises InvalidTarget if there is none."""
    if text in known:
        return text
    parse_resource(text)
    meant = _comparable(text)
    for resource in known:
        if _comparable(resource) == meant:
            return resource
    raise InvalidTarget(_not_ours(known))


def _comparable(url: str) -> str:
    """The same text for all ways of writing a resource that are accepted."""
    parts = _WEB_URL.fullmatch(url)
    if parts is None:
        return url
    scheme, authority, path, query = parts[1].lower(), parts[2].lower(), parts[3], parts[4]
    authority = authority.removesuffix(_DEFAULT_PORTS[scheme])
    return f"{scheme}://{authority}{path or '/'}{query}"


def _not_ours(known: Sequence[str]) -> str:
    """For the developer of a client, who sees neither the rules here nor what the client was told before."""
    text = f"resource is not one of this server's: {', '.join(dict.fromkeys(known))}"
    return text if len(text) <= _TOLD_MAX else f"resource is not one of this server's, such as {known[0]}"
