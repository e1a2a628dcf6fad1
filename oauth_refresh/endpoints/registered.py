"""GET, PUT, DELETE /oauth/register/ID: a client looks after its own registration (RFC 7592).

That is for clients with a secret. A public one shares its id with all who register alike, so that none of
them may change or delete it.
"""

from __future__ import annotations

import hmac

from werkzeug.wrappers import Request, Response

from ..addresses import Addresses
from ..clients import Client, hash_secret
from ..errors import InvalidClientMetadata
from ..registration import accept
from ..responses import json_response
from ..server import Server
from .register import bearer_token, read_object, registered, unauthorized

METHODS = ("GET", "HEAD", "PUT", "DELETE")

NOT_TO_BE_SENT = (
    "registration_access_token",
    "registration_client_uri",
    "client_secret_expires_at",
    "client_id_issued_at",
)
"""RFC 7592 section 2.2: what only the server says."""

_NOBODY = bytes(32)


def manage(server: Server, request: Request, addresses: Addresses) -> Response:
    """Raises `InvalidToken` for a wrong token and for a client that is not there, in the same words."""
    token = bearer_token(request)
    client = _owner(server, request.path.rpartition("/")[2], token)
    if request.method == "DELETE":
        return _delete(server, client)
    if request.method == "PUT":
        client = _change(server, client, request)
    # Token and secret are kept as hashes only: the one has just been sent, the other is not told again.
    return json_response(registered(client, addresses.base + server.settings.prefix, management=token))


def _owner(server: Server, client_id: str, token: str) -> Client:
    client = server.clients.get(client_id)
    expected = client.management_hash if client is not None and client.management_hash else _NOBODY
    if client is None or not hmac.compare_digest(expected, hash_secret(token)):
        raise unauthorized("the token is not that of this client")
    return client


def _change(server: Server, client: Client, request: Request) -> Client:
    """All members anew: what is left out is taken out (section 2.2)."""
    sent = read_object(request)
    if sent.get("client_id") != client.client_id:
        raise InvalidClientMetadata("client_id: must be that of this client")
    for name in NOT_TO_BE_SENT:
        if name in sent:
            raise InvalidClientMetadata(f"{name}: must not be sent")
    secret = sent.get("client_secret")
    if secret is not None and not (
        isinstance(secret, str) and hmac.compare_digest(client.secret_hash, hash_secret(secret))
    ):
        raise InvalidClientMetadata("client_secret: not the current one, and none that is chosen is accepted")
    wanted = accept(
        sent, known_scopes=server.settings.open_scopes, private_schemes=server.settings.redirect_schemes
    )
    if wanted.auth_method == "none":
        raise InvalidClientMetadata("token_endpoint_auth_method: a client with a secret keeps it")
    changed = server.clients.update(client, **wanted._asdict())
    if changed is None:
        raise unauthorized("the token is not that of this client")
    server.events.emit("client_changed", {"client": changed.client_id, "name": changed.name})
    return changed


def _delete(server: Server, client: Client) -> Response:
    # The client first: nobody can get a new grant between the two.
    server.clients.delete(client.client_id)
    ended = server.registry.revoke_client(client.client_id, "client_deleted")
    server.events.emit("client_deleted", {"client": client.client_id, "grants": ended})
    response = Response(status=204, headers=[("Cache-Control", "no-store"), ("Pragma", "no-cache")])
    # A type of nothing is against WSGI.
    del response.headers["Content-Type"]
    return response
