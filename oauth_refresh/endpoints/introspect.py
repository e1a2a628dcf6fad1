"""POST /oauth/introspect: is this access token good, and whose is it? (RFC 7662)"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ..addresses import Addresses
from ..cases import Refuse
from ..clients import Client
from ..credentials import invalid_client, read_credentials
from ..errors import InvalidRequest
from ..identity import Identity, subject_of
from ..parameters import read_form
from ..resources import covers
from ..responses import Answer
from ..scopes import join
from ..server import Server

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

KNOWN = ("token", "token_type_hint", "client_id", "client_secret")

_encode = msgspec.json.Encoder().encode

INACTIVE = _encode({"active": False})
"""The whole answer for a token that is unknown, ended, of another kind, or none of the caller's business."""


def introspect(server: Server, environ: WSGIEnvironment, addresses: Addresses) -> Answer:
    """What an access token is good for, or that it is not good. A refresh token is good at the token
    endpoint alone, so here it never is.

    Wrong tokens are not counted against the caller: they come from whoever calls the caller's own interface,
    and a limit would let strangers close it. There is nothing to guess in 256 random bits.
    """
    form = read_form(environ)
    form.require_single(KNOWN)
    client = server.clients.authenticate(read_credentials(environ.get("HTTP_AUTHORIZATION"), form))
    if client.public:
        raise invalid_client("introspection is for clients that authenticate")
    text = form.get("token")
    if text is None:
        raise InvalidRequest("token: missing")
    identity = server.registry.introspect(text, lambda found: _may_see(client, found, addresses))
    return INACTIVE if isinstance(identity, Refuse) else _encode(_told(identity, addresses))


def _may_see(client: Client, identity: Identity, addresses: Addresses) -> bool:
    """Whether the token is the caller's own, or has to do with a path that the operator gave it to serve."""
    if identity.client_id == client.client_id or client.introspect is True:
        return True
    served = [addresses.resource(path) for path in client.introspect or ()]
    audience = identity.audience or (addresses.base,)
    return any(covers(granted, mine) or covers(mine, granted) for granted in audience for mine in served)


def _told(identity: Identity, addresses: Addresses) -> dict[str, object]:
    """RFC 7662 section 2.2. When a token was issued is not on record, so there is no `iat`."""
    audience = list(identity.audience) or [addresses.base]
    members: dict[str, object] = {
        "active": True,
        "token_type": "Bearer",
        "iss": addresses.issuer,
        "aud": audience if len(audience) > 1 else audience[0],
    }
    if identity.scopes:
        members["scope"] = join(identity.scopes)
    if identity.client_id:
        members["client_id"] = identity.client_id
    if subject := subject_of(identity):
        members["sub"] = subject
    if identity.expires_at is not None:
        members["exp"] = int(identity.expires_at)
    return members
