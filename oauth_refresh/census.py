"""How many grants are alive, how old are they, and whose? Counted only while somebody looks.

One worker of all walks over the grants, slowly, and keeps what it found in the registry. Grant ids are
random, so the first grants in the order of their ids are a fair sample: where there are more than are walked
over, the whole is estimated from the share of the ids that was seen.
"""

from __future__ import annotations

import struct
import threading
import time
from collections import Counter
from collections.abc import Callable

import msgspec

from .errors import RegistryError
from .events import log
from .records import Grant, is_live
from .registry import TokenRegistry
from .statistics import KIND

INTERVAL = 60.0
"""Seconds until what was found is looked for again, if somebody still wants to know."""
SEEN_MAX = 50_000
CLIENTS_KEPT = 10
AGES = (3600.0, 86400.0, 7 * 86400.0, 30 * 86400.0, 90 * 86400.0)
"""The limits between the groups of ages, in seconds; the last group has no end."""

_FOUND = KIND + b"census"
_CLAIM = KIND + b"census claim"
_FORMAT = b"\x01"
_KEPT_SECONDS = 86400.0
_PACE = 200


class Census(msgspec.Struct, frozen=True, array_like=True):
    """What was found. `share` is the part of all grants that was seen: below 1 the rest is estimated.

    `ages` and `unused` count live grants by age and by the time since the last use, in the groups of `AGES`;
    `clients` are the client ids with most of them.
    """

    at: float
    seconds: float
    seen: int
    share: float
    live: int
    ages: list[int]
    unused: list[int]
    clients: list[tuple[str, int]]

    def estimated(self, count: int) -> int:
        return round(count / self.share)


class CensusTaker:
    """Takes the census at most once per `INTERVAL`, in one worker of all."""

    def __init__(
        self,
        registry: TokenRegistry,
        clock: Callable[[], float],
        *,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._registry = registry
        self._backend = registry.backend
        self._clock = clock
        self._pause = pause

    def latest(self, patience: float = 1.0) -> Census | None:
        """The newest census, None if there is none yet. If it is old a new one is begun, and waited for.

        For `patience` seconds at most. Raises `RegistryError`.
        """
        found = self._read()
        if found is not None and 0 <= self._clock() - found.at < INTERVAL:
            return found
        thread = threading.Thread(target=self.take_if_due, name="oauth_refresh census", daemon=True)
        thread.start()
        thread.join(patience)
        return self._read()

    def take_if_due(self) -> Census | None:
        """Take the census unless another worker has begun one within the interval."""
        try:
            if not self._claim():
                return None
            census = self._take()
            body = _FORMAT + msgspec.msgpack.encode(census)
            self._backend.swap(_FOUND, self._backend.get(_FOUND), body, self._clock() + _KEPT_SECONDS)
        except RegistryError as error:
            log.warning("grants cannot be counted now: %s", error)
            return None
        return census

    def _claim(self) -> bool:
        entry, now = self._backend.get(_CLAIM), self._clock()
        if entry is not None and len(entry.body) == 8:
            (begun,) = struct.unpack(">d", entry.body)
            if 0 <= now - begun < INTERVAL:
                return False
        return self._backend.swap(_CLAIM, entry, struct.pack(">d", now), now + _KEPT_SECONDS)

    def _take(self) -> Census:
        now, began = self._clock(), time.monotonic()
        seen, live, share = 0, 0, 1.0
        ages, unused = [0] * (len(AGES) + 1), [0] * (len(AGES) + 1)
        clients: Counter[str] = Counter()
        for grant in self._registry.list():
            seen += 1
            if is_live(grant, now):
                live += 1
                ages[_group(now - grant.created_at)] += 1
                unused[_group(now - _used(grant))] += 1
                clients[grant.client_id] += 1
            if seen >= SEEN_MAX:
                share = max(_place(grant.id), 2.0**-40)
                break
            if seen % _PACE == 0:
                self._pause(0.01)
        took = time.monotonic() - began
        return Census(now, took, seen, share, live, ages, unused, clients.most_common(CLIENTS_KEPT))

    def _read(self) -> Census | None:
        entry = self._backend.get(_FOUND)
        try:
            if entry is not None and entry.body[:1] == _FORMAT:
                return msgspec.msgpack.decode(entry.body[1:], type=Census)
        except msgspec.MsgspecError:
            # It can be found out anew; nothing is lost.
            pass
        return None


def _used(grant: Grant) -> float:
    return grant.created_at if grant.last_used_at is None else grant.last_used_at


def _group(age: float) -> int:
    return sum(age >= limit for limit in AGES)


def _place(grant_id: bytes) -> float:
    """Where this id stands among all possible ones, above 0 and at most 1."""
    return (int.from_bytes(grant_id[:8], "big") + 1) / 2**64
