"""Connections to a SQL server: shared by threads, kept apart by forks, and given up when they are in trouble.

It knows DBAPI drivers, and nothing of what is in the tables: `sql` does.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from queue import Empty, SimpleQueue
from threading import Condition
from time import monotonic
from types import TracebackType
from typing import Any, NoReturn, Protocol
from weakref import WeakSet

from sqlalchemy import URL, Connection, Engine
from sqlalchemy.engine import Dialect

from oauth_refresh.backends.sql_tables import is_mysql
from oauth_refresh.backends.sql_trouble import driver_error, trouble
from oauth_refresh.errors import RegistryError

Prepare = Callable[[Any], None]
"""Called once with a cursor of each new connection, before its first use. May raise `RegistryError`."""


_FORK_PATIENCE = 5.0
_SURE_SECONDS = 0.002
"""A connection that was lent so short a time ago, as a rule for the same request, is not looked at anew."""


class Server(Protocol):
    """A server, as `SQLBackend` sees it."""

    place: str
    dialect: Dialect
    prepare: Prepare

    def cursor(self) -> Any:
        """A context manager with a DBAPI cursor in autocommit, for the caller alone.

        Every exception inside gives the connection up, and comes out as `RegistryError`: a
        `ConnectionLostError` where the connection broke.
        """

    def close(self) -> None:
        """Close every connection but those that other threads use at this moment."""

    def forget(self) -> None:
        """In a forked child: leave the parent's connections alone from now on."""


class Link:
    """One connection and its cursor, used by one thread at a time and only in the process that opened it."""

    def __init__(self, connection: Any, era: object) -> None:
        self.connection = connection
        self.cursor = connection.cursor()
        self.era = era
        self.opened_at = self.lent_at = monotonic()
        self._said = _listener(connection)

    def has_something_to_say(self) -> bool:
        """Whether the server has sent anything since the last answer: as a rule, that it hung up.

        It costs no round trip, and spares a swap the connections that a restart of the server left behind.
        """
        try:
            return bool(self._said())
        except Exception:  # the driver's own, when it has closed the connection already
            return True

    def close(self) -> None:
        with suppress(Exception):  # it may be broken
            self.connection.close()


class Lent:
    """A cursor for the time of a `with`. A class, and not a generator, which takes several times as long."""

    __slots__ = ("_free", "_link", "_server")

    def __init__(self, server: PooledServer, free: SimpleQueue[None]) -> None:
        self._server = server
        self._free = free

    def __enter__(self) -> Any:
        link = self._link = self._server.lend(self._free)
        return link.cursor

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        link, server = self._link, self._server
        if error is None and link.era is server.era:
            try:
                server.idle.append(link)
            finally:
                self._free.put(None)
        else:
            server.close_one(link, self._free, error)


def _places(count: int) -> SimpleQueue[None]:
    """One item for each thread that may come in at once. A `Semaphore` is written in Python, and slow."""
    places: SimpleQueue[None] = SimpleQueue()
    for _ in range(count):
        places.put(None)
    return places


class PooledServer:
    """Connections of our own, at most `size` in each process, which `connect` opens in autocommit.

    A call waits `timeout` seconds for one that is free. One that is older than `recycle` seconds, or that
    the server has closed while it lay idle, is replaced before it is used.
    """

    prepare: Prepare

    def __init__(
        self,
        place: str,
        dialect: Dialect,
        connect: Callable[[], Any],
        *,
        size: int = 10,
        timeout: float = 5.0,
        recycle: float = 240.0,
    ) -> None:
        self.place = place
        self.dialect = dialect
        self._connect = connect
        self._size = size
        self._timeout = timeout
        self._recycle = recycle
        self.idle: list[Link] = []
        self._free = _places(size)
        self.era = object()
        _servers.add(self)

    def cursor(self) -> Lent:
        return Lent(self, self._free)

    def lend(self, free: SimpleQueue[None]) -> Link:
        """A link for the caller alone, and one of the `free` places."""
        try:
            free.get(timeout=self._timeout)
        except Empty:
            raise RegistryError(
                f"registry {self.place}: all {self._size} connections of this process are in use; raise "
                "pool_size to its number of threads, or look on the server for what holds them up"
            ) from None
        try:
            while True:
                try:
                    link = self.idle.pop()
                except IndexError:
                    return self._open()
                now = monotonic()
                if (
                    now - link.opened_at < self._recycle
                    and link.era is self.era
                    and (now - link.lent_at < _SURE_SECONDS or not link.has_something_to_say())
                ):
                    link.lent_at = now
                    return link
                link.close()
        except BaseException:
            free.put(None)
            raise

    def close_one(self, link: Link, free: SimpleQueue[None], error: BaseException | None) -> None:
        """One that is not to be used again. An error comes out as the protocol says."""
        try:
            if error is None:
                link.close()
                return
            lost = _is_lost(self.dialect, error, link.connection, link.cursor)
            link.close()
            if lost:
                # The others have most likely broken too, some without a sign.
                self.close()
            _raise(self.place, error, lost=lost)
        finally:
            free.put(None)

    def close(self) -> None:
        self.era = object()
        with suppress(IndexError):
            while True:
                self.idle.pop().close()

    def forget(self) -> None:
        # Kept for ever, not closed: a closing connection says goodbye to the server in the parent's name.
        _inherited.append(self.idle)
        self.idle, self._free, self.era = [], _places(self._size), object()

    def _open(self) -> Link:
        era = self.era
        try:
            with _connecting:
                link = Link(self._connect(), era)
        except BaseException as error:
            _raise(self.place, error)
        try:
            self.prepare(link.cursor)
        except BaseException as error:
            link.close()
            _raise(self.place, error)
        return link


