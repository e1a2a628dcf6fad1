"""What a request is going to need, read in one round trip: by backends that have `get_two`."""

from __future__ import annotations

from collections.abc import Mapping

from .backends.base import Backend, Entry
from .backends.bulk import get_two, reads_two_at_once

Seen = Mapping[bytes, "Entry | None"]
"""Records that were read in the course of this request, by their keys."""

NOTHING_SEEN: Seen = {}


def look_ahead(backend: Backend, first: bytes, second: bytes) -> Seen:
    """Both records, if this backend reads two as quickly as one; else nothing, to be read when needed."""
    if reads_two_at_once(backend):
        found = get_two(backend, first, second)
        return {first: found[0], second: found[1]}
    return NOTHING_SEEN
