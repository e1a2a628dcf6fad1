"""What is kept in memory of a SQLite file is never older than the file, and costs nobody a lock."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from threading import Event

import pytest

from oauth_refresh.backends import sqlite_commits
from oauth_refresh.backends.base import Backend, Entry
from oauth_refresh.backends.sqlite import SQLiteBackend
from oauth_refresh.backends.sqlite_commits import LastCommit
from oauth_refresh.backends.sqlite_file import Link

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only here is anything kept")

KEY, OTHER = b"g" + b"k" * 16, b"g" + b"o" * 16
_fork = multiprocessing.get_context("fork")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "oauth.db"


@pytest.fixture
def backend(path: Path) -> Iterator[SQLiteBackend]:
    backend = opened(path)
    yield backend
    backend.close()


def opened(path: Path) -> SQLiteBackend:
    return SQLiteBackend(str(path), synchronous="normal")


def put(backend: Backend, key: bytes, body: bytes) -> None:
    assert backend.swap(key, backend.get(key), body)


def body_of(backend: Backend, key: bytes) -> bytes:
    entry = backend.get(key)
    assert entry is not None
    return entry.body


def statements(backend: SQLiteBackend, action: Callable[[], object]) -> list[str]:
    """The first word of each statement that `action` brings to the one connection."""
    (link,) = backend._file._open_links()
    asked: list[str] = []
    link.connection.set_trace_callback(asked.append)
    try:
        action()
    finally:
        link.connection.set_trace_callback(None)
    return [statement.split()[0] for statement in asked]


def elsewhere(path: Path, key: bytes, body: bytes) -> None:
    """A commit by a connection of another program, which knows nothing of this package."""
    connection = sqlite3.connect(path, isolation_level=None)
    assert connection.execute("UPDATE record SET body = ? WHERE key = ?", (body, key)).rowcount == 1
    connection.close()


def test_what_was_read_is_not_read_again_until_something_is_committed(
    backend: SQLiteBackend, path: Path
) -> None:
    put(backend, KEY, b"1")
    assert statements(backend, lambda: backend.get(KEY)) == ["SELECT"]
    assert statements(backend, lambda: backend.get(KEY)) == []
    elsewhere(path, KEY, b"2")
    assert statements(backend, lambda: backend.get(KEY)) == ["SELECT"]
    assert body_of(backend, KEY) == b"2"
    assert statements(backend, lambda: backend.get(KEY)) == []


def test_that_there_is_no_record_is_known_until_there_is_one(backend: SQLiteBackend) -> None:
    put(backend, OTHER, b"1")
    assert backend.get(KEY) is None
    assert statements(backend, lambda: backend.get(KEY)) == []
    assert backend.swap(KEY, None, b"1")
    assert body_of(backend, KEY) == b"1"


def test_two_records_are_known_once_both_are(backend: SQLiteBackend) -> None:
    for key in (KEY, OTHER):
        put(backend, key, b"1")
    backend.get(KEY)
    assert statements(backend, lambda: backend.get_two(KEY, OTHER)) == ["SELECT"]
    assert statements(backend, lambda: backend.get_two(KEY, OTHER)) == []
    assert backend.get_two(KEY, b"none") == (Entry(b"1", b"1"), None)


def test_an_own_rotation_leaves_the_rest_known(backend: SQLiteBackend) -> None:
    for key in (KEY, OTHER):
        put(backend, key, b"1")
    both = backend.get_two(KEY, OTHER)
    assert statements(backend, lambda: backend.swap(KEY, both[0], b"2")) == ["UPDATE"]
    assert statements(backend, lambda: backend.get_two(KEY, OTHER)) == []
    assert backend.get_two(KEY, OTHER) == (Entry(b"2", b"2"), Entry(b"1", b"1"))


@pytest.mark.parametrize("name", ["execute", "wrote"], ids=["before", "after"])
def test_a_commit_right_before_or_after_an_own_rotation_is_not_overlooked(
    backend: SQLiteBackend, path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for key in (KEY, OTHER):
        put(backend, key, b"1")
    both = backend.get_two(KEY, OTHER)
    (link,) = backend._file._open_links()
    part = link if name == "execute" else link.commit
    as_it_is = getattr(part, name)

    def after_another(*arguments: object) -> object:
        elsewhere(path, OTHER, b"2")
        return as_it_is(*arguments)

    monkeypatch.setattr(part, name, after_another)
    assert backend.swap(KEY, both[0], b"3")
    assert backend.get_two(KEY, OTHER) == (Entry(b"3", b"3"), Entry(b"2", b"2"))


def test_a_swap_that_changes_nothing_hides_no_commit(backend: SQLiteBackend, path: Path) -> None:
    """SQLite writes no page for it, so that the one page since was another's."""
    put(backend, b"k", b"1")
    put(backend, b"n", b"1")
    put(backend, b"k", b"2")  # what is known begins here
    assert (body_of(backend, b"k"), body_of(backend, b"n")) == (b"2", b"1")
    same = backend.get(b"n")
    elsewhere(path, b"k", b"3")
    assert same is not None
    assert backend.swap(b"n", same, same.body) is True
    assert body_of(backend, b"k") == b"3"


