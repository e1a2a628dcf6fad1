"""What the SQLite file costs and keeps, beyond the contract."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Barrier, Event, Timer
from time import monotonic
from typing import Any

import pytest

from oauth_refresh.backends import open_backend
from oauth_refresh.backends.base import Entry
from oauth_refresh.backends.sqlite import SQLiteBackend
from oauth_refresh.errors import RegistryError
from tests.backends.children import in_a_child

NOW = 1_900_000_000.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "oauth.db"


@pytest.fixture
def backend(path: Path) -> Iterator[SQLiteBackend]:
    backend = SQLiteBackend(str(path), synchronous="normal")
    yield backend
    backend.close()


def fill(backend: SQLiteBackend, count: int) -> dict[bytes, list[bytes]]:
    """Records like grants: a key of 17 bytes, 450 bytes, one term of its own and one that many share."""
    records = {}
    for number in range(count):
        key, subject = b"g" + os.urandom(16), b"s:someone-%d@example.org" % number
        records[key] = [subject, b"c:client with a long name %d" % (number % 10)]
        assert backend.swap(key, None, os.urandom(450), NOW + number * 600, records[key])
    return records


def test_a_record_of_450_bytes_takes_at_most_650(backend: SQLiteBackend, path: Path) -> None:
    fill(backend, 10_000)
    backend.close()
    assert path.stat().st_size / 10_000 <= 650


def test_a_rotation_writes_one_page(backend: SQLiteBackend, path: Path) -> None:
    log = path.with_name("oauth.db-wal")
    records = fill(backend, 200)
    backend.close()
    key, terms = next(iter(records.items()))
    for lap in range(3):
        before = log.stat().st_size if log.exists() else 32
        assert backend.swap(key, backend.get(key), b"%450d" % lap, NOW + lap, terms)
        assert log.stat().st_size - max(before, 32) == 24 + 2048


def test_a_record_may_be_forgotten_at_the_end_of_its_second(backend: SQLiteBackend) -> None:
    """A whole number takes half the room of a time, and to forget late does no harm."""
    backend.swap(b"k", None, b"1", NOW + 0.25)
    assert backend.purge(NOW + 0.5) == 0
    assert backend.purge(NOW + 1) == 1


@pytest.mark.parametrize(("setting", "level"), [("normal", 1), ("full", 2), ("extra", 3)])
def test_every_connection_has_the_chosen_synchronous(path: Path, setting: str, level: int) -> None:
    backend = open_backend(f"sqlite://{path}?synchronous={setting}")
    assert isinstance(backend, SQLiteBackend)
    with backend._file.reading() as link:
        assert link.execute("PRAGMA synchronous").fetchone() == (level,)
        assert link.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    backend.close()


def test_synchronous_is_full_by_default(path: Path) -> None:
    backend = SQLiteBackend(str(path))
    with backend._file.reading() as link:
        assert link.execute("PRAGMA synchronous").fetchone() == (2,)
    backend.close()


def test_the_files_are_for_their_owner_only(backend: SQLiteBackend, path: Path) -> None:
    umask = os.umask(0)
    try:
        backend.swap(b"k", None, b"1")
    finally:
        os.umask(umask)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {"oauth.db": 0o600, "oauth.db-wal": 0o600, "oauth.db-shm": 0o600}


def test_an_empty_file_that_exists_is_used_with_its_mode(backend: SQLiteBackend, path: Path) -> None:
    path.touch()
    path.chmod(0o640)
    backend.swap(b"k", None, b"1")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_the_secret_may_be_kept_beside_the_file(backend: SQLiteBackend, path: Path) -> None:
    assert backend.beside == str(path)


def test_threads_that_end_leave_no_connections_behind(backend: SQLiteBackend) -> None:
    gate = Barrier(8)

    def use(number: int) -> None:
        gate.wait(60)
        backend.get(b"k")

    for _ in range(5):
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(use, range(8)))
    assert len(backend._file._open_links()) <= 8
    backend.close()
    assert backend._file._open_links() == []


def test_a_connection_ends_with_its_backend(path: Path) -> None:
    backend = SQLiteBackend(str(path))
    backend.get(b"k")
    assert path.with_name("oauth.db-wal").exists()
    del backend
    assert not path.with_name("oauth.db-wal").exists()


def test_a_child_inherits_no_connection(backend: SQLiteBackend, path: Path) -> None:
    backend.swap(b"k", None, b"1")

    assert str(path) in open_files()
    assert inherited_by_a_child(path) == []
    assert backend.get(b"k") == Entry(b"1", b"1")


def open_files() -> list[str]:
    links = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
    return [os.readlink(link) for link in links if os.path.islink(link)]


def inherited_by_a_child(path: Path) -> list[str]:
    return [file for file in in_a_child(open_files) if file.startswith(str(path))]


def test_threads_that_use_it_without_pause_do_not_keep_a_fork_waiting(
    backend: SQLiteBackend, path: Path
) -> None:
    backend.swap(b"k", None, b"0")
    ended = Event()

    def read() -> None:
        while not ended.is_set():
            assert backend.get(b"k") is not None

    def write() -> None:
        while not ended.is_set():
            entry = backend.get(b"k")
            assert entry is not None
            assert backend.swap(b"k", entry, b"%d" % (int(entry.body) + 1))

    with ThreadPoolExecutor(3) as pool:
        try:
            threads = [pool.submit(action) for action in (read, read, write)]
            began = monotonic()
            for _ in range(20):
                assert inherited_by_a_child(path) == []
            assert monotonic() - began < 20, "each fork waits for 5 seconds at most, and then goes on without"
        finally:
            ended.set()
        for thread in threads:
            thread.result(30)


def test_a_fork_waits_for_a_thread_that_closes_its_connection(
    backend: SQLiteBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.swap(b"k", None, b"1")
    (link,) = backend._file._open_links()
    cursor, closes, may_close = link.cursor, Event(), Event()

    class Slow:
        def close(self) -> None:
            closes.set()
            assert may_close.wait(30)
            cursor.close()

    monkeypatch.setattr(link, "cursor", Slow())
    with ThreadPoolExecutor(1) as pool:
        closed = pool.submit(backend.close)
        assert closes.wait(30)
        Timer(0.2, may_close.set).start()
        assert inherited_by_a_child(path) == []
        closed.result(30)
    assert backend.get(b"k") == Entry(b"1", b"1")


def test_a_child_that_ends_leaves_the_log_to_its_parent(backend: SQLiteBackend, path: Path) -> None:
    entry = Entry(b"1", b"1")
    backend.swap(b"k", None, b"1")

    def swap_and_close() -> bool:
        swapped = backend.swap(b"k", entry, b"2")
        backend.close()
        return swapped

    assert in_a_child(swap_and_close) is True
    assert backend.swap(b"k", Entry(b"2", b"2"), b"3") is True
    backend.close()
    with sqlite3.connect(path) as raw:
        assert raw.execute("SELECT body FROM record").fetchall() == [(b"3",)]
        assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    raw.close()


def write_for_ever(path: str, tell: Connection) -> None:
    backend = SQLiteBackend(path)
    entry = backend.get(b"k")
    number = 0 if entry is None else int(entry.body[:8])
    while True:
        number += 1
        body = b"%08d" % number * 2500
        assert backend.swap(b"k", entry, body, NOW + number * 86400, [b"n%d" % number, b"all"])
        entry = Entry(body, body)
        tell.send(number)


def test_a_writer_that_is_killed_leaves_no_half_of_a_record(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    backend = SQLiteBackend(str(path))
    for lap in range(8):
        answer, tell = context.Pipe(duplex=False)
        child = context.Process(target=write_for_ever, args=(str(path), tell), daemon=True)
        child.start()
        acknowledged = [answer.recv() for _ in range(7 + lap)]
        child.kill()
        child.join()
        tell.close()
        with suppress(EOFError, OSError):
            while True:
                acknowledged.append(answer.recv())
        entry = backend.get(b"k")
        assert entry is not None
        number = int(entry.body[:8])
        assert number >= acknowledged[-1]
        assert entry.body == b"%08d" % number * 2500
        assert list(backend.find(b"n%d" % number)) == list(backend.find(b"all")) == [b"k"]
        assert list(backend.find(b"n%d" % (number - 1))) == list(backend.find(b"n%d" % (number + 1))) == []
    with backend._file.reading() as link:
        assert link.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert link.execute("SELECT count(*) FROM named").fetchone() == (2,)
    backend.close()


def test_purge_lets_others_write_between_its_batches(backend: SQLiteBackend) -> None:
    for number in range(450):
        backend.swap(b"k%d" % number, None, b"1", NOW)
    commits: list[str] = []
    with backend._file.reading() as link:
        link.connection.set_trace_callback(commits.append)
    assert backend.purge(NOW) == 450
    assert commits.count("COMMIT") == 3


def test_purge_leaves_no_index_rows(backend: SQLiteBackend) -> None:
    fill(backend, 300)
    assert backend.purge(NOW + 150 * 600) == 151
    with backend._file.reading() as link:
        orphans = "SELECT count(*) FROM named WHERE record NOT IN (SELECT id FROM record)"
        assert link.execute(orphans).fetchone() == (0,)
        assert link.execute("SELECT count(*) FROM named").fetchone() == (2 * 149,)


def test_purge_of_a_large_registry_reads_what_has_expired_only(backend: SQLiteBackend) -> None:
    with backend._file.reading() as link:
        plan = link.execute(
            "EXPLAIN QUERY PLAN SELECT day, id, terms FROM record INDEXED BY record_day "
            "WHERE day <= 1 AND (day, id) > (1, 1) AND expires_at <= 1 ORDER BY day, id LIMIT 1"
        ).fetchall()
    assert [row[3] for row in plan] == ["SEARCH record USING INDEX record_day (day>? AND day<?)"]


def test_a_read_and_a_rotation_are_one_statement_each(backend: SQLiteBackend) -> None:
    (key,) = fill(backend, 1)
    entry = backend.get(key)
    assert entry is not None
    (link,) = backend._file._open_links()
    asked: list[str] = []
    link.connection.set_trace_callback(asked.append)
    backend.create_many([(b"another", b"", None, ())])  # so that nothing is known of what was read
    asked.clear()
    backend.get(key)
    assert [statement.split()[0] for statement in asked] == ["SELECT"]
    asked.clear()
    index, expires_at = (b"s:user-0", b"c:client-0"), NOW
    backend.swap(key, entry, entry.body + b"1", expires_at, index)
    asked.clear()
    assert backend.swap(
        key, Entry(entry.body + b"1", entry.body + b"1"), entry.body + b"2", expires_at, index
    )
    assert [statement.split()[0] for statement in asked] == ["UPDATE"]


def _lives_with_adapter(path: Path, kind: type, adapt: Callable[[Any], Any]) -> list[bytes]:
    """The bodies of a record over its life, in a process whose application has this adapter."""
    sqlite3.register_adapter(kind, adapt)
    backend = SQLiteBackend(str(path))
    bodies = []
    for body in (b"one", b"", b"\0 three"):
        assert backend.swap(b"key", backend.get(b"key"), body, NOW, [b"term"])
        SQLiteBackend(str(path)).swap(b"other", None, os.urandom(8))  # so that nothing is remembered
        (one, _) = backend.get_two(b"key", b"none")
        assert one == backend.get(b"key")
        assert one is not None
        bodies.append(one.body)
    assert list(backend.find(b"term")) == [b"key"]
    return bodies


@pytest.mark.parametrize(
    ("kind", "adapt"),
    [
        pytest.param(bytearray, bytearray.hex, id="bytearray: other"),
        pytest.param(bytearray, lambda _: 1 / 0, id="bytearray: error"),
        pytest.param(bytearray, bytes, id="bytearray: same"),
        pytest.param(bytes, memoryview, id="bytes: same"),
    ],
)
def test_an_applications_adapter_changes_no_record(
    path: Path, kind: type, adapt: Callable[[Any], Any]
) -> None:
    assert in_a_child(lambda: _lives_with_adapter(path, kind, adapt)) == [b"one", b"", b"\0 three"]


def test_an_adapter_that_changes_all_bytes_is_an_error_that_names_it(path: Path) -> None:
    def refused() -> str:
        with pytest.raises(RegistryError) as error:
            _lives_with_adapter(path, bytes, bytes.hex)
        return str(error.value)

    assert "this process has an adapter for bytes that changes them" in in_a_child(refused)
    assert SQLiteBackend(str(path)).swap(b"key", None, b"one")
