"""What goes wrong with a SQLite file is said clearly, and is over once its cause is gone."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from oauth_refresh.backends import sqlite_file
from oauth_refresh.backends.base import Entry
from oauth_refresh.backends.sqlite import SQLiteBackend
from oauth_refresh.errors import RegistryError
from tests.backends.children import in_a_child

ONE, TWO = Entry(b"1", b"1"), Entry(b"2", b"2")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "oauth.db"


@pytest.fixture
def backend(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SQLiteBackend]:
    monkeypatch.setattr(sqlite_file, "_TRUST_SECONDS", 0.0)
    backend = SQLiteBackend(str(path), timeout=0.05)
    assert backend.swap(b"k", None, b"1", index=[b"term"])
    yield backend
    backend.close()


@pytest.fixture
def other(backend: SQLiteBackend, path: Path) -> Iterator[sqlite3.Connection]:
    other = sqlite3.connect(path, isolation_level=None)
    yield other
    other.close()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user may write to, all the way down."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def trouble(call: Callable[[], object]) -> str:
    with pytest.raises(RegistryError) as raised:
        call()
    return str(raised.value)


def as_nobody(action: Callable[[], object]) -> Any:
    """Root may write to what is read-only."""

    def run() -> object:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        return action()

    return in_a_child(run)


# --- locks


def test_a_lock_held_too_long_is_told_and_reads_go_on(
    backend: SQLiteBackend, other: sqlite3.Connection, path: Path
) -> None:
    other.execute("BEGIN IMMEDIATE")
    assert trouble(lambda: backend.swap(b"k", ONE, b"2")) == (
        f"registry {path}: database is locked: a lock was held for too long; "
        "look for a backup, an open sqlite3 shell, a disk that hangs"
    )
    assert "is locked" in trouble(lambda: backend.swap(b"new", None, b"1"))
    assert "is locked" in trouble(lambda: backend.purge(0))
    assert backend.get(b"k") == ONE
    other.execute("ROLLBACK")
    assert backend.swap(b"k", ONE, b"2") is True


def test_a_lock_that_ends_in_time_is_waited_for(
    path: Path, backend: SQLiteBackend, other: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = SQLiteBackend(str(path), timeout=5.0)
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if sum(naps) > 4.9 and other.in_transaction:
            other.execute("ROLLBACK")

    monkeypatch.setattr(sqlite_file, "sleep", nap)
    other.execute("BEGIN IMMEDIATE")
    assert patient.swap(b"k", ONE, b"2") is True
    assert 4.9 < sum(naps) < 5.0
    assert max(naps) <= 0.02
    assert len(set(naps)) > len(naps) / 2
    patient.close()


def test_a_file_locked_for_reading_too_is_told(path: Path, backend: SQLiteBackend) -> None:
    backend.close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    for call in (
        lambda: backend.get(b"k"),
        lambda: list(backend.find(b"term")),
        lambda: list(backend.keys()),
    ):
        assert "database is locked" in trouble(call)
    other.close()
    assert backend.get(b"k") == ONE


def test_a_thread_that_writes_too_long_is_told(backend: SQLiteBackend) -> None:
    with backend._file.writing():
        assert "locked by other threads" in trouble(lambda: backend.swap(b"k", ONE, b"2"))
        assert backend.get(b"k") == ONE
    assert backend.swap(b"k", ONE, b"2") is True


# --- permissions and places


def test_a_read_only_file_is_told_and_reads_go_on(open_folder: Path) -> None:
    path = open_folder / "oauth.db"

    def act() -> tuple[str, Entry | None, bool]:
        backend = SQLiteBackend(str(path))
        backend.swap(b"k", None, b"1")
        backend.close()
        path.chmod(0o444)
        refused = trouble(lambda: backend.swap(b"k", ONE, b"2"))
        read = backend.get(b"k")
        for file in open_folder.iterdir():
            file.chmod(0o600)
        return refused, read, backend.swap(b"k", ONE, b"2")

    refused, read, swapped = as_nobody(act)
    assert refused == (
        f"registry {path}: attempt to write a readonly database: check owner and mode of the file, its -wal "
        "and -shm, and its folder, which must all be writable, and whether the disk is mounted read-only"
    )
    assert (read, swapped) == (ONE, True)


def test_a_read_only_folder_is_told(open_folder: Path) -> None:
    path = open_folder / "oauth.db"

    def act() -> tuple[str, str, bool]:
        backend = SQLiteBackend(str(path))
        open_folder.chmod(0o555)
        no_file = trouble(lambda: backend.get(b"k"))
        open_folder.chmod(0o777)
        backend.swap(b"k", None, b"1")
        backend.close()
        open_folder.chmod(0o555)
        no_log = trouble(lambda: backend.get(b"k"))
        open_folder.chmod(0o777)
        return no_file, no_log, backend.swap(b"k", ONE, b"2")

    if os.geteuid() == 0:
        shutil.chown(open_folder, 65534, 65534)
    no_file, no_log, swapped = as_nobody(act)
    advice = "check owner and mode of the file, its -wal and -shm, and its folder, which must all be writable"
    assert no_file == f"registry {path}: Permission denied: {advice}"
    assert advice in no_log
    assert swapped is True


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "missing"
    backend = SQLiteBackend(str(folder / "oauth.db"))
    for _ in range(2):
        assert trouble(lambda: backend.get(b"k")) == (
            f"registry {folder}/oauth.db: No such file or directory: there is no folder {folder}; "
            "create it, writable for the user that runs the server"
        )
    folder.mkdir()
    assert backend.swap(b"k", None, b"1") is True
    backend.close()


def test_a_folder_in_place_of_the_file_is_told(tmp_path: Path) -> None:
    assert trouble(lambda: SQLiteBackend(str(tmp_path)).get(b"k")) == (
        f"registry {tmp_path}: unable to open database file: this is a folder; set the path of a file"
    )


# --- room


def test_a_full_disk_is_told_and_loses_nothing(backend: SQLiteBackend, path: Path) -> None:
    with backend._file.reading() as link:
        (pages,) = link.execute("PRAGMA page_count").fetchone()
        link.execute(f"PRAGMA max_page_count = {pages}")
    assert trouble(lambda: backend.swap(b"k", ONE, bytes(65536))) == (
        f"registry {path}: database or disk is full: make room on the disk, then it goes on by itself"
    )
    assert backend.get(b"k") == ONE
    assert backend.swap(b"k", ONE, bytes(65536)) is True


def test_a_limit_of_file_size_is_told_and_loses_nothing(backend: SQLiteBackend) -> None:
    def act() -> tuple[str, list[str], Entry | None, bool]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        backend.get(b"k")
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
        refused = trouble(lambda: backend.swap(b"k", ONE, bytes(65536), index=[b"other"]))
        read = backend.get(b"k")
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        named = [term for term in ("term", "other") if list(backend.find(term.encode()))]
        return refused, named, read, backend.swap(b"k", ONE, bytes(65536))

    refused, named, read, swapped = in_a_child(act)
    assert "disk I/O error: see the system's log" in refused
    assert (named, read, swapped) == (["term"], ONE, True)


def test_a_commit_that_fails_leaves_the_outcome_open(backend: SQLiteBackend, path: Path) -> None:
    with backend._file.reading() as link:
        execute = link.execute

        def fail_to_commit(statement: str, values: tuple[object, ...] = ()) -> sqlite3.Cursor:
            if statement == "COMMIT":
                raise sqlite3.OperationalError("disk I/O error")
            return execute(statement, values)

        link.execute = fail_to_commit  # type: ignore[assignment]
    assert trouble(lambda: backend.swap(b"new", None, b"1")) == (
        f"registry {path}: disk I/O error: see the system's log, quotas and limits of file size; "
        "a last change may be lost or stored (whether the change was stored is unknown)"
    )
    assert backend.swap(b"new", None, b"1") is True


# --- damage and strange files


def damaged(path: Path, at: int, junk: bytes) -> bytes:
    """The file's bytes as they were before `junk` was written into it."""
    before = path.read_bytes()
    path.write_bytes(before[:at] + junk + before[at + len(junk) :])
    return before


