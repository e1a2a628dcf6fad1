"""Tables of a test's own on one of the shared SQL servers."""

from __future__ import annotations

import secrets
from typing import Any

from oauth_refresh.backends.sql import SQLBackend, open_url
from tests.backends import mariadb, postgres

FAMILIES = ("postgresql", "mariadb")


class Store:
    """Backends for one pair of tables. Call `close` at the end."""

    def __init__(self, family: str) -> None:
        self.family = family
        self.server: Any = postgres.shared() if family == "postgresql" else mariadb.shared()
        self.prefix = f"store_{secrets.token_hex(6)}"
        self.record, self.schema = f"{self.prefix}_record", f"{self.prefix}_schema"
        self._opened: list[SQLBackend] = []

    @property
    def is_postgresql(self) -> bool:
        return self.family == "postgresql"

    def url(self, **options: Any) -> str:
        # Without TLS, which takes a while, and of which other tests tell.
        url: str = self.server.url(**{"prefix": self.prefix, "sslmode": "disable", **options})
        return url

    def open(self, **options: Any) -> SQLBackend:
        """A new backend object, closed with the store. `port` may be that of a line to the server."""
        backend = open_url(self.url(**options))
        assert isinstance(backend, SQLBackend)
        self._opened.append(backend)
        return backend

    def run(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """As the server's administrator. `{record}` and `{schema}` are the names of the tables."""
        named = statement.replace("{record}", self.record).replace("{schema}", self.schema)
        answer: list[tuple[Any, ...]] = self.server.run(named, *values)
        return answer

    def close(self) -> None:
        for backend in self._opened:
            backend.close()
