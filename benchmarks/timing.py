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
from typing import NamedTuple

Operation = Callable[[], object]


class Timing(NamedTuple):
    """Microseconds per call: 10th percentile and median over the rounds."""

    p10: float
    median: float


def pin() -> str:
    """Keep this process on one CPU where the system allows it, and say which. Servers stay free."""
    if not hasattr(os, "sched_setaffinity"):
        return "not pinned"
    cpu = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cpu})
    return f"pinned to CPU {cpu}"


def unpin() -> None:
    """For child processes that are no part of what is timed."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, range(os.cpu_count() or 1))


def interleaved(contestants: Mapping[str, Operation], *, rounds: int, batch: int) -> dict[str, Timing]:
    """The timings of all contestants, in `rounds` rounds of `batch` calls each."""
    samples: dict[str, list[float]] = {name: [] for name in contestants}
    for operation in contestants.values():
        for _ in range(max(8, batch // 4)):
            operation()
    names = list(contestants)
    gc.collect()
    gc.freeze()
    for _ in range(rounds):
        random.shuffle(names)
        for name in names:
            samples[name].append(_batch(contestants[name], batch))
    gc.unfreeze()
    return {name: timing(found) for name, found in samples.items()}


def _batch(operation: Operation, count: int) -> float:
    calls = range(count)
    start = perf_counter_ns()
    for _ in calls:
        operation()
    return (perf_counter_ns() - start) / count / 1000


def timing(samples: list[float]) -> Timing:
    tenths = statistics.quantiles(samples, n=10, method="inclusive")
    return Timing(tenths[0], statistics.median(samples))
