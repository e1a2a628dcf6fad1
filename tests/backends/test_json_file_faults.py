"""What goes wrong with a JSON file is said clearly, and is over once its cause is gone."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import RLock
from typing import Any

import pytest

from oauth_refresh.backends import json_disk
from oauth_refresh.backends.base import Entry
from oauth_refresh.backends.json_file import JSONFileBackend
from oauth_refresh.errors import RegistryError
from tests.backends.children import in_a_child

ONE, TWO = Entry(b"1", b"1"), Entry(b"2", b"2")
MODES = (
    "check owner and mode of the file, its .lock and its folder, which must all be writable, "
    "and whether the disk is mounted read-only"
)
HELD = (
    "a lock was held for too long; look for a process that was stopped, a backup that holds the lock, "
    "a disk that hangs, or a file that has grown too large (then move to sqlite:)"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


@pytest.fixture
def backend(path: Path) -> Iterator[JSONFileBackend]:
    backend = JSONFileBackend(str(path), timeout=0.05)
    assert backend.swap(b"k", None, b"1", index=[b"term"])
    yield backend
    backend.close()


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


def calls(backend: JSONFileBackend) -> list[Callable[[], object]]:
    """One of each kind."""
    return [
        lambda: backend.get(b"k"),
        lambda: backend.swap(b"k", ONE, b"2"),
        lambda: list(backend.find(b"term")),
        lambda: list(backend.keys()),
        lambda: backend.purge(0),
    ]


def as_nobody(action: Callable[[], object]) -> Any:
    """Root may write to what is read-only."""

    def run() -> object:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        return action()

    return in_a_child(run)


def files(path: Path) -> list[str]:
    return sorted(file.name for file in path.parent.iterdir())


@pytest.fixture
def lock(backend: JSONFileBackend, path: Path) -> Iterator[int]:
    """The lock, in the hand of another."""
    descriptor = os.open(f"{path}.lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield descriptor
    os.close(descriptor)


# --- locks


def test_a_lock_held_too_long_is_told_and_reads_go_on(
    backend: JSONFileBackend, path: Path, lock: int
) -> None:
    told = f"registry {path}: locked by another process: {HELD}"
    assert trouble(lambda: backend.swap(b"k", ONE, b"2")) == told
    assert trouble(lambda: backend.purge(0)) == told
    assert (backend.get(b"k"), list(backend.find(b"term"))) == (ONE, [b"k"])
    fcntl.flock(lock, fcntl.LOCK_UN)
    assert backend.swap(b"k", ONE, b"2") is True


def test_a_lock_that_ends_in_time_is_waited_for(
    backend: JSONFileBackend, path: Path, lock: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = JSONFileBackend(str(path), timeout=5.0)
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        if sum(naps) > 4.9:
            fcntl.flock(lock, fcntl.LOCK_UN)

    monkeypatch.setattr(json_disk, "sleep", nap)
    assert patient.swap(b"k", ONE, b"2") is True
    assert 4.9 < sum(naps) < 5.0
    assert max(naps) <= 0.02
    assert len(set(naps)) > len(naps) / 2


def test_a_thread_that_writes_too_long_is_told(backend: JSONFileBackend, path: Path) -> None:
    with backend._file.locked():
        assert trouble(lambda: backend.swap(b"k", ONE, b"2")) == (
            f"registry {path}: locked by other threads: {HELD}"
        )
        assert backend.get(b"k") == ONE
    assert backend.swap(b"k", ONE, b"2") is True


def test_a_lock_file_that_was_deleted_locks_nobody(backend: JSONFileBackend, path: Path, lock: int) -> None:
    os.unlink(f"{path}.lock")
    assert backend.swap(b"k", ONE, b"2") is True
    assert files(path) == ["tokens.json", "tokens.json.lock"]


def test_a_lock_on_a_file_that_was_deleted_meanwhile_is_not_relied_on(
    backend: JSONFileBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was opened before, and locked after: others have the lock of the new file."""
    flock = fcntl.flock
    operations: list[int] = []

    def delete_first(descriptor: int, operation: int) -> None:
        if not operations:
            os.unlink(f"{path}.lock")
        operations.append(operation)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", delete_first)
    assert backend.swap(b"k", ONE, b"2") is True
    assert operations == [fcntl.LOCK_EX | fcntl.LOCK_NB] * 2 + [fcntl.LOCK_UN]


def test_a_lock_file_that_is_deleted_during_a_write_is_told(
    backend: JSONFileBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: os.unlink(f"{path}.lock"))
        assert trouble(lambda: backend.swap(b"k", ONE, b"2")) == (
            f"registry {path}: {path}.lock was deleted while in use; leave it where it is"
        )
    assert (path.read_bytes(), files(path)) == (before, ["tokens.json"])
    assert backend.swap(b"k", ONE, b"2") is True


