"""POST /oauth/token: tokens for a code, a refresh token, or a client itself (RFC 6749 4.1.3, 6 and 4.4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..addresses import Addresses
from ..cases import Ask
from ..clients import CLIENT_CREDENTIALS
from ..credentials import Credentials, read_credentials
from ..errors import InvalidRequest, UnauthorizedClient, UnsupportedGrantType
from ..parameters import Parameters, read_form
from ..resources import select
from ..responses import Answer
from ..scopes import of_client_itself, parse_scope
from ..server import Server
from ..tokens import CODE, Presented
from .exchange import Members, asked_for, encode, granted, presented_as
from .renewal import renewer

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

KNOWN = (
    "grant_type",
    "code",
    "redirect_uri",
    "code_verifier",
    "refresh_token",
    "scope",
    "client_id",
    "client_secret",
)


def token_endpoint(server: Server) -> Callable[[Server, WSGIEnvironment, Addresses], Answer]:
    """The token endpoint of this server, whose renewals are prepared."""
    renew, supported = renewer(server), server.clients.grant_types

    def token(server: Server, environ: WSGIEnvironment, addresses: Addresses) -> Answer:
        form = read_form(environ)
        if form.several:
            form.require_single(KNOWN)
        values, authorization = form.values, environ.get("HTTP_AUTHORIZATION")
        grant_type = values.get("grant_type")
        if grant_type not in supported:
            if grant_type is None:
                raise InvalidRequest("grant_type: missing")
            raise UnsupportedGrantType(f"grant_type: {', '.join(supported[:-1])} or {supported[-1]}")
        credentials = None
        if authorization or not form.plain or "client_secret" in values:
            credentials = read_credentials(authorization, form)
        if grant_type == "refresh_token":
            return renew(form, credentials, addresses)
        credentials = credentials or Credentials(values.get("client_id"))
        if grant_type == "authorization_code":
            return _redeem(server, form, credentials, addresses)
        return _speak_for_itself(server, form, credentials, addresses)

    return token


def _redeem(server: Server, form: Parameters, credentials: Credentials, addresses: Addresses) -> Answer:
    client = server.clients.authenticate(credentials)
    code = presented_as(server, form, "code", CODE)
    if not client.may("authorization_code"):
        raise UnauthorizedClient("this client is not registered for authorization_code")
    scopes, resources = asked_for(server, form, addresses, code.grant_id)
    if scopes is not None and _are_granted(server, code, scopes):
        # No standard gives this request a scope. Libraries repeat a part of the first one by habit, and
        # the token would lack the rest of what the user has allowed.
        scopes = None
    verifier, redirect_uri = form.get("code_verifier"), form.get("redirect_uri")
    ask = Ask(client.client_id, scopes, resources, verifier=verifier, redirect_uri=redirect_uri)
    return granted(server, client, server.registry.redeem(code, ask, server.policy_for(client)), code)


def _are_granted(server: Server, code: Presented, scopes: tuple[str, ...]) -> bool:
    grant = server.registry.get(code.grant_id)
    return grant is not None and set(scopes) <= set(grant.scopes)


def _speak_for_itself(
    server: Server, form: Parameters, credentials: Credentials, addresses: Addresses
) -> Answer:
    """An access token alone: whoever has the secret gets the next one as easily (section 4.4.3)."""
    client = server.clients.authenticate(credentials)
    if client.public or not client.may(CLIENT_CREDENTIALS):
        raise UnauthorizedClient(f"this client is not registered for {CLIENT_CREDENTIALS}")
    text = form.get("scope")
    scopes = of_client_itself(
        None if text is None else parse_scope(text),
        server.scopes_for(client),
        server.default_scopes,
        client.scopes,
    )
    resources = select(form.all("resource"), server.resources(addresses))
    issued = server.registry.create_for_client(
        client.client_id, scopes, resources, server.policy_for(client).access_ttl
    )
    members = Members(issued.access_token, "Bearer", issued.expires_in, scope=" ".join(issued.scopes))
    return encode(members)
