"""Two registries during a move: the new one, and behind it the old one, to which other processes still write.

A record is read where it is and moved when it is first written, by steps that anybody can finish:

1. in the old registry the record becomes a *marker* that carries it: of all who try, and of old processes
   that write at that moment, one wins;
2. it is created in the new registry as *arriving*, under a random number of whoever does it;
3. the marker becomes *done*, carrying that number and no record any more;
4. what is arriving becomes what was to be written.

So a record in the new registry that has ever been changed has no marker behind it, and nothing can bring its
former state back: not even a process that slept between reading the marker and step 2, for its number is not
the one that is done, and what it left is cleared away. New keys are claimed in the old registry before they
are created in the new one, so that of an old and a new process one wins there too, and an old process that
is asked for them knows that it is too old rather than that there is no such record.

A process that knows one of the two alone meets bodies that begin with `MOVED`, and cannot read them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from heapq import merge
from itertools import groupby
from typing import NamedTuple

import msgspec

from oauth_refresh.backends.base import Backend, Copies, Entry
from oauth_refresh.errors import RegistryError

MOVED = b"\xffoauth_refresh moved\n"
"""What the body of a marker, of one that is done and of an arriving record begins with. No record of any kind
begins with this first byte."""

KEPT_SECONDS = 30 * 86400.0
"""How much longer than its record a marker is kept: old processes are to hear of it as long as they run."""

_ARRIVING_SECONDS = 3600.0
_TRIES = 16
_NOBODY = bytes(16)
_IN_OLD, _ARRIVING, _IN_NEW = b"o", b"a", b"n"

Describe = Callable[[bytes, bytes], "tuple[float | None, tuple[bytes, ...]]"]
"""Of a key and its body: when the record may be forgotten, and its index terms. An `Entry` knows neither."""


class _Marker(msgspec.Struct, array_like=True, frozen=True, tag="marker"):
    body: bytes
    expires_at: float | None
    terms: tuple[bytes, ...]


class _Done(msgspec.Struct, array_like=True, frozen=True, tag="done"):
    number: bytes


class _Arriving(msgspec.Struct, array_like=True, frozen=True, tag="arriving"):
    number: bytes
    body: bytes


_State = _Marker | _Done | _Arriving
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_State).decode


class Left(NamedTuple):
    """What a body is: that of a record, or a state of its move with the record in it."""

    state: _Marker | _Done | _Arriving | None
    body: bytes | None


def left_by_a_move(body: bytes) -> Left:
    """Raises `RegistryError` where a later release has written it."""
    if not body.startswith(MOVED):
        return Left(None, body)
    try:
        state = _decode(body[len(MOVED) :])
    except msgspec.MsgspecError as error:
        raise RegistryError("a move of the registry was begun by a newer release, or is damaged") from error
    return Left(state, None if isinstance(state, _Done) else state.body)


def is_marker(body: bytes) -> bool:
    """Whether the record went, or is about to go, to another registry: this one alone cannot serve it."""
    return isinstance(left_by_a_move(body).state, _Marker | _Done)


def is_arriving(body: bytes) -> bool:
    """Whether a record has come here by a move that is not finished: both registries together serve it."""
    return isinstance(left_by_a_move(body).state, _Arriving)


def refuse_moved(body: bytes) -> None:
    """Raise `RegistryError` for a record on the move: for readers whose records have no format byte."""
    if body.startswith(MOVED):
        raise RegistryError(
            "a record has moved to another registry, or is about to: restart this process with the settings "
            "of the others (OAUTH_REGISTRY, OAUTH_REGISTRY_FALLBACK)"
        )


class MovingBackend:
    """The records of `new`, and of `old` those that have not moved yet. As durable and as fresh as both.

    Both must be reachable: where either is down, calls that need it raise `RegistryError`. `describe` says
    what an entry does not tell. A version that this backend gave out is of no use to `new` or `old` alone.
    """

    def __init__(
        self, new: Backend, old: Backend, describe: Describe, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.new = new
        self.old = old
        self._describe = describe
        self._clock = clock
        self.shared = new.shared and old.shared
        self.beside: str | None = new.beside

    def get(self, key: bytes) -> Entry | None:
        for _ in range(_TRIES):
            entry = self.new.get(key)
            if entry is None:
                left = self.old.get(key)
                if left is None:
                    return None
                state, _ = left_by_a_move(left.body)
                if state is None:
                    return Entry(left.body, _IN_OLD + left.version)
                if isinstance(state, _Arriving):
                    raise RegistryError(
                        "the move to the registry that is now being left was not finished: run oauth-refresh "
                        "migrate --live for it first"
                    )
                if isinstance(state, _Marker):
                    self._arrive(key, state)
                # It moved between the two looks, perhaps.
                entry = self.new.get(key)
                if entry is None:
                    if isinstance(state, _Done):
                        return None
                    continue
            found = self._in_new(key, entry)
            if found is not None:
                return found
        raise _contended()

    def swap(
        self,
        key: bytes,
        old: Entry | None,
        body: bytes | None,
        expires_at: float | None = None,
        index: Iterable[bytes] = (),
        copies: Copies = "none",
    ) -> bool:
        terms = tuple(index)
        if old is None:
            if body is None:
                raise ValueError("old and body are both None")
            return self._claim(key, expires_at, terms) and self.new.swap(
                key, None, body, expires_at, terms, copies
            )
        where, there = old.version[:1], Entry(old.body, old.version[1:])
        if where == _IN_OLD:
            moved = self._move(key, there)
            if moved is None:
                return False
            where, there = _ARRIVING, moved
        if where == _ARRIVING and not self._settle(key, there):
            return False
        return self.new.swap(key, there, body, expires_at, terms, copies)

    def move(self, key: bytes) -> bool:
        """Bring this record into the new registry as it is; whether there was anything left to do."""
        for _ in range(_TRIES):
            entry = self.get(key)
            if entry is None or entry.version[:1] == _IN_NEW:
                return False
            expires_at, terms = self._describe(key, entry.body)
            if self.swap(key, entry, entry.body, expires_at, terms, "wanted"):
                return True
        raise _contended()

    def find(self, term: bytes) -> Iterator[bytes]:
        # The new one once more at the end: a record may have moved between the first look and the second.
        # Each look begins when the one before it has ended, for some stores look as soon as they are asked.
        named: set[bytes] = set()
        for find in (self.new.find, lambda term: self._left(self.old.find(term)), self.new.find):
            for key in find(term):
                if key not in named:
                    named.add(key)
                    yield key

    def keys(self, prefix: bytes = b"") -> Iterator[bytes]:
        both = merge(
            ((key, True) for key in self.new.keys(prefix)), ((key, False) for key in self.old.keys(prefix))
        )
        for key, places in groupby(both, lambda place: place[0]):
            if any(in_new for _, in_new in places) or self._is_there(key):
                yield key

    def purge(self, now: float) -> int:
        return self.new.purge(now) + self.old.purge(now)

    def close(self) -> None:
        self.new.close()
        self.old.close()

    def _left(self, keys: Iterable[bytes]) -> Iterator[bytes]:
        """Those of the old registry's keys whose records have not gone from there."""
        for key in keys:
            left = self.old.get(key)
            if left is not None and not isinstance(left_by_a_move(left.body).state, _Done):
                yield key

    def _is_there(self, key: bytes) -> bool:
        """Whether a key that the old registry names is that of a record: it may be one that was moved."""
        left = self.old.get(key)
        if left is None or isinstance(left_by_a_move(left.body).state, _Done):
            return self.new.get(key) is not None
        return True

    def _in_new(self, key: bytes, entry: Entry) -> Entry | None:
        """The entry as callers see it. None for one that arrived too late, which is cleared away."""
        state = left_by_a_move(entry.body).state
        if not isinstance(state, _Arriving):
            return Entry(entry.body, _IN_NEW + entry.version)
        left = self.old.get(key)
        if left is None or _belongs(left_by_a_move(left.body), state):
            return Entry(state.body, _ARRIVING + entry.version)
        self.new.swap(key, entry, None)
        return None

    def _claim(self, key: bytes, expires_at: float | None, terms: tuple[bytes, ...]) -> bool:
        """Whether the key is free in the old registry, where no old process can take it from now on."""
        for _ in range(_TRIES):
            left = self.old.get(key)
            if left is not None:
                return isinstance(left_by_a_move(left.body).state, _Done)
            done = _packed(_Done(_NOBODY))
            if self.old.swap(key, None, done, _longer(expires_at), terms, "wanted"):
                return True
        raise _contended()

    def _move(self, key: bytes, entry: Entry) -> Entry | None:
        """Steps 1 and 2: what has arrived in the new registry, None if somebody else was quicker."""
        expires_at, terms = self._describe(key, entry.body)
        marker = _Marker(entry.body, expires_at, terms)
        if not self.old.swap(key, entry, _packed(marker), _longer(expires_at), terms, "wanted"):
            return None
        self._arrive(key, marker)
        arrived = self.new.get(key)
        if arrived is None:
            return None
        state, body = left_by_a_move(arrived.body)
        return arrived if isinstance(state, _Arriving) and body == entry.body else None

    def _arrive(self, key: bytes, marker: _Marker) -> None:
        # For an hour at the least: where the store itself forgets, it would never arrive.
        ends = marker.expires_at
        expires_at = None if ends is None else max(ends, self._clock() + _ARRIVING_SECONDS)
        arriving = _packed(_Arriving(os.urandom(16), marker.body))
        self.new.swap(key, None, arriving, expires_at, marker.terms, "wanted")

    def _settle(self, key: bytes, arrived: Entry) -> bool:
        """Step 3: whether what has arrived counts. Then no marker is left that could bring it once more."""
        # The caller's entry may hold the record alone; what is stored tells the number.
        now_there = self.new.get(key)
        if now_there is None or now_there.version != arrived.version:
            return False
        state, _ = left_by_a_move(now_there.body)
        if not isinstance(state, _Arriving):
            return False
        for _ in range(_TRIES):
            left = self.old.get(key)
            if left is None:
                return True
            found = left_by_a_move(left.body)
            if not _belongs(found, state):
                return False
            if isinstance(found.state, _Done):
                return True
            expires_at, terms = self._describe(key, state.body)
            done = _packed(_Done(state.number))
            if self.old.swap(key, left, done, _longer(expires_at), terms, "wanted"):
                return True
        raise _contended()


def _belongs(left: Left, arriving: _Arriving) -> bool:
    """Whether an arriving record is the one that the old registry gave away.

    Also where a failover of the old registry lost the marker, unless the record was changed there since.
    """
    if isinstance(left.state, _Done):
        return left.state.number == arriving.number
    return left.body == arriving.body


def _packed(state: _State) -> bytes:
    return MOVED + _encode(state)


def _longer(expires_at: float | None) -> float | None:
    return None if expires_at is None else expires_at + KEPT_SECONDS


def _contended() -> RegistryError:
    return RegistryError("a record that moves to the new registry kept changing: try again", retry_after=1)
