"""POST /oauth/token: tokens for a code, a refresh token, or a client itself (RFC 6749 4.1.3, 6 and 4.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ..addresses import Addresses
from ..cases import Ask, Issue, Refuse
from ..clients import CLIENT_CREDENTIALS, Client
from ..credentials import Credentials, invalid_client, read_credentials
from ..errors import (
    InvalidGrant,
    InvalidRequest,
    RegistryError,
    UnauthorizedClient,
    UnsupportedGrantType,
)
from ..events import log
from ..parameters import Parameters, read_form
from ..reading_ahead import NOTHING_SEEN
from ..refusals import error_of
from ..resources import select
from ..responses import Tokens
from ..scopes import of_client_itself, parse_scope
from ..server import Server
from ..tokens import ACCESS, CODE, REFRESH, Presented, read

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_encode = msgspec.json.Encoder().encode

_KINDS = {CODE: "an authorization code", ACCESS: "an access token", REFRESH: "a refresh token"}

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


class _Members(msgspec.Struct, omit_defaults=True, frozen=True, gc=False):
    """What the client reads (RFC 6749 section 5.1). Members that say nothing are left out.

    The scopes of a token are sorted, each once.
    """

    access_token: str
    token_type: str
    expires_in: int
    refresh_token: str | None = None
    scope: str = ""


def token(server: Server, environ: WSGIEnvironment, addresses: Addresses) -> Tokens:
    form = read_form(environ)
    if form.several:
        form.require_single(KNOWN)
    values, authorization = form.values, environ.get("HTTP_AUTHORIZATION")
    grant_type = values.get("grant_type")
    if grant_type is None:
        raise InvalidRequest("grant_type: missing")
    supported = server.clients.grant_types
    if grant_type not in supported:
        raise UnsupportedGrantType(f"grant_type: {', '.join(supported[:-1])} or {supported[-1]}")
    credentials = None
    if authorization or not form.plain or "client_secret" in values:
        credentials = read_credentials(authorization, form)
    if grant_type == "refresh_token":
        return _refresh(server, form, credentials, addresses)
    credentials = credentials or Credentials(values.get("client_id"))
    if grant_type == "authorization_code":
        return _redeem(server, form, credentials, addresses)
    return _speak_for_itself(server, form, credentials, addresses)


def _redeem(server: Server, form: Parameters, credentials: Credentials, addresses: Addresses) -> Tokens:
    client = server.clients.authenticate(credentials)
    code = _presented(server, form, "code", CODE)
    if not client.may("authorization_code"):
        raise UnauthorizedClient("this client is not registered for authorization_code")
    scopes, resources = _asked(server, form, addresses)
    if scopes is not None and _are_granted(server, code, scopes):
        # No standard gives this request a scope. Libraries repeat a part of the first one by habit, and
        # the token would lack the rest of what the user has allowed.
        scopes = None
    verifier, redirect_uri = form.get("code_verifier"), form.get("redirect_uri")
    ask = Ask(client.client_id, scopes, resources, verifier=verifier, redirect_uri=redirect_uri)
    return _granted(server, client, server.registry.redeem(code, ask, server.policy_for(client)), code)


def _are_granted(server: Server, code: Presented, scopes: tuple[str, ...]) -> bool:
    grant = server.registry.get(code.grant_id)
    return grant is not None and set(scopes) <= set(grant.scopes)


def _refresh(
    server: Server, form: Parameters, credentials: Credentials | None, addresses: Addresses
) -> Tokens:
    """Credentials are None where the form alone says who the client is: most are public."""
    values, registry = form.values, server.registry
    client_id = values.get("client_id") if credentials is None else credentials.client_id
    if client_id is None:
        return _refresh_by_nobody(server, form, addresses)
    presented, seen = read(values.get("refresh_token", "")), NOTHING_SEEN
    if registry.looks_ahead and presented is not None and presented.kind == REFRESH:
        # Client and grant together: to a store across the network a second read would be a trip of its own.
        key = server.clients.key(client_id)
        if key is not None:
            seen = registry.look_ahead(presented, key)
    if credentials is None:
        client = server.clients.named(client_id, seen)
    else:
        client = server.clients.authenticate(credentials, seen)
    try:
        if presented is None or presented.kind != REFRESH:
            presented = _presented(server, form, "refresh_token", REFRESH)
        if "refresh_token" not in client.grant_types:
            raise UnauthorizedClient("this client is not registered for refresh_token")
        ask, policy = Ask(client_id), server.policy
        if "scope" in values or "resource" in values:
            ask = Ask(client_id, *_asked(server, form, addresses))
        if client.access_ttl is not None or client.refresh_ttl is not None:
            policy = server.policy_for(client)
        answer = registry.refresh(presented, ask, policy, seen)
        return _granted(server, client, answer, presented)
    except InvalidGrant as error:
        # One client takes 400 for a mishap and tries again for ever; 401 makes it ask its user.
        error.status = client.dead_token_status
        if error.status == 401:
            error.headers = invalid_client("").headers
        raise


def _refresh_by_nobody(server: Server, form: Parameters, addresses: Addresses) -> Tokens:
    """The token names its client. It may be an imported one whose client nobody knows."""
    presented = _presented(server, form, "refresh_token", REFRESH)
    client = _named_by(server, presented)
    if client is not None and "refresh_token" not in client.grant_types:
        raise UnauthorizedClient("this client is not registered for refresh_token")
    ask = Ask(None if client is None else client.client_id, *_asked(server, form, addresses))
    answer = server.registry.refresh(presented, ask, server.policy_for(client))
    return _granted(server, client, answer, presented)


def _named_by(server: Server, refresh_token: Presented) -> Client | None:
    """The public client to which this token was issued: it may leave its `client_id` out.

    None for an imported token whose client nobody knows. A confidential client must authenticate.
    """
    owner = server.registry.owner(refresh_token)
    if owner is None:
        server.registry.tell_refused("noise", refresh_token)
        raise error_of(Refuse("noise"), refresh_token)
    if not owner:
        return None
    return server.clients.authenticate(Credentials(owner))


def _speak_for_itself(
    server: Server, form: Parameters, credentials: Credentials, addresses: Addresses
) -> Tokens:
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
    members = _Members(issued.access_token, "Bearer", issued.expires_in, scope=" ".join(issued.scopes))
    return Tokens(_encode(members))


def _presented(server: Server, form: Parameters, name: str, kind: str) -> Presented:
    text = form.values.get(name)
    if text is None:
        raise InvalidRequest(f"{name}: missing")
    if not form.plain:
        form.require_printable((name,))
    presented = read(text) or server.registry.read(text)
    if presented is not None and presented.kind == kind:
        return presented
    error = InvalidGrant(
        f"{name}: {'not valid' if presented is None else f'this is {_KINDS[presented.kind]}'}"
    )
    error.told = True
    server.registry.tell_malformed(kind)
    raise error


def _asked(
    server: Server, form: Parameters, addresses: Addresses
) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """The scopes and the resources that this request names, each None if it names none."""
    asked, wanted = form.values.get("scope"), form.all("resource")
    scopes = None
    if asked is not None:
        scopes = tuple(name for name in parse_scope(asked) if name not in server.ignored_scopes) or None
    return scopes, select(wanted, server.resources(addresses)) if wanted else None


def _granted(server: Server, client: Client | None, answer: Issue | Refuse, presented: Presented) -> Tokens:
    if not isinstance(answer, Issue):
        raise error_of(answer, presented)
    if client is not None:
        # Asked of every renewal, before any call is made for it.
        until = client.forget_at
        if not client.used or (until is not None and until - server.clock() <= server.clients.noted_for):
            _note_use(server, client)
    scope = " ".join(answer.rights.scopes)
    members = _Members(answer.access_token, "Bearer", answer.expires_in, answer.refresh_token, scope)
    return Tokens(_encode(members))


def _note_use(server: Server, client: Client) -> None:
    try:
        server.clients.mark_used(client)
    except RegistryError as error:
        # The tokens are there already. The registration is marked at the next request.
        log.warning("the use of a registration could not be recorded: %s", error)