def both_known(backend: SQLiteBackend) -> tuple[Link, LastCommit, sqlite_commits.State]:
    """The one connection, and what is remembered of both keys."""
    for key in (KEY, OTHER):
        put(backend, key, b"1")
    (link,) = backend._file._open_links()
    assert link.commit is not None
    backend.get_two(KEY, OTHER)
    return link, link.commit, link.commit.state


def test_only_the_state_from_before_its_own_commit_is_carried_on(backend: SQLiteBackend, path: Path) -> None:
    """A thread looked after our commit, and then another program committed: the one since is not ours."""
    link, commit, before = both_known(backend)
    link.execute("UPDATE record SET body = ? WHERE key = ?", (b"3", KEY))
    backend.get_two(KEY, OTHER)
    assert commit.state is not before
    elsewhere(path, OTHER, b"2")
    commit.wrote(before, KEY, Entry(b"3", b"3"))
    assert backend.get_two(KEY, OTHER) == (Entry(b"3", b"3"), Entry(b"2", b"2"))


def test_a_frame_with_the_next_number_in_a_log_that_was_begun_anew_is_not_the_next_one(
    backend: SQLiteBackend,
) -> None:
    link, commit, before = both_known(backend)
    link.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
    for number in range(before[2] + 1):
        link.execute("UPDATE record SET body = ? WHERE key = ?", (b"%d" % (number + 2), OTHER))
    assert sqlite_commits._commit_of(commit.head())[0] == before[2] + 1
    commit.wrote(before, KEY, Entry(b"1", b"1"))
    newest = b"%d" % (before[2] + 2)
    assert backend.get_two(KEY, OTHER) == (Entry(b"1", b"1"), Entry(newest, newest))


