"""POST /oauth/register: a client introduces itself (RFC 7591)."""

from __future__ import annotations

import msgspec
from werkzeug.wrappers import Request, Response

from ..addresses import Addresses
from ..clients import Client
from ..errors import InvalidClientMetadata
from ..parameters import read_body
from ..registration import accept
from ..responses import json_response
from ..scopes import join
from ..server import Server


def register(server: Server, request: Request, addresses: Addresses) -> Response:
    wanted = accept(
        _read_object(request),
        known_scopes=server.settings.known_scopes,
        private_schemes=server.settings.private_schemes,
    )
    client, secret = server.clients.register(
        wanted.metadata,
        redirect_uris=wanted.redirect_uris,
        auth_method=wanted.auth_method,
        grant_types=wanted.grant_types,
        response_types=wanted.response_types,
        scopes=wanted.scopes,
    )
    server.events.emit("client_registered", {"client": client.client_id, "name": client.name})
    return json_response(_registered(client, secret), 201)


def _read_object(request: Request) -> dict[str, object]:
    if request.mimetype != "application/json":
        raise InvalidClientMetadata("the content type must be application/json")
    try:
        return msgspec.json.decode(read_body(request), type=dict[str, object])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise InvalidClientMetadata("the body must be one JSON object") from None


def _registered(client: Client, secret: str | None) -> dict[str, object]:
    """All that was registered. No member is null or empty: strict clients refuse such an answer."""
    members: dict[str, object] = {
        "client_id": client.client_id,
        "client_id_issued_at": int(client.created_at),
        "redirect_uris": list(client.redirect_uris),
        "token_endpoint_auth_method": client.auth_method,
        "grant_types": list(client.grant_types),
        "response_types": list(client.response_types),
        **client.metadata,
    }
    if client.scopes:
        members["scope"] = join(client.scopes)
    if secret is not None:
        members["client_secret"] = secret
        members["client_secret_expires_at"] = 0
    return members
