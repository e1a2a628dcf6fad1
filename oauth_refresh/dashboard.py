"""What does the operator see of how things go? Numbers, and the shapes of the charts that show them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import NamedTuple

from .census import Census
from .statistics import REFRESHES, Minute, total
from .wording import Words, say

NAMES: Mapping[str, Words] = {
    "rotated": say("Rotated"),
    "repeated": say("Repeated"),
    "refused": say("Refused"),
    "reused": say("Reused"),
}
_AGES = (
    say("under an hour"),
    say("under a day"),
    say("under 7 days"),
    say("under 30 days"),
    say("under 90 days"),
    say("90 days and more"),
)
_LABELS = 6


class Bar(NamedTuple):
    """One part of a stack. `y` and `height` are hundredths of the chart's height, counted from the top."""

    series: str
    y: float
    height: float


class Step(NamedTuple):
    """What happened in one step of time. `label` is when it began, in UTC; `is_named` on the axis."""

    label: str
    counts: Mapping[str, int]
    bars: Sequence[Bar]
    is_named: bool


class Stack(NamedTuple):
    """A chart of stacked bars. `top` is the number at the upper end of its axis."""

    steps: Sequence[Step]
    top: int


class Share(NamedTuple):
    """One line of a chart of bars that lie. `percent` is of the longest one."""

    name: Words
    number: int
    percent: float


@dataclass(frozen=True)
class Dashboard:
    """What the page shows. `census` is None while the grants are being counted for the first time."""

    now: float
    minutes: int
    each: int
    stack: Stack
    counts: Mapping[str, int]
    census: Census | None
    ages: Sequence[Share] = ()
    unused: Sequence[Share] = ()
    clients: Sequence[Share] = ()
    is_live: bool = False
    names: Mapping[str, Words] = field(default_factory=lambda: NAMES)
    series: Sequence[str] = REFRESHES


def dashboard(
    now: float,
    minutes: Sequence[Minute],
    each: int,
    census: Census | None,
    client_name: Callable[[str], str],
    *,
    is_live: bool = False,
) -> Dashboard:
    """The page for these minutes, added up in steps of `each`. `client_name` is asked for the top clients."""
    counts = {name: total(minutes, name) for name in minutes[0].counts}
    view = Dashboard(now, len(minutes) * each, each, stack(minutes), counts, census, is_live=is_live)
    if census is None:
        return view
    ages = [census.estimated(count) for count in census.ages]
    unused = [census.estimated(count) for count in census.unused]
    clients: list[tuple[Words, int]] = [
        (client_name(client_id), census.estimated(count)) for client_id, count in census.clients
    ]
    return replace(
        view,
        ages=shares(list(zip(_AGES, ages, strict=True))),
        unused=shares(list(zip(_AGES, unused, strict=True))),
        clients=shares(clients),
    )


def stack(minutes: Sequence[Minute]) -> Stack:
    """The chart of the refreshes in these minutes, by what came of them."""
    top = round_top(max(sum(minute.counts[name] for name in REFRESHES) for minute in minutes))
    named = max(1, -(-len(minutes) // _LABELS))
    steps = []
    for place, minute in enumerate(minutes):
        counts = {name: minute.counts[name] for name in REFRESHES}
        steps.append(Step(clock(minute.at), counts, _bars(counts, top), place % named == 0))
    return Stack(steps, top)


def _bars(counts: Mapping[str, int], top: int) -> list[Bar]:
    bars, y = [], 100.0
    for name, count in counts.items():
        if count:
            height = 100.0 * count / top
            y -= height
            bars.append(Bar(name, round(y, 2), round(height, 2)))
    return bars


def round_top(highest: int) -> int:
    """A number that is at least `highest`, and whose half is easy to read too: 2, 4, 10, 20, 40, 100 …"""
    power = 1
    while True:
        for digit in (2, 4, 10):
            if digit * power >= highest:
                return digit * power
        power *= 10


def shares(counts: Sequence[tuple[Words, int]]) -> list[Share]:
    """Lines of a chart, each with its length beside the longest."""
    longest = max((count for _, count in counts), default=0) or 1
    return [Share(name, count, round(100 * count / longest, 1)) for name, count in counts]


def clock(moment: float) -> str:
    """The time of day, in UTC."""
    return datetime.fromtimestamp(moment, timezone.utc).strftime("%H:%M")
