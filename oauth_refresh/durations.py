"""How a length of time is written: seconds, `timedelta`, or text such as "15m", "24h" and "1h30m"."""

from __future__ import annotations

import math
import re
from datetime import timedelta

LONGEST = 36500 * 86400.0
"""One hundred years, in seconds. A moment that far ahead still is a date in every store and cookie."""

_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_PLAIN = re.compile(_NUMBER)
_PARTS = re.compile(" *".join(rf"(?:{_NUMBER} *{unit})?" for unit in _UNITS))


def parse_duration(value: object) -> float:
    """`value` as seconds: finite, at least 0, at most `LONGEST`.

    Numbers count seconds, and so does text without a unit. Units are d, h, m and s, in this order, each
    at most once ("1h30m"). True and False are no numbers here: they come from a mistaken switch. Raises
    ValueError with the reason in words.
    """
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = _number(value)
    elif isinstance(value, str):
        seconds = _text(value.strip())
    else:
        raise ValueError("is no length of time")
    if not math.isfinite(seconds):
        raise ValueError("is not finite")
    if seconds < 0:
        raise ValueError("is below zero")
    if seconds > LONGEST:
        raise ValueError("is more than 36500 days")
    return abs(seconds)  # minus zero would be printed as "-0s"


def format_duration(seconds: float) -> str:
    """Text that `parse_duration` reads as the same whole number of seconds: "30d", "24h", "5m", "90s"."""
    for unit, size in _UNITS.items():
        if seconds >= 2 * size and seconds % size == 0:
            return f"{seconds / size:.0f}{unit}"
    return f"{str(float(seconds)).removesuffix('.0')}s"


def _number(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _text(text: str) -> float:
    if _PLAIN.fullmatch(text):
        return float(text)
    parts = _PARTS.fullmatch(text)
    if not text or parts is None:
        raise ValueError("is no length of time")
    return sum(
        float(count) * size
        for count, size in zip(parts.groups(), _UNITS.values(), strict=True)
        if count is not None
    )
