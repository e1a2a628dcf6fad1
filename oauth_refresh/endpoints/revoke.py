"""POST /oauth/revoke: end a token, or the whole grant (RFC 7009)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..addresses import Addresses
from ..credentials import read_credentials
from ..errors import InvalidGrant, InvalidRequest
from ..parameters import read_form
from ..responses import Answer
from ..server import Server

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

KNOWN = ("token", "token_type_hint", "client_id", "client_secret")

_NOTHING_TO_SAY = b"{}"


def revoke(server: Server, environ: WSGIEnvironment, addresses: Addresses) -> Answer:
    """200 for whatever is ended now or was none of ours. The hint is not needed: a token names its kind."""
    form = read_form(environ)
    form.require_single(KNOWN)
    client = server.clients.authenticate(read_credentials(environ.get("HTTP_AUTHORIZATION"), form))
    text = form.get("token")
    if text is None:
        raise InvalidRequest("token: missing")
    presented = server.registry.read(text)
    if presented is not None:
        refusal = server.registry.revoke_presented(presented, client.client_id)
        foreign = refusal is not None and refusal.reason == "other_client"
        if foreign and not server.settings.revoke_silently:
            raise InvalidGrant("token: issued to another client", detail=f"grant {presented.grant_id.hex()}")
    # Some clients read JSON from every answer, and fail where there is none.
    return _NOTHING_TO_SAY
