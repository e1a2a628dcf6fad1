"""Ways to break a registry file under a running server, and to mend it again."""

from __future__ import annotations

import ctypes
import os
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

_HOLD = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[2:]:
    database.execute(statement)
print("held", flush=True)
sys.stdin.read()
"""

_CAPABILITY_VERSION = 0x20080522
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1 << 1, 1 << 2


@contextmanager
def locked(path: Path, *statements: str) -> Iterator[None]:
    """Another process has the file open, and whatever locks these statements take."""
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path), *statements],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield
    finally:
        holder.communicate(timeout=30)


@contextmanager
def overwritten(path: Path, start: int) -> Iterator[None]:
    """Everything from `start` on is noise, in the same file."""
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    good = path.read_bytes()
    path.write_bytes(good[:start] + b"\xa5" * (len(good) - start))
    try:
        yield
    finally:
        path.write_bytes(good)


@contextmanager
def emptied(path: Path) -> Iterator[None]:
    with overwritten(path, 0):
        os.truncate(path, 0)
        yield


@contextmanager
def moved_away(path: Path) -> Iterator[None]:
    elsewhere = path.with_name("elsewhere")
    path.rename(elsewhere)
    try:
        yield
    finally:
        elsewhere.rename(path)


@contextmanager
def modes(path: Path, *, mode: int = 0o444, folder: int = 0o555) -> Iterator[None]:
    """File and folder have these modes. Root heeds them in `as_ordinary_owner` only."""
    before = path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777
    path.chmod(mode)
    path.parent.chmod(folder)
    try:
        yield
    finally:
        path.parent.chmod(before[1])
        path.chmod(before[0])


def as_ordinary_owner(call: Callable[[], None]) -> None:
    """Call it in a thread that has laid down root's power to ignore the modes of files."""
    with ThreadPoolExecutor(1, initializer=_lay_down) as thread:
        thread.submit(call).result()


@contextmanager
def no_room(path: Path, pids: Sequence[int]) -> Iterator[None]:
    """These processes can add nothing to the write-ahead log, to which every change goes first.

    The log is kept as long as it is by a process that has the file open: the last one to close it empties
    the log, and then there would be room again.
    """
    with locked(path, "SELECT count(*) FROM sqlite_master"):
        _limit(pids, path.with_name(f"{path.name}-wal").stat().st_size)
        try:
            yield
        finally:
            _limit(pids, resource.RLIM_INFINITY)


def _limit(pids: Sequence[int], size: int) -> None:
    for pid in pids:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def _lay_down() -> None:
    # Capabilities belong to a thread, and what it lays down it does not get back.
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
    # Effective, permitted and inheritable: of the low 32 capabilities, then of the high ones.
    sets = (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capget(header, sets) == 0
    for which in (0, 1):
        sets[which] &= ~(_CAP_DAC_OVERRIDE | _CAP_DAC_READ_SEARCH)
    assert libc.capset(header, sets) == 0
