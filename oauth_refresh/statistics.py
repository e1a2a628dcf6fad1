"""What happened, minute by minute, in all workers on all hosts? Counted in processes, kept in the registry.

A process counts events in memory. Every few seconds, in a thread beside the requests, it writes its own
column of the record of these ten minutes. A column holds totals and is only ever written by its owner, so a
write that is done twice, or whose outcome nobody knows, counts nothing twice.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec

from .backends.base import Backend, Entry
from .errors import RegistryError
from .events import log

KIND = b"m"

SERIES = ("rotated", "repeated", "refused", "reused", "granted", "ended", "login_failed")
REFRESHES = SERIES[:4]

BUCKET_MINUTES = 10
KEPT_MINUTES = 24 * 60
FLUSH_SECONDS = 10.0
"""How old a count can be before others see it; what a process that is killed can lose."""

_COLUMNS_MAX = 1000
_TRIES = 16
_FORMAT = b"\x01"
_OF_OUTCOME = {
    "rotated": "rotated",
    "rolled_forward": "rotated",
    "repeated": "repeated",
    "caught_up": "repeated",
    "redeemed": "granted",
}
_OF_EVENT = {"grant_created": "granted", "grant_revoked": "ended", "login_failed": "login_failed"}
_OF_A_REFRESH = frozenset({"refused", "reused"})

Row = list[int]
_Column = dict[int, Row]
"""The counts of one process in one bucket: by minute (since 1970), one number for each of `SERIES`."""

_decoder = msgspec.msgpack.Decoder(dict[bytes, _Column])


def series_of(name: str, fields: Mapping[str, object]) -> tuple[str, ...]:
    """What an event counts as."""
    outcome = str(fields.get("outcome", ""))
    if outcome not in _OF_A_REFRESH:
        series = _OF_OUTCOME.get(outcome) or _OF_EVENT.get(name)
        return () if series is None else (series,)
    of_a_refresh = (outcome,) if fields.get("presented") == "refresh token" else ()
    ends_a_grant = outcome == "reused" and fields.get("policy", "revoke") != "refuse"
    return (*of_a_refresh, "ended") if ends_a_grant else of_a_refresh


class Minute(NamedTuple):
    """What happened in one minute, or in several that were added up. `at` is its beginning, in seconds."""

    at: float
    counts: Mapping[str, int]


class _Mine:
    """What one process has counted. Never shared with a child: that one would write the same counts again."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.writer = os.urandom(8)
        self.lock = threading.Lock()
        self.flushing = threading.Lock()
        self.buckets: dict[int, _Column] = {}
        self.changed: set[int] = set()
        self.is_due = False


