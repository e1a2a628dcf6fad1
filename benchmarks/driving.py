"""The middleware under test, set up as a user would set it up."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

import msgspec

from oauth_refresh import OAuthMiddleware
from oauth_refresh.backends.base import Backend

from .calling import Rotator, ask, constant

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

SECRET_KEY = "a server secret for measurements only"
_READER_SECRET = "a client secret for measurements only"
READER = "Basic " + b64encode(f"reader:{quote_plus(_READER_SECRET)}".encode()).decode()
"""How a resource server authenticates that may introspect all tokens."""


def middleware(url: str | Backend) -> OAuthMiddleware:
    """Ours, as a user would set it up: a protected path, an issuer, a secret of its own."""
    return OAuthMiddleware(
        constant,
        environ={},
        registry=url,
        issuer="http://127.0.0.1:8000",
        secret_key=SECRET_KEY,
        protect={"/api": "notes:read"},
        scopes={"notes:read": "Read", "notes:write": "Write"},
        password_check=lambda name, password: name,
        clients={
            "reference": {"redirect_uris": ["http://127.0.0.1/callback"]},
            "reader": {"client_secret": _READER_SECRET, "grant_types": [], "introspect": True},
        },
    )


REGISTERED = {
    "client_name": "Reference",
    "redirect_uris": ["http://127.0.0.1/callback"],
    "token_endpoint_auth_method": "none",
    "grant_types": ["authorization_code", "refresh_token"],
}


def register(app: WSGIApplication) -> str:
    """The id of a public client that has registered itself, as MCP clients do."""
    status, answer = ask(app, "/oauth/register", msgspec.json.encode(REGISTERED), "application/json")
    assert status.startswith("201"), (status, answer)
    return str(answer["client_id"])


RESOURCE = "http://127.0.0.1:8000/api"


def rotator(app: OAuthMiddleware, client_id: str, resource: str | None = None) -> Rotator:
    """Of a new grant of this client: for the whole server, or for a resource, which each refresh then names.

    MCP clients name theirs in every request (RFC 8707), percent-encoded.
    """
    issued = app.registry.create_with_refresh(
        "ada",
        ["notes:read", "notes:write"],
        client_id=client_id,
        resources=None if resource is None else [resource],
    )
    assert issued.refresh_token is not None
    more = "" if resource is None else f"&resource={quote(resource, safe='')}"
    return Rotator(app, issued.refresh_token, client_id, more)


class Ours:
    """The middleware over a store, with a client that has registered itself."""

    def __init__(self, url: str | Backend) -> None:
        self.app = middleware(url)
        self._client_id = register(self.app)

    def rotator(self, resource: str | None = None) -> Rotator:
        """Of a new grant: for the whole server, or for this resource, which each refresh then names."""
        return rotator(self.app, self._client_id, resource)

    def close(self) -> None:
        self.app.server.backend.close()
