"""The stores of `scaling`: each can be filled with any number of grants, and says how many bytes it takes."""

from __future__ import annotations

import gc
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from oauth_refresh.backends import open_backend
from oauth_refresh.backends.base import Backend
from oauth_refresh.backends.memory import MemoryBackend

from . import population, stores

_REWRITE_SECONDS = 120.0
_USED_CPU = ("used_cpu_user", "used_cpu_sys")

Fill = Callable[[range, float], None]


class Grown:
    """A store. `size()` is what it takes now, in bytes: of memory where it is kept there, else of files.
    `cpu()` is how many seconds of processor time its server has used, 0 where there is none."""

    def __init__(
        self,
        name: str,
        url: str | Backend,
        raw: stores.Raw,
        fill: Fill,
        size: Callable[[], int],
        cpu: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.name = name
        self.url = url
        self.raw = raw
        self.fill = fill
        self.size = size
        self.cpu = cpu


class RawFile:
    """One record in a file, replaced as a whole and brought to the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, key: bytes) -> bytes | None:
        return self._path.read_bytes() if self._path.exists() else None

    def swap(self, key: bytes, old: bytes | None, new: bytes) -> bool:
        with self._path.with_suffix(".new").open("wb") as file:
            file.write(new)
            file.flush()
            os.fsync(file.fileno())
        self._path.with_suffix(".new").replace(self._path)
        return True


class RawMySQL:
    def __init__(self, connection: Any) -> None:
        self._cursor = connection.cursor()
        self._cursor.execute(
            "CREATE TABLE raw (`key` VARBINARY(64) PRIMARY KEY, body VARBINARY(900) NOT NULL)"
        )

    def get(self, key: bytes) -> bytes | None:
        self._cursor.execute("SELECT body FROM raw WHERE `key` = %s", (key,))
        row = self._cursor.fetchone()
        return None if row is None else row[0]

    def swap(self, key: bytes, old: bytes | None, new: bytes) -> bool:
        if old is None:
            done = self._cursor.execute("INSERT IGNORE INTO raw VALUES (%s, %s)", (key, new))
        else:
            done = self._cursor.execute(
                "UPDATE raw SET body = %s WHERE `key` = %s AND body = %s", (new, key, old)
            )
        return bool(done)


@contextmanager
def opened(name: str, *, traced: bool = False, make: population.Make = population.record) -> Iterator[Grown]:
    """Filled with what `make` makes. `traced` counts memory byte by byte and key by key, which is slow."""
    with ExitStack() as stack:
        if name == "memory":
            yield _memory(traced, make)
        elif name == "file":
            yield _file(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="scaling"))), make)
        elif name == "mysql":
            yield _mysql(stack, make)
        else:
            yield _served(stack.enter_context(stores.opened(name)), traced, make)


def _memory(traced: bool, make: population.Make) -> Grown:
    backend = MemoryBackend()
    size = (lambda: _held([backend._entries, backend._notes, backend._named])) if traced else _resident
    return Grown("memory", backend, stores.RawMemory(), _into(backend, make), size)


def _held(roots: list[object]) -> int:
    """The bytes of these objects and of all that they hold, each counted once."""
    seen, wanted, total = set(), list(roots), 0
    while wanted:
        found = wanted.pop()
        if id(found) not in seen:
            seen.add(id(found))
            total += sys.getsizeof(found)
            wanted += gc.get_referents(found) if isinstance(found, dict | set | frozenset | tuple) else ()
    return total


def _file(folder: Path, make: population.Make) -> Grown:
    path, numbers = folder / "tokens.json", [0]

    def fill(wanted: range, now: float) -> None:
        # The whole file again: what was rotated meanwhile is as it was at first.
        numbers[0] = wanted.stop
        population.write_file(path, range(wanted.stop), now, make)

    size = lambda: path.stat().st_size if path.exists() else 0  # noqa: E731
    return Grown("file", f"file://{path}", RawFile(folder / "raw"), fill, size)


def _mysql(stack: ExitStack, make: population.Make) -> Grown:
    import pymysql

    from tests.backends.mariadb import PASSWORD, MariaDB

    server = MariaDB()
    stack.callback(server.remove)
    # As an operator gives it: room for the records that are in use. The tests' own is 32 MB.
    server.stop()
    server.start("--innodb-buffer-pool-size=4G")
    connection = stack.enter_context(
        pymysql.connect(
            host="127.0.0.1",
            port=server.port,
            user="oauth",
            password=PASSWORD,
            database="registry",
            autocommit=True,
        )
    )
    raw = RawMySQL(connection)

    def size() -> int:
        return sum(path.stat().st_size for path in server.data.glob("registry/oauth_refresh*.ibd"))

    url = server.url(sslmode="disable")
    return Grown("mysql", url, raw, _by_processes(url, make), size, lambda: _cpu_of([server.pid]))


def _served(store: stores.Store, traced: bool, make: population.Make) -> Grown:
    if store.name == "sqlite":
        path = Path(store.url.removeprefix("sqlite://").partition("?")[0])
        fill = _into(open_backend(f"sqlite://{path}?synchronous=normal", announce=False), make)
        return Grown(store.name, store.url, store.raw, fill, lambda: sqlite_size(path))
    if store.name == "postgresql":
        quick = f"{store.url}?synchronous_commit=off"
        fill, raw = _by_processes(quick, make), store.raw
        return Grown(
            store.name, store.url, raw, fill, lambda: _postgresql_size(store), lambda: _postgresql_cpu(store)
        )
    fill_only = _by_processes(store.url, make)

    def fill_and_wait(numbers: range, now: float) -> None:
        fill_only(numbers, now)
        _wait_for_rewrites(store)

    cpu = lambda: sum(float(told[what]) for told in _told(store, "cpu") for what in _USED_CPU)  # noqa: E731
    size = (lambda: _keys_size(store)) if traced else (lambda: _valkey_size(store))
    return Grown(store.name, store.url, store.raw, fill_and_wait, size, cpu)


def _into(backend: Backend, make: population.Make) -> Fill:
    return lambda numbers, now: population.put(backend, numbers, now, make)


def _by_processes(url: str, make: population.Make) -> Fill:
    return lambda numbers, now: population.fill(url, numbers, now, os.cpu_count() or 1, make)


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def sqlite_size(path: Path) -> int:
    if not path.exists():
        return 0
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        pages, page = (
            database.execute(f"PRAGMA {what}").fetchone()[0] for what in ("page_count", "page_size")
        )
        return int(pages * page)


def _postgresql_size(store: stores.Store) -> int:
    found = store.raw.connection.execute(
        "SELECT coalesce(pg_total_relation_size(to_regclass('oauth_refresh_record')), 0)"
    ).fetchone()
    return int(found[0])


def _valkey_size(store: stores.Store) -> int:
    # Of a cluster, the primaries: each byte is on a replica once more.
    return sum(int(told["used_memory_dataset"]) for told in _told(store, "memory"))


def _keys_size(store: stores.Store) -> int:
    # The whole server's memory is no measure of little: buffers of its connections come and go.
    return sum(store.raw.client.memory_usage(key, samples=0) for key in store.raw.client.scan_iter(count=500))


def _wait_for_rewrites(store: stores.Store) -> None:
    """Until no server writes its log anew, as each does whenever that has doubled.

    A child of it does, and meanwhile each page that the server changes is copied.
    """
    deadline = time.monotonic() + _REWRITE_SECONDS
    while any(told["aof_rewrite_in_progress"] for told in _told(store, "persistence")):
        assert time.monotonic() < deadline, "a server does not end writing its log anew"
        time.sleep(0.2)


def _told(store: stores.Store, section: str) -> list[dict[str, Any]]:
    client = store.raw.client
    if store.name == "valkey":
        return [client.info(section)]
    return [client.info(section, target_nodes=node) for node in client.get_primaries()]


def _postgresql_cpu(store: stores.Store) -> float:
    found = store.raw.connection.execute("SELECT pid FROM pg_stat_activity").fetchall()
    return _cpu_of([pid for (pid,) in found])


def _cpu_of(pids: list[int]) -> float:
    """Seconds that these processes have used, in their own code and in the system's."""
    used = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        used += int(fields[11]) + int(fields[12])
    return used / os.sysconf("SC_CLK_TCK")
