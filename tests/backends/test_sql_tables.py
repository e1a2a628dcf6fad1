"""How the tables of a SQL registry come to be, are checked, and are brought up to date."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from sqlalchemy.dialects.mysql.pymysql import MySQLDialect_pymysql
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine import Dialect

from oauth_refresh.backends import sql, sql_schema, sql_tables
from oauth_refresh.backends.base import Entry
from oauth_refresh.backends.sql import SQLBackend, open_url
from oauth_refresh.backends.sql_tables import Tables
from oauth_refresh.errors import RegistryError
from tests.backends import postgres
from tests.backends.children import in_a_child
from tests.backends.sql_store import FAMILIES, Store

PAGE = Path(__file__).parents[2] / "docs" / "registry-sql.md"


@pytest.fixture(params=FAMILIES)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    store = Store(request.param)
    yield store
    store.close()


def trouble(backend: SQLBackend) -> str:
    with pytest.raises(RegistryError) as raised:
        backend.get(b"k")
    return str(raised.value)


def ddl(store: Store) -> list[str]:
    return Tables(store.open()._server.dialect, store.prefix).ddl()


@pytest.mark.parametrize(
    ("heading", "dialect"),
    [("PostgreSQL", PGDialect_psycopg()), ("MySQL and MariaDB", MySQLDialect_pymysql())],
)
def test_the_ddl_in_the_docs_is_that_of_the_code(heading: str, dialect: Dialect) -> None:
    page = PAGE.read_text()
    blocks = dict(re.findall(r"^### (.+?)\n.*?^```sql\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    assert blocks[heading] == "".join(
        f"{statement};\n" for statement in Tables(dialect, "oauth_refresh").ddl()
    )


def test_create_makes_the_tables_and_may_be_called_again(store: Store) -> None:
    backend = store.open()
    for _ in range(2):
        backend.create()
        assert store.run("SELECT version FROM {schema}") == [(1,)]
    assert store.run("SELECT count(*) FROM {record}") == [(0,)]


def test_threads_and_processes_may_create_at_once(store: Store) -> None:
    url, gate = store.url(), Barrier(8)

    def create(number: int) -> None:
        backend = open_url(url)
        assert isinstance(backend, SQLBackend)
        gate.wait(60)
        if number % 2:
            backend.create()
        backend.swap(b"%d" % number, None, b"1")
        backend.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(create, range(8)))
    assert store.run("SELECT version FROM {schema}") == [(1,)]
    assert store.run("SELECT count(*) FROM {record}") == [(8,)]
    assert in_a_child(lambda: len(list(store.open().keys()))) == 8


def test_a_newer_layout_is_told_and_left_alone(store: Store) -> None:
    store.open().create()
    store.run("UPDATE {schema} SET version = 2")
    backend = store.open()
    for _ in range(2):
        assert trouble(backend) == (
            f"registry {backend._server.place}: its tables have layout 2, newer than this release's (1); "
            "install the release that made them, or a later one"
        )
    with pytest.raises(RegistryError):
        backend.create()
    store.run("UPDATE {schema} SET version = 1")
    assert backend.get(b"k") is None


def test_an_older_layout_is_brought_up_to_date_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.open().swap(b"k", None, b"1")
    for module in (sql, sql_schema, sql_tables):
        monkeypatch.setattr(module, "SCHEMA_VERSION", 3)
    steps = {
        1: ("ALTER TABLE {prefix}_record ADD COLUMN colour INTEGER",),
        2: ("UPDATE {prefix}_record SET colour = 7",),
    }
    monkeypatch.setattr(sql_schema, "UPGRADES", steps)
    gate = Barrier(4)

    def read(number: int) -> Entry | None:
        backend = store.open()
        gate.wait(60)
        return backend.get(b"k")

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(read, range(4))) == [Entry(b"1", b"1")] * 4
    assert store.run("SELECT version FROM {schema}") == [(3,)]
    assert store.run("SELECT colour FROM {record}") == [(7,)]


def test_an_upgrade_that_fails_is_tried_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.open().create()
    for module in (sql, sql_schema, sql_tables):
        monkeypatch.setattr(module, "SCHEMA_VERSION", 2)
    add = "ALTER TABLE {prefix}_record ADD COLUMN colour INTEGER"
    monkeypatch.setattr(sql_schema, "UPGRADES", {1: (add, "SELECT no_such_thing")})
    backend = store.open()
    assert "no_such_thing" in trouble(backend)
    assert store.run("SELECT version FROM {schema}") == [(1,)]
    monkeypatch.setattr(sql_schema, "UPGRADES", {1: (add,)})
    assert backend.get(b"k") is None
    assert store.run("SELECT version FROM {schema}") == [(2,)]


def test_tables_that_go_away_are_missed_not_begun_anew(store: Store) -> None:
    backend = store.open()
    backend.swap(b"k", None, b"1")
    for table in ("{record}", "{schema}"):
        store.run(f"ALTER TABLE {table} RENAME TO {table}_away")
    assert "the tables are missing" in trouble(backend)
    backend.close()
    for _ in range(2):
        assert trouble(backend) == (
            f"registry {backend._server.place}: the tables {store.record} and {store.schema} went away while "
            "in use; restore them, or restart the server to begin with an empty registry"
        )
    for table in ("{record}", "{schema}"):
        store.run(f"ALTER TABLE {table}_away RENAME TO {table}")
    assert backend.get(b"k") == Entry(b"1", b"1")


class Account:
    """One that may do what it is told, and not create tables."""

    def __init__(self, store: Store) -> None:
        self.store, self.name = store, f"account_{store.prefix}"
        if store.is_postgresql:
            store.run(f"CREATE USER {self.name} PASSWORD '{postgres.PASSWORD}'")
        else:
            store.run(f"CREATE USER {self.name} IDENTIFIED BY %s", postgres.PASSWORD)
            store.run(f"GRANT CREATE TEMPORARY TABLES ON registry.* TO {self.name}")

    def allow(self) -> None:
        for table in ("{record}", "{schema}"):
            where = table if self.store.is_postgresql else f"registry.{table}"
            self.store.run(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {where} TO {self.name}")

    def open(self) -> SQLBackend:
        theirs = "postgres" if self.store.is_postgresql else "oauth"
        backend = open_url(self.store.url().replace(f"//{theirs}:", f"//{self.name}:"))
        assert isinstance(backend, SQLBackend)
        return backend


def test_an_account_that_may_not_create_tables_is_told_what_to_do(store: Store) -> None:
    backend = Account(store).open()
    for _ in range(2):
        assert trouble(backend).endswith(
            "give this account SELECT, INSERT, UPDATE and DELETE on the tables; where it may not create "
            "them, run the DDL of docs/registry-sql.md as another"
        )


def test_an_account_that_may_not_create_tables_uses_those_of_the_ddl(store: Store) -> None:
    for statement in ddl(store):
        store.run(statement)
    account = Account(store)
    account.allow()
    backend = account.open()
    assert backend.swap(b"k", None, b"1", 1000.0, [b"term"]) is True
    assert backend.swap(b"k", Entry(b"1", b"1"), b"2", 1000.0, [b"other"]) is True
    assert list(backend.find(b"other")) == [b"k"]
    assert backend.purge(1000.0) == 1
    backend.create()
    backend.close()