class EngineCursor:
    """As much of a DBAPI cursor as is needed here, by way of SQLAlchemy.

    So the engine's events fire, and its pool learns of connections that broke.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._result: Any = None

    @property
    def rowcount(self) -> int:
        return int(self._result.rowcount)

    @property
    def wrote(self) -> bool:
        return self._result is not None and not self._result.returns_rows

    def execute(self, statement: str, values: Any = None) -> None:
        self._result = self._connection.exec_driver_sql(statement, values)

    def fetchone(self) -> Any:
        return self._result.fetchone()

    def fetchall(self) -> Any:
        return self._result.fetchall()


class EngineServer:
    """The connections of an application's engine, which stay its own: its pool, its time-outs, its events."""

    prepare: Prepare

    def __init__(self, engine: Engine) -> None:
        url = engine.url
        self.place = URL.create(
            url.drivername, host=url.host, port=url.port, database=url.database
        ).render_as_string()
        self.dialect = engine.dialect
        self._engine = engine
        # To enter autocommit and to leave it, MySQL's drivers send more than one COMMIT.
        self._commits = is_mysql(engine.dialect)
        self._ours = engine if self._commits else engine.execution_options(isolation_level="AUTOCOMMIT")
        _servers.add(self)

    @contextmanager
    def cursor(self) -> Iterator[Any]:
        try:
            connection = self._ours.connect()
        except BaseException as error:
            _raise(self.place, error)
        cursor = EngineCursor(connection)
        try:
            if not connection.info.get(self):
                self.prepare(cursor)
                connection.info[self] = True
                connection.rollback()  # else what follows would see the tables as they were before
            yield cursor
            if self._commits and cursor.wrote:
                connection.commit()
        except BaseException as error:
            lost = connection.invalidated or _is_lost(self.dialect, error, None, None)
            connection.invalidate()
            connection.close()
            _raise(self.place, error, lost=lost)
        connection.close()

    def close(self) -> None:
        """Nothing: the connections are the application's."""

    def forget(self) -> None:
        self._engine.dispose(close=False)


def _raise(place: str, error: BaseException, *, lost: bool = False) -> NoReturn:
    # Never SQLAlchemy's error, nor from it: its text tells what the statement was to store.
    found = driver_error(error)
    if isinstance(found, RegistryError) or not isinstance(found, Exception):
        raise found
    raise trouble(place, found, lost=lost) from found


def _is_lost(dialect: Dialect, error: BaseException, connection: Any, cursor: Any) -> bool:
    """Whether the answer to a statement did not come, or made no sense to the driver."""
    if isinstance(error, RegistryError):
        return False
    error = driver_error(error)
    if not isinstance(error, dialect.loaded_dbapi.Error):
        return True
    return dialect.is_disconnect(error, connection, cursor)


def _listener(connection: Any) -> Callable[[], Any]:
    """What to ask, without waiting, whether there is something to read from this connection."""
    fileno = getattr(connection, "fileno", None) or getattr(
        getattr(connection, "_sock", None), "fileno", None
    )
    if fileno is None:
        return lambda: False
    number = fileno()
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(number, select.POLLIN)
        return partial(poll.poll, 0)
    return lambda: select.select([number], [], [], 0)[0]


class _Connecting:
    """While a thread opens a connection, the process does not fork, or only after some seconds.

    The libraries that drivers use for it (OpenSSL) hold locks meanwhile. A child would wait for ever for
    those of a thread that it does not have.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._threads = 0
        self._forking = False

    def __enter__(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._forking, _FORK_PATIENCE)
            self._threads += 1

    def __exit__(self, *error: object) -> None:
        with self._changed:
            self._threads -= 1
            self._changed.notify_all()

    def before_fork(self) -> None:
        with self._changed:
            self._forking = True
            self._changed.wait_for(lambda: not self._threads, _FORK_PATIENCE)

    def after_fork(self) -> None:
        with self._changed:
            self._forking = False
            self._changed.notify_all()


_connecting = _Connecting()
_servers: WeakSet[Any] = WeakSet()
_inherited: list[object] = []


def _after_fork_in_child() -> None:
    global _connecting
    _connecting = _Connecting()
    for server in list(_servers):
        server.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lambda: _connecting.before_fork(),
        after_in_parent=lambda: _connecting.after_fork(),
        after_in_child=_after_fork_in_child,
    )
