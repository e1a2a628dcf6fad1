"""How an operation is timed so that a shared machine cannot fake the result: interleaved, in ratios.

Each round times one batch of every contestant, in an order drawn anew, so that whatever else the machine
does falls on all alike. The 10th percentile stands for the machine left alone, the median for the day.
"""

from __future__ import annotations

import gc
import os
import random
import statistics
from collections.abc import Callable, Mapping
from time import perf_counter_ns
from typing import NamedTuple, Protocol

Operation = Callable[[], object]


class Elsewhere(Protocol):
    """An operation of another process, which times itself."""

    def batch(self, count: int) -> float:
        """Microseconds per call, over so many calls or as many as it deems enough."""


class Timing(NamedTuple):
    """Microseconds per call: 10th percentile and median over the rounds."""

    p10: float
    median: float


def pin() -> str:
    """Keep this process on one CPU where the system allows it, and say which. Servers that it starts
    later share that CPU, so that no wait for another one to wake is in the figures."""
    if not hasattr(os, "sched_setaffinity"):
        return "not pinned"
    cpu = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cpu})
    return f"pinned to CPU {cpu}"


def interleaved(
    contestants: Mapping[str, Operation | Elsewhere], *, rounds: int, batch: int
) -> dict[str, Timing]:
    """The timings of all contestants, in `rounds` rounds of `batch` calls each."""
    samples: dict[str, list[float]] = {name: [] for name in contestants}
    for operation in contestants.values():
        _batch(operation, max(8, batch // 4))
    names = list(contestants)
    gc.collect()
    gc.freeze()
    for _ in range(rounds):
        random.shuffle(names)
        for name in names:
            samples[name].append(_batch(contestants[name], batch))
    gc.unfreeze()
    return {name: timing(found) for name, found in samples.items()}


def _batch(operation: Operation | Elsewhere, count: int) -> float:
    return timed(operation, count) if callable(operation) else operation.batch(count)


def timed(operation: Operation, count: int) -> float:
    """Microseconds per call."""
    calls = range(count)
    start = perf_counter_ns()
    for _ in calls:
        operation()
    return (perf_counter_ns() - start) / count / 1000


def timing(samples: list[float]) -> Timing:
    tenths = statistics.quantiles(samples, n=10, method="inclusive")
    return Timing(tenths[0], statistics.median(samples))
