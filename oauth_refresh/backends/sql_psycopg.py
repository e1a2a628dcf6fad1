"""How a connection to PostgreSQL is opened: psycopg, how long it waits for an answer, and the short way.

psycopg's cursor prepares statements too, but looks at each value, each result and the state of the
transaction at every call: half as long again as the answer takes. Here every statement with values is
prepared once for each connection and sent through psycopg's own binding of libpq, with nothing in between.
"""

from __future__ import annotations

import re
import select
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from time import monotonic
from typing import Any

import psycopg
from psycopg import pq
from psycopg.waiting import Ready, Wait
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine import Dialect

from oauth_refresh.backends.sql_address import Address

SERVER_FIRST = 1.0
"""Seconds longer than the server that the driver waits: the server's own word on what was slow is better."""

_PREPARE_AFTER = 5

if hasattr(select, "poll"):
    _EVENTS = {
        Wait.R: select.POLLIN,
        Wait.W: select.POLLOUT,
        Wait.RW: select.POLLIN | select.POLLOUT,
    }


class TookTooLongError(psycopg.OperationalError):
    """There was no answer in time, and the connection is closed."""


_BINARY = 1
_ENDED = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)
_NAMED_VALUE = re.compile(r"%\((\w+)\)s")

_READERS: Mapping[int, Callable[[bytes], Any]] = {
    16: lambda raw: raw == b"\x01",
    17: bytes,
    20: lambda raw: struct.unpack(">q", raw)[0],
    23: lambda raw: struct.unpack(">i", raw)[0],
}
"""What this package's statements answer, by PostgreSQL's numbers: boolean, bytea, bigint, integer."""


@cache
def _numbered(text: str) -> tuple[bytes, tuple[str, ...]]:
    """The statement with PostgreSQL's own marks for values ($1, $2, …), and which value each one is."""
    order = tuple(dict.fromkeys(_NAMED_VALUE.findall(text)))
    places = {name: f"${number}" for number, name in enumerate(order, 1)}
    return _NAMED_VALUE.sub(lambda found: places[found[1]], text).replace("%%", "%").encode(), order


class PromptCursor:
    """As much of a DBAPI cursor as is needed. A statement with values is prepared after its first use."""

    def __init__(self, connection: PatientConnection) -> None:
        self.connection = connection
        self._pg = connection.pgconn
        self._plain = psycopg.Cursor(connection)
        self._prepared: dict[str, bytes] = {}
        self._prepares = bool(connection.prepare_threshold)
        self._readers: dict[str, tuple[Callable[[bytes], Any], ...]] = {}
        """Of the columns that each prepared statement answers."""
        self._text = ""  # of the last one
        self._result: Any = None
        self._poll = select.poll() if hasattr(select, "poll") else None
        self.rowcount = -1
        if self._poll is not None:
            self._poll.register(self._pg.socket, select.POLLIN)

    def execute(self, text: str, values: Any = None) -> PromptCursor:
        if not values or self._poll is None or not self._prepares:
            self._plain.execute(text, values)
            self._result, self.rowcount = None, self._plain.rowcount
            return self
        statement, order = _numbered(text)
        parameters: list[bytes | None] = []
        formats = []
        for value in map(values.__getitem__, order):
            if value is None or type(value) is bytes:  # isinstance takes five times as long to deny
                parameters.append(value)
                formats.append(_BINARY)
            else:
                parameters.append(repr(value).encode())
                formats.append(0)
        name = self._prepared.get(text)
        if name is None:
            self._pg.send_query_params(statement, parameters, None, formats, _BINARY)
        else:
            self._pg.send_query_prepared(name, parameters, formats, _BINARY)
        self._result = result = self._answer()
        self._text = text
        if name is None:
            self._prepare(text, statement)
        changed = result.command_tuples
        self.rowcount = result.ntuples if changed is None else changed
        return self

    def fetchone(self) -> tuple[Any, ...] | None:
        if self._result is None:
            return self._plain.fetchone()
        return self._row(0) if self._result.ntuples else None

    def fetchall(self) -> list[tuple[Any, ...]]:
        if self._result is None:
            return self._plain.fetchall()
        count = self._result.ntuples
        return [self._row(0)] if count == 1 else [self._row(number) for number in range(count)]

    def _prepare(self, text: str, statement: bytes) -> None:
        """For the next time: a change whose answer is still to come takes one round trip and no more."""
        name = f"oauth_refresh_{len(self._prepared)}".encode()
        with suppress(psycopg.Error):  # what was asked for is answered; the next call meets the trouble
            self._pg.send_prepare(name, statement)
            self._answer()
            self._prepared[text] = name

    def _row(self, number: int) -> tuple[Any, ...]:
        result, found = self._result, []
        readers = self._readers.get(self._text)
        if readers is None:
            readers = tuple(_READERS[result.ftype(column)] for column in range(result.nfields))
            self._readers[self._text] = readers
        for column, reader in enumerate(readers):
            raw = result.get_value(number, column)
            found.append(None if raw is None else reader(raw))
        return tuple(found)

    def _answer(self) -> Any:
        """The result of what was sent. Raises psycopg's errors, and gives up when patience ends."""
        pg, deadline = self._pg, monotonic() + self.connection.patience
        if pg.flush():
            self.connection.wait(_flushed(pg))
        found = None
        while True:
            if pg.is_busy():
                # Asked before each result: libpq itself would wait for the rest of a cut answer for ever.
                if not self._poll.poll(max(0.0, deadline - monotonic()) * 1000):  # type: ignore[union-attr]
                    raise self.connection.out_of_patience()
                pg.consume_input()
                continue
            result = pg.get_result()
            if result is None:
                break
            found = found or result
        if found is None or found.status not in _ENDED:
            raise (
                psycopg.errors.error_from_result(found, "utf-8")
                if found
                else psycopg.OperationalError(pg.error_message.decode("utf-8", "replace"))
            )
        return found


