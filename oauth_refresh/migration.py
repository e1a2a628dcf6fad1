"""How do all records of one registry get into another one? Copied, or moved under running servers.

Both go through the keys once and can be cut off at any moment: what is there already is left alone, so the
same call goes on where the last one ended. Memory holds one page of records, however many there are.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields

from .backends.base import Backend
from .backends.bulk import Row, batches, create_many, get_many
from .backends.moving import MOVED, MovingBackend, is_arriving, is_marker, left_by_a_move
from .errors import RegistryError
from .kinds import HOUSEKEEPING, SERVER_SECRET, describe

PARTS = 4
PART = 250
PASSES = 5

Tell = Callable[[int], object]
"""Told how many records have just been looked at."""


@dataclass
class Tally:
    """What became of the records of one registry."""

    looked_at: int = 0
    copied: int = 0
    there_already: int = 0
    kept: int = 0
    """Those that the other registry has in another state, which is newer for all that is known."""
    markers: int = 0
    """Those in whose place the other registry has a marker: it was itself moved away from."""
    arriving: int = 0
    """Those that the other registry has from a live move that is not finished."""
    expired: int = 0
    moved_before: int = 0
    unreadable: int = 0
    missing: int = 0
    """At the end: those that the other registry still does not have."""

    def add(self, other: Tally) -> None:
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


def keys_to_move(source: Backend) -> Iterable[bytes]:
    """All keys but those that every registry has for itself: its drawn secret, and when it was purged."""
    return (key for key in source.keys(b"") if key[:1] not in (SERVER_SECRET, HOUSEKEEPING))


def in_the_way(source: Backend, target: Backend, *, clock: Callable[[], float] = time.time) -> Tally:
    """What moves of its own have left in the target: `markers` in place of records that the source has, and
    all that is `arriving`.

    Grants and clients are looked at. Keys of other kinds may be claimed anew while a move goes on.
    """
    tally = Tally()
    for keys in batches(itertools.chain(target.keys(b"g"), target.keys(b"c")), PART):
        found = get_many(target, keys)
        tally.arriving += sum(map(is_arriving, found.values()))
        marked = [key for key, body in found.items() if is_marker(body)]
        tally.markers += len(_rows(get_many(source, marked), Tally(), clock())) if marked else 0
    return tally


def copy(source: Backend, target: Backend, tell: Tell, *, clock: Callable[[], float] = time.time) -> Tally:
    """Copy every record that has not expired. The source is only read, and must not be written meanwhile."""

    def part(keys: Sequence[bytes]) -> Tally:
        tally = Tally(looked_at=len(keys))
        bodies = get_many(source, keys)
        _store(target, _rows(bodies, tally, clock()), tally)
        return tally

    return _in_parts(keys_to_move(source), part, tell)


def copy_rows(rows: Iterable[Row], target: Backend) -> Tally:
    """Store records that come from elsewhere: from a file of the ancestor."""
    tally = Tally()
    for batch in batches(rows, PART):
        tally.looked_at += len(batch)
        _store(target, batch, tally)
        tally.missing += len(batch) - len(get_many(target, [key for key, *_ in batch]))
    return tally


def verify(source: Backend, target: Backend, tell: Tell, *, clock: Callable[[], float] = time.time) -> Tally:
    """Compare both, record by record, after a copy."""

    def part(keys: Sequence[bytes]) -> Tally:
        tally = Tally(looked_at=len(keys))
        rows = _rows(get_many(source, keys), tally, clock())
        found = get_many(target, [key for key, *_ in rows])
        tally.add(_compared(rows, found))
        return tally

    return _in_parts(keys_to_move(source), part, tell)


def move(backend: MovingBackend, tell: Tell) -> Tally:
    """Move every record that is still in the old registry, while servers use both.

    Goes through it again until nothing is left, for old processes may add some meanwhile.
    """
    tally = Tally()
    for number in range(PASSES):
        passed = _in_parts(keys_to_move(backend.old), lambda keys: _move_part(backend, keys), tell)
        if number == 0:
            tally = passed
        else:
            tally.copied += passed.copied
        if not passed.copied:
            return tally
    tally.missing = passed.copied
    return tally


def _move_part(backend: MovingBackend, keys: Sequence[bytes]) -> Tally:
    tally = Tally(looked_at=len(keys))
    old, new = get_many(backend.old, keys), get_many(backend.new, keys)
    for key in keys:
        try:
            gone = key not in old or left_by_a_move(old[key]).body is None
            if gone and not new.get(key, b"").startswith(MOVED):
                tally.moved_before += 1
            elif backend.move(key):
                tally.copied += 1
            elif not gone and is_marker(new.get(key, b"")):
                tally.markers += 1
        except RegistryError:
            # One that this release cannot read, or trouble with a store: which one, asking it again tells.
            backend.new.get(key)
            backend.old.get(key)
            tally.unreadable += 1
    return tally


def _in_parts(keys: Iterable[bytes], part: Callable[[Sequence[bytes]], Tally], tell: Tell) -> Tally:
    """Some parts at a time, each in a thread of its own: most of the time is spent waiting for a store."""
    total = Tally()
    with ThreadPoolExecutor(PARTS) as pool:
        parts = batches(keys, PART)
        while some := list(itertools.islice(parts, PARTS)):
            for tally in pool.map(part, some):
                total.add(tally)
                tell(tally.looked_at)
    return total


def _rows(bodies: dict[bytes, bytes], tally: Tally, now: float) -> list[Row]:
    rows: list[Row] = []
    for key, stored in bodies.items():
        body = left_by_a_move(stored).body
        if body is None:
            tally.moved_before += 1
            continue
        try:
            expires_at, terms = describe(key, body, now)
        except RegistryError:
            tally.unreadable += 1
            continue
        if expires_at is not None and expires_at <= now:
            tally.expired += 1
        else:
            rows.append((key, body, expires_at, terms))
    return rows


def _store(target: Backend, rows: Sequence[Row], tally: Tally) -> None:
    created = create_many(target, rows)
    tally.copied += created
    if created == len(rows):
        return
    compared = _compared(rows, get_many(target, [key for key, *_ in rows]))
    compared.there_already -= created
    compared.missing = 0  # told by the comparison at the end
    tally.add(compared)


def _compared(rows: Sequence[Row], found: dict[bytes, bytes]) -> Tally:
    tally = Tally()
    for key, body, _, _ in rows:
        there = found.get(key)
        if there is None:
            tally.missing += 1
        elif there == body:
            tally.there_already += 1
        elif is_marker(there):
            tally.markers += 1
        elif is_arriving(there):
            tally.arriving += 1
        else:
            tally.kept += 1
    return tally
