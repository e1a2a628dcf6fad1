"""Several records at once, by a backend's own short way, else one by one.

Two for a renewal, which needs a client and a grant; many for who moves or fills a registry. A backend may
have `get_two`, `get_many` and `create_many`; none must. Each record is a change of its own all the same:
what is there already is left alone, and after an error the same call may be made again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Protocol, TypeVar, cast

from oauth_refresh.backends.base import Backend, Entry

AT_ONCE = 200

T = TypeVar("T")

Row = tuple[bytes, bytes, "float | None", tuple[bytes, ...]]
"""A record to be stored: key, body, expires_at (seconds since 1970, None for never) and index terms."""

ReadTwo = Callable[[bytes, bytes], tuple[Entry | None, Entry | None]]
"""How two records are read, by their keys."""


class Bulk(Protocol):
    """What a backend may offer."""

    def get_two(self, first: bytes, second: bytes) -> tuple[Entry | None, Entry | None]:
        """Two records in one round trip, each as fresh as from `get`. Not of one moment, if they change."""

    def create_many(self, rows: Sequence[Row]) -> int:
        """Create those whose key has no record; how many that were. Durable when it returns."""

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The bodies of those keys that have a record, each as fresh as from `get`."""


def create_many(backend: Backend, rows: Sequence[Row]) -> int:
    """As `Bulk.create_many`, with any backend."""
    if hasattr(backend, "create_many"):
        return cast("Any", backend).create_many(rows)  # type: ignore[no-any-return]
    return sum(backend.swap(key, None, body, expires_at, terms) for key, body, expires_at, terms in rows)


def reader_of_two(backend: Backend) -> ReadTwo:
    """Its `get_two`, and for a backend that has none what asks it twice."""
    own: ReadTwo | None = getattr(backend, "get_two", None)
    return own or (lambda first, second: (backend.get(first), backend.get(second)))


def get_two(backend: Backend, first: bytes, second: bytes) -> tuple[Entry | None, Entry | None]:
    """As `Bulk.get_two`, with any backend: those that have none are asked twice."""
    return reader_of_two(backend)(first, second)


def get_many(backend: Backend, keys: Sequence[bytes]) -> dict[bytes, bytes]:
    """As `Bulk.get_many`, with any backend."""
    if hasattr(backend, "get_many"):
        return cast("Any", backend).get_many(keys)  # type: ignore[no-any-return]
    found = ((key, backend.get(key)) for key in keys)
    return {key: entry.body for key, entry in found if entry is not None}


def batches(items: Iterable[T], size: int = AT_ONCE) -> Iterator[list[T]]:
    """The items in lists of `size`; the last one is as long as what is left."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