def test_what_a_slow_reader_brings_is_not_kept_over_a_commit(
    backend: SQLiteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(backend, KEY, b"1")
    put(backend, OTHER, b"1")
    has_read, may_go_on = Event(), Event()
    remember = LastCommit.remember

    def slowly(commit: LastCommit, state: sqlite_commits.State, key: bytes, found: object) -> None:
        has_read.set()
        assert may_go_on.wait(30)
        remember(commit, state, key, found)

    with ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(LastCommit, "remember", slowly)
        reader = pool.submit(backend.get, KEY)
        assert has_read.wait(30)
        monkeypatch.setattr(LastCommit, "remember", remember)
        assert backend.swap(KEY, Entry(b"1", b"1"), b"2")
        may_go_on.set()
        assert reader.result(30) == Entry(b"1", b"1")
    assert body_of(backend, KEY) == b"2"


def test_a_look_at_a_half_written_head_proves_nothing(
    backend: SQLiteBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first half of the old log's last head, and the second of the new log's first: others then commit up
    to the frame that it names, and our own commit is the one after it."""
    for key in (KEY, OTHER):
        put(backend, key, b"alive")
    (link,) = backend._file._open_links()
    assert link.commit is not None
    plain = sqlite3.connect(path, isolation_level=None)
    plain.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    for number in range(4):
        elsewhere(path, KEY, b"%d" % number)
    old = link.commit.head()
    plain.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
    elsewhere(path, KEY, b"last")
    new = link.commit.head()
    assert old[32:40] != new[32:40]
    with monkeypatch.context() as patch:
        patch.setattr(link.commit, "head", lambda: old[:32] + new[32:])
        assert body_of(backend, OTHER) == b"alive"
    while link.commit.head()[16:20] != old[16:20]:
        elsewhere(path, OTHER, b"revoked after %d" % int.from_bytes(link.commit.head()[16:20], sys.byteorder))
    assert backend.swap(KEY, Entry(b"last", b"last"), b"mine")
    assert body_of(backend, OTHER) == b"revoked after 3"
    plain.close()


def test_in_the_midst_of_itself_it_neither_waits_nor_forgets(backend: SQLiteBackend) -> None:
    """A signal handler may ask the registry while its thread is about to remember something."""
    put(backend, KEY, b"1")
    (link,) = backend._file._open_links()
    assert link.commit is not None
    taken = link.commit._turn.pop()
    assert body_of(backend, KEY) == b"1"
    put(backend, KEY, b"2")
    assert body_of(backend, KEY) == b"2"
    link.commit._turn.append(taken)
    assert statements(backend, lambda: backend.get(KEY)) == ["SELECT"]
    assert statements(backend, lambda: backend.get(KEY)) == []


def test_while_the_log_is_empty_nothing_is_kept(backend: SQLiteBackend, path: Path) -> None:
    """Its head may look the same again after a crash: it has no last commit to name."""
    put(backend, KEY, b"1")
    connection = sqlite3.connect(path, isolation_level=None)
    assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)
    connection.close()
    for _ in range(3):
        assert statements(backend, lambda: backend.get(KEY)) == ["SELECT"]
    put(backend, KEY, b"2")
    assert statements(backend, lambda: backend.get(KEY)) == ["SELECT"]
    assert statements(backend, lambda: backend.get(KEY)) == []


def test_what_is_kept_is_bounded(backend: SQLiteBackend) -> None:
    keys = [b"g%016d" % number for number in range(3000)]
    for start in range(0, 3000, 500):
        backend.create_many([(key, key, None, ()) for key in keys[start : start + 500]])
    (link,) = backend._file._open_links()
    assert link.commit is not None
    for key in keys:
        assert body_of(backend, key) == key
        assert len(link.commit.state[1]) <= 1024
    assert statements(backend, lambda: backend.get(keys[-1])) == []


def test_nothing_is_kept_while_no_connection_is_open(path: Path) -> None:
    backend, beside = opened(path), sqlite3.connect(path, isolation_level=None)
    put(backend, KEY, b"1")
    backend.get(KEY)
    beside.execute("SELECT count(*) FROM record").fetchone()  # keeps -shm where it is
    shared = os.stat(f"{path}-shm").st_ino
    (link,) = backend._file._open_links()
    backend.close()
    again = opened(path)
    assert body_of(again, KEY) == b"1"
    (next_link,) = again._file._open_links()
    assert os.stat(f"{path}-shm").st_ino == shared
    assert next_link.commit is link.commit
    assert next_link.commit is not None
    again.close()
    assert next_link.commit.users == 0
    third = opened(path)
    assert statements_of_the_first_read(third) == ["SELECT"]
    third.close()
    beside.close()


def statements_of_the_first_read(backend: SQLiteBackend) -> list[str]:
    with backend._file.reading():
        pass
    return [word for word in statements(backend, lambda: backend.get(KEY)) if word == "SELECT"]


def test_a_forked_child_reads_what_its_parent_commits(backend: SQLiteBackend) -> None:
    put(backend, KEY, b"1")
    backend.get(KEY)
    here, there = _fork.Pipe()

    def child() -> None:
        for _ in range(2):
            there.send(body_of(backend, KEY))
            there.recv()

    process = _fork.Process(target=child, daemon=True)
    process.start()
    assert here.poll(30)
    assert here.recv() == b"1"
    put(backend, KEY, b"2")
    here.send(None)
    assert here.poll(30)
    assert here.recv() == b"2"
    here.send(None)
    process.join(30)
    assert process.exitcode == 0


def _count(path: Path, mine: bytes, other: bytes, told: Synchronized[int], heard: Synchronized[int]) -> None:
    """Raise the number under `mine`; after each commit tell it, and see that what was heard is there."""
    backend = opened(path)
    for lap in range(1, 1501):
        put(backend, mine, b"%d" % lap)
        told.value = lap
        assert body_of(backend, mine) == b"%d" % lap
        at_least = heard.value
        assert int(body_of(backend, other)) >= at_least
        at_least = heard.value
        found = backend.get_two(other, mine)
        assert found[0] is not None
        assert int(found[0].body) >= at_least
        assert found[1] == Entry(b"%d" % lap, b"%d" % lap)
    backend.close()


def test_what_was_committed_before_a_read_begins_is_read(path: Path) -> None:
    """Two processes, each of which knows by another way how far the other must have come."""
    backend = opened(path)
    for key in (KEY, OTHER):
        put(backend, key, b"0")
    backend.close()
    here, there = _fork.Value("q"), _fork.Value("q")
    child = _fork.Process(target=_count, args=(path, OTHER, KEY, there, here), daemon=True)
    child.start()
    _count(path, KEY, OTHER, here, there)
    child.join(60)
    assert child.exitcode == 0


def test_threads_that_share_what_is_kept_read_their_own_commits(path: Path) -> None:
    backend = opened(path)
    keys = [b"g%016d" % number for number in range(4)]
    for key in keys:
        put(backend, key, b"0")
    child = _fork.Process(target=_rotate_until_killed, args=(path, OTHER), daemon=True)
    child.start()

    def own(key: bytes) -> None:
        seen = dict.fromkeys(keys, 0)
        for lap in range(1, 401):
            put(backend, key, b"%d" % lap)
            for each in keys:
                now = int(body_of(backend, each))
                assert now >= seen[each]
                seen[each] = now
            assert seen[key] == lap

    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(own, keys))
    finally:
        child.kill()
        child.join()
    backend.close()


def _rotate_until_killed(path: Path, key: bytes) -> None:
    backend, lap = opened(path), 0
    while True:
        lap += 1
        put(backend, key, b"%d" % lap)


def test_after_a_writer_was_killed_all_is_as_sqlite_reads_it(backend: SQLiteBackend, path: Path) -> None:
    put(backend, KEY, b"0")
    put(backend, OTHER, b"0")
    plain = sqlite3.connect(path, isolation_level=None)
    for turn in range(15):
        child = _fork.Process(target=_rotate_until_killed, args=(path, OTHER), daemon=True)
        child.start()
        before, lap = body_of(backend, OTHER), 0
        while lap < 30 + turn:
            lap += body_of(backend, OTHER) != before
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        for _ in range(2):
            (stored,) = plain.execute("SELECT body FROM record WHERE key = ?", (OTHER,)).fetchone()
            assert body_of(backend, OTHER) == stored
        put(backend, KEY, b"%d" % turn)
        assert body_of(backend, KEY) == b"%d" % turn
    plain.close()


def test_a_file_is_not_taken_for_the_one_that_it_replaced(path: Path, tmp_path: Path) -> None:
    for name, body in (("oauth.db", b"old"), ("new.db", b"new")):
        made = opened(tmp_path / name)
        put(made, KEY, body)
        made.close()
    backend = opened(path)
    assert [body_of(backend, KEY) for _ in range(3)] == [b"old"] * 3
    backend.close()
    os.replace(tmp_path / "new.db", path)
    assert [body_of(backend, KEY) for _ in range(3)] == [b"new"] * 3
    backend.close()
