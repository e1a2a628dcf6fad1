"""The registry in a dict of this process: for tests, and for a server of one process that may forget."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from threading import Lock

from oauth_refresh.backends import split_url
from oauth_refresh.backends.base import Backend, Copies, Entry
from oauth_refresh.backends.forking import renewed_in_children
from oauth_refresh.errors import ConfigurationError

logger = logging.getLogger("oauth_refresh")


_new_tuple = tuple.__new__
_Notes = tuple["float | None", tuple[bytes, ...]]
"""When a record may be forgotten, and its index terms."""
_NO_NOTES: _Notes = (None, ())


class MemoryBackend:
    """Records of this process only. The version of an entry is its body.

    A forked child goes on with a copy of its own and warns once, at its first use of it.
    """

    shared = False
    beside: str | None = None

    def __init__(self) -> None:
        self._entries: dict[bytes, Entry] = {}
        self._notes: dict[bytes, _Notes] = {}
        self._named: dict[bytes, set[bytes]] = {}
        self._lock = Lock()
        self._copied = False
        _backends.add(self)

    def get(self, key: bytes) -> Entry | None:
        # No lock: every change of a record is the one assignment in `_entries`.
        if self._copied:
            self._warn()
        return self._entries.get(key)

    def swap(
        self,
        key: bytes,
        old: Entry | None,
        body: bytes | None,
        expires_at: float | None = None,
        index: Iterable[bytes] = (),
        copies: Copies = "none",
    ) -> bool:
        if old is None and body is None:
            raise ValueError("old and body are both None")
        notes = (expires_at, tuple(index))
        if self._copied:
            self._warn()
        # Spelled out: a `with` takes twice as long, and this is every renewal's.
        lock = self._lock
        lock.acquire()
        try:
            current = self._entries.get(key)
            # Most who swap hold the very entry that is there.
            if current is not old and _version(current) != _version(old):
                return False
            if body is None:
                self._remove(key)
                return True
            # Most keep their terms, and those who renew bring the very same.
            _, before = self._notes.get(key, _NO_NOTES)
            if before is notes[1]:
                self._entries[key] = _new_tuple(Entry, (body, body))
                self._notes[key] = notes
            else:
                self._put(key, _new_tuple(Entry, (body, body)), notes)
            return True
        finally:
            lock.release()

    def find(self, term: bytes) -> Iterator[bytes]:
        with self._lock:
            return iter(list(self._named.get(term, ())))

    def keys(self, prefix: bytes = b"") -> Iterator[bytes]:
        with self._lock:
            return iter(sorted(key for key in self._entries if key.startswith(prefix)))

    def purge(self, now: float) -> int:
        with self._lock:
            dead = [
                key
                for key, (expires_at, _) in self._notes.items()
                if expires_at is not None and expires_at <= now
            ]
            for key in dead:
                self._remove(key)
        return len(dead)

    def close(self) -> None:
        """Nothing is open, and the records stay: they live as long as the object."""

    def _put(self, key: bytes, entry: Entry, notes: _Notes) -> None:
        _, before = self._notes.get(key, _NO_NOTES)
        _, terms = notes
        moved = terms is not before and terms != before
        if moved:
            for term in terms:
                self._named.setdefault(term, set()).add(key)
        self._entries[key] = entry
        self._notes[key] = notes
        if moved:
            self._forget_terms(key, set(before).difference(terms))

    def _remove(self, key: bytes) -> None:
        del self._entries[key]
        _, terms = self._notes.pop(key)
        self._forget_terms(key, set(terms))

    def _forget_terms(self, key: bytes, terms: set[bytes]) -> None:
        for term in terms:
            keys = self._named[term]
            keys.discard(key)
            if not keys:
                del self._named[term]

    def _warn(self) -> None:
        self._copied = False
        logger.warning(
            "registry memory: process %d was forked and has a copy of its own; tokens that one process "
            "issues are unknown to the others. Use sqlite: where there is more than one worker.",
            os.getpid(),
        )

    def _after_fork(self) -> None:
        self._lock = Lock()  # a thread that does not exist in the child may have held it
        self._copied = True


def _version(entry: Entry | None) -> bytes | None:
    return None if entry is None else entry.version


def open_url(url: str, *, base_dir: str | None = None) -> Backend:
    place, _ = split_url(url, ())
    if place.strip("/"):
        raise ConfigurationError(
            "OAUTH_REGISTRY: memory: takes no name or path; every memory: is a store of its own"
        )
    return MemoryBackend()


_backends = renewed_in_children(MemoryBackend._after_fork)
