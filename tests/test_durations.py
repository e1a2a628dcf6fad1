"""How lengths of time are read and written."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_refresh.durations import LONGEST, format_duration, parse_duration


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        pytest.param(90, 90.0, id="int"),
        pytest.param(0.5, 0.5, id="float"),
        pytest.param(0, 0.0, id="zero"),
        pytest.param(timedelta(minutes=15), 900.0, id="timedelta"),
        pytest.param("3", 3.0, id="bare"),
        pytest.param("3.5", 3.5, id="bare-fraction"),
        pytest.param("90s", 90.0, id="seconds"),
        pytest.param("15m", 900.0, id="minutes"),
        pytest.param("24h", 86400.0, id="hours"),
        pytest.param("720h", 2592000.0, id="many-hours"),
        pytest.param("30d", 2592000.0, id="days"),
        pytest.param("1h30m", 5400.0, id="two-units"),
        pytest.param("1d 2h 3m 4s", 93784.0, id="all-units"),
        pytest.param("0.5h", 1800.0, id="half-an-hour"),
        pytest.param(" 15m\n", 900.0, id="white-space-around"),
        pytest.param(LONGEST, LONGEST, id="a-hundred-years"),
    ],
)
def test_a_duration_is_read_as_seconds(written: object, seconds: float) -> None:
    assert parse_duration(written) == seconds


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        pytest.param(True, "is no length of time", id="true"),
        pytest.param(None, "is no length of time", id="None"),
        pytest.param([60], "is no length of time", id="list"),
        pytest.param("", "is no length of time", id="empty"),
        pytest.param("soon", "is no length of time", id="word"),
        pytest.param("15M", "is no length of time", id="capital-M-could-be-months"),
        pytest.param("1500ms", "is no length of time", id="milliseconds"),
        pytest.param("30m1h", "is no length of time", id="wrong-order"),
        pytest.param("1h1h", "is no length of time", id="unit-twice"),
        pytest.param("1h30", "is no length of time", id="rest-without-unit"),
        pytest.param("-5", "is no length of time", id="negative-text"),
        pytest.param("1e3", "is no length of time", id="exponent"),
        pytest.param("1_000", "is no length of time", id="underscore"),
        pytest.param("٣", "is no length of time", id="other-digits"),
        pytest.param("nan", "is no length of time", id="nan-text"),
        pytest.param("inf", "is no length of time", id="inf-text"),
        pytest.param(float("nan"), "is not finite", id="nan"),
        pytest.param(float("inf"), "is not finite", id="inf"),
        pytest.param(float("-inf"), "is not finite", id="minus-inf"),
        pytest.param(10**400, "is not finite", id="beyond-floats"),
        pytest.param("9" * 5000, "is not finite", id="text-beyond-floats"),
        pytest.param(-0.001, "is below zero", id="negative"),
        pytest.param(timedelta(seconds=-1), "is below zero", id="negative-timedelta"),
        pytest.param(LONGEST + 1, "is more than 36500 days", id="over-a-hundred-years"),
        pytest.param("36501d", "is more than 36500 days", id="text-over-a-hundred-years"),
    ],
)
def test_what_is_no_duration_is_refused_with_the_reason(written: object, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}$"):
        parse_duration(written)


def test_minus_zero_is_zero() -> None:
    assert str(parse_duration(-0.0)) == "0.0"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (1, "1s"),
        (60, "60s"),
        (300, "5m"),
        (86400, "24h"),
        (2592000, "30d"),
        (1234567.5, "1234567.5s"),
    ],
)
def test_a_duration_is_written_in_the_unit_that_fits(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(min_value=0, max_value=int(LONGEST)))
def test_whole_seconds_survive_being_written_and_read(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.integers(0, 999), st.integers(0, 999), st.integers(0, 999), st.integers(0, 999))
def test_the_parts_of_a_duration_add_up(days: int, hours: int, minutes: int, seconds: int) -> None:
    expected = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds).total_seconds()
    assert parse_duration(f"{days}d{hours}h{minutes}m{seconds}s") == expected


@given(st.text())
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ValueError:
        return
    assert 0 <= seconds <= LONGEST
