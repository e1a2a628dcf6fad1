"""POST /oauth/register: a client introduces itself (RFC 7591)."""

from __future__ import annotations

import msgspec
from werkzeug.wrappers import Request, Response

from ..addresses import Addresses
from ..clients import Client
from ..errors import InvalidClientMetadata, TooManyRequests
from ..parameters import read_body
from ..registration import accept
from ..responses import json_response
from ..scopes import join
from ..server import Server

BRACKETS_MAX = 500
"""How many lists and objects a registration may be made of."""


def register(server: Server, request: Request, addresses: Addresses) -> Response:
    wanted = accept(
        _read_object(request),
        known_scopes=server.settings.known_scopes,
        private_schemes=server.settings.redirect_schemes,
    )
    client_id = server.client_id_for(wanted) if wanted.auth_method == "none" else None
    known = None if client_id is None else server.clients.registered_before(client_id)
    if known is not None:
        return json_response(_registered(known, None), 201)
    _judge_rate(server, request)
    client, secret = server.clients.register(
        wanted.metadata,
        client_id=client_id,
        redirect_uris=wanted.redirect_uris,
        auth_method=wanted.auth_method,
        grant_types=wanted.grant_types,
        response_types=wanted.response_types,
        scopes=wanted.scopes,
    )
    server.events.emit("client_registered", {"client": client.client_id, "name": client.name})
    return json_response(_registered(client, secret), 201)


def _judge_rate(server: Server, request: Request) -> None:
    """Raises `TooManyRequests`: registrations are kept for a day, and anybody may send them.

    Only those that take a new record count: hosted clients, all behind one address, register again and again.
    """
    address = server.source_address(request.environ)
    wait = 0 if address is None else server.source_registrations.reserve("registrations from", address)
    wait = wait or server.registrations.reserve("registrations", "")
    if wait:
        raise TooManyRequests("too many registrations just now", retry_after=wait)


def _read_object(request: Request) -> dict[str, object]:
    if request.mimetype != "application/json":
        raise InvalidClientMetadata("the content type must be application/json")
    body = read_body(request)
    # Some versions of Python let a parser nest so deep that the stack of a small thread ends first.
    if body.count(b"[") + body.count(b"{") > BRACKETS_MAX:
        raise InvalidClientMetadata("the body must be one JSON object")
    try:
        return msgspec.json.decode(body, type=dict[str, object])
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
