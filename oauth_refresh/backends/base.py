"""What a registry backend must do: keep bodies under keys, and compare-and-swap one at a time.

A backend knows keys, versions, expiry and index terms, and no OAuth. Whoever writes one implements
`Backend` and runs `oauth_refresh.backends.contract` against it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple, Protocol

INDEX_TERMS_MAX = 2
"""Of one record: whose grant it is, and which client's."""
KEY_BYTES_MAX = 512

Copies = Literal["none", "wanted", "required"]
"""Whether a write waits for a replica. "required" for revocations: a failover must not bring a grant back."""


class Entry(NamedTuple):
    """A stored body and the version that `swap` compares.

    `version` is opaque to callers. It never stands for two bodies, not even in two histories of one
    store: it is the body itself or a random value drawn at each write, never a counter or a time.
    """

    body: bytes
    version: bytes


class Backend(Protocol):
    """One store of records. Every method is safe to call from many threads and after a fork.

    Every method raises `RegistryError` when the store cannot answer, with a text that tells the operator
    what to do. Keys are 1 to 512 bytes; their first byte is the kind of record. Index terms are at most
    8 byte strings of 1 to 512 bytes per record.
    """

    shared: bool
    """True if other processes see the same records. A backend that is not warns under several workers."""

    beside: str | None
    """The path beside which a drawn server secret may be kept in a file, None if there is no such place."""

    def get(self, key: bytes) -> Entry | None:
        """The record as it is now, or None. As fresh as `swap`: never from a replica or an older snapshot."""

    def swap(
        self,
        key: bytes,
        old: Entry | None,
        body: bytes | None,
        expires_at: float | None = None,
        index: Iterable[bytes] = (),
        copies: Copies = "none",
    ) -> bool:
        """Replace the record under `key` if it still is `old`: True if this call did it.

        `old` None creates, `body` None deletes; both None is a ValueError. Of any number of calls made at
        once with the same `old`, in any number of threads and processes, exactly one returns True. When it
        returns True the record is durable. `expires_at` (seconds since 1970) is when the record may be
        forgotten, None for never; it is no promise: a record past it may still be there. `index` is the
        whole set of terms under which `find` names this key from now on. A swap whose outcome is unknown
        raises `RegistryError` and is not retried here.

        `copies` matters where the store has replicas that take over after a failure: "wanted" waits a
        second at most for one to have the write, and goes on with a warning; "required" then raises
        `NotReplicatedError`, although the write is done.
        """

    def find(self, term: bytes) -> Iterator[bytes]:
        """The keys of records that have this index term. May name dead keys: the caller reads each.

        Every key whose record had the term before the call and still has it is named. Records may be
        written while the iterator is open; no lock is held between two items.
        """

    def keys(self, prefix: bytes = b"") -> Iterator[bytes]:
        """The keys that begin with `prefix`, in ascending order, under the same terms as `find`."""

    def purge(self, now: float) -> int:
        """Remove records whose `expires_at` is at or before `now`, never one that was renewed; how many.

        A backend that keeps whole seconds rounds `expires_at` up.
        """

    def close(self) -> None:
        """Let go of connections and files. The next call opens them again."""
