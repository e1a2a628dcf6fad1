"""How often was a password guessed wrong, and how long must the next guess wait?

The counters are records in the registry, so they count across workers and hosts. A guess is counted before
the password is looked at and forgiven if it was right: of any number of guesses made at once, no more than
the limit are looked at.
"""

from __future__ import annotations

import hashlib
import math
import random
import time
import unicodedata
from collections.abc import Callable

import msgspec

from .backends.base import Backend, Entry
from .errors import RegistryError

KIND = b"l"

WINDOW = 900.0
"""Seconds, where nothing else is said."""

AHEAD_MAX = 60.0
"""Seconds that the clock of another host may be ahead of this one's.

A window that begins later than that is over, or it would last for as long as that clock was wrong. But clocks
are never quite the same: without any leeway, the host that is behind would begin every window anew.
"""

_FORMAT = b"\x01"


class Attempts:
    """Counters by realm (what is counted: accounts, source addresses) and name (which one).

    At most `limit` attempts in each `window` (seconds), which begins with the first of them. A name counts
    the same whether or not there is such an account. Names that differ only in case, in spaces or in how
    Unicode composes them share a counter: a password check may take them for the same account.
    Every method raises `RegistryError` when the registry cannot answer.
    """

    def __init__(
        self,
        backend: Backend,
        clock: Callable[[], float],
        limit: int = 10,
        window: float = WINDOW,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if limit < 1 or window < 1:
            raise ValueError("limit and window are at least 1")
        self._backend = backend
        self._clock = clock
        self._limit = limit
        self._window = window
        self._sleep = sleep

    def wait(self, realm: str, name: str) -> int:
        """Seconds until the next attempt is looked at, 0 for now. Counts nothing."""
        return self._wait(self._counted(self._backend.get(_key(realm, name))))

    def reserve(self, realm: str, name: str) -> int:
        """Count one attempt and return 0, or count nothing and return the seconds (at least 1) to wait.

        To be called before the password is checked. Of any number of calls made at once, no more than `limit`
        return 0 within the window.
        """
        key = _key(realm, name)
        # A swap is lost to somebody who counted an attempt: after `limit` losses the limit has been reached.
        for lost in range(self._limit + 1):
            entry = self._backend.get(key)
            count = self._counted(entry)
            if wait := self._wait(count):
                return wait
            if self._swap(key, entry, _Count(count.attempts + 1, count.since)):
                return 0
            self._pause(lost)
        return 1

    def failed(self, realm: str, name: str) -> None:
        """Count one attempt after the fact, where a check is too quick to be worth a reservation."""
        self.reserve(realm, name)

    def give_back(self, realm: str, name: str) -> None:
        """Undo one reservation: this attempt was right.

        For source addresses. Clearing those would let a guesser who owns one account start anew at will.
        """
        key = _key(realm, name)
        for lost in range(self._limit + 1):
            entry = self._backend.get(key)
            count = self._counted(entry)
            if count.attempts == 0 or self._swap(key, entry, _Count(count.attempts - 1, count.since)):
                return
            self._pause(lost)

    def clear(self, realm: str, name: str) -> None:
        """Forget every attempt at this name: its owner has come in."""
        key = _key(realm, name)
        for lost in range(self._limit + 1):
            entry = self._backend.get(key)
            if entry is None or self._backend.swap(key, entry, None):
                return
            self._pause(lost)

    def _counted(self, entry: Entry | None) -> _Count:
        now = self._clock()
        count = _Count(0, now) if entry is None else _decode(entry.body)
        return count if self._left(count, now) > 0 else _Count(0, now)

    def _left(self, count: _Count, now: float) -> float:
        passed = now - count.since
        return 0.0 if passed < -AHEAD_MAX else self._window - max(0.0, passed)

    def _wait(self, count: _Count) -> int:
        if count.attempts < self._limit:
            return 0
        return max(1, math.ceil(self._left(count, self._clock())))

    def _swap(self, key: bytes, old: Entry | None, count: _Count) -> bool:
        body = _FORMAT + msgspec.msgpack.encode(count)
        return self._backend.swap(key, old, body, count.since + self._window)

    def _pause(self, lost: int) -> None:
        self._sleep(random.uniform(0, 0.002 * 2 ** min(lost, 5)))  # noqa: S311 - keeps rivals apart, hides nothing


class _Count(msgspec.Struct, frozen=True, array_like=True):
    attempts: int
    since: float


def _key(realm: str, name: str) -> bytes:
    folded = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
    return KIND + hashlib.sha256(f"{realm}\0{folded}".encode("utf-8", "backslashreplace")).digest()


def forget_at(body: bytes) -> float:
    """When the window of this counter is over (seconds since 1970), if it is an ordinary one."""
    return _decode(body).since + WINDOW


def _decode(body: bytes) -> _Count:
    try:
        if body[:1] == _FORMAT:
            return msgspec.msgpack.decode(body[1:], type=_Count)
    except msgspec.MsgspecError:
        pass
    raise RegistryError(
        "a counter of login attempts is damaged or was written by a newer release: update this host"
    )
