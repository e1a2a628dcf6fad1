"""Do the charts show the numbers that they were given?"""

from __future__ import annotations

import pytest

from oauth_refresh.dashboard import dashboard, round_top, shares, stack
from oauth_refresh.statistics import SERIES, Minute


def minute(at: float, **counts: int) -> Minute:
    return Minute(at, {name: counts.get(name, 0) for name in SERIES})


@pytest.mark.parametrize(
    ("highest", "top"),
    [
        (0, 2),
        (1, 2),
        (2, 2),
        (3, 4),
        (4, 4),
        (5, 10),
        (10, 10),
        (11, 20),
        (41, 100),
        (101, 200),
        (10**6, 10**6),
    ],
)
def test_the_axis_ends_at_a_number_whose_half_can_be_read(highest: int, top: int) -> None:
    assert round_top(highest) == top


def test_bars_stand_on_one_another_and_fill_their_share() -> None:
    chart = stack([minute(0, rotated=6, refused=2), minute(60), minute(120, reused=1, granted=9)])
    assert chart.top == 10
    assert [step.label for step in chart.steps] == ["00:00", "00:01", "00:02"]
    assert [(bar.series, bar.y, bar.height) for bar in chart.steps[0].bars] == [
        ("rotated", 40.0, 60.0),
        ("refused", 20.0, 20.0),
    ]
    assert chart.steps[1].bars == []
    assert [(bar.series, bar.y, bar.height) for bar in chart.steps[2].bars] == [("reused", 90.0, 10.0)]


def test_the_longest_line_is_whole_and_none_is_divided_by_nothing() -> None:
    assert [(line.number, line.percent) for line in shares([("a", 4), ("b", 1), ("c", 0)])] == [
        (4, 100.0),
        (1, 25.0),
        (0, 0.0),
    ]
    assert shares([("a", 0)])[0].percent == 0
    assert shares([]) == []


def test_every_number_of_the_page_covers_the_whole_span() -> None:
    view = dashboard(180, [minute(0, granted=1, ended=2), minute(60, granted=3)], 1, None, str)
    assert (view.minutes, view.counts["granted"], view.counts["ended"]) == (2, 4, 2)
