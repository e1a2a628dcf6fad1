"""What do a check and a renewal cost among a thousand grants, and what among a million? By `scaling costs`.

The grants are those of `population`: two scopes, one resource, a redirect to a loopback port, a user and a
client of its own for each, and a rotation behind them.
"""

from __future__ import annotations

from collections.abc import Sequence

from . import scaling

STORES = scaling.NAMES
USUAL = ("sqlite",)
HEADS = scaling.COST_HEADS
WORDS = 1
GRANTS = (1_000, 1_000_000)


def run(name: str, *, peers: bool, grants: Sequence[int] = GRANTS) -> list[scaling.Cost]:
    return list(scaling.costs_of(name, grants))


def summary(costs: Sequence[scaling.Cost]) -> str:
    """The last against the first."""
    first, last = costs[0], costs[-1]
    check, rotation = last.check / first.check, last.rotation / first.rotation
    return (
        f"{last.grants:,} grants against {first.grants:,}: check {check:.2f}, rotation {rotation:.2f}"
        f" (raw read {last.read / first.read:.2f}, raw swap {last.swap / first.swap:.2f})"
    )
