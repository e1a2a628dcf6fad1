"""What is an access token answered with? The hot path, and how a grant's record is read and swapped.

`TokenRegistry` is this and everything else.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from types import MappingProxyType

from . import grants
from .backends.base import Backend, Copies, Entry
from .backends.moving import refuse_moved
from .cases import Refuse
from .errors import NotReplicatedError, RegistryError
from .events import log
from .identity import Identity
from .records import Access, Grant, decode, encode, forget_at, terms_of
from .tokens import ACCESS, Presented, hash_token, looks_old, old_key, read, read_old
from .values import Value

TRIES = 8
_REMEMBERED_MAX = 2048
_ENCODED_MAX = 1024
_TOKEN_LENGTHS = (68, 64)
"""Of an access token, and of one of the ancestor's file."""

_NOISE = Refuse("noise")
_NO_PROPERTIES: Mapping[str, object] = MappingProxyType({})


class _Judged(Value, frozen=True, gc=False):
    """What was answered to an access token, and as long as what it would be answered again.

    That is: while the record has this very body, and the time is in this span.
    """

    key: bytes
    body: bytes
    since: float
    until: float
    answer: Identity | Refuse


class AccessChecks:
    """Access tokens of the grants in `backend`; a use is written at most once per `interval` seconds.

    `implied` says which scopes a scope brings with it. Every method raises `RegistryError` when the backend
    cannot answer.
    """

    def __init__(
        self,
        backend: Backend,
        interval: float,
        implied: Mapping[str, frozenset[str]],
        clock: Callable[[], float],
    ) -> None:
        self.backend = backend
        self.clock = clock
        self._interval = interval
        self._implied = implied
        self._judged: dict[bytes, _Judged] = {}
        self.encoded: dict[bytes, tuple[bytes, Grant]] = {}
        """Grants that this process stored last, by their keys, with the bodies that they became."""

    def read(self, text: str) -> Presented | None:
        """The code or token that this text spells, or None. One of the ancestor's file is looked up."""
        presented = read(text)
        if presented is None and looks_old(text):
            entry = self.backend.get(old_key(hash_token(text)))
            if entry is None:
                return None
            refuse_moved(entry.body)
            return read_old(text, entry.body)
        return presented

    def check(self, access_token: str) -> Identity | Refuse:
        """Who this access token speaks for, or why it is refused. The one call of the hot path."""
        if len(access_token) not in _TOKEN_LENGTHS:
            return _NOISE
        try:
            token_hash = sha256(access_token.encode()).digest()
        except UnicodeEncodeError:
            return _NOISE
        # The record is read every time, so a revocation by another process counts at once. What is spared is
        # to judge the same token by the same record again. A lookup by hash tells nothing about the token.
        judged = self._judged.get(token_hash)
        if judged is None:
            return self._judge(access_token)
        entry = self.backend.get(judged.key)
        if entry is not None and entry[0] == judged.body and judged.since <= self.clock() < judged.until:
            return judged.answer
        self._judged.pop(token_hash, None)
        return self._judge(access_token)

    def introspect(self, access_token: str, may_see: Callable[[Identity], bool]) -> Identity | Refuse:
        """The same for a resource server that asks about a token which somebody brought it.

        That counts as a use of the token, unless `may_see` refuses this caller.
        """
        presented = self.read(access_token)
        if presented is None or presented.kind != ACCESS:
            return _NOISE
        entry = self.backend.get(b"g" + presented.grant_id)
        grant = None if entry is None else decode(entry.body, presented.grant_id)
        access = grants.check_access(grant or grants.DUMMY, presented.hash, self.clock())
        if grant is None or isinstance(access, Refuse):
            return Refuse("unknown")
        return self.check(access_token) if may_see(self._identity(grant, access)) else Refuse("not_yours")

    def _judge(self, access_token: str) -> Identity | Refuse:
        presented = self.read(access_token)
        if presented is None or presented.kind != ACCESS:
            return _NOISE
        key = b"g" + presented.grant_id
        entry = self.backend.get(key)
        if entry is None:
            return Refuse("unknown")
        grant = self.decoded(key, entry.body, presented)
        now = self.clock()
        access = grants.check_access(grant, presented.hash, now)
        if isinstance(access, Refuse):
            self._remember(presented, _Judged(key, entry.body, now, math.inf, access))
            return access
        identity = self._identity(grant, access)
        stored = grants.mark_used(grant, presented.hash, now, self._interval)
        if stored is not None:
            self._note_use(entry, stored, presented)
        else:
            until = grants.settled_until(grant, access, self._interval)
            self._remember(presented, _Judged(key, entry.body, -math.inf, until, identity))
        return identity

    def _identity(self, grant: Grant, access: Access) -> Identity:
        scopes = grant.scopes_of(access)
        if self._implied and not self._implied.keys().isdisjoint(scopes):
            scopes = tuple(sorted(set(scopes).union(*(self._implied.get(scope, ()) for scope in scopes))))
        return Identity(
            grant.subject,
            grant.client_id,
            scopes,
            grant.audience_of(access),
            access.expires_at,
            grant.id.hex(),
            MappingProxyType(grant.properties) if grant.properties else _NO_PROPERTIES,
        )

    def _remember(self, presented: Presented, judged: _Judged) -> None:
        if len(self._judged) >= _REMEMBERED_MAX:
            self._judged.clear()
        self._judged[presented.hash] = judged

    def _note_use(self, entry: Entry, stored: Grant, presented: Presented) -> None:
        """Write down that a token was used. A store that can only be read still serves its readers."""
        key = b"g" + presented.grant_id
        try:
            for attempt in range(TRIES):
                if self.swap(key, entry, stored):
                    return
                pause(attempt)
                again = self.backend.get(key)
                if again is None:
                    return
                now_there = decode(again.body, presented.grant_id)
                marked = grants.mark_used(now_there, presented.hash, self.clock(), self._interval)
                if marked is None:
                    return
                entry, stored = again, marked
        except RegistryError as error:
            log.warning("the use of a token could not be recorded: %s", error)

    def decoded(self, key: bytes, body: bytes, presented: Presented) -> Grant:
        """The grant of this record. What this process has encoded itself it need not decode.

        But for a forgery it does: how long that takes must not tell who was here lately.
        """
        known = self.encoded.get(key)
        if known is not None and known[0] == body:
            grant = known[1]
            if presented.hash == grant.refresh_hash or (grant.access and presented.hash == grant.access.hash):
                return grant
        return decode(body, presented.grant_id)

    def swap(
        self,
        key: bytes,
        entry: Entry | None,
        grant: Grant,
        copies: Copies = "none",
        forget: float | None = None,
    ) -> bool:
        """Store this grant in the place of what was read. `forget` is `forget_at`, where it is known."""
        if forget is None:
            forget = forget_at(grant)
        body = encode(grant, None if entry is None else entry[0])
        terms = terms_of(grant.subject, grant.client_id)
        try:
            if not self.backend.swap(key, entry, body, forget, terms, copies):
                return False
        except NotReplicatedError:
            raise
        except RegistryError:
            # Nobody knows whether the write arrived. If exactly this body is there, it did, and was ours:
            # every body that two requests may write alike answers both with the same tokens.
            now_there = self.backend.get(key)
            if now_there is None or now_there.body != body:
                raise
        # Properties are the application's, which may change what lies in them; the others cannot change.
        if not grant.properties:
            if len(self.encoded) >= _ENCODED_MAX:
                self.encoded.clear()
            self.encoded[key] = (body, grant)
        return True


def pause(attempt: int) -> None:
    time.sleep(random.uniform(0, 0.002 * 2**attempt))  # noqa: S311 - jitter, not a secret
