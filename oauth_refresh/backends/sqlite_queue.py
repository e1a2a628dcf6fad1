"""How the writing processes of a host stand in line for a SQLite file, each woken by the one before it.

SQLite itself lets them sleep and try in turn: whoever comes by at the right moment is next, and some wait a
hundred times as long as others. The line is a courtesy all the same, and SQLite's own lock decides who
writes: whatever goes wrong here costs order, never a record. So a process that does not stand in line, one
of an older release or a `sqlite3` shell, does no harm.
"""

from __future__ import annotations

import logging
import os
import stat
import struct
import sys
from contextlib import suppress
from threading import Lock
from time import monotonic, monotonic_ns, sleep
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from _socket import socket

try:
    from fcntl import F_GETLK, F_UNLCK, F_WRLCK, LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, fcntl, lockf
except ImportError:  # Windows: without a line
    lockf = None  # type: ignore[assignment]

logger = logging.getLogger("oauth_refresh")

LOCK_SUFFIX = ".lock"
_CROWDED_SECONDS = 1.0
_LOOK_SECONDS = 0.02
_SURE_SECONDS = 1.0
_OFF_SECONDS = 60.0
_NAP_SECONDS = 0.0005
_WAKE_SECONDS = 0.005
"""Then whoever waits looks for itself: between containers with networks of their own nobody is woken."""

_CAN_WAKE = sys.platform == "linux" and sys.maxsize > 2**32
_FLOCK = struct.Struct("hhqqi")
"""Linux's `struct flock` where pointers have 64 bits: type, whence, start, length, process."""


