"""How long does one of several writing processes wait? Swaps without pause on one SQLite file.

Beside it the naive program: `sqlite3` with a `timeout`, which sleeps and tries again, on a table of its own.
Both take turns in rounds. Milliseconds; the share is that of the process that wrote least, as a part of that
which wrote most.
"""

from __future__ import annotations

import multiprocessing
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

from oauth_refresh.backends.base import Entry
from oauth_refresh.backends.sqlite import SQLiteBackend

from . import stores

STORES = ("full", "normal")
"""Of one kind, by how SQLite waits for the disk."""

HEADS = (
    "synchronous",
    "who",
    "processes",
    "per second",
    "p50, ms",
    "p99, ms",
    "ratio",
    "longest, ms",
    "share",
)
WORDS = 2
PROCESSES = (1, 2, 4, 8)
ROUNDS = 5
SECONDS = 1.0
EXPIRES_AT = 1_900_000_000.0

Swap = Callable[[bytes, bytes, bytes], bool]
"""Of a key, what it holds and what it shall hold."""


class Round(NamedTuple):
    rate: float
    p50: float
    p99: float
    longest: float
    share: float


class Wait(NamedTuple):
    """The median of the rounds. `ratio` is that of p99 to p50."""

    synchronous: str
    who: str
    processes: int
    rate: float
    p50: float
    p99: float
    ratio: float
    longest: float
    share: float

    def cells(self) -> list[str]:
        return [
            self.synchronous,
            self.who,
            str(self.processes),
            f"{self.rate:,.0f}",
            f"{self.p50:.2f}",
            f"{self.p99:.2f}",
            f"{self.ratio:.1f}",
            f"{self.longest:.0f}",
            f"{self.share:.2f}",
        ]


def run(synchronous: str, *, peers: bool) -> list[Wait]:
    waits = []
    for count in PROCESSES:
        rounds: dict[str, list[Round]] = {"ours": [], "naive": []}
        for _ in range(ROUNDS):
            for who, found in rounds.items():
                found.append(_round(who, synchronous, count))
        waits += [_middle(synchronous, who, count, found) for who, found in rounds.items()]
    return waits


def _middle(synchronous: str, who: str, count: int, rounds: list[Round]) -> Wait:
    rate, p50, p99, longest, share = (median(each) for each in zip(*rounds, strict=True))
    ratio = median(each.p99 / each.p50 for each in rounds)
    return Wait(synchronous, who, count, rate, p50, p99, ratio, longest, share)


def _round(who: str, synchronous: str, count: int) -> Round:
    with tempfile.TemporaryDirectory(prefix="benchmark") as folder:
        opened = _ours if who == "ours" else _naive
        path = Path(folder) / "writers.db"
        opened(path, synchronous)(b"first", b"", stores.body())
        context = multiprocessing.get_context("fork")
        gate, told = context.Barrier(count), context.SimpleQueue()
        children = [
            context.Process(target=_write, args=(opened, path, synchronous, number, gate, told), daemon=True)
            for number in range(count)
        ]
        for child in children:
            child.start()
        taken = [told.get() for _ in children]
        for child in children:
            child.join()
            assert child.exitcode == 0, "a writer failed"
    every = sorted(each for one in taken for each in one)
    shares = [len(one) for one in taken]
    return Round(
        len(every) / SECONDS,
        every[len(every) // 2] * 1000,
        every[len(every) * 99 // 100] * 1000,
        every[-1] * 1000,
        min(shares) / max(shares),
    )


def _write(
    opened: Callable[[Path, str], Swap], path: Path, synchronous: str, number: int, gate: Any, told: Any
) -> None:
    swap, key, held = opened(path, synchronous), b"key %d" % number, stores.body()
    assert swap(key, b"", held)
    taken = []
    gate.wait()
    begun = perf_counter()
    end = begun + SECONDS
    while begun < end:
        body = stores.body()
        begun = perf_counter()
        assert swap(key, held, body)
        taken.append(perf_counter() - begun)
        held = body
    told.put(taken)


def _ours(path: Path, synchronous: str) -> Swap:
    backend = SQLiteBackend(str(path), synchronous=synchronous)

    def swap(key: bytes, old: bytes, new: bytes) -> bool:
        return backend.swap(
            key, Entry(old, old) if old else None, new, EXPIRES_AT, (b"s=" + key, b"c=client")
        )

    return swap


def _naive(path: Path, synchronous: str) -> Swap:
    connection = sqlite3.connect(path, isolation_level=None, timeout=30.0)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("CREATE TABLE IF NOT EXISTS record (key BLOB PRIMARY KEY, body BLOB NOT NULL)")

    def swap(key: bytes, old: bytes, new: bytes) -> bool:
        if old:
            done = connection.execute(
                "UPDATE record SET body = ? WHERE key = ? AND body = ?", (new, key, old)
            )
        else:
            done = connection.execute("INSERT INTO record VALUES (?, ?)", (key, new))
        return done.rowcount == 1

    return swap
