"""What all exchanges at the token endpoint have in common: what comes, what is asked for, the answer."""

from __future__ import annotations

import msgspec

from ..addresses import Addresses
from ..cases import Issue, Refuse
from ..clients import Client
from ..errors import InvalidGrant, InvalidRequest, InvalidTarget, RegistryError
from ..events import log
from ..parameters import Parameters
from ..plain_renewals import Asked
from ..refusals import error_of
from ..resources import select
from ..responses import Answer
from ..scopes import parse_scope
from ..server import Server
from ..tokens import ACCESS, CODE, REFRESH, Presented, read

encode = msgspec.json.Encoder().encode

_KINDS = {CODE: "an authorization code", ACCESS: "an access token", REFRESH: "a refresh token"}


class Members(msgspec.Struct, omit_defaults=True, frozen=True, gc=False):
    """What the client reads (RFC 6749 section 5.1). Members that say nothing are left out.

    The scopes of a token are sorted, each once.
    """

    access_token: str
    token_type: str
    expires_in: int
    refresh_token: str | None = None
    scope: str = ""


def presented_as(server: Server, form: Parameters, name: str, kind: str) -> Presented:
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


def asked_for(server: Server, form: Parameters, addresses: Addresses, grant_id: bytes) -> Asked:
    """The scopes and the resources that this request names, each None if it names none.

    What the grant has, whose code or token came with it, may be named as long as the grant lives, whatever
    the rules have become: clients repeat their resource at every renewal.
    """
    asked, wanted = form.values.get("scope"), form.all("resource")
    scopes = resources = None
    if asked is not None:
        scopes = tuple(name for name in parse_scope(asked) if name not in server.ignored_scopes) or None
    if wanted:
        known = server.resources(addresses)
        try:
            resources = select(wanted, known)
        except InvalidTarget as error:
            resources = _granted_before(server, grant_id, wanted, known)
            if resources is None:
                raise error
    return scopes, resources


def _granted_before(
    server: Server, grant_id: bytes, wanted: tuple[str, ...], known: tuple[str, ...]
) -> tuple[str, ...] | None:
    grant = server.registry.get(grant_id)
    try:
        return None if grant is None else select(wanted, (*known, *grant.resources))
    except InvalidTarget:
        # Not told: that error names what the grant has, and nobody has proven anything yet.
        return None


def granted(server: Server, client: Client | None, answer: Issue | Refuse, presented: Presented) -> Answer:
    if not isinstance(answer, Issue):
        raise error_of(answer, presented)
    if client is not None:
        note_use(server, client)
    scope = " ".join(answer.rights.scopes)
    members = Members(answer.access_token, "Bearer", answer.expires_in, answer.refresh_token, scope)
    return encode(members)


def note_use(server: Server, client: Client) -> None:
    try:
        server.clients.mark_used(client)
    except RegistryError as error:
        # The tokens are there already. The registration is marked at the next request.
        log.warning("the use of a registration could not be recorded: %s", error)
