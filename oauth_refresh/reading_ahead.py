"""What a request is going to need, read in one round trip: by backends that have `get_two`."""

from __future__ import annotations

from collections.abc import Mapping

from .backends.base import Entry

Found = Entry | None
"""A record, or that there is none."""

Seen = Mapping[bytes, Found]
"""Records that were read in the course of this request, by their keys."""

NOTHING_SEEN: Seen = {}
