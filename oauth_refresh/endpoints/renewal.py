"""`grant_type=refresh_token` at the token endpoint (RFC 6749 section 6): nearly all that a server is asked.

Client, grant, rule and store are asked in one function, over names that are settled at start. `Clients` and
`TokenRegistry` would say the same, in ten calls more, and a call costs as much as what most of them do.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from math import inf
from typing import NamedTuple

from ..addresses import Addresses
from ..cases import Ask, Event, Policy, Refuse
from ..clients import Client, client_of
from ..credentials import Credentials, invalid_client
from ..errors import InvalidGrant, UnauthorizedClient
from ..events import everywhere, level_of, log
from ..parameters import Parameters
from ..plain_renewals import Asked, RenewPlainly, never, plain_renewals
from ..reading_ahead import NOTHING_SEEN, Found
from ..records import Grant, decode
from ..refusals import error_of
from ..responses import Answer
from ..server import Server
from ..tokens import ID_PART, REFRESH, SECRET_PART, Presented, Secrets, raw_refresh, refresh_of
from .exchange import Members, asked_for, encode, granted, note_use, presented_as

Renew = Callable[[Parameters, "Credentials | None", Addresses], Answer]

_EVENTS = (Event("token_rotated", (("outcome", "rotated"),)),)
_LEVEL = level_of(_EVENTS[0].name)
_KNOWN_MAX = 1024


class _Known(NamedTuple):
    """A client that may renew, what follows from its registration, and the record which says so."""

    key: bytes | None
    body: bytes | None
    client: Client
    policy: Policy
    plainly: RenewPlainly
    noted_at: float
    """From then on its use is to be noted (seconds since 1970)."""


def renewer(server: Server) -> Renew:
    """How this server answers a refresh token, given the form and the credentials in it.

    The credentials are None where the form alone says who the client is: most are public.
    """
    registry, clients, clock, renewing = server.registry, server.clients, server.clock, _Renewing(server)
    own_keys, key_of = clients.own_keys, clients.key
    known_clients, recognise = renewing.known, renewing.recognise
    backend, read_two, swap, encoded = registry.backend, registry.read_two, registry.swap, registry.encoded
    events, is_plain = registry.events, not registry.has_hooks
    secrets: Secrets | None = None
    nobody = (None, None, None, server.policy, never, inf)

    def renew(form: Parameters, credentials: Credentials | None, addresses: Addresses) -> Answer:
        nonlocal secrets
        values = form.values
        client_id = values.get("client_id") if credentials is None else credentials.client_id
        ascii_text = values.get("refresh_token", "").encode()
        raw = raw_refresh(ascii_text)
        if client_id is None or raw is None:
            return _renew_oddly(server, form, credentials, addresses)
        # Client and grant together: to a store across the network a second read would be a trip of its own.
        grant_id = raw[ID_PART]
        key = b"g" + grant_id
        client_key, client_body, client, policy, plainly, noted_at = known_clients.get(client_id, nobody)
        client_key = client_key or own_keys.get(client_id) or key_of(client_id)
        found, entry = (None, backend.get(key)) if client_key is None else read_two(client_key, key)
        if client is None or credentials is not None or found is None or found[0] != client_body:
            _, _, client, policy, plainly, noted_at = recognise(client_id, credentials, client_key, found)
        asked = None
        if "scope" in values or "resource" in values:
            asked = asked_for(server, form, addresses, grant_id)
        token_hash = sha256(ascii_text).digest()
        judged: tuple[Found, Grant | None] | None = (entry, None)
        if entry is not None and is_plain:
            # `AccessChecks.decoded`, which says why a forgery is decoded.
            body, last = entry[0], encoded.get(key)
            if last is not None and last[0] == body and last[1].refresh_hash == token_hash:
                grant = last[1]
            else:
                grant = decode(body, grant_id)
            if secrets is None:
                secrets = registry.secrets
            now = clock()
            plain = plainly(grant, token_hash, raw[SECRET_PART], client.client_id, asked, now, secrets)
            if plain is None:
                judged = (entry, grant)
            else:
                stored, access_token, refresh_token, seconds, forget = plain
                # If a rotation is lost, the roll forward has it.
                if swap(key, entry, stored, "none", forget):
                    if events.listeners or everywhere or log.isEnabledFor(_LEVEL):
                        registry.tell(_EVENTS, stored)
                    if now >= noted_at:
                        note_use(server, client)
                    scope = " ".join(stored.scopes)
                    return encode(Members(access_token, "Bearer", seconds, refresh_token, scope))
                judged = None
        return _by_the_rules(server, client, refresh_of(raw, token_hash), asked, policy, judged)

    return renew


class _Renewing:
    """The clients that renew, each recognised once for as long as its record stays the same.

    Only public ones that were registered: what else a client may be is asked of `Clients` each time.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self.known: dict[str, _Known] = {}
        """Those that renewed last, by their ids."""

    def recognise(
        self, client_id: str, credentials: Credentials | None, key: bytes | None, found: Found
    ) -> _Known:
        """The client of a request, given what lies at its key. Raises as `Clients.authenticate`, and
        `UnauthorizedClient`."""
        clients, client = self._server.clients, None
        if credentials is None and found is not None and client_id in clients.own_keys:
            client = client_of(found[0])
        is_named = client is not None and client.public
        if client is None or not client.public:
            seen = NOTHING_SEEN if key is None else {key: found}
            client = clients.authenticate(credentials or Credentials(client_id), seen)
        if "refresh_token" not in client.grant_types:
            raise _may_not_refresh()
        body = None if found is None else found[0]
        policy = self._server.policy_for(client)
        known = _Known(key, body, client, policy, plain_renewals(policy), clients.noted_at(client))
        if is_named:
            if len(self.known) >= _KNOWN_MAX:
                self.known.clear()
            self.known[client_id] = known
        return known


def _by_the_rules(
    server: Server,
    client: Client,
    presented: Presented,
    asked: Asked | None,
    policy: Policy,
    found: tuple[Found, Grant | None] | None,
) -> Answer:
    ask = Ask(client.client_id, *(asked or ()))
    try:
        return granted(server, client, server.registry.refresh(presented, ask, policy, found), presented)
    except InvalidGrant as error:
        raise _as_told_to(client, error) from None


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
    ask = Ask(
        None if client is None else client.client_id, *asked_for(server, form, addresses, presented.grant_id)
    )
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
