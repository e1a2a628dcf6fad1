"""`grant_type=refresh_token` at the token endpoint (RFC 6749 section 6): nearly all that a server is asked.

Client, grant, rule and store are asked in one function, over names that are settled at start. `Clients` and
`TokenRegistry` would say the same, in eight calls more, and a call costs as much as what most of them do.
"""

from __future__ import annotations

from collections.abc import Callable

from ..addresses import Addresses
from ..cases import Ask, Event, Refuse
from ..clients import Client, client_of
from ..credentials import Credentials, invalid_client
from ..errors import InvalidGrant, UnauthorizedClient
from ..events import everywhere, level_of, log
from ..parameters import Parameters
from ..plain_renewals import renew_plainly
from ..reading_ahead import NOTHING_SEEN, Found
from ..records import Grant, decode
from ..refusals import error_of
from ..responses import Answer
from ..server import Server
from ..tokens import REFRESH, Presented, Secrets, read
from .exchange import Members, asked_for, encode, granted, note_use, presented_as

Renew = Callable[[Parameters, "Credentials | None", Addresses], Answer]
Exchange = Callable[[Parameters, Addresses, Client, Presented, bytes, Found], Answer]

_EVENTS = (Event("token_rotated", (("outcome", "rotated"),)),)
_LEVEL = level_of(_EVENTS[0].name)


def renewer(server: Server) -> Renew:
    """How this server answers a refresh token, given the form and the credentials in it.

    The credentials are None where the form alone says who the client is: most are public.
    """
    clients, own_keys, exchange = server.clients, server.clients.own_keys, exchanger(server)
    backend, read_two = server.registry.backend, server.registry.read_two

    def renew(form: Parameters, credentials: Credentials | None, addresses: Addresses) -> Answer:
        values = form.values
        client_id = values.get("client_id") if credentials is None else credentials.client_id
        presented = read(values.get("refresh_token", ""))
        if client_id is None or presented is None or presented.kind != REFRESH:
            return _renew_oddly(server, form, credentials, addresses)
        # Client and grant together: to a store across the network a second read would be a trip of its own.
        own_key, key = own_keys.get(client_id), b"g" + presented.grant_id
        client_key = own_key or clients.key(client_id)
        if client_key is None:
            found, entry = None, backend.get(key)
        elif read_two is None:
            found, entry = backend.get(client_key), backend.get(key)
        else:
            found, entry = read_two(client_key, key)
        client = None
        if own_key is not None and found is not None and credentials is None:
            client = client_of(found[0])
        if client is None or client.secret_hash:
            seen = NOTHING_SEEN if client_key is None else {client_key: found}
            client = clients.authenticate(credentials or Credentials(client_id), seen)
        try:
            return exchange(form, addresses, client, presented, key, entry)
        except InvalidGrant as error:
            raise _as_told_to(client, error) from None

    return renew


def exchanger(server: Server) -> Exchange:
    """How this server exchanges the refresh token of a client, given the token's key and what lies there."""
    registry, clock, usual, noted_for = server.registry, server.clock, server.policy, server.clients.noted_for
    swap, encoded, events, is_plain = registry.swap, registry.encoded, registry.events, not registry.has_hooks
    secrets: Secrets | None = None

    def exchange(
        form: Parameters, addresses: Addresses, client: Client, presented: Presented, key: bytes, entry: Found
    ) -> Answer:
        nonlocal secrets
        if "refresh_token" not in client.grant_types:
            raise _may_not_refresh()
        values, asked, policy = form.values, None, usual
        if "scope" in values or "resource" in values:
            asked = asked_for(server, form, addresses, presented)
        if client.access_ttl is not None or client.refresh_ttl is not None:
            policy = server.policy_for(client)
        found: tuple[Found, Grant | None] | None = (entry, None)
        if entry is not None and is_plain:
            # `AccessChecks.decoded`, which says why a forgery is decoded.
            body, known = entry[0], encoded.get(key)
            if known is not None and known[0] == body and known[1].refresh_hash == presented.hash:
                grant = known[1]
            else:
                grant = decode(body, presented.grant_id)
            if secrets is None:
                secrets = registry.secrets
            now = clock()
            plain = renew_plainly(grant, presented, client.client_id, asked, now, policy, secrets)
            if plain is None:
                found = entry, grant
            else:
                stored, access_token, refresh_token, seconds, forget = plain
                # If a rotation is lost, the roll forward has it.
                if swap(key, entry, stored, "none", forget):
                    if events.listeners or everywhere or log.isEnabledFor(_LEVEL):
                        registry.tell(_EVENTS, stored)
                    until = client.forget_at
                    if not client.used or (until is not None and until - now <= noted_for):
                        note_use(server, client)
                    scope = " ".join(stored.scopes)
                    return encode(Members(access_token, "Bearer", seconds, refresh_token, scope))
                found = None
        answer = registry.refresh(presented, Ask(client.client_id, *(asked or ())), policy, found)
        return granted(server, client, answer, presented)

    return exchange


def _renew_oddly(
    server: Server, form: Parameters, credentials: Credentials | None, addresses: Addresses
) -> Answer:
    """What names no client, or presents no refresh token of the usual spelling."""
    client_id = form.values.get("client_id") if credentials is None else credentials.client_id
    if client_id is None:
        # The token names its client. It may be an imported one whose client nobody knows.
        presented = presented_as(server, form, "refresh_token", REFRESH)
        client = _named_by(server, presented)
    else:
        client, presented = server.clients.authenticate(credentials or Credentials(client_id)), None
    try:
        if presented is None:
            presented = presented_as(server, form, "refresh_token", REFRESH)
        return _exchange_for(server, form, addresses, client, presented)
    except InvalidGrant as error:
        raise error if client is None else _as_told_to(client, error) from None


def _exchange_for(
    server: Server, form: Parameters, addresses: Addresses, client: Client | None, presented: Presented
) -> Answer:
    if client is not None and "refresh_token" not in client.grant_types:
        raise _may_not_refresh()
    ask = Ask(None if client is None else client.client_id, *asked_for(server, form, addresses, presented))
    answer = server.registry.refresh(presented, ask, server.policy_for(client))
    return granted(server, client, answer, presented)


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


def _may_not_refresh() -> UnauthorizedClient:
    return UnauthorizedClient("this client is not registered for refresh_token")


def _as_told_to(client: Client, error: InvalidGrant) -> InvalidGrant:
    """One client takes 400 for a mishap and tries again for ever; 401 makes it ask its user."""
    error.status = client.dead_token_status
    if error.status == 401:
        error.headers = invalid_client("").headers
    return error
