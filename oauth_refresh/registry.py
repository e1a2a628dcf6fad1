"""TokenRegistry: the grants and their tokens. It reads the record, asks the rules, and swaps.

Usable without HTTP as well, by an application that mints its own tokens.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from . import grants, pkce
from .access_checks import TRIES, AccessChecks, pause
from .backends.base import Backend, Copies, Entry
from .backends.bulk import reader_of_two
from .cases import Ask, Case, Event, Issue, Policy, Refuse
from .errors import InvalidGrant, RegistryError
from .events import Events
from .outcomes import events_of, malformed, refused
from .records import LABEL_MAX, PROPERTIES_BYTES_MAX, Access, Code, Grant, decode, term
from .refusals import error_of
from .tokens import (
    REFRESH,
    Presented,
    Secrets,
    hash_token,
    mint_access,
    mint_code,
)

_ATTEMPTS = range(TRIES)
REVOKE_TRIES = 32
"""A revocation that loses to a client which rotates without pause is worth more of them."""

SubjectCheck = Callable[[str, str, tuple[str, ...]], "Iterable[str] | None"]

Terms = Callable[[Grant, Policy], Policy]
"""The policy for an exchange under this grant, given that of its client."""


class Issued(NamedTuple):
    """Tokens for the client. `refresh_token` is None where none was issued; `expires_in` is seconds."""

    access_token: str
    refresh_token: str | None
    expires_in: int
    scopes: tuple[str, ...]
    grant_id: str

    def __repr__(self) -> str:
        return f"<tokens of grant {self.grant_id}>"


class TokenRegistry(AccessChecks):
    """Grants in a backend. Times come from `clock` (seconds since 1970), randomness from `draw`.

    Every method raises `RegistryError` when the backend cannot answer.
    """

    def __init__(
        self,
        backend: Backend,
        secrets: Secrets | Callable[[], Secrets],
        policy: Policy,
        *,
        code_ttl: float = 60.0,
        grant_max_age: float | None = None,
        last_used_interval: float = 300.0,
        subject_check: SubjectCheck | None = None,
        terms: Terms | None = None,
        implied: Mapping[str, frozenset[str]] = MappingProxyType({}),
        events: Events | None = None,
        clock: Callable[[], float] = time.time,
        draw: Callable[[int], bytes] = os.urandom,
    ) -> None:
        super().__init__(backend, last_used_interval, implied, clock)
        self.read_two = reader_of_two(backend)
        """Reads two records, as quickly as one where the backend can."""
        self._secrets = secrets
        self.policy = policy
        self.events = events if events is not None else Events()
        self._code_ttl = code_ttl
        self._grant_max_age = grant_max_age
        self._subject_check = subject_check
        self._refresh = grants.refresh if subject_check is None else self._refresh_with_subject_check
        self._terms = terms
        self.has_hooks = subject_check is not None or terms is not None
        """Whether the application has a say in each exchange."""
        self._draw = draw

    @property
    def secrets(self) -> Secrets:
        """The server secrets. A callable is asked at the first use: a drawn secret lies in the registry."""
        secrets = self._secrets
        if not isinstance(secrets, Secrets):
            secrets = self._secrets = secrets()
        return secrets

    # --- making grants ----------------------------------------------------------------------------

    def create(
        self,
        subject: str,
        scopes: Iterable[str],
        *,
        client_id: str | None = None,
        resources: Iterable[str] | None = None,
        label: str | None = None,
        properties: Mapping[str, object] | None = None,
        ttl: float | None = None,
    ) -> Issued:
        """A new grant with an access token alone, for `ttl` seconds (default: the access TTL).

        Without `resources` the token is good for the whole server. ValueError for a label over 200
        characters, properties over 4 KiB as JSON, or a `ttl` under one second.
        """
        grant = self._new_grant(subject, scopes, client_id, resources, label, properties)
        return self._open_with_access_alone(grant, ttl, Event("grant_created"))

    def create_for_client(
        self, client_id: str, scopes: Iterable[str], resources: Iterable[str], ttl: float | None = None
    ) -> Issued:
        """The same at the request of a client that speaks for itself (RFC 6749 section 4.4)."""
        grant = self._new_grant("", scopes, client_id, resources, None, None)
        event = Event("client_token_issued", (("outcome", "issued"),))
        return self._open_with_access_alone(grant, ttl, event)

    def _open_with_access_alone(self, grant: Grant, ttl: float | None, event: Event) -> Issued:
        seconds = _at_least_one_second("ttl", self.policy.access_ttl if ttl is None else ttl)
        access_token = mint_access(grant.id, self._draw(32))
        end = grant.created_at + seconds
        expires_at = end if grant.ends_at is None else min(end, grant.ends_at)
        access = Access(hash_token(access_token), None, None, "", expires_at)
        stored = msgspec.structs.replace(grant, access=access)
        self._keep(stored)
        self.tell((event,), stored)
        return Issued(access_token, None, int(expires_at - grant.created_at), grant.scopes, grant.id.hex())

    def create_with_refresh(
        self,
        subject: str,
        scopes: Iterable[str],
        *,
        client_id: str | None = None,
        resources: Iterable[str] | None = None,
        label: str | None = None,
        properties: Mapping[str, object] | None = None,
        ttl: float | None = None,
        refresh_ttl: float | None = None,
    ) -> Issued:
        """A new grant with both tokens; rotations use the configured lifetimes. ValueError as in `create`."""
        policy = self.policy.but(
            access_ttl=_at_least_one_second("ttl", self.policy.access_ttl if ttl is None else ttl),
            refresh_ttl=_at_least_one_second(
                "refresh_ttl", self.policy.refresh_ttl if refresh_ttl is None else refresh_ttl
            ),
        )
        grant = self._new_grant(subject, scopes, client_id, resources, label, properties)
        issue = grants.open_pair(grant, self._draw(32), grant.created_at, policy, self.secrets)
        stored = issue.store or grant
        self._keep(stored)
        self.tell(issue.events, stored)
        return _issued(issue, grant.id)

    def authorize(
        self,
        *,
        grant_id: bytes,
        secret: bytes,
        client_id: str,
        subject: str,
        scopes: Iterable[str],
        resources: Iterable[str],
        challenge: str,
        redirect_uri: str,
    ) -> str:
        """An authorization code for a new grant.

        Called again with the same `grant_id` and `secret` it answers the same code and stores nothing, so
        that a form sent twice issues one code.
        """
        code = mint_code(grant_id, secret)
        grant = self._new_grant(subject, scopes, client_id, resources, None, None, grant_id)
        expires_at = grant.created_at + self._code_ttl
        bound = Code(hash_token(code), pkce.kept(challenge), redirect_uri, expires_at)
        pending = msgspec.structs.replace(grant, code=bound)
        if self._keep(pending):
            self.tell((Event("code_issued"),), pending)
        return code

    def _new_grant(
        self,
        subject: str,
        scopes: Iterable[str],
        client_id: str | None,
        resources: Iterable[str] | None,
        label: str | None,
        properties: Mapping[str, object] | None,
        grant_id: bytes | None = None,
    ) -> Grant:
        if not isinstance(subject, str):
            raise TypeError(f"subject is of type {type(subject).__name__}: the user's id as text is needed")
        names = () if isinstance(scopes, str) else tuple(scopes)
        if isinstance(scopes, str) or not all(isinstance(name, str) for name in names):
            raise TypeError("scopes: a list of names is needed, such as ['notes:read']")
        if label is not None and len(label) > LABEL_MAX:
            raise ValueError(f"label has {len(label)} characters, at most {LABEL_MAX} are allowed")
        kept = dict(properties or {})
        if not all(isinstance(name, str) for name in kept):
            raise ValueError("properties: every name must be text")
        if kept and len(msgspec.json.encode(kept)) > PROPERTIES_BYTES_MAX:
            raise ValueError(f"properties take more than {PROPERTIES_BYTES_MAX} bytes as JSON")
        now = self.clock()
        return Grant(
            id=self._draw(16) if grant_id is None else grant_id,
            client_id=client_id or "",
            subject=subject,
            access=None,
            previous=None,
            used=False,
            last_used_at=None,
            revoked_at=None,
            ends_at=None if self._grant_max_age is None else now + self._grant_max_age,
            properties=kept,
            seed=self._draw(32),
            scopes=tuple(sorted(set(names))),
            resources=tuple(sorted(set(resources or ()))),
            created_at=now,
            label=label or "",
        )

    def _keep(self, grant: Grant) -> bool:
        return self.swap(b"g" + grant.id, None, grant, "wanted")

    # --- the client's requests --------------------------------------------------------------------

    def redeem(self, code: Presented, ask: Ask, policy: Policy | None = None) -> Issue | Refuse:
        """Exchange an authorization code. Of any number of valid requests at most one gets tokens."""
        return self._settle(code, ask, self.policy if policy is None else policy, grants.redeem, "wanted")

    def refresh(
        self,
        token: Presented,
        ask: Ask,
        policy: Policy | None = None,
        found: tuple[Entry | None, Grant | None] | None = None,
    ) -> Issue | Refuse:
        """Exchange a refresh token. Requests that race all get the same pair.

        `found` is the token's record, and the grant in it, if they have just been read.
        """
        policy = self.policy if policy is None else policy
        # If a rotation is lost, the roll forward has it.
        return self._settle(token, ask, policy, self._refresh, "none", found)

    def rotate_via_refresh_token(
        self,
        token: str,
        *,
        client_id: str | None = None,
        scopes: Iterable[str] | None = None,
        resources: Iterable[str] | None = None,
    ) -> Issued:
        """Exchange a refresh token for its successor and a new access token.

        Raises `InvalidGrant`, `InvalidScope` or `InvalidTarget`; after any of these the token is as good
        as it was before, unless it was a reuse, which ends the grant.
        """
        presented = self.read(token)
        if presented is None or presented.kind != REFRESH:
            raise InvalidGrant("the refresh token is not valid", detail="not a refresh token")
        ask = Ask(
            client_id,
            None if scopes is None else tuple(scopes),
            None if resources is None else tuple(resources),
        )
        answer = self.refresh(presented, ask)
        if isinstance(answer, Refuse):
            raise error_of(answer, presented)
        return _issued(answer, presented.grant_id)

    def _refresh_with_subject_check(self, case: Case) -> Issue | Refuse:
        answer = grants.refresh(case)
        if isinstance(answer, Refuse) or self._subject_check is None or not case.grant.subject:
            return answer
        client_id = case.grant.client_id or case.ask.client_id or ""
        allowed = self._subject_check(case.grant.subject, client_id, answer.rights.scopes)
        if allowed is None:
            return Refuse("subject")
        kept = tuple(allowed)
        if isinstance(allowed, str) or not all(isinstance(name, str) for name in kept):
            raise TypeError(
                "OAUTH_SUBJECT_CHECK: the answer is no list of scopes, such as ['notes:read'], and not None"
            )
        if set(answer.rights.scopes) <= set(kept):
            return answer
        return grants.refresh(case.but(ask=case.ask.but(allowed_scopes=kept)))

    def _settle(
        self,
        presented: Presented,
        ask: Ask,
        policy: Policy,
        rule: Callable[[Case], Issue | Refuse],
        copies: Copies,
        found: tuple[Entry | None, Grant | None] | None = None,
    ) -> Issue | Refuse:
        """Ask the rule, store what it says, and if another request was quicker, ask it again.

        `found` is the record, and the grant in it, if it has just been read.
        """
        key, clock, secrets = b"g" + presented.grant_id, self.clock, self._secrets
        if not isinstance(secrets, Secrets):
            secrets = self.secrets
        for attempt in _ATTEMPTS:
            entry, grant = (self.backend.get(key), None) if attempt or found is None else found
            now = clock()
            if entry is None:
                grants.classify(grants.DUMMY, presented, secrets)
                self.tell_refused("unknown_grant", presented)
                return Refuse("noise")
            grant = grant or self.decoded(key, entry[0], presented)
            terms = policy if self._terms is None else self._terms(grant, policy)
            answer = rule(Case(grant, presented, ask, now, terms, secrets))
            is_issue = isinstance(answer, Issue)
            # A failover must not bring back what was revoked.
            wanted = copies if is_issue else "required"
            if answer.store is None or self.swap(key, entry, answer.store, wanted):
                if not is_issue or self.events.are_heard(answer.events):
                    self.tell(events_of(answer, presented), answer.store or grant)
                return answer
            pause(attempt)
        raise _contended()

    # --- looking and ending -----------------------------------------------------------------------

    def get(self, grant_id: str | bytes) -> Grant | None:
        """The grant with this id (32 hex digits, or 16 bytes), or None."""
        raw = _grant_id(grant_id)
        entry = self.backend.get(b"g" + raw) if raw is not None else None
        return None if entry is None or raw is None else decode(entry.body, raw)

    def owner(self, token: Presented) -> str | None:
        """The client id of the grant that issued this refresh token, or None where it is not genuine."""
        grant = self.get(token.grant_id)
        standing, _ = grants.classify(grant or grants.DUMMY, token, self.secrets)
        if grant is None or standing is grants.Standing.NOISE:
            return None
        return grant.client_id

    def list(self, *, subject: str | None = None, client_id: str | None = None) -> Iterator[Grant]:
        """The grants of a subject, of a client, of both together, or all of them, one by one.

        Those that cannot be read are left out, and `RegistryError` names them when the others are through.
        """
        unreadable: dict[str, RegistryError] = {}
        for key in self._keys_of(subject, client_id):
            entry = self.backend.get(key)
            if entry is None:
                continue
            try:
                grant = decode(entry.body, key[1:])
            except RegistryError as error:
                unreadable[key[1:].hex()] = error
                continue
            if (subject is None or grant.subject == subject) and (
                client_id is None or grant.client_id == client_id
            ):
                yield grant
        if unreadable:
            grant_id, trouble = next(iter(unreadable.items()))
            raise RegistryError(
                f"{len(unreadable)} of the grants cannot be read and were left out, as {grant_id}: {trouble}"
            ) from trouble

    def _keys_of(self, subject: str | None, client_id: str | None) -> Iterator[bytes]:
        if subject is not None:
            return self.backend.find(term(b"s", subject))
        if client_id is not None:
            return self.backend.find(term(b"c", client_id))
        return self.backend.keys(b"g")

    def revoke(self, token_or_grant_id: str | bytes) -> bool:
        """End a grant by its id or by any of its refresh tokens, or end one access token by itself.

        True if something ended, False if there was nothing left to end.
        """
        raw = _grant_id(token_or_grant_id)
        if raw is not None:
            return self.revoke_grant(raw, "revoked")
        presented = self.read(token_or_grant_id) if isinstance(token_or_grant_id, str) else None
        return presented is not None and self.revoke_presented(presented, None) is None

    def revoke_presented(self, presented: Presented, client_id: str | None) -> Refuse | None:
        """RFC 7009: None if the token is ended now, else why nothing was changed."""
        key = b"g" + presented.grant_id
        for _ in range(REVOKE_TRIES):
            entry = self.backend.get(key)
            if entry is None:
                grants.classify(grants.DUMMY, presented, self.secrets)
                return Refuse("noise")
            grant = decode(entry.body, presented.grant_id)
            case = Case(grant, presented, Ask(client_id), self.clock(), self.policy, self.secrets)
            answer = grants.revoke_presented(case)
            if isinstance(answer, Refuse):
                self.tell(answer.events, grant)
                return answer
            if answer is grant:
                return Refuse("revoked")
            if self.swap(key, entry, answer, "required"):
                name = "grant_revoked" if answer.revoked_at is not None else "access_token_revoked"
                self.tell((Event(name, (("why", "client"),)),), answer)
                return None
            pause(0)
        raise _contended()

    def revoke_subject(self, subject: str, why: str = "subject_revoked") -> int:
        """End all grants of a user; how many were ended."""
        return sum(self.revoke_grant(grant.id, why) for grant in self.list(subject=subject))

    def revoke_client(self, client_id: str, why: str = "client_revoked") -> int:
        """End all grants of a client; how many were ended."""
        return sum(self.revoke_grant(grant.id, why) for grant in self.list(client_id=client_id))

    def revoke_grant(self, grant_id: bytes, why: str) -> bool:
        """End this grant and say why; False if it is not there, or has ended already."""
        key = b"g" + grant_id
        for _ in range(REVOKE_TRIES):
            entry = self.backend.get(key)
            if entry is None:
                return False
            grant = decode(entry.body, grant_id)
            if grant.revoked_at is not None:
                return False
            ended = grants.revoked(grant, self.clock(), why)
            if self.swap(key, entry, ended, "required"):
                self.tell((Event("grant_revoked", (("why", why),)),), ended)
                return True
            pause(0)
        raise _contended()

    def cleanup(self) -> int:
        """Remove what may be forgotten by now; the number of records removed."""
        return self.backend.purge(self.clock())

    def tell_refused(self, reason: str, presented: Presented) -> None:
        """Emit the refusal of a code or token that no rule judged, because its grant is not there."""
        event = refused(reason, presented)
        self.events.emit(event.name, {"grant": presented.grant_id.hex(), **dict(event.fields)})

    def tell_malformed(self, kind: str) -> None:
        """Emit the refusal of what came as a code or token of this kind, and is none."""
        event = malformed(kind)
        self.events.emit(event.name, {"grant": None, **dict(event.fields)})

    def tell(self, events: tuple[Event, ...], grant: Grant) -> None:
        """Emit these events of this grant."""
        for event in events:
            fields = {"grant": grant.id.hex(), "client": grant.client_id, "subject": grant.subject}
            self.events.emit(event.name, {**fields, "generation": grant.generation, **dict(event.fields)})


def _issued(issue: Issue, grant_id: bytes) -> Issued:
    return Issued(
        issue.access_token, issue.refresh_token, issue.expires_in, issue.rights.scopes, grant_id.hex()
    )


def _grant_id(value: str | bytes) -> bytes | None:
    if isinstance(value, bytes):
        return value if len(value) == 16 else None
    try:
        return bytes.fromhex(value) if len(value) == 32 else None
    except ValueError:
        return None


def _at_least_one_second(name: str, seconds: float) -> float:
    if not seconds >= 1:
        raise ValueError(f"{name} is {seconds!r} seconds, at least 1 is needed")
    return float(seconds)


def _contended() -> RegistryError:
    return RegistryError("a grant kept changing through every try: too many requests at once", retry_after=1)
