"""How a SQLite file is opened, shared by threads, processes and forks, and given up when it is in trouble.

It knows connections and locks, and nothing of what is in the file: `sqlite` does.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from random import uniform
from threading import RLock
from time import monotonic, sleep
from typing import Any, NamedTuple
from weakref import WeakSet

from oauth_refresh.backends.sqlite_commits import (
    LastCommit,
    close_those_deleted,
    forget_commits,
    last_commit,
    leave,
)
from oauth_refresh.backends.sqlite_queue import forget_queues, queue_at
from oauth_refresh.errors import RegistryError

logger = logging.getLogger("oauth_refresh")

_TRUST_SECONDS = 1.0
_SURE_SECONDS = 0.02
_FORK_PATIENCE = 5.0
_EMPTY_BYTES_MAX = 1  # SQLite takes a single byte for the trace of a bug elsewhere, and begins anew

# By SQLite's own message, because sqlite3 of Python 3.10 tells no error code.
_MODES = "check owner and mode of the file, its -wal and -shm, and its folder, which must all be writable"
_ADVICE = (
    (
        "is locked",
        "a lock was held for too long; look for a backup, an open sqlite3 shell, a disk that hangs",
    ),
    ("locking protocol", "its locks do not work; keep it on a local disk, not on a network file system"),
    ("readonly", f"{_MODES}, and whether the disk is mounted read-only"),
    ("malformed", "it is damaged; stop the server and restore a backup, or try the .recover of sqlite3"),
    ("not a database", "it is damaged or of another kind; restore a backup, or set another path"),
    ("is full", "make room on the disk, then it goes on by itself"),
    ("disk I/O", "see the system's log, quotas and limits of file size; a last change may be lost or stored"),
    ("unable to open", _MODES),
    ("denied", _MODES),
)


class _Found(NamedTuple):
    """A file, whatever its name, and its size in bytes."""

    device: int
    inode: int
    size: int

    @property
    def is_empty(self) -> bool:
        return self.size <= _EMPTY_BYTES_MAX

    def is_same(self, other: _Found | None) -> bool:
        return other is not None and self[:2] == other[:2]


def _is_same(one: _Found | None, other: _Found | None) -> bool:
    return one is not None and one.is_same(other)


def _look(path: str) -> _Found | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return _Found(found.st_dev, found.st_ino, found.st_size)


class Link:
    """One connection, used by one thread at a time and only in the process that opened it."""

    def __init__(self, path: str, file: _Found | None) -> None:
        # mode=rw: SQLite must not begin an empty database where a file has just been deleted.
        self.connection = sqlite3.connect(
            Path(path).as_uri() + "?mode=rw",
            uri=True,
            timeout=0,
            isolation_level=None,
            check_same_thread=False,
        )
        self.cursor = self.connection.cursor()
        self.execute = self.cursor.execute
        self.file = file
        self.replaces_another = False
        """Whether this process had another file open under this path before."""
        self.read_only = False
        self.trusted_until = 0.0
        """Until then it may read without another look at whether `path` still leads to its file."""
        self.sure_until = 0.0
        """Until then it may write without one, where that does no harm: `LastCommit.is_ours_alone`."""
        self.bound: type[bytes] | type[bytearray] = bytes
        """For whoever prepared the link: as what bytes are handed to SQLite."""
        self.hasher: Any = None
        """For whoever prepared the link: a keyed hash, to be copied."""
        self.hashes: dict[tuple[bytes, ...], bytes] = {}
        """What it made of terms that come again and again."""
        self.commit: LastCommit | None = None
        """Shared by all links to this file, where it can be had."""
        self.may_queue = False
        """Whether it is used for a write that has not stood in line yet."""
        self.waited = 0.0
        """Seconds that its writer has stood there."""
        self.pid = os.getpid()
        self.closing = False
        self.open = True

    def close(self) -> None:
        if not self.open or self.closing or self.pid != os.getpid():
            return
        self.closing = True
        try:
            if self.commit is not None:
                leave(self.commit)
            # A cursor holds its last statement, and with that SQLite keeps a closed connection's files open.
            self.cursor.close()
            self.connection.close()
            close_those_deleted()
        finally:
            # Not before: a process that forks waits for it.
            self.open = False

    def __del__(self) -> None:
        if hasattr(self, "open"):
            self.close()


class SQLiteFile:
    """The file at `path` and this process's connections to it, as many as threads used it at once.

    `prepare` is called with each new link, and may wait through `patiently`. Every method raises
    `RegistryError` in place of SQLite's errors, and lets go of the connection that had the trouble, so the
    next call starts afresh and succeeds once the cause is gone.
    """

    def __init__(self, path: str, timeout: float, prepare: Callable[[SQLiteFile, Link], None]) -> None:
        self.path = path
        self.idle: list[Link] = []
        self._timeout = timeout
        self._prepare = prepare
        self._links: WeakSet[Link] = WeakSet()
        self._queue = queue_at(path)
        self._last: tuple[_Found | None, _Found | None] | None = None
        _files.add(self)

    @contextmanager
    def reading(self) -> Iterator[Link]:
        """A link. The file may have been replaced up to a second ago without being noticed."""
        link = self.take()
        try:
            yield link
        except BaseException as error:
            self.give_up(link, error)
            raise
        self.idle.append(link)

    @contextmanager
    def writing(self) -> Iterator[Link]:
        """A link to the file that `path` leads to now; one thread of this process at a time."""
        link = self.begin_writing()
        try:
            yield link
        except BaseException as error:
            self.give_up_writing(link, error)
            raise
        self.end_writing(link)

    def begin_writing(self) -> Link:
        """The same for a hot path, for which a `with` would take as long as its statement.

        Whoever writes all the time looks every 20 ms whether `path` leads to this file. What is written into
        the log of one that was taken away in between is as lost as what was written just before. But it must
        not be the first in that log, which another file in this place would take for its own.
        To be followed by `end_writing` or, after an exception, by `give_up_writing`.
        """
        # SQLite would let each of the threads sleep and try in turn; here they queue.
        queue = self._queue
        if not queue.threads.acquire(True, self._timeout):
            raise self.trouble(sqlite3.OperationalError("database is locked by other threads"))
        try:
            now = monotonic()
            try:
                link = self.idle.pop()
            except IndexError:
                link = self._connect()
            else:
                is_sure = now < link.sure_until and link.commit is not None and link.commit.is_ours_alone()
                if link.read_only or not (is_sure or self._is_sure(link, now)):
                    link = self._take_sure(link, now)
            link.may_queue, link.waited = True, 0.0
            if (now >= queue.look_at or now < queue.crowded_until) and queue.is_crowded(now):
                self._stand_in_line(link)
        except BaseException:
            self._stop_writing()
            raise
        return link

    def end_writing(self, link: Link) -> None:
        queue = self._queue
        try:
            self.idle.append(link)
        finally:
            link.may_queue = False
            if queue.place:
                queue.leave()
            queue.threads.release()

    def give_up_writing(self, link: Link, error: BaseException) -> None:
        """As `give_up`."""
        try:
            self.give_up(link, error)
        finally:
            link.may_queue = False
            self._stop_writing()

    def _stand_in_line(self, link: Link) -> None:
        """Once in each write. Half of the patience is kept for SQLite's own lock."""
        link.may_queue = False
        link.waited = self._queue.enter(self._timeout / 2)

    def _stop_writing(self) -> None:
        queue = self._queue
        if queue.place:
            queue.leave()
        queue.threads.release()

    @contextmanager
    def transaction(self, link: Link) -> Iterator[None]:
        """All or nothing. An exception ends it, because it ends the connection."""
        self.patiently(link, "BEGIN IMMEDIATE")
        yield
        try:
            link.execute("COMMIT")
        except sqlite3.Error as error:
            raise RegistryError(
                f"{self.trouble(error)} (whether the change was stored is unknown)"
            ) from error

    def patiently(self, link: Link, statement: str, values: Sequence[object] = ()) -> list[Any]:
        """All rows of a statement that begins a transaction, tried again while another process has the lock.

        It counts its naps and asks no clock, so that it also ends where tests have stopped the clock.
        """
        waited, nap = link.waited, 0.0001
        while True:
            try:
                return link.execute(statement, values).fetchall()
            except sqlite3.OperationalError as error:
                if waited >= self._timeout or not is_busy(error):
                    raise
            if link.may_queue:
                self._queue.meet()
                self._stand_in_line(link)
                waited = link.waited
                continue
            pause = min(uniform(nap / 2, nap), self._timeout - waited)  # noqa: S311 - a nap is no secret
            sleep(pause)
            waited += pause
            nap = min(nap * 1.2, 0.02)

    def take(self) -> Link:
        """A link for the caller alone, who appends it to `idle` afterwards, or closes it after trouble."""
        while True:
            try:
                link = self.idle.pop()
            except IndexError:
                return self._connect()
            now = monotonic()
            if now < link.trusted_until or self._is_sure(link, now):
                return link

    def _take_sure(self, unsure: Link, now: float) -> Link:
        """Another link in its place that may write, to the file that `path` leads to now."""
        unsure.close()
        while True:
            try:
                link = self.idle.pop()
            except IndexError:
                return self._connect()
            if link.read_only:
                link.close()
            elif self._is_sure(link, now):
                return link

    def close(self) -> None:
        """Close every link but those that other threads use at this moment."""
        with suppress(IndexError):
            while True:
                self.idle.pop().close()
        self._queue.close()

    def trouble(self, error: sqlite3.Error | OSError) -> RegistryError:
        """What is wrong and what to do, for the operator."""
        text = (isinstance(error, OSError) and error.strerror) or str(error)
        folder = os.path.dirname(self.path)
        if not os.path.isdir(folder):
            advice = f"there is no folder {folder}; create it, writable for the user that runs the server"
        elif os.path.isdir(self.path):
            advice = "this is a folder; set the path of a file"
        else:
            advice = next((advice for part, advice in _ADVICE if part in text), "see SQLite's message")
        return RegistryError(f"registry {self.path}: {text}: {advice}")

    def give_up(self, link: Link, error: BaseException) -> None:
        """Close it, which undoes what was begun. SQLite's error becomes a `RegistryError`."""
        link.close()
        if not isinstance(error, sqlite3.Error):
            return
        if "readonly" in str(error):
            # SQLite shares what it opened for reading among all connections of a process, so that none
            # could write again, whatever the operator mends, until the last of them is closed.
            for file in list(_files):
                if file.path == self.path:
                    file.close()
        raise self.trouble(error) from error

    def _connect(self) -> Link:
        opening = _opening
        if not opening.acquire(timeout=self._timeout + _FORK_PATIENCE):
            raise self.trouble(sqlite3.OperationalError("database is locked by other threads"))
        try:
            link = Link(self.path, self._provide())
            self._links.add(link)
            link.replaces_another = self._last is not None and not _is_same(link.file, self._last[0])
            try:
                self._prepare(self, link)
            except BaseException:
                link.close()
                raise
            # SQLite opens for reading what it may not write, and such a connection never learns better.
            paths = (self.path, self.path + "-wal", self.path + "-shm")
            link.read_only = any(os.path.exists(path) and not _may_write(path) for path in paths)
            link.commit = last_commit(self.path)
            link.trusted_until = monotonic() + _TRUST_SECONDS
            self._last = link.file, _look(self.path + "-wal")
            return link
        except (sqlite3.Error, OSError) as error:
            raise self.trouble(error) from error
        finally:
            opening.release()

    def _provide(self) -> _Found | None:
        """The file, created if this process never saw it. One that was seen is not begun anew."""
        if self._last is None:
            # Exclusively: closing a descriptor of a file that SQLite has open would drop SQLite's locks.
            with suppress(FileExistsError):
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            return _look(self.path)
        last_file, last_log = self._last
        file, log = _look(self.path), _look(self.path + "-wal")
        if not file or file.is_empty:
            raise RegistryError(
                f"registry {self.path}: the file was deleted or emptied while in use; stop the server, put "
                "it back and start again, or restart the server to begin with an empty registry"
            )
        if log and log.size and log.is_same(last_log) and not file.is_same(last_file):
            # SQLite would play the changes of the old file into the new one.
            raise RegistryError(
                f"registry {self.path}: the file was replaced while in use, but {self.path}-wal is of the "
                "old one; stop all processes that use it, delete the -wal and -shm files, and start again"
            )
        return file

    def _is_sure(self, link: Link, now: float) -> bool:
        """Whether `path` leads to its file; then it is trusted for a while. If not, it is closed."""
        file = link.file
        try:
            found = os.stat(self.path)
            if (
                file is not None
                and found.st_ino == file.inode
                and found.st_dev == file.device
                and found.st_size > _EMPTY_BYTES_MAX
            ):
                link.trusted_until = now + _TRUST_SECONDS
                link.sure_until = now + _SURE_SECONDS
                return True
        except OSError:
            pass
        link.close()
        logger.warning("registry %s: the file was deleted, emptied or replaced while in use", self.path)
        return False

    def _open_links(self) -> list[Link]:
        return [link for link in list(self._links) if link.open]

    def _forget(self) -> None:
        """In a forked child. Only a fork that Python did not make, or that lost patience, leaves links here.

        They are kept for ever: closing them is the parent's business.
        """
        _inherited.append((self.idle, self._open_links()))
        self.idle, self._links, self._queue = [], WeakSet(), queue_at(self.path)


