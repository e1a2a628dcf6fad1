"""The one contract, over every backend of this package."""

from __future__ import annotations

from pathlib import Path

import pytest

from oauth_refresh.backends import open_backend, sqlite_file
from oauth_refresh.backends.base import Backend
from oauth_refresh.backends.contract import BackendContract, SharedBackendContract


class TestMemory(BackendContract):
    def open_store(self, place: Path) -> Backend:
        return open_backend("memory:")


class TestSQLite(SharedBackendContract):
    def open_store(self, place: Path) -> Backend:
        return open_backend("sqlite:oauth.db", base_dir=str(place))


class TestSQLiteNormal(SharedBackendContract):
    def open_store(self, place: Path) -> Backend:
        return open_backend(f"sqlite://{place}/oauth.db?synchronous=normal")


class TestSQLiteWithoutItsLastCommit(SharedBackendContract):
    """Where SQLite's memory cannot be looked into, every read is a statement."""

    @pytest.fixture(autouse=True)
    def no_commit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sqlite_file, "last_commit", lambda path: None)

    def open_store(self, place: Path) -> Backend:
        return open_backend(f"sqlite://{place}/oauth.db?synchronous=normal")
