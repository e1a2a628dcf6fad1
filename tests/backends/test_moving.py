"""A registry that is moving: the one contract, and what is particular to it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from oauth_refresh.backends import open_backend
from oauth_refresh.backends.base import Backend, Copies, Entry
from oauth_refresh.backends.contract import SharedBackendContract
from oauth_refresh.backends.moving import MOVED, MovingBackend, left_by_a_move, refuse_moved
from oauth_refresh.errors import RegistryError


def _describe(key: bytes, body: bytes) -> tuple[float | None, tuple[bytes, ...]]:
    return None, ()


class AlsoAnOldProcess(MovingBackend):
    """As if every record had been created by a process that knows the old registry alone."""

    def swap(
        self,
        key: bytes,
        old: Entry | None,
        body: bytes | None,
        expires_at: float | None = None,
        index: Iterable[bytes] = (),
        copies: Copies = "none",
    ) -> bool:
        index = tuple(index)
        if old is not None or body is None:
            return super().swap(key, old, body, expires_at, index, copies)
        if self.old.get(key) is None and self.old.swap(key, None, body, expires_at, index):
            return True
        return super().swap(key, None, body, expires_at, index, copies)


class TestMovingBetweenSQLiteFiles(SharedBackendContract):
    def open_store(self, place: Path) -> Backend:
        new, old = (open_backend(f"sqlite://{place}/{name}.db?synchronous=normal") for name in ("new", "old"))
        return MovingBackend(new, old, _describe)


class TestMovingWhatOldProcessesCreated(SharedBackendContract):
    def open_store(self, place: Path) -> Backend:
        new, old = (open_backend(f"sqlite://{place}/{name}.db?synchronous=normal") for name in ("new", "old"))
        return AlsoAnOldProcess(new, old, _describe)


class TestMovingFromAFile(SharedBackendContract):
    @pytest.fixture(autouse=True)
    def _quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "fsync", lambda descriptor: None)

    def open_store(self, place: Path) -> Backend:
        old = open_backend(f"file://{place}/tokens.json?timeout=60")
        return AlsoAnOldProcess(open_backend(f"sqlite://{place}/new.db?synchronous=normal"), old, _describe)


def _two() -> tuple[Backend, Backend, MovingBackend]:
    new, old = open_backend("memory:"), open_backend("memory:")
    moving = MovingBackend(new, old, lambda key, body: (2e9, (b"s alice",)), clock=lambda: 1e9)
    old.swap(b"k", None, b"as it was", 2e9, (b"s alice",))
    return new, old, moving


def test_a_record_that_is_only_read_stays_where_it_is() -> None:
    new, old, moving = _two()
    entry = moving.get(b"k")
    assert entry is not None
    assert entry.body == b"as it was"
    assert (list(new.keys()), old.get(b"k")) == ([], (b"as it was", b"as it was"))


def test_the_first_write_takes_the_record_over_and_leaves_an_empty_marker() -> None:
    new, old, moving = _two()
    assert moving.swap(b"k", moving.get(b"k"), b"as it is", 2e9, (b"s alice",))
    assert new.get(b"k") == (b"as it is", b"as it is")
    left = old.get(b"k")
    assert left is not None
    assert left.body.startswith(MOVED)
    assert left_by_a_move(left.body).body is None


def test_a_marker_keeps_its_terms_so_that_old_processes_stumble_over_it() -> None:
    _, old, moving = _two()
    moving.move(b"k")
    assert list(old.find(b"s alice")) == [b"k"]
    assert old.purge(2e9) == 0
    assert old.purge(2e9 + 30 * 86400) == 1


def test_a_new_record_is_claimed_in_the_old_registry() -> None:
    new, old, moving = _two()
    assert moving.swap(b"new", None, b"body", 2e9, (b"s bob",))
    assert new.get(b"new") is not None
    left = old.get(b"new")
    assert left is not None
    with pytest.raises(RegistryError, match="has moved to another registry"):
        refuse_moved(left.body)


def test_a_marker_of_a_newer_release_is_trouble_and_not_the_absence_of_a_record() -> None:
    _, old, moving = _two()
    old.swap(b"newer", None, MOVED + b"\x92\xa5newer\x01")
    with pytest.raises(RegistryError, match="newer release"):
        moving.get(b"newer")