class Statistics:
    """A listener that counts events, and the reader of what all processes have counted.

    A call costs an addition. `later(seconds, callback)` runs the callback beside the requests.
    """

    def __init__(
        self,
        backend: Backend,
        clock: Callable[[], float],
        *,
        later: Callable[[float, Callable[[], None]], None] | None = None,
    ) -> None:
        self._backend = backend
        self._clock = clock
        self._later = later or _in_a_thread
        self._mine = _Mine()
        atexit.register(_flush_at_exit, weakref.ref(self))

    def __call__(self, name: str, fields: Mapping[str, object]) -> None:
        counted = series_of(name, fields)
        if not counted:
            return
        minute = int(self._clock() // 60)
        mine = self._own()
        with mine.lock:
            bucket = minute // BUCKET_MINUTES
            column = mine.buckets.setdefault(bucket, {})
            row = column.setdefault(minute, [0] * len(SERIES))
            for series in counted:
                row[SERIES.index(series)] += 1
            mine.changed.add(bucket)
            starts_now, mine.is_due = not mine.is_due, True
        if starts_now:
            self._later(FLUSH_SECONDS, self.flush)

    def _own(self) -> _Mine:
        if self._mine.pid != os.getpid():
            self._mine = _Mine()
        return self._mine

    def flush(self) -> None:
        """Write down what this process has counted. What cannot be written now is written with the next."""
        mine = self._own()
        with mine.flushing:
            with mine.lock:
                mine.is_due = False
                changed, mine.changed = mine.changed, set()
                columns = {bucket: _copy(mine.buckets[bucket]) for bucket in changed}
            for bucket, column in columns.items():
                try:
                    self._write(bucket, mine.writer, column)
                except RegistryError as error:
                    log.warning("statistics have to wait: %s", error)
                    with mine.lock:
                        mine.changed.add(bucket)
            self._forget(mine)
            with mine.lock:
                again = bool(mine.changed) and not mine.is_due
                mine.is_due = mine.is_due or again
        if again:
            self._later(FLUSH_SECONDS, self.flush)

    def _write(self, bucket: int, writer: bytes, column: _Column) -> None:
        key = _key(bucket)
        for _ in range(_TRIES):
            entry = self._backend.get(key)
            columns = _decode(entry)
            if writer not in columns and len(columns) >= _COLUMNS_MAX:
                log.warning("more than %d processes in ten minutes: some are not counted", _COLUMNS_MAX)
                return
            body = _FORMAT + msgspec.msgpack.encode({**columns, writer: column})
            if self._backend.swap(key, entry, body, forget_at(key)):
                return
        raise RegistryError("a record of statistics kept changing")

    def _forget(self, mine: _Mine) -> None:
        oldest = int(self._clock() // 60) // BUCKET_MINUTES - 1
        with mine.lock:
            for bucket in [each for each in mine.buckets if each < oldest]:
                del mine.buckets[bucket]
                mine.changed.discard(bucket)

    def read(self, minutes: int, each: int = 1) -> list[Minute]:
        """The last `minutes` up to now, in steps of `each` minutes, the oldest first."""
        now = int(self._clock() // 60)
        last = now // each
        first = last - -(-minutes // each) + 1
        found = {step: [0] * len(SERIES) for step in range(first, last + 1)}
        for bucket in range(first * each // BUCKET_MINUTES, now // BUCKET_MINUTES + 1):
            for column in _decode(self._backend.get(_key(bucket))).values():
                for minute, row in column.items():
                    if minute // each in found:
                        _add(found[minute // each], row)
        return [
            Minute(step * each * 60.0, dict(zip(SERIES, row, strict=True))) for step, row in found.items()
        ]


def total(minutes: Iterable[Minute], *series: str) -> int:
    """How often one of these happened in all these minutes."""
    return sum(minute.counts[name] for minute in minutes for name in series)


def _add(to: Row, row: Row) -> None:
    # A row of another release may be longer or shorter.
    for place, count in enumerate(row[: len(to)]):
        to[place] += count


def _copy(column: _Column) -> _Column:
    return {minute: list(row) for minute, row in column.items()}


def _key(bucket: int) -> bytes:
    return KIND + bucket.to_bytes(8, "big")


def forget_at(key: bytes) -> float:
    """When the record under this key may be forgotten (seconds since 1970)."""
    bucket = int.from_bytes(key[len(KIND) :], "big")
    return ((bucket + 1) * BUCKET_MINUTES + KEPT_MINUTES) * 60.0


def _decode(entry: Entry | None) -> dict[bytes, _Column]:
    if entry is None:
        return {}
    try:
        if entry.body[:1] == _FORMAT:
            return _decoder.decode(entry.body[1:])
    except msgspec.MsgspecError:
        pass
    raise RegistryError("a record of statistics is damaged or was written by a newer release")


def _in_a_thread(seconds: float, callback: Callable[[], None]) -> None:
    timer = threading.Timer(seconds, callback)
    timer.daemon = True
    timer.name = "oauth_refresh statistics"
    timer.start()


def _flush_at_exit(reference: weakref.ref[Statistics]) -> None:
    statistics = reference()
    if statistics is not None and statistics._own().changed:
        statistics.flush()
