"""What this server is called from outside: its issuer, and the URLs that follow from it.

Configured, never taken from a request. Without configuration only loopback hosts are served.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from .events import Events
from .resources import resource_url

_LOOPBACK_HOST = re.compile(r"(?i:localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\])(:\d{1,5})?")
_REMEMBERED_MAX = 64

NOT_CONFIGURED = "OAUTH_ISSUER is not set, so only loopback hosts are served: set it to the public https URL"
_TOLD_LENGTH_MAX = 255


class Addresses(NamedTuple):
    """`issuer` is echoed byte for byte; `base` is it without a slash at the end; `path` is that of `base`."""

    issuer: str
    base: str
    origin: str
    path: str

    @property
    def https(self) -> bool:
        return self.issuer.startswith("https:")

    def resource(self, prefix: str) -> str:
        """The identifier of the protected resource below this prefix ("" for the whole server)."""
        return resource_url(self.base, prefix or "/")

    def resource_metadata(self, prefix: str) -> str:
        """Where the protected-resource document of this prefix is (RFC 9728 section 3.1).

        Under a path the document is advertised inside of it: what lies at the root of the host may belong
        to somebody else, and reaches this server only if a proxy is told so.
        """
        return resource_url(f"{self.base}/.well-known/oauth-protected-resource", prefix or "/")


def from_issuer(issuer: str) -> Addresses:
    parts = urlsplit(issuer)
    path = parts.path.rstrip("/")
    origin = f"{parts.scheme}://{parts.netloc}"
    return Addresses(issuer, origin + path, origin, path)


class AddressBook:
    """The addresses for a request: the configured ones, else those of the loopback host that it names."""

    def __init__(self, issuer: str | None) -> None:
        self.configured = from_issuer(issuer) if issuer is not None else None
        self._seen: dict[tuple[str, str, str], Addresses] = {}

    def of(self, environ: Mapping[str, Any]) -> Addresses | None:
        """The addresses to answer with, or None: no issuer is configured and the host is not loopback."""
        if self.configured is not None:
            return self.configured
        scheme, host = environ.get("wsgi.url_scheme", "http"), _host_of(environ)
        key = (scheme, host, environ.get("SCRIPT_NAME", ""))
        found = self._seen.get(key)
        if found is None and _LOOPBACK_HOST.fullmatch(host):
            # What a URL cannot contain would end up in headers and break out of their quotes; two slashes
            # at the beginning of a path would make it another host's.
            segments = "".join(f"/{segment}" for segment in key[2].split("/") if segment)
            mount = quote(segments.encode("latin-1"), safe="/:@!$&'()*+,;=~")
            found = from_issuer(f"{scheme}://{host.lower()}{mount}")
            if len(self._seen) < _REMEMBERED_MAX:
                self._seen[key] = found
        return found


def _host_of(environ: Mapping[str, Any]) -> str:
    return environ.get("HTTP_HOST") or f"{environ.get('SERVER_NAME')}:{environ.get('SERVER_PORT')}"


def tell_not_configured(events: Events, environ: Mapping[str, Any]) -> None:
    """Say in the log why this request, for which there are no addresses, is answered 500."""
    host = _host_of(environ)[:_TOLD_LENGTH_MAX]
    events.emit_sparingly("issuer_not_set", {"host": host, "reason": NOT_CONFIGURED}, "", 60)
