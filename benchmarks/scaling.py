"""python -m benchmarks.scaling sizes|costs|work [STORE …] [--grants N …]

`sizes`: bytes per grant in each store, after one rotation and after a thousand.
`costs`: one rotation and one check among so many live grants, as a ratio to the raw operation of the driver
on a table of one record, timed in the same run. If the ratio stays, the cost is flat.
`work`: processor time of one rotation and one check, in the worker and in the store's server.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from oauth_refresh.backends.base import Backend
from oauth_refresh.registry import TokenRegistry

from . import driving, population, report, stores, timing
from .scaling_stores import Grown, opened

NAMES = ("memory", "file", "sqlite", "postgresql", "mysql", "valkey", "cluster")
GRANTS = (1_000, 100_000, 1_000_000)
FILE_GRANTS_MAX = 100_000
"""Above it each rotation of `file:` writes more than 100 MB."""

SAMPLE = 1_000
ROTATED = 50
ROTATIONS = 1_000
WORK = 5_000


def sizes(names: list[str], grants: list[int]) -> Iterator[str]:
    yield "| store | grants | bytes per grant | record, 1 rotation | 1,000 rotations | bytes per grant then |"
    yield "|---|---:|---:|---:|---:|---:|"
    for name in names:
        with opened(name, traced=True) as store:
            yield _sizes(store, 50 if name == "file" else SAMPLE)


def _sizes(store: Grown, count: int) -> str:
    store.fill(range(count), time.time())
    registry = _registry(store.url)
    tokens = [
        _rotated(registry, population.refresh_token(number), number)
        for number in range(min(ROTATED, count // 5))
    ]
    before, early = store.size(), _record_bytes(registry)
    for number, token in enumerate(tokens):
        newest = token
        for _ in range(ROTATIONS - 1):
            newest = _rotated(registry, newest, number)
    after, late = store.size(), _record_bytes(registry)
    registry.backend.close()
    return (
        f"| {store.name} | {count} | {before / count:.0f} | {early} | {late} "
        f"| {before / count + (after - before) / len(tokens):.0f} |"
    )


def _record_bytes(registry: TokenRegistry) -> int:
    entry = registry.backend.get(population.record(0, 0).key)
    assert entry is not None
    return len(entry.body)


class Cost(NamedTuple):
    """Among so many grants: bytes for each, and medians in microseconds, raw and ours."""

    store: str
    grants: int
    bytes_each: float
    read: float
    check: float
    swap: float
    rotation: float

    def cells(self) -> list[str]:
        return [
            self.store,
            f"{self.grants:,}",
            f"{self.bytes_each:.0f}",
            f"{self.read:.0f}",
            f"{self.check:.0f}",
            f"{self.check / self.read:.1f}",
            f"{self.swap:.0f}",
            f"{self.rotation:.0f}",
            f"{self.rotation / self.swap:.1f}",
        ]


COST_HEADS = (
    "store",
    "grants",
    "bytes per grant",
    "raw read, us",
    "check, us",
    "ratio",
    "raw swap, us",
    "rotation, us",
    "ratio",
)


def costs(names: list[str], grants: list[int]) -> Iterator[str]:
    yield report.head(COST_HEADS, 1)
    for name in names:
        for cost in costs_of(name, grants):
            yield report.line(cost.cells())


def costs_of(name: str, grants: Sequence[int]) -> Iterator[Cost]:
    """Of one store, grown from one count to the next."""
    wanted = [count for count in grants if name != "file" or count <= FILE_GRANTS_MAX]
    with opened(name) as store:
        now, filled = time.time(), 0
        empty = store.size()
        for count in wanted:
            store.fill(range(filled, count), now)
            grown = (store.size() - empty) / count
            # Of each step those grants that came with it are presented, each once.
            found = _timed(store, range(filled, count))
            filled = count
            medians = [found[what].median for what in ("read", "check", "swap", "rotate")]
            yield Cost(name, count, grown, *medians)


def _timed(store: Grown, numbers: range) -> dict[str, timing.Timing]:
    registry = _registry(store.url)
    rounds, batch = (8, 1) if store.name == "file" else (45, 10)
    # Spread over all of them, so that neither a cache nor a page holds what is asked for next.
    step = max(1, len(numbers) // 1_000)
    fresh = iter(numbers[::step])
    raw, key, bodies = store.raw, b"raw key of sixteen", [stores.body(), stores.body()]
    raw.swap(key, raw.get(key), bodies[0])

    def check() -> None:
        assert isinstance(registry.check(population.access_token(next(fresh))), tuple)

    def rotate() -> None:
        number = next(fresh)
        _rotated(registry, population.refresh_token(number), number)

    def swap() -> None:
        old = raw.get(key)
        bodies.reverse()
        assert raw.swap(key, old, bodies[0] if bodies[0] != old else bodies[1])

    contestants: dict[str, Callable[[], object]] = {
        "read": _least_check(raw) if isinstance(raw, stores.RawMemory) else lambda: raw.get(key),
        "check": check,
        "swap": swap,
        "rotate": rotate,
    }
    try:
        return timing.interleaved(contestants, rounds=rounds, batch=batch)
    finally:
        registry.backend.close()


def _least_check(raw: stores.RawMemory) -> Callable[[], object]:
    """A read of a dict, with the hash and the comparison that no check is without."""
    token = population.access_token(0).encode()
    return lambda: raw.check(token, b"x" * 32, b"raw key of sixteen")


def work(names: list[str], grants: list[int]) -> Iterator[str]:
    yield "| store | check: worker, us | server, us | rotation: worker, us | server, us |"
    yield "|---|---:|---:|---:|---:|"
    for name in names:
        if name != "file":
            with opened(name) as store:
                yield _work(store)


def _work(store: Grown) -> str:
    store.fill(range(3 * WORK), time.time())
    registry = _registry(store.url)

    def check(number: int) -> None:
        registry.check(population.access_token(number))

    def rotate(number: int) -> None:
        _rotated(registry, population.refresh_token(number), number)

    found = []
    for operation, numbers in ((check, range(WORK)), (rotate, range(WORK, 2 * WORK))):
        operation(numbers.stop)  # so that connecting is not counted
        before = time.process_time(), store.cpu()
        for number in numbers:
            operation(number)
        after = time.process_time(), store.cpu()
        found += [(later - earlier) / WORK * 1e6 for earlier, later in zip(before, after, strict=True)]
    registry.backend.close()
    return f"| {store.name} | " + " | ".join(f"{each:.0f}" for each in found) + " |"


def _rotated(registry: TokenRegistry, token: str, number: int) -> str:
    issued = registry.rotate_via_refresh_token(token, client_id=population.client_id(number))
    assert issued.refresh_token is not None
    return issued.refresh_token


def _registry(url: str | Backend) -> TokenRegistry:
    return driving.middleware(url).registry


PROGRAMS = {"sizes": sizes, "costs": costs, "work": work}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("what", choices=list(PROGRAMS))
    parser.add_argument("stores", nargs="*", metavar="STORE", help=f"of {', '.join(NAMES)}; all if none")
    parser.add_argument("--grants", type=int, nargs="+", default=list(GRANTS))
    chosen = parser.parse_args()
    for line in PROGRAMS[chosen.what](chosen.stores or list(NAMES), chosen.grants):
        print(line, flush=True)


if __name__ == "__main__":
    main()
