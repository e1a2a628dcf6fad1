"""What do a check and a renewal cost among a thousand grants, and what among a million? By `scaling costs`.

The grants are those of `population`: two scopes, one resource, a redirect to a loopback port, and a user and
a client of its own for each. They are measured with a rotation behind them; what each takes as it was issued,
before the first one, is measured apart.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from . import population, scaling, scaling_stores

STORES = scaling.NAMES
USUAL = ("sqlite",)
HEADS = (
    "store",
    "grants",
    "bytes each, as issued",
    "rotated",
    "raw read, us",
    "check, us",
    "raw swap, us",
    "rotation, us",
)
WORDS = 1
GRANTS = (1_000, 1_000_000)
_ISSUED_MAX = 100_000
"""So many are enough to say what one takes."""


class Growth(NamedTuple):
    """Among so many grants: bytes of one before and after its first rotation, and medians in microseconds."""

    store: str
    grants: int
    bytes_issued: float
    bytes_rotated: float
    read: float
    check: float
    swap: float
    rotation: float

    def cells(self) -> list[str]:
        figures = (self.bytes_issued, self.bytes_rotated, self.read, self.check, self.swap, self.rotation)
        return [self.store, f"{self.grants:,}", *(f"{figure:.0f}" for figure in figures)]


def run(name: str, *, peers: bool, grants: Sequence[int] = GRANTS) -> list[Growth]:
    issued = {count: bytes_issued(name, count) for count in {min(count, _ISSUED_MAX) for count in grants}}
    return [
        Growth(name, cost.grants, issued[min(cost.grants, _ISSUED_MAX)], *cost[2:])
        for cost in scaling.costs_of(name, grants)
    ]


def bytes_issued(name: str, count: int) -> float:
    """Bytes for each of so many grants that were never rotated."""
    with scaling_stores.opened(name, make=population.record_as_issued) as store:
        empty = store.size()
        store.fill(range(count), time.time())
        return (store.size() - empty) / count


def summary(found: Sequence[Growth]) -> str:
    """The last against the first."""
    first, last = found[0], found[-1]
    check, rotation = last.check / first.check, last.rotation / first.rotation
    return (
        f"{last.grants:,} grants against {first.grants:,}: check {check:.2f}, rotation {rotation:.2f}"
        f" (raw read {last.read / first.read:.2f}, raw swap {last.swap / first.swap:.2f})"
    )
