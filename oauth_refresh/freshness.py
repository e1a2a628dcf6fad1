"""How long may an answer be used without asking again? (RFC 9111, within bounds of our own)"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

SHORTEST = 300.0
LONGEST = 86400.0
"""Seconds. Less than the shortest would let any visitor make this server ask somebody else's all day; more
than the longest would keep what its author has long since changed."""

_MAX_AGE = re.compile(r'max-age\s*=\s*"?(\d{1,12})"?')


def fresh_for(headers: Mapping[str, str]) -> float:
    """Seconds from now. 0 where the answer asks not to be kept (`no-store`, `no-cache`); names in lower case.

    Where it says nothing, or nothing that can be read, the shortest time.
    """
    directives = [part.strip() for part in headers.get("cache-control", "").lower().split(",")]
    if any(part.partition("=")[0].strip() in ("no-store", "no-cache") for part in directives):
        return 0.0
    ages = [int(match[1]) for part in directives if (match := _MAX_AGE.fullmatch(part))]
    seconds = min(ages) - _age(headers) if ages else _until_expiry(headers)
    return min(max(seconds, SHORTEST), LONGEST)


def _age(headers: Mapping[str, str]) -> float:
    text = headers.get("age", "").strip()
    return float(text) if text.isascii() and text.isdigit() and len(text) < 12 else 0.0


def _until_expiry(headers: Mapping[str, str]) -> float:
    expires, date = _time(headers.get("expires")), _time(headers.get("date"))
    return 0.0 if expires is None or date is None else expires - date


def _time(text: str | None) -> float | None:
    try:
        found = None if text is None else parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    # Without a zone it would be read as the time of this machine's.
    return found.timestamp() if found is not None and found.tzinfo is not None else None
