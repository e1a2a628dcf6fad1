"""The one contract, over every backend of this package."""

from __future__ import annotations

from pathlib import Path

from oauth_refresh.backends import open_backend
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