def _flushed(pg: Any) -> Any:
    """For `wait`: until everything is sent, reading what the server says meanwhile, as libpq asks for."""
    while pg.flush():
        ready = yield Wait.RW
        if ready & Ready.R:
            pg.consume_input()


class PatientConnection(psycopg.Connection[Any]):
    """Gives up on a server that does not answer, or no longer: libpq itself would wait for ever."""

    patience = 60.0
    """Seconds for one statement."""

    def cursor(self, *args: Any, **options: Any) -> Any:
        return PromptCursor(self)

    def out_of_patience(self) -> TookTooLongError:
        self.close()
        return TookTooLongError(f"no answer within {self.patience:g} s, timed out")

    def wait(self, gen: Any, *args: Any, **options: Any) -> Any:
        if not hasattr(select, "poll"):
            return super().wait(gen, *args, **options)
        poll, fileno, deadline = select.poll(), self.pgconn.socket, monotonic() + self.patience
        try:
            wanted = next(gen)
            while True:
                poll.register(fileno, _EVENTS[wanted])
                found = poll.poll(max(0.0, deadline - monotonic()) * 1000)
                if not found:
                    raise self.out_of_patience()
                wanted = gen.send(_ready(found[0][1]))
        except StopIteration as end:
            return end.value


def _ready(event: int) -> int:
    # A connection that broke is ready for what was wanted, and then fails.
    ready = Ready.R if event & ~select.POLLOUT else 0
    return ready | Ready.W if event & ~select.POLLIN else ready


def driver(address: Address) -> tuple[Dialect, Callable[[], Any]]:
    """SQLAlchemy's dialect, and what opens a connection in autocommit."""
    options = {name: value for name, value in _options(address).items() if value is not None}
    patience = address.timeout + SERVER_FIRST
    # A pooler that hands out its connections by transaction keeps nothing for the next statement.
    prepare_threshold = None if address.pooler else _PREPARE_AFTER

    def connect() -> Any:
        connection = PatientConnection.connect(
            **options, autocommit=True, prepare_threshold=prepare_threshold
        )
        connection.patience = patience
        return connection

    return PGDialect_psycopg(dbapi=psycopg), connect  # type: ignore[no-untyped-call]


def _options(address: Address) -> dict[str, Any]:
    session = {
        "statement_timeout": f"{address.timeout * 1000:.0f}",
        "default_transaction_isolation": r"read\ committed",
        "synchronous_commit": address.synchronous_commit,
    }
    settings = " ".join(f"-c {name}={value}" for name, value in session.items())
    return {
        "user": address.user,
        "password": address.password,
        "host": ",".join(host for host, _ in address.hosts),
        "port": ",".join(str(port) for _, port in address.hosts),
        "dbname": address.database,
        "connect_timeout": round(address.connect_timeout),
        "fallback_application_name": "oauth_refresh",
        "target_session_attrs": "primary",
        "options": None if address.pooler else settings,
        "keepalives_idle": 60,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "sslmode": address.sslmode,
        **address.files,
    }
