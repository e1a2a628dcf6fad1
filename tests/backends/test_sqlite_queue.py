"""Writers of several processes take turns in the order in which they came; nobody is waited for in vain."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from oauth_refresh.backends import sqlite_queue
from oauth_refresh.backends.base import Entry
from oauth_refresh.backends.sqlite import SQLiteBackend
from oauth_refresh.backends.sqlite_queue import Queue, queue_at
from tests.backends.children import in_a_child

pytestmark = pytest.mark.skipif(os.name != "posix", reason="no locks of this kind here")
FORK = multiprocessing.get_context("fork")
LONG = 30.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "oauth.db"
    path.touch()
    return path


@pytest.fixture
def queue(path: Path) -> Iterator[Queue]:
    queue = Queue(str(path))
    yield queue
    queue.leave()
    queue.close()


@contextmanager
def standing(path: Path) -> Iterator[tuple[Any, Connection]]:
    """A process that has its turn until it is sent something, and then leaves."""
    here, there = FORK.Pipe()

    def stand() -> None:
        queue = Queue(str(path))
        queue.enter(LONG)
        there.send(True)
        there.recv()
        queue.leave()
        there.send(True)
        there.recv()

    child = FORK.Process(target=stand, daemon=True)
    child.start()
    assert here.poll(LONG)
    here.recv()
    try:
        yield child, here
    finally:
        child.kill()
        child.join()


def waiter(path: Path, name: str, tell: Connection) -> Any:
    """A process that stands in line, says so when it is its turn, and leaves."""

    def wait() -> None:
        queue = Queue(str(path))
        queue.enter(LONG)
        tell.send(name)
        queue.leave()

    child = FORK.Process(target=wait, daemon=True)
    child.start()
    return child


def waiting(path: Path, count: int) -> None:
    """Until so many processes have a place in the line."""
    inode, deadline = os.stat(f"{path}.lock").st_ino, time.monotonic() + LONG
    while time.monotonic() < deadline:
        lines = Path("/proc/locks").read_text().splitlines()
        held = [line for line in lines if f":{inode} " in line and "WRITE" in line and "->" not in line]
        if len(held) == count:
            return
        time.sleep(0.001)
    raise AssertionError(f"{count} places were expected")


def seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


needs_proc = pytest.mark.skipif(not os.path.exists("/proc/locks"), reason="no /proc/locks here")


@needs_proc
def test_who_came_first_is_next(path: Path) -> None:
    answer, tell = FORK.Pipe(duplex=False)
    children = []
    with standing(path) as (_, holder):
        for number in range(5):
            children.append(waiter(path, f"waiter {number}", tell))
            waiting(path, 2 + number)
        assert not answer.poll(0.02)
        holder.send(True)
        assert [answer.recv() for _ in children] == [f"waiter {number}" for number in range(5)]
    for child in children:
        child.join(LONG)
        assert child.exitcode == 0


def test_who_leaves_wakes_the_next_at_once(path: Path, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    if not sqlite_queue._CAN_WAKE:
        pytest.skip("here those who wait look for themselves")
    monkeypatch.setattr(sqlite_queue, "_WAKE_SECONDS", LONG)
    with standing(path) as (_, holder):
        holder.send(True)
        assert queue.enter(LONG) < LONG / 2


def test_who_is_not_woken_looks_for_itself(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_queue, "_CAN_WAKE", False)
    with standing(path) as (_, holder):
        queue = Queue(str(path))
        monkeypatch.setattr(sqlite_queue, "sleep", lambda pause: holder.send(True))
        assert queue.enter(LONG) < LONG
        queue.leave()
        assert queue.enter(0.0) == 0.0
        queue.leave()
        queue.close()


def test_a_process_that_is_killed_is_not_waited_for(path: Path, queue: Queue) -> None:
    with standing(path) as (child, _):
        child.kill()
        assert seconds(lambda: queue.enter(LONG)) < LONG / 2
        assert queue._first == 1


def test_a_process_that_is_stopped_is_waited_for_once(path: Path, queue: Queue) -> None:
    with standing(path) as (child, _):
        os.kill(child.pid, signal.SIGSTOP)
        assert 0.05 <= queue.enter(0.05) < LONG
        for _ in range(2):
            assert queue.enter(LONG) == 0.0
            queue.leave()


def test_a_stopped_process_goes_on_where_it_was(path: Path, queue: Queue) -> None:
    with standing(path) as (child, holder):
        os.kill(child.pid, signal.SIGSTOP)
        queue.enter(0.01)
        os.kill(child.pid, signal.SIGCONT)
        holder.send(True)
        assert holder.poll(LONG)
    assert queue.enter(LONG) == 0.0


def test_a_child_neither_has_nor_keeps_a_place(path: Path) -> None:
    queue = queue_at(str(path))
    queue.enter(LONG)

    def look() -> tuple[bool, bool]:
        own = queue_at(str(path))
        return own is queue, own.enter(0.05) >= 0.05

    assert in_a_child(look) == (False, True)
    queue.leave()
    assert in_a_child(lambda: queue_at(str(path)).enter(LONG)) == 0.0
    queue.close()


def test_backends_of_one_process_share_the_line(path: Path) -> None:
    link = path.with_name("link.db")
    link.symlink_to(path)
    assert queue_at(str(path)) is queue_at(str(link))


@pytest.mark.parametrize("mode", [0o600, 0o660])
def test_the_lock_file_is_for_those_who_may_write_to_the_database(
    path: Path, queue: Queue, mode: int
) -> None:
    path.chmod(mode)
    if os.geteuid() == 0:
        os.chown(path, 65534, 65534)
    queue.enter(LONG)
    found, lock = path.stat(), Path(f"{path}.lock").stat()
    assert (stat.S_IMODE(lock.st_mode), lock.st_uid, lock.st_gid) == (mode, found.st_uid, found.st_gid)
    assert lock.st_size == 0


def test_a_lock_file_that_was_deleted_is_made_anew(
    path: Path, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_queue, "_SURE_SECONDS", 0.0)
    queue.enter(LONG)
    os.unlink(f"{path}.lock")
    queue.leave()
    with standing(path):
        assert queue.enter(0.05) >= 0.05


def test_a_lock_file_that_cannot_be_used_is_done_without(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.unlink()
    Path(f"{path}.lock").mkdir()
    backend = SQLiteBackend(str(path))
    backend._file._queue.meet()
    assert backend.swap(b"k", None, b"1") is True
    assert backend.swap(b"k", Entry(b"1", b"1"), b"2") is True
    backend.close()
    assert [record.getMessage() for record in caplog.records] == [
        (
            f"registry {path}: no line of writers, they try in turn: {path}.lock: Is a directory; "
            "check owner and mode"
        )
    ]


def test_one_process_alone_needs_no_lock_file(tmp_path: Path) -> None:
    backend = SQLiteBackend(str(tmp_path / "oauth.db"))
    backend.swap(b"k", None, b"1")
    backend.swap(b"k", Entry(b"1", b"1"), b"2")
    assert not (tmp_path / "oauth.db.lock").exists()
    backend.close()


def test_a_writer_that_met_another_stands_in_line_from_then_on(tmp_path: Path) -> None:
    path = tmp_path / "oauth.db"
    backend = SQLiteBackend(str(path), timeout=0.05)
    backend.swap(b"k", None, b"1")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Exception, match="database is locked: a lock was held for too long"):
        backend.swap(b"k", Entry(b"1", b"1"), b"2")
    other.execute("ROLLBACK")
    other.close()
    assert path.with_name("oauth.db.lock").exists()

    with backend._file.writing():
        assert backend._file._queue.place > 0
    assert backend._file._queue.place == 0
    assert backend.swap(b"k", Entry(b"1", b"1"), b"2") is True
    backend.close()


def test_a_stopped_writer_in_line_costs_others_half_their_patience_once(tmp_path: Path) -> None:
    path = tmp_path / "oauth.db"
    backend = SQLiteBackend(str(path), timeout=0.2)
    backend.swap(b"k", None, b"1")
    with standing(path) as (child, _):
        os.kill(child.pid, signal.SIGSTOP)
        backend._file._queue.meet()
        assert seconds(lambda: backend.swap(b"k", Entry(b"1", b"1"), b"2")) >= 0.1
        assert backend.get(b"k") == Entry(b"2", b"2")
        assert seconds(lambda: backend.swap(b"k", Entry(b"2", b"2"), b"3")) < 0.1
    backend.close()


@pytest.mark.parametrize("synchronous", ["normal", "full"])
def test_eight_writers_without_pause_get_the_same_share(tmp_path: Path, synchronous: str) -> None:
    path = tmp_path / "oauth.db"
    SQLiteBackend(str(path)).swap(b"k", None, b"1")
    gate = FORK.Barrier(8)
    answer, tell = FORK.Pipe(duplex=False)

    def write(number: int) -> None:
        backend = SQLiteBackend(str(path), synchronous=synchronous)
        key, bodies, count = b"k%d" % number, [b"1", b"2"], 0
        backend.swap(key, None, bodies[0])
        gate.wait(LONG)
        end = time.perf_counter() + 1.0
        while time.perf_counter() < end:
            assert backend.swap(key, Entry(bodies[0], bodies[0]), bodies[1])
            bodies.reverse()
            count += 1
        tell.send(count)

    children = [FORK.Process(target=write, args=(number,), daemon=True) for number in range(8)]
    for child in children:
        child.start()
    counts = []
    for _ in children:
        assert answer.poll(LONG)
        counts.append(answer.recv())
    for child in children:
        child.join(LONG)
        assert child.exitcode == 0
    assert max(counts) <= 2 * min(counts), counts
