"""When was it, in words? Near moments by the hour, for no user's time zone is known; others by date."""

from __future__ import annotations

from datetime import datetime, timezone

from .wording import Words, say

_MONTHS = (
    say("January"),
    say("February"),
    say("March"),
    say("April"),
    say("May"),
    say("June"),
    say("July"),
    say("August"),
    say("September"),
    say("October"),
    say("November"),
    say("December"),
)
_HOURS_MAX = 48


def ago(moment: float, now: float) -> Words:
    """How long ago this moment was (seconds since 1970), or its date if it was two days ago or more."""
    minutes = int(max(0.0, now - moment) // 60)
    if minutes < 1:
        return say("just now")
    if minutes < 60:
        return say("{n} min ago", n=minutes)
    if minutes < _HOURS_MAX * 60:
        return say("{n} h ago", n=minutes // 60)
    return date(moment)


def date(moment: float) -> Words:
    """The date of this moment, in UTC."""
    at = _utc(moment)
    return say("{day} {month} {year}", day=at.day, month=_MONTHS[at.month - 1], year=at.year)


def exactly(moment: float) -> str:
    """This moment to the second, for programs and for those who hover: RFC 3339, in UTC."""
    return _utc(moment).strftime("%Y-%m-%dT%H:%M:%SZ")


def _utc(moment: float) -> datetime:
    return datetime.fromtimestamp(moment, timezone.utc)