def test_a_damaged_header_is_told(backend: SQLiteBackend, path: Path) -> None:
    backend.close()
    before = damaged(path, 0, b"\0" * 100)
    assert trouble(lambda: backend.get(b"k")) == (
        f"registry {path}: file is not a database: it is damaged or of another kind; "
        "restore a backup, or set another path"
    )
    path.write_bytes(before)
    assert backend.get(b"k") == ONE


def test_damaged_pages_are_told(backend: SQLiteBackend, path: Path) -> None:
    backend.close()
    before = damaged(path, 2048, os.urandom(path.stat().st_size - 2048))
    for call in (lambda: backend.get(b"k"), lambda: backend.swap(b"k", ONE, b"2")):
        assert trouble(call) == (
            f"registry {path}: database disk image is malformed: it is damaged; stop the server and "
            "restore a backup, or try the .recover of sqlite3"
        )
    path.write_bytes(before)
    assert backend.swap(b"k", ONE, b"2") is True


@pytest.mark.parametrize("size", [2, 50, 2048, 2049, 5000])
def test_a_truncated_file_is_told(backend: SQLiteBackend, path: Path, size: int) -> None:
    backend.close()
    before = path.read_bytes()
    os.truncate(path, size)
    for call in (lambda: backend.get(b"k"), lambda: backend.swap(b"k", ONE, b"2")):
        assert "restore a backup" in trouble(call)
    path.write_bytes(before)
    assert backend.swap(b"k", ONE, b"2") is True


