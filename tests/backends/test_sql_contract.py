"""The one contract, over PostgreSQL and MariaDB, by every way to reach them."""

from __future__ import annotations

from pathlib import Path

import pytest

from oauth_refresh.backends import base
from oauth_refresh.backends.contract import SharedBackendContract
from oauth_refresh.backends.sql import open_url
from tests.backends import mariadb, postgres


class TestPostgreSQL(SharedBackendContract):
    @pytest.fixture(autouse=True)
    def server(self) -> None:
        """Started here, for `open_store` is called in child processes too."""
        postgres.shared()

    def open_store(self, place: Path) -> base.Backend:
        return open_url(postgres.shared().url(prefix=place.name))


class TestPostgreSQLOverItsSocket(SharedBackendContract):
    @pytest.fixture(autouse=True)
    def server(self) -> None:
        postgres.shared()

    def open_store(self, place: Path) -> base.Backend:
        return open_url(postgres.shared().socket_url(prefix=place.name, pooler="yes"))


class TestMariaDB(SharedBackendContract):
    @pytest.fixture(autouse=True)
    def server(self) -> None:
        mariadb.shared()

    def open_store(self, place: Path) -> base.Backend:
        return open_url(mariadb.shared().url(prefix=place.name, sslmode="disable"))