def test_locks_that_do_not_work_are_told(
    backend: JSONFileBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", flock)
        assert trouble(lambda: backend.swap(b"k", ONE, b"2")) == (
            f"registry {path}: No locks available: its locks do not work; "
            "keep it on a local disk, not on a network file system"
        )
    assert backend.swap(b"k", ONE, b"2") is True


# --- permissions and places


def test_a_read_only_folder_is_told_and_reads_go_on(open_folder: Path) -> None:
    path = open_folder / "tokens.json"

    def act() -> tuple[str, str, Entry | None, bool]:
        backend = JSONFileBackend(str(path))
        open_folder.chmod(0o555)
        no_file = trouble(lambda: backend.get(b"k"))
        open_folder.chmod(0o777)
        backend.swap(b"k", None, b"1")
        open_folder.chmod(0o555)
        refused = trouble(lambda: backend.swap(b"k", ONE, b"2"))
        read = backend.get(b"k")
        open_folder.chmod(0o777)
        return no_file, refused, read, backend.swap(b"k", ONE, b"2")

    if os.geteuid() == 0:
        shutil.chown(open_folder, 65534, 65534)
    told = f"registry {path}: Permission denied: {MODES}"
    assert as_nobody(act) == (told, told, ONE, True)


def test_a_file_that_may_not_be_read_is_told(open_folder: Path) -> None:
    path = open_folder / "tokens.json"

    def act() -> tuple[list[str], bool]:
        JSONFileBackend(str(path)).swap(b"k", None, b"1", index=[b"term"])
        backend = JSONFileBackend(str(path))
        path.chmod(0)
        refused = [trouble(call) for call in calls(backend)]
        path.chmod(0o600)
        return refused, backend.swap(b"k", ONE, b"2")

    assert as_nobody(act) == ([f"registry {path}: Permission denied: {MODES}"] * 5, True)


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "missing"
    backend = JSONFileBackend(str(folder / "tokens.json"))
    for call in calls(backend):
        assert trouble(call) == (
            f"registry {folder}/tokens.json: No such file or directory: there is no folder {folder}; "
            "create it, writable for the user that runs the server"
        )
    folder.mkdir()
    assert backend.swap(b"k", None, b"1") is True


def test_a_file_in_place_of_the_folder_is_told(backend: JSONFileBackend, path: Path) -> None:
    within = path / "tokens.json"
    for call in calls(JSONFileBackend(str(within))):
        assert trouble(call) == (
            f"registry {within}: Not a directory: a part of its path is a file; set another path"
        )


def test_a_folder_in_place_of_the_file_is_told(tmp_path: Path) -> None:
    for call in calls(JSONFileBackend(str(tmp_path))):
        assert (
            trouble(call) == f"registry {tmp_path}: Is a directory: this is a folder; set the path of a file"
        )


def test_a_pipe_in_place_of_the_file_is_told(path: Path) -> None:
    os.mkfifo(path)
    for call in calls(JSONFileBackend(str(path))):
        assert trouble(call) == f"registry {path}: this is not a regular file: set the path of a file"


def test_links_that_lead_in_a_circle_are_told(path: Path) -> None:
    path.symlink_to(path)
    for call in calls(JSONFileBackend(str(path))):
        assert trouble(call) == (
            f"registry {path}: Too many levels of symbolic links: "
            "its symbolic links lead in a circle, or its .lock is one; remove them"
        )


def test_a_file_that_is_a_mount_of_its_own_is_told(
    backend: JSONFileBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replace(new: str, old: str) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        assert trouble(lambda: backend.swap(b"k", ONE, b"2")) == (
            f"registry {path}: Device or resource busy: the file is a mount of its own and cannot be "
            "replaced; mount its folder"
        )
    assert files(path) == ["tokens.json", "tokens.json.lock"]
    assert backend.swap(b"k", ONE, b"2") is True


# --- room


@pytest.mark.parametrize("step", ["write", "fsync"])
def test_a_full_disk_is_told_and_loses_nothing(
    backend: JSONFileBackend, path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    before = path.read_bytes()
    write = os.write

    def fail(descriptor: int, data: bytes = b"") -> int:
        write(descriptor, data[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        assert trouble(lambda: backend.swap(b"k", ONE, b"2")) == (
            f"registry {path}: No space left on device: make room on the disk, then it goes on by itself"
        )
    assert (path.read_bytes(), files(path)) == (before, ["tokens.json", "tokens.json.lock"])
    assert backend.get(b"k") == ONE
    assert backend.swap(b"k", ONE, b"2") is True


def test_a_limit_of_file_size_is_told_and_loses_nothing(backend: JSONFileBackend, path: Path) -> None:
    def act() -> tuple[str, list[str], Entry | None, bool]:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
        refused = trouble(lambda: backend.swap(b"k", ONE, bytes(65536)))
        left, read = files(path), backend.get(b"k")
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        return refused, left, read, backend.swap(b"k", ONE, bytes(65536))

    assert in_a_child(act) == (
        f"registry {path}: File too large: raise the limit of file size, or move to sqlite:",
        ["tokens.json", "tokens.json.lock"],
        ONE,
        True,
    )


def test_a_folder_that_is_not_written_leaves_the_outcome_open(
    backend: JSONFileBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync = os.fsync

    def fail(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, "Input/output error")
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        assert trouble(lambda: backend.swap(b"k", ONE, b"2")) == (
            f"registry {path}: Input/output error: see the system's log; the last change may not be stored "
            "(whether the change was stored is unknown)"
        )
    assert backend.get(b"k") == TWO


# --- damage and strange files


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "line 1: the file is empty: restore a backup, or delete it to begin anew"),
        (
            b'{"version":3,"records":{\n"k=":{"te',
            (
                "line 2: Input data was truncated: mend the file or restore a backup; "
                "it is left as it is, and read again when it has changed"
            ),
        ),
        (
            b'{"version":4}',
            (
                "line 1: its format 4 is newer than this release's (3): "
                "install the release that wrote it, or a later one"
            ),
        ),
        (b"[]", 'line 1: this is not a registry file (it names no "version"): set another path'),
    ],
    ids=["empty", "truncated", "newer", "something else"],
)
def test_a_file_that_cannot_be_read_is_told_and_left_alone(
    backend: JSONFileBackend, path: Path, content: bytes, reason: str
) -> None:
    before = path.read_bytes()
    path.write_bytes(content)
    fresh = JSONFileBackend(str(path))
    for call in [*calls(backend), *calls(fresh)]:
        assert trouble(call) == f"registry {path}: {reason}"
    assert (path.read_bytes(), files(path)) == (content, ["tokens.json", "tokens.json.lock"])
    path.write_bytes(before)
    assert fresh.get(b"k") == ONE
    assert backend.swap(b"k", ONE, b"2") is True


# --- files that go away under us


def test_a_file_that_is_moved_away_is_missed_not_begun_anew(backend: JSONFileBackend, path: Path) -> None:
    away = path.with_name("away.json")
    path.rename(away)
    for call in calls(backend):
        assert trouble(call) == (
            f"registry {path}: the file was deleted while in use; put it back, "
            "or restart the server to begin with an empty registry"
        )
    backend.close()
    assert "was deleted" in trouble(lambda: backend.get(b"k"))
    assert not path.exists()
    away.rename(path)
    assert backend.swap(b"k", ONE, b"2") is True


def test_a_first_file_that_another_thread_writes_meanwhile_is_not_missed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = JSONFileBackend(str(path))
    look = json_disk.WholeFile.read

    def look_before_the_other_writes(file: json_disk.WholeFile) -> Any:
        found = look(file)
        monkeypatch.undo()
        assert found is None
        assert backend.swap(b"k", None, b"1", index=[b"term"])
        return found

    monkeypatch.setattr(json_disk.WholeFile, "read", look_before_the_other_writes)
    # Under its own lock the backend would wait for itself: the other thread has the writer's.
    monkeypatch.setattr(backend, "_loading", RLock())
    assert backend.get(b"k") == ONE


def test_after_a_restart_a_missing_file_is_begun_anew(backend: JSONFileBackend, path: Path) -> None:
    path.unlink()
    assert JSONFileBackend(str(path)).get(b"k") is None
    assert backend.get(b"k") is None
    assert backend.swap(b"k", None, b"2") is True


def test_a_folder_that_is_moved_away_is_missed(tmp_path: Path) -> None:
    folder, away = tmp_path / "here", tmp_path / "away"
    folder.mkdir()
    backend = JSONFileBackend(str(folder / "tokens.json"))
    backend.swap(b"k", None, b"1")
    folder.rename(away)
    for call in calls(backend):
        assert f"there is no folder {folder}; create it" in trouble(call)
    away.rename(folder)
    assert backend.swap(b"k", ONE, b"2") is True


def test_a_backup_that_is_put_in_its_place_is_read(backend: JSONFileBackend, path: Path) -> None:
    backup = path.with_name("backup.json")
    shutil.copy2(path, backup)
    assert backend.swap(b"k", ONE, b"2") is True
    shutil.copy2(backup, path)
    assert backend.get(b"k") == ONE
    backend.swap(b"k", ONE, b"2")
    backup.rename(path)
    assert backend.get(b"k") == ONE
    assert backend.swap(b"k", ONE, b"3") is True