class Queue:
    """The line for the database at `path`, of which one thread of this process at a time may be part.

    Each process locks one byte of `<path>.lock`, at the nanosecond at which it came, and waits until nobody
    holds an earlier byte. The system counts a lock as its process's and ends it with the process, so a
    killed one is not waited for, and a forked one has none. The file has no content.
    """

    def __init__(self, path: str) -> None:
        self.threads = Lock()
        """To be held from `enter` to `leave`."""
        self.crowded_until = 0.0
        self.look_at = 0.0
        self._path = path + LOCK_SUFFIX
        self._database = path
        self._descriptor = -1
        self._sure_until = 0.0
        self._off_until = 0.0
        self._socket: socket | None = None
        self._opened = (0, 0)
        self._pid = 0
        self.place = 0
        """Where this process stands in line; 0 while it does not."""
        self._first = 1

    def is_crowded(self, now: float) -> bool:
        """Whether others were met less than a second ago, so that a writer had better stand in line at once.

        A process that writes without pause might never meet those who wait for it, and so looks now and then.
        `now` is of `time.monotonic`.
        """
        if now >= self.look_at:
            self.look_at = now + _LOOK_SECONDS
            if now >= self.crowded_until and self._others_wait(now):
                self.crowded_until = now + _CROWDED_SECONDS
        return now < self.crowded_until

    def meet(self) -> None:
        """Take note that another process writes."""
        self.crowded_until = monotonic() + _CROWDED_SECONDS

    def enter(self, seconds: float) -> float:
        """Wait until it is this process's turn, so many seconds at most; how many it took.

        Whoever is ahead then is taken for stopped: those who came so early are not waited for again.
        """
        begun = monotonic()
        if lockf is None or self.place or begun < self._off_until:
            return 0.0
        try:
            descriptor = self._open(begun)
            place = self.place = _take_place(descriptor, max(monotonic_ns(), self._first + 1))
            if _is_first(descriptor, self._first, place):
                return 0.0
            in_time = self._wait(descriptor, place, seconds)
        except OSError as error:
            self._off_until = begun + _OFF_SECONDS
            logger.warning(
                "registry %s: no line of writers, they try in turn: %s: %s; check owner and mode",
                self._database,
                self._path,
                error.strerror or error,
            )
            return 0.0
        if not in_time:
            self.leave()
            self._first = place
        self.meet()
        return monotonic() - begun

    def leave(self) -> None:
        """Let the next one go. Nothing happens if this process does not stand in line."""
        place, self.place = self.place, 0
        if place:
            with suppress(OSError):
                lockf(self._descriptor, LOCK_UN)
                self._wake(place + 1, 0)

    def close(self) -> None:
        """Close the lock file, unless a thread stands in line at this moment."""
        if self.threads.acquire(blocking=False):
            self._close()
            self.threads.release()

    def _others_wait(self, now: float) -> bool:
        if lockf is None or now < self._off_until or not os.path.exists(self._path):
            return False
        try:
            descriptor = self._open(now)
            if not _is_first(descriptor, self._first, max(monotonic_ns(), self._first + 1)):
                return True
            lockf(descriptor, LOCK_UN)
        except OSError:
            pass  # told by who enters
        return False

    def _open(self, now: float) -> int:
        if self._descriptor >= 0:
            if now < self._sure_until:
                return self._descriptor
            with suppress(OSError):
                if self._is_ours() and _identity(os.lstat(self._path)) == self._opened:
                    self._sure_until = now + _SURE_SECONDS
                    return self._descriptor
            self._close()
        self._descriptor = _open_file(self._path, self._database)
        self._opened = _identity(os.fstat(self._descriptor))
        if _CAN_WAKE:
            self._open_socket()
        self._sure_until = now + _SURE_SECONDS
        return self._descriptor

    def _close(self) -> None:
        if self._descriptor < 0:
            return
        with suppress(OSError):
            if self._is_ours():
                os.close(self._descriptor)
        if self._socket is not None:
            with suppress(OSError):
                if self._socket.getsockname() != self._address(self._pid).encode():
                    self._socket.detach()
                self._socket.close()
        self._descriptor, self._socket = -1, None

    def _is_ours(self) -> bool:
        """A process that becomes a daemon closes all descriptors: this may be somebody else's by now."""
        return _identity(os.fstat(self._descriptor)) == self._opened

    def _wait(self, descriptor: int, place: int, seconds: float) -> bool:
        """Until all who came before have left. It counts its waits, so it ends with a stopped clock too."""
        waited, pause = 0.0, _WAKE_SECONDS if self._socket else _NAP_SECONDS
        while waited < seconds:
            begun = monotonic()
            woken = self._listen(pause)
            waited += monotonic() - begun if woken else pause
            if _is_first(descriptor, self._first, place):
                return True
            if woken:
                self._wake(self._first, place - self._first)  # meant for one who came before
        return False

    def _open_socket(self) -> None:
        """The system can wait for a lock and wakes who is next, but then knows no limit of time.

        So who leaves asks the system whose lock is next, and wakes that process: by an empty datagram to a
        name that is no file. Who is woken looks whether it is its turn, so a false one does no harm.
        """
        # Here, because most processes never stand in line. Not `socket`, which gevent replaces: while this
        # greenlet waited others would go on, and those that write would stop them all at `threads`.
        import _socket

        made = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)
        try:
            self._pid = os.getpid()
            made.bind(self._address(self._pid))
        except OSError:
            made.close()
        else:
            self._socket = made

    def _address(self, pid: int) -> str:
        device, inode = self._opened
        return f"\0oauth-refresh {device}:{inode} {pid}"

    def _listen(self, seconds: float) -> bool:
        if self._socket is None:
            sleep(seconds)
            return False
        self._socket.settimeout(seconds)
        try:
            self._socket.recv(1)
        except TimeoutError:
            return False
        return True

    def _wake(self, start: int, length: int) -> None:
        """For the process that has been waiting longest in this part of the line; 0 is to its end."""
        if self._socket is not None:
            asked = _FLOCK.pack(F_WRLCK, os.SEEK_SET, start, length, 0)
            kind, _, _, _, pid = _FLOCK.unpack(fcntl(self._descriptor, F_GETLK, asked))
            if kind != F_UNLCK and pid > 0:
                self._socket.settimeout(0.0)
                with suppress(OSError):
                    self._socket.sendto(b"", self._address(pid))

    def __del__(self) -> None:
        self._close()


def queue_at(path: str) -> Queue:
    """The one of this process for the database at `path`: locks of one process do not exclude each other."""
    target = os.path.realpath(path)
    with _finding:
        found = _queues.get(target)
        if found is None:
            found = _queues[target] = Queue(target)
        return found


def forget_queues() -> None:
    """In a forked child: threads that stood in line are not there, and the locks are the parent's."""
    global _finding, _queues
    for queue in list(_queues.values()):
        queue._close()
    _finding, _queues = Lock(), WeakValueDictionary()


_finding = Lock()
_queues: WeakValueDictionary[str, Queue] = WeakValueDictionary()


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _take_place(descriptor: int, place: int) -> int:
    while True:
        try:
            lockf(descriptor, LOCK_EX | LOCK_NB, 1, place)
            return place
        except (BlockingIOError, PermissionError):
            place += 1  # two came in the same nanosecond, or a test has stopped the clock


def _is_first(descriptor: int, first: int, place: int) -> bool:
    try:
        lockf(descriptor, LOCK_SH | LOCK_NB, place - first, first)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _open_file(path: str, database: str) -> int:
    """For those who may write to the database, and only them: a file of root's would keep the server out."""
    flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        of_database = os.stat(database)
        try:
            descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return os.open(path, flags)
        os.fchmod(descriptor, stat.S_IMODE(of_database.st_mode) & 0o666)
        if os.geteuid() == 0:
            os.fchown(descriptor, of_database.st_uid, of_database.st_gid)
    return descriptor
