"""How a connection to PostgreSQL is opened: psycopg, and how long it waits for an answer."""

from __future__ import annotations

import select
from collections.abc import Callable
from time import monotonic
from typing import Any

import psycopg
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


class PatientConnection(psycopg.Connection[Any]):
    """Gives up on a server that does not answer, or no longer: libpq itself would wait for ever."""

    patience = 60.0
    """Seconds for one statement."""

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
                    self.close()
                    raise TookTooLongError(f"no answer within {self.patience:g} s, timed out")
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
