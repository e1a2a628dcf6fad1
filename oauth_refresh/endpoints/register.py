"""POST /oauth/register: a client introduces itself (RFC 7591)."""

from __future__ import annotations

import hmac
import secrets

import msgspec
from werkzeug.wrappers import Request, Response

from ..addresses import Addresses
from ..clients import Client, hash_secret
from ..errors import InvalidClientMetadata, InvalidToken, TooManyRequests
from ..parameters import read_body
from ..registration import accept
from ..responses import json_response
from ..scopes import join
from ..server import Server

MANAGEMENT_PREFIX = "ocm_"
BRACKETS_MAX = 500
"""How many lists and objects a registration may be made of."""


def register(server: Server, request: Request, addresses: Addresses) -> Response:
    invited = server.settings.registration == "token"
    if invited:
        _judge_invitation(server, request)
    wanted = accept(
        read_object(request),
        known_scopes=server.settings.open_scopes,
        private_schemes=server.settings.redirect_schemes,
    )
    client_id = server.client_id_for(wanted) if wanted.auth_method == "none" else None
    known = None if client_id is None else server.clients.registered_before(client_id)
    if known is not None:
        return json_response(registered(known, ""), 201)
    if not invited:
        _judge_rate(server, request)
    management = None if client_id is not None else MANAGEMENT_PREFIX + secrets.token_urlsafe(32)
    client, secret = server.clients.register(
        wanted.metadata,
        client_id=client_id,
        redirect_uris=wanted.redirect_uris,
        auth_method=wanted.auth_method,
        grant_types=wanted.grant_types,
        response_types=wanted.response_types,
        scopes=wanted.scopes,
        management_hash=b"" if management is None else hash_secret(management),
    )
    server.events.emit("client_registered", {"client": client.client_id, "name": client.name})
    endpoints = addresses.base + server.settings.prefix
    return json_response(registered(client, endpoints, secret, management), 201)


def _judge_invitation(server: Server, request: Request) -> None:
    """Raises `InvalidToken`, or `TooManyRequests` after too many wrong ones; a right one always passes."""
    digest = hash_secret(bearer_token(request)).hex()
    if any(hmac.compare_digest(known, digest) for known in server.settings.registration_tokens):
        return
    wait = server.client_failures.wait("registration token", "")
    server.client_failures.failed("registration token", "")
    if wait:
        raise TooManyRequests("too many wrong tokens", retry_after=wait)
    raise unauthorized("registration is for those with a token of the operator's")


def bearer_token(request: Request) -> str:
    """The token of the Authorization header. Raises `InvalidToken` if there is none."""
    scheme, _, token = request.headers.get("Authorization", "").strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        # Without credentials there is no error to name in the challenge (RFC 6750 section 3.1).
        raise InvalidToken(
            "a bearer token is needed", headers=(("WWW-Authenticate", 'Bearer realm="oauth"'),)
        )
    return token.strip()


def unauthorized(description: str) -> InvalidToken:
    challenge = 'Bearer realm="oauth", error="invalid_token"'
    return InvalidToken(description, headers=(("WWW-Authenticate", challenge),))


def _judge_rate(server: Server, request: Request) -> None:
    """Raises `TooManyRequests`: registrations are kept for a day, and anybody may send them.

    Only those that take a new record count: hosted clients, all behind one address, register again and again.
    """
    source = server.counted_source(request.environ)
    wait = 0 if source is None else server.source_registrations.reserve("registrations from", source)
    wait = wait or server.registrations.reserve("registrations", "")
    if wait:
        raise TooManyRequests("too many registrations just now", retry_after=wait)


def read_object(request: Request) -> dict[str, object]:
    if request.mimetype != "application/json":
        raise InvalidClientMetadata("the content type must be application/json")
    body = read_body(request.environ)
    # Some versions of Python let a parser nest so deep that the stack of a small thread ends first.
    if body.count(b"[") + body.count(b"{") > BRACKETS_MAX:
        raise InvalidClientMetadata("the body must be one JSON object")
    try:
        return msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise InvalidClientMetadata("the body must be one JSON object") from None


def registered(
    client: Client, endpoints: str, secret: str | None = None, management: str | None = None
) -> dict[str, object]:
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
    if management is not None:
        members["registration_client_uri"] = f"{endpoints}/register/{client.client_id}"
        members["registration_access_token"] = management
    return members