def _may_write(path: str) -> bool:
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def is_busy(error: sqlite3.OperationalError) -> bool:
    return "is locked" in str(error) or "locking protocol" in str(error)


# SQLite keeps a table of the locks that this process holds. A child that inherited an open connection would
# believe it has locks that the system gave to its parent only, and other processes could then delete the
# write-ahead log under it. So nothing is open while a process forks.

_files: WeakSet[SQLiteFile] = WeakSet()
_opening = RLock()
_inherited: list[object] = []


class _Closing(list[Link]):
    """In place of the idle links while the process forks: there are none, and one given back is closed."""

    def append(self, link: Link) -> None:
        link.close()


def _before_fork() -> None:
    _opening.acquire()
    idle: list[list[Link]] = []
    for _ in range(int(_FORK_PATIENCE / 0.001)):
        files = list(_files)
        for file in files:
            if not isinstance(file.idle, _Closing):
                idle.append(file.idle)
                file.idle = _Closing()
            file.close()
        for links in idle:  # a thread that was about to give one back may not know of the new list
            with suppress(IndexError):
                while True:
                    links.pop().close()
        if not any(file._open_links() for file in files):
            return
        sleep(0.001)  # other threads finish what they do; none can begin


def _after_fork_in_parent() -> None:
    for file in list(_files):
        if isinstance(file.idle, _Closing):
            file.idle = []
    _opening.release()


def _after_fork_in_child() -> None:
    global _opening
    _opening = RLock()
    forget_queues()
    forget_commits()
    for file in list(_files):
        file._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )
