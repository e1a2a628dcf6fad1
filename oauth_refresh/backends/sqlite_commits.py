"""Has anything been committed to a SQLite file since? Asked of SQLite's own memory, in 30 ns.

In WAL mode all connections to a file, of all processes, share the file `-shm`, mapped into memory. Its head
names the last commit: SQLite writes it as the last step of each commit, and each of SQLite's own reads begins
by comparing it with what it was, to decide whether the pages that it holds are still good. This is the same
comparison of the same bytes, so whoever trusts it reads what SQLite would have read. (Layout of the head:
"WAL-mode File Format" in SQLite's documentation, section 2.1.)

Four things would be wrong, and shape what follows:

- To close any descriptor of a file drops every lock that the process has on it, SQLite's as well. So a
  descriptor of `-shm` stays open until the file has been deleted, which only the last connection does. It is
  mapped by the system's `mmap` itself, because Python's makes a second descriptor, and closes it by itself.
- A head that was looked at while it was written is one half of this commit and one half of another, and may
  look like neither. It proves nothing.
- Nor does a head that names no commit: after a crash it may come back with other records.
- While no connection of this process is open, SQLite may begin the file anew. So nothing that was read is
  kept over such a time.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
from collections.abc import Callable
from functools import partial
from threading import RLock
from typing import Any

HEAD_BYTES = 100
"""It stands there twice, 48 bytes each. SQLite writes the second first, and believes them if they agree.
Behind them: how many of the log's frames are in the file by now."""

_ONE_COPY, _OTHER_COPY = slice(48), slice(48, 96)
_FORMAT = (3007000).to_bytes(4, sys.byteorder)
_LAST_FRAME = slice(16, 20)
_NO_FRAME = bytes(4)
_commit_of = struct.Struct("=16xI12x8s56xI").unpack
"""The number of the log's last frame, the salt of this log, which is begun anew with another, and the number
of the last frame that is in the file."""

_KNOWN_MAX = 1024

State = tuple[bytes, dict[bytes, Any], int, bytes, bool]
"""A head, what was read while it stood there and is good for as long as it does, last frame and salt of the
head, and whether it is of a commit of this process that is not in the file yet. Compared by identity."""

_NO_FRAME_BEFORE = -2
"""No frame is the next one after it."""

NOTHING_READ: State = (b"", {}, _NO_FRAME_BEFORE, b"", False)
"""No file has such a head, so nothing is ever remembered under it."""


class LastCommit:
    """The head of one `-shm` file, for all connections of this process, and what they have read since.

    A reader takes `state`, then looks at the `head()`. If that is the state's, all that the state knows is as
    it is in the file; if not, `begin_again` gives the state under which to `remember` what is read next.

    Who remembers takes the one turn, and who finds it taken does not wait: it may be this very thread that
    has it, in whose midst a signal handler or a finalizer runs. What is not remembered is read again.
    """

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)
        self.head, self._unmap = _map(self._descriptor)
        self.state = NOTHING_READ
        self.users = 0
        self._turn = [True]

    def begin_again(self, head: bytes) -> State:
        is_proof = head[_LAST_FRAME] != _NO_FRAME and head[_ONE_COPY] == head[_OTHER_COPY]
        state: State = (b"", {}, _NO_FRAME_BEFORE, b"", False)
        if is_proof:
            frame, salt, _ = _commit_of(head)
            state = (head, {}, frame, salt, False)
        self.state = state
        return state

    def remember(self, state: State, key: bytes, found: Any) -> None:
        """What `key` led to, read after `state` was taken."""
        turn = self._turn
        try:
            turn.pop()
        except IndexError:
            return
        try:
            if self.state is state:
                known = state[1]
                if len(known) >= _KNOWN_MAX:
                    known.clear()
                known[key] = found
        finally:
            turn.append(True)

    def wrote(self, state: State, key: bytes, stored: Any) -> None:
        """This process took `state`, and has just committed what `key` leads to, which was something else.

        If that is the one commit since, everything else that was known is still good.
        """
        head, turn = self.head(), self._turn
        if head[_ONE_COPY] != head[_OTHER_COPY]:
            return
        _, known, frame_before, salt_before, _ = state
        frame, salt, in_file = _commit_of(head)
        # A commit of one page adds one frame to the log, any other more.
        if frame != frame_before + 1 or salt != salt_before:
            return
        try:
            turn.pop()
        except IndexError:
            return
        try:
            if self.state is state:
                known[key] = stored
                self.state = (head, known, frame, salt, in_file < frame)
        finally:
            turn.append(True)

    def is_ours_alone(self) -> bool:
        """Whether the last commit is one of this process, and its file does not have it yet."""
        state = self.state
        return state[4] and self.head() == state[0]

    @property
    def is_deleted(self) -> bool:
        return os.fstat(self._descriptor).st_nlink == 0

    def close(self) -> None:
        self.head = _no_head
        self._unmap()
        os.close(self._descriptor)


def last_commit(path: str) -> LastCommit | None:
    """Of the file at `path`, which a connection of this process has read; None where it cannot be had.

    That connection counts as a user from now until `leave`.
    """
    if not _CAN_MAP:
        return None
    shared = os.path.realpath(path) + "-shm"
    with _lock:
        try:
            found = os.stat(shared)
            if found.st_size < HEAD_BYTES or not _is_mapped(shared):
                return None
            place = found.st_dev, found.st_ino
            commit = _commits.get(place)
            if commit is None:
                commit = _commits[place] = LastCommit(shared)
        except (OSError, ImportError):
            return None
        # One that could not be mapped keeps its place, for its descriptor must not be closed.
        if not commit.head().startswith(_FORMAT):
            return None
        if not commit.users:
            commit.state = NOTHING_READ
        commit.users += 1
    return commit


def leave(commit: LastCommit) -> None:
    """Once for each user, before its connection is closed."""
    with _lock:
        commit.users -= 1


def close_those_deleted() -> None:
    """After a connection was closed. A finalizer or a signal handler may do the same in its midst."""
    with _lock:
        for place in list(_commits):
            commit = _commits.pop(place, None)
            if commit is None:
                continue
            if commit.users or not commit.is_deleted:
                _commits.setdefault(place, commit)
            else:
                commit.close()


def forget_commits() -> None:
    """In a forked child, which has none of the locks that closing would drop."""
    global _lock
    _lock = RLock()
    for commit in _commits.values():
        if not commit.users:
            commit.close()
    _commits.clear()


_lock = RLock()
_commits: dict[tuple[int, int], LastCommit] = {}

_CAN_MAP = sys.platform == "linux" and sys.implementation.name == "cpython" and sys.maxsize > 2**32
_FAILED = 2**64 - 1


def _map(descriptor: int) -> tuple[Callable[[], bytes], Callable[[], object]]:
    """How to read the head from now on, until the second is called. No head if the system refuses."""
    from ctypes import CDLL, c_int, c_long, c_size_t, c_ubyte, c_void_p

    system = CDLL(None)
    system.mmap.restype = c_void_p
    system.mmap.argtypes = (c_void_p, c_size_t, c_int, c_int, c_int, c_long)
    system.munmap.argtypes = (c_void_p, c_size_t)
    address = system.mmap(None, HEAD_BYTES, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    if address == _FAILED:
        return _no_head, lambda: None
    head = memoryview((c_ubyte * HEAD_BYTES).from_address(address))
    return head.tobytes, partial(system.munmap, address, HEAD_BYTES)


def _no_head() -> bytes:
    return b"none"


def _is_mapped(path: str) -> bool:
    """Whether SQLite, which does not tell what it maps, has mapped this file, and not one elsewhere."""
    with open("/proc/self/maps", "rb") as maps:
        return any(line.rstrip(b"\n").endswith(b" " + os.fsencode(path)) for line in maps)
