"""To know the last commit of a SQLite file costs nobody a lock, and no descriptor is left over."""

from __future__ import annotations

import gc
import os
import sqlite3
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from oauth_refresh.backends import sqlite_commits
from oauth_refresh.backends.sqlite_commits import LastCommit
from tests.backends.test_sqlite_commits import KEY, body_of, opened, put, statements

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "oauth.db"


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


def test_no_descriptor_is_left_over(tmp_path: Path) -> None:
    open_now = []
    for number in range(6):
        backend = opened(tmp_path / f"{number}.db")
        put(backend, KEY, b"1")
        backend.get(KEY)
        backend.close()
        open_now.append(descriptors())
    assert len(set(open_now)) == 1


def test_where_the_head_cannot_be_mapped_all_goes_on_without_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_commits, "_map", lambda descriptor: (sqlite_commits._no_head, int))
    its_own = sqlite3.connect(path, isolation_level=None)
    open_now = []
    for number in range(5):
        backend = opened(path)
        put(backend, KEY, b"%d" % number)
        its_own.execute("BEGIN IMMEDIATE")
        assert body_of(backend, KEY) == b"%d" % number
        assert statements(backend, partial(backend.get, KEY)) == ["SELECT"]
        backend.close()
        assert may_write(path) == "database is locked"
        its_own.execute("COMMIT")
        open_now.append(descriptors())
    assert len(set(open_now)) == 1
    its_own.close()


def test_closing_in_the_midst_of_closing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sqlite_commits.close_those_deleted()
    before = descriptors()
    backends = [opened(tmp_path / f"{number}.db") for number in range(4)]
    for backend in backends:
        put(backend, KEY, b"1")
    asked = []

    def is_deleted(commit: LastCommit) -> bool:
        asked.append(commit)
        if len(asked) == 1:
            for backend in backends:
                backend.close()
        return os.fstat(commit._descriptor).st_nlink == 0

    monkeypatch.setattr(LastCommit, "is_deleted", property(is_deleted))
    backends[0].close()
    monkeypatch.undo()
    sqlite_commits.close_those_deleted()
    assert len(asked) > 1
    assert descriptors() == before


def test_a_descriptor_that_others_need_is_closed_with_the_last(path: Path) -> None:
    before = descriptors()
    first, second = opened(path), opened(path)
    for backend in (first, second):
        put(backend, KEY, b"1")
    with_both = descriptors()
    first.close()
    assert before < descriptors() < with_both
    second.close()
    assert descriptors() == before


_ASK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=0)
try:
    connection.execute("BEGIN IMMEDIATE")
except sqlite3.OperationalError as error:
    print(error)
else:
    print("it may")
"""


def may_write(path: Path) -> str:
    """What another program hears that asks for the lock of writers."""
    answer = subprocess.run([sys.executable, "-c", _ASK, path], check=True, capture_output=True, text=True)
    return answer.stdout.strip()


def test_opening_and_closing_drops_no_lock(path: Path) -> None:
    holder = opened(path)
    put(holder, KEY, b"1")
    with suppress(ZeroDivisionError), holder._file.writing() as link, holder._file.transaction(link):
        link.execute("UPDATE record SET body = x'00'")
        assert may_write(path) == "database is locked"
        for _ in range(5):
            beside = opened(path)
            assert body_of(beside, KEY) == b"1"
            beside.close()
            del beside
            gc.collect()
            assert may_write(path) == "database is locked"
        raise ZeroDivisionError
    assert may_write(path) == "it may"
    assert body_of(holder, KEY) == b"1"
    holder.close()


def test_opening_and_closing_drops_no_lock_of_the_application(path: Path) -> None:
    """It may have a connection of its own to the same file, in the same process."""
    backend = opened(path)
    put(backend, KEY, b"1")
    backend.close()
    its_own = sqlite3.connect(path, isolation_level=None)
    its_own.execute("BEGIN IMMEDIATE")
    assert body_of(backend, KEY) == b"1"
    backend.close()
    gc.collect()
    assert may_write(path) == "database is locked"
    its_own.close()