def test_a_database_of_something_else_is_not_touched(path: Path) -> None:
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE record (key BLOB)")
    other.close()
    before = path.read_bytes()
    assert trouble(lambda: SQLiteBackend(str(path)).swap(b"k", None, b"1")) == (
        f"registry {path}: this is a database of something else; set another path"
    )
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["oauth.db"]


def test_a_newer_format_is_told(backend: SQLiteBackend, path: Path) -> None:
    backend.close()
    with sqlite3.connect(path) as newer:
        newer.execute("PRAGMA user_version = 2")
        for call in (lambda: backend.get(b"k"), lambda: backend.swap(b"k", ONE, b"2")):
            assert trouble(call) == (
                f"registry {path}: its format 2 is newer than this release's (1); "
                "install the release that wrote it, or a later one"
            )
        newer.execute("PRAGMA user_version = 1")
    newer.close()
    assert backend.get(b"k") == ONE


# --- files that go away under us


def test_a_file_that_is_moved_away_is_missed_not_begun_anew(
    backend: SQLiteBackend, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    away = path.with_name("away.db")
    path.rename(away)
    for call in (lambda: backend.get(b"k"), lambda: backend.swap(b"k", ONE, b"2"), lambda: backend.purge(0)):
        assert trouble(call) == (
            f"registry {path}: the file was deleted or emptied while in use; stop the server, "
            "put it back and start again, or restart the server to begin with an empty registry"
        )
    assert not path.exists()
    away.rename(path)
    assert backend.swap(b"k", ONE, b"2") is True
    assert [record.getMessage() for record in caplog.records] == [
        f"registry {path}: the file was deleted, emptied or replaced while in use"
    ]


def test_a_file_that_is_emptied_is_missed_not_begun_anew(backend: SQLiteBackend, path: Path) -> None:
    backend.close()
    before = path.read_bytes()
    backend.get(b"k")
    os.truncate(path, 0)
    for call in (lambda: backend.get(b"k"), lambda: backend.swap(b"k", ONE, b"2")):
        assert "the file was deleted or emptied while in use" in trouble(call)
    path.write_bytes(before)
    assert backend.get(b"k") == ONE


def test_a_file_that_is_replaced_is_opened(backend: SQLiteBackend, path: Path) -> None:
    restored = path.with_name("restored.db")
    backup = SQLiteBackend(str(restored))
    backup.swap(b"k", None, b"2")
    backup.close()
    backend.close()
    assert backend.get(b"k") == ONE
    restored.rename(path)
    assert backend.get(b"k") == TWO
    assert backend.swap(b"k", TWO, b"3") is True


def test_a_file_without_records_does_not_take_the_place_of_one_in_use(
    backend: SQLiteBackend, path: Path
) -> None:
    assert backend.get(b"k") == ONE
    for each in path.parent.glob("oauth.db*"):
        each.unlink()
    begun_anew = SQLiteBackend(str(path))
    begun_anew.purge(0)
    for call in (lambda: backend.get(b"k"), lambda: backend.swap(b"n", None, b"2")):
        assert trouble(call) == (
            f"registry {path}: the file was replaced by one without any record while in use; stop the "
            "server, put the right one back and start again, or restart the server to begin with this one"
        )
    begun_anew.swap(b"k", None, b"2")
    assert backend.get(b"k") == TWO


def test_the_log_of_a_replaced_file_is_not_played_into_the_new_one(
    backend: SQLiteBackend, path: Path
) -> None:
    restored = path.with_name("restored.db")
    backup = SQLiteBackend(str(restored))
    backup.swap(b"k", None, b"2")
    backup.close()
    restored.rename(path)
    for call in (lambda: backend.get(b"k"), lambda: backend.swap(b"k", ONE, b"3")):
        assert trouble(call) == (
            f"registry {path}: the file was replaced while in use, but {path}-wal is of the "
            "old one; stop all processes that use it, delete the -wal and -shm files, and start again"
        )
    path.with_name("oauth.db-wal").unlink()
    path.with_name("oauth.db-shm").unlink()
    assert backend.get(b"k") == TWO


def test_reads_notice_a_replaced_file_within_a_second(
    backend: SQLiteBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(sqlite_file, "_TRUST_SECONDS", 1.0)
    monkeypatch.setattr(sqlite_file, "monotonic", lambda: clock[0])
    backend.close()
    backend.get(b"k")
    for _ in range(3):
        clock[0] += 0.4
        backend.get(b"k")
    path.unlink()
    clock[0] += 1.0
    assert "the file was deleted" in trouble(lambda: backend.get(b"k"))
