"""The registry in PostgreSQL, MySQL or MariaDB: many processes of many hosts. Built on SQLAlchemy Core.

One `get` is one round trip to the server, and so is one `swap`, whatever it changes: a single statement in
autocommit, which is a transaction of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from importlib import import_module
from typing import Any

from oauth_refresh.backends.base import Backend, Copies, Entry
from oauth_refresh.backends.bulk import Row, batches
from oauth_refresh.errors import ConfigurationError, RegistryError

try:
    from sqlalchemy import Engine
except ImportError as error:
    raise ConfigurationError("OAUTH_REGISTRY: SQLAlchemy is missing; install oauth-refresh[sql]") from error

from oauth_refresh.backends.sql_address import read_address
from oauth_refresh.backends.sql_connections import EngineServer, PooledServer, Server
from oauth_refresh.backends.sql_schema import check_schema, create_schema, schema_version
from oauth_refresh.backends.sql_tables import (
    DEAD_AT_ONCE,
    KEYS_AT_ONCE,
    ROWS_AT_ONCE,
    SCHEMA_VERSION,
    Statement,
    Tables,
    hour_of,
    is_mysql,
    named_values,
    rows_values,
    state_values,
    term_hash,
)
from oauth_refresh.backends.sql_trouble import ConnectionLostError, is_conflict, is_duplicate

logger = logging.getLogger("oauth_refresh")

_new_tuple = tuple.__new__

_ENGINES = ("postgresql", "mysql", "mariadb")

_DRIVERS = {
    "postgresql": ("oauth_refresh.backends.sql_psycopg", "postgres"),
    "mysql": ("oauth_refresh.backends.sql_pymysql", "mysql"),
}

_TRIES = 5
"""How often a statement is sent that the server undid in favour of another one: nothing of it is left."""

_WRITES_ARE_ON = (False, 0, "0", "OFF", "off", b"0", b"OFF", None)


class SQLBackend:
    """Records in two tables whose names begin with `prefix`. The version of an entry is its body.

    `server` is an engine of SQLAlchemy for PostgreSQL, MySQL or MariaDB, or the `db` of Flask-SQLAlchemy,
    with its `app` if there is no application context. The registry then uses the engine's connections, as it
    opens them: its time-outs, its number of connections. A URL (`open_url`) gives it connections of its own.

    The tables are created at the first call, where the account may do so; tables that go away later are an
    error and never silently begun anew. A connection that broke costs a `get` nothing (it is tried once more
    on a fresh one) and a `swap` a `RegistryError`, because nobody knows whether it was done.

    `copies` changes nothing here: which standbys a change waits for is for the server to say, for all
    changes alike (`synchronous_standby_names`, semi-synchronous replication).
    """

    shared = True
    beside: str | None = None

    def __init__(self, server: Any, *, app: Any = None, prefix: str = "oauth_refresh") -> None:
        self._server: Server
        self._server = server if isinstance(server, PooledServer) else EngineServer(_engine(server, app))
        self._server.prepare = self._prepare
        self._tables = Tables(self._server.dialect, prefix)
        self._seen = False

    def get(self, key: bytes) -> Entry | None:
        body, takes_no_writes = self._read(self._tables.get, {"at": key})[0]
        if takes_no_writes not in _WRITES_ARE_ON:
            raise self._standby()
        return _entry(body)

    def get_two(self, first: bytes, second: bytes) -> tuple[Entry | None, Entry | None]:
        values: dict[str, object] = {"at": first, "other": second}
        body, other, takes_no_writes = self._read(self._tables.get_two, values)[0]
        if takes_no_writes not in _WRITES_ARE_ON:
            raise self._standby()
        return _entry(body), _entry(other)

    def swap(
        self,
        key: bytes,
        old: Entry | None,
        body: bytes | None,
        expires_at: float | None = None,
        index: Iterable[bytes] = (),
        copies: Copies = "none",
    ) -> bool:
        if body is None:
            if old is None:
                raise ValueError("old and body are both None")
            return self._write(self._tables.delete, {"at": key, "old": old.version}) == 1
        values = state_values(body, expires_at, index)
        values["at"] = key
        if old is None:
            return self._write(self._tables.create, values) == 1
        values["old"] = old.version
        return self._write(self._tables.replace, values) == 1

    def find(self, term: bytes) -> Iterator[bytes]:
        wanted, after = term_hash(term), 0
        while True:
            rows = self._page(self._tables.find, {"term": wanted, "after": after})
            yield from (bytes(row[1]) for row in rows)
            if len(rows) < KEYS_AT_ONCE:
                return
            after = rows[-1][2]

    def keys(self, prefix: bytes = b"") -> Iterator[bytes]:
        start = prefix
        while True:
            rows = self._page(self._tables.keys, {"start": start})
            for _, found in rows:
                key = bytes(found)
                if not key.startswith(prefix):
                    return
                yield key
            if len(rows) < KEYS_AT_ONCE:
                return
            start = key + b"\0"

    def purge(self, now: float) -> int:
        removed, hour = 0, hour_of(now)
        while keys := self._named(self._tables.overdue, {"hour": hour}):
            gone = self._write(self._tables.remove, {**named_values(keys), "now": now})
            removed += gone
            if gone < len(keys):
                moved = self._write(self._tables.postpone, {**named_values(keys), "hour": hour})
                if not gone + moved:
                    break
        while keys := self._named(self._tables.dead_this_hour, {"hour": hour, "now": now}):
            removed += self._write(self._tables.remove, {**named_values(keys), "now": now})
            if len(keys) < DEAD_AT_ONCE:
                break
        return removed

    def create_many(self, rows: Sequence[Row]) -> int:
        """Create those that are not there, many in one statement."""
        return sum(self._create_batch(batch) for batch in batches(rows, ROWS_AT_ONCE))

    def _create_batch(self, rows: Sequence[Row]) -> int:
        if len(rows) == ROWS_AT_ONCE:
            created = self._write(self._tables.create_rows, rows_values(rows))
            # MySQL refuses all of them where one is there already.
            if created or not is_mysql(self._tables.dialect):
                return created
        return sum(self.swap(key, None, body, expires_at, terms) for key, body, expires_at, terms in rows)

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        found: dict[bytes, bytes] = {}
        for batch in batches(keys, DEAD_AT_ONCE):
            rows = self._page(self._tables.bodies, named_values(batch))
            found.update((bytes(key), bytes(body)) for _, key, body in rows)
        return found

    def create(self) -> None:
        """Create the tables if there are none, bring old ones up to date. Many hosts may do it at once."""
        with self._server.cursor() as cursor:
            create_schema(cursor, self._tables, self._server.place)
        self._seen = True

    @property
    def schema(self) -> str:
        """What stands in the database, for people."""
        return (
            f"tables {self._tables.prefix}_record and {self._tables.prefix}_schema, layout {SCHEMA_VERSION}"
        )

    def close(self) -> None:
        self._server.close()

    def _prepare(self, cursor: Any) -> None:
        """Check the tables, once for each connection: they are made at first, and missed later."""
        seen = self._seen  # asked first: another thread may be making the tables
        version = schema_version(cursor, self._tables)
        check_schema(self._server.place, version)
        if version is None and seen:
            raise RegistryError(
                f"registry {self._server.place}: the tables {self._tables.prefix}_record and "
                f"{self._tables.prefix}_schema went away while in use; restore them, or restart the server "
                "to begin with an empty registry"
            )
        if version != SCHEMA_VERSION:
            create_schema(cursor, self._tables, self._server.place)
        self._seen = True

    def _read(self, statement: Statement, values: dict[str, object]) -> list[Any]:
        tries = 2
        while True:
            tries -= 1
            try:
                with self._server.cursor() as cursor:
                    cursor.execute(statement.text, statement.values(values))
                    return list(cursor.fetchall())
            except ConnectionLostError as error:
                if error.timed_out or not tries:
                    raise

    def _page(self, statement: Statement, values: dict[str, object]) -> list[Any]:
        rows = self._read(statement, values)
        if rows[0][0] not in _WRITES_ARE_ON:
            raise self._standby()
        return [row for row in rows if row[1] is not None]

    def _write(self, statement: Statement, values: dict[str, object]) -> int:
        """How many rows the statement changed."""
        try:
            with self._server.cursor() as cursor:
                for attempt in range(_TRIES):
                    try:
                        cursor.execute(statement.text, statement.values(values))
                        return int(cursor.rowcount)
                    except Exception as error:
                        if is_duplicate(error):
                            return 0
                        if attempt == _TRIES - 1 or not is_conflict(error):
                            raise
        except ConnectionLostError as error:
            raise RegistryError(f"{error} (whether the change was stored is unknown)") from error.__cause__
        raise AssertionError("unreachable")

    def _named(self, statement: Statement, values: dict[str, object]) -> list[bytes]:
        return [bytes(key) for (key,) in self._read(statement, values)]

    def _standby(self) -> RegistryError:
        return RegistryError(
            f"registry {self._server.place}: this server takes no writes, so what it knows may be old; "
            "name the primary in OAUTH_REGISTRY"
        )


def _entry(body: Any) -> Entry | None:
    if body is None:
        return None
    body = bytes(body)
    return _new_tuple(Entry, (body, body))  # half the time of `Entry(…)`


def open_url(url: str, *, base_dir: str | None = None) -> Backend:
    """`postgresql://user:password@host:port/database?option=value`, and the same with `mysql`.

    docs/registry-sql.md lists the options. Nothing is connected yet.
    """
    address = read_address(url)
    dialect, connect = _driver(address.family)(address)
    server = PooledServer(
        address.place,
        dialect,
        connect,
        size=address.pool_size,
        timeout=address.timeout,
        recycle=address.pool_recycle,
    )
    logger.info("registry: %s, tables %s_*", address.place, address.prefix)
    return SQLBackend(server, prefix=address.prefix)


def _driver(family: str) -> Any:
    module, extra = _DRIVERS[family]
    try:
        return import_module(module).driver
    except ImportError as error:
        raise ConfigurationError(
            f"OAUTH_REGISTRY: {family}: needs a driver; install oauth-refresh[{extra}] ({error})"
        ) from error


def _engine(server: Any, app: Any) -> Engine:
    if not isinstance(server, Engine):
        try:
            with nullcontext() if app is None else app.app_context():
                server = getattr(server, "engine", server)
        except RuntimeError as error:
            raise ConfigurationError(
                "OAUTH_REGISTRY: the engine of db is not known here; write SQLBackend(db, app=app)"
            ) from error
    if not isinstance(server, Engine):
        raise ConfigurationError(
            f"OAUTH_REGISTRY: {type(server).__name__} is no engine of SQLAlchemy; for a URL write its text"
        )
    if server.dialect.name not in _ENGINES:
        raise ConfigurationError(
            f"OAUTH_REGISTRY: an engine for {server.dialect.name} will not do; "
            "PostgreSQL, MySQL and MariaDB will"
        )
    return server
