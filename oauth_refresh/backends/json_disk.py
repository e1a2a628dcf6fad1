"""How a file is read, locked and replaced as a whole, so that nobody ever sees or leaves half of it.

It knows bytes, locks and disks, and nothing of what is in the file: `json_format` does.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from random import uniform
from threading import Lock
from time import sleep

from oauth_refresh.backends.forking import renewed_in_children
from oauth_refresh.errors import RegistryError

LOCK_SUFFIX = ".lock"
_NEW = re.compile(r"\.[0-9a-f]{16}\.new")

_MODES = (
    "check owner and mode of the file, its .lock and its folder, which must all be writable, "
    "and whether the disk is mounted read-only"
)
_ROOM = "make room on the disk, then it goes on by itself"
_LOCAL = "its locks do not work; keep it on a local disk, not on a network file system"
_ADVICE = {
    errno.EACCES: _MODES,
    errno.EPERM: _MODES,
    errno.EROFS: _MODES,
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: "raise the limit of file size, or move to sqlite:",
    errno.EBUSY: "the file is a mount of its own and cannot be replaced; mount its folder",
    errno.ELOOP: "its symbolic links lead in a circle, or its .lock is one; remove them",
    errno.EISDIR: "this is a folder; set the path of a file",
    errno.ENOTDIR: "a part of its path is a file; set another path",
    errno.EMFILE: "raise the limit of open files",
    errno.ENFILE: "raise the limit of open files",
    errno.EINVAL: "set the path of a file",
    errno.ENOLCK: _LOCAL,
    errno.EOPNOTSUPP: _LOCAL,
    errno.EAGAIN: (
        "a lock was held for too long; look for a process that was stopped, a backup that holds the lock, "
        "a disk that hangs, or a file that has grown too large (then move to sqlite:)"
    ),
}


class Pin:
    """A file that was read or written here, held open: as long as it is, no other file gets its inode.

    So a file of the same stamp is the same file, though others may be put in its place many times within
    one tick of the clock that stamps them, and with the same size.
    """

    __slots__ = ("_descriptor", "stamp")

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.stamp = _stamp(os.fstat(descriptor))

    def __del__(self) -> None:
        if globals().get("_stamp") is None:  # the process ends, and its modules are taken apart
            return
        # A process that becomes a daemon closes all descriptors: the number may be somebody else's by now.
        with suppress(OSError):
            if _stamp(os.fstat(self._descriptor))[:2] == self.stamp[:2]:
                os.close(self._descriptor)


class WholeFile:
    """The file at `path`, which is only ever replaced as a whole, under a lock.

    Every method raises `RegistryError` in place of `OSError`. `timeout` is how many seconds a call waits
    for other threads, and then again for other processes, before it raises.
    """

    def __init__(self, path: str, timeout: float) -> None:
        self.path = path
        self._timeout = timeout
        self._writer = Lock()
        self._held: list[int] = []
        self._swept = False
        _files.add(self)

    def leads_to(self, pin: Pin) -> bool:
        """Whether the path leads to this very file now, and nobody wrote into it."""
        try:
            return _stamp(os.stat(self.path)) == pin.stamp
        except OSError:
            return False

    def read(self) -> tuple[Pin, bytes] | None:
        """The file as it is now, or None if there is none."""
        try:
            return _read(self.path)
        except FileNotFoundError as error:
            if not os.path.isdir(_folder(self.path)):
                raise self.trouble(error) from error
            return None
        except OSError as error:
            raise self.trouble(error) from error

    @contextmanager
    def locked(self) -> Iterator[LockedFile]:
        """The file for one thread of one process alone. A process that dies gives the lock back."""
        if not self._writer.acquire(timeout=self._timeout):
            raise self.trouble(BlockingIOError(errno.EAGAIN, "locked by other threads"))
        try:
            # A link is followed once: what is locked, read and replaced is one and the same file.
            target = os.path.realpath(self.path)
            with self._lock(target + LOCK_SUFFIX) as lock:
                _give_to_owner_of(target, lock)
                file = LockedFile(self, target, lock)
                if not self._swept:
                    file.sweep()
                    self._swept = True
                yield file
        except OSError as error:
            raise self.trouble(error) from error
        finally:
            self._writer.release()

    def trouble(self, error: OSError) -> RegistryError:
        """What is wrong and what to do, for the operator."""
        folder = _folder(self.path)
        if error.errno == errno.ENOENT and not os.path.isdir(folder):
            advice = f"there is no folder {folder}; create it, writable for the user that runs the server"
        else:
            advice = _ADVICE.get(error.errno or 0, "see the system's log; the last change may not be stored")
        return RegistryError(f"registry {self.path}: {error.strerror or error}: {advice}")

    @contextmanager
    def _lock(self, path: str) -> Iterator[int]:
        # The lock is a file of its own: locking the data file would lock an inode that os.replace is about
        # to discard, and whoever waits for it would get the lock of a file that is no longer there.
        # It is opened for each use: a child inherits descriptors, and the lock belongs to all their copies.
        descriptor = self._wait_for(path)
        try:
            yield descriptor
        finally:
            # Not by closing alone: a child that was forked meanwhile may have a copy.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            self._let_go(descriptor)

    def _wait_for(self, path: str) -> int:
        """It counts its naps and asks no clock, so that it also ends where tests have stopped the clock."""
        waited, nap = 0.0, 0.0005
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            self._held.append(descriptor)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(descriptor, path):
                    return descriptor
                self._let_go(descriptor)
            except BlockingIOError as error:
                self._let_go(descriptor)
                if waited >= self._timeout:
                    raise BlockingIOError(errno.EAGAIN, "locked by another process") from error
            except BaseException:
                self._let_go(descriptor)
                raise
            pause = min(uniform(nap / 2, nap), max(self._timeout - waited, 0.0001))  # noqa: S311 - only a nap
            sleep(pause)
            waited += pause
            nap = min(nap * 1.5, 0.02)

    def _let_go(self, descriptor: int) -> None:
        self._held.remove(descriptor)
        os.close(descriptor)

    def _after_fork(self) -> None:
        # A lock ends when all copies of its descriptor are closed: were the parent killed, the child's
        # copy would hold it for as long as the child lives.
        for descriptor in self._held:
            os.close(descriptor)
        self._held, self._writer, self._swept = [], Lock(), False


class LockedFile:
    """What may be done with the file while its lock is held. Raises `OSError`."""

    def __init__(self, file: WholeFile, path: str, lock: int) -> None:
        self._path = path
        self._lock = lock
        self._file = file

    def leads_to(self, pin: Pin) -> bool:
        try:
            return _stamp(os.stat(self._path)) == pin.stamp
        except FileNotFoundError:
            return False

    def read(self) -> tuple[Pin, bytes] | None:
        try:
            return _read(self._path)
        except FileNotFoundError:
            return None

    def replace(self, data: bytes) -> Pin:
        """Put a file with this content in its place, for its owner only (mode 0600).

        After a failure, and after a crash at any moment, the file is the old one or the new one, whole.
        """
        new, pin = self._write(data)
        try:
            if not _is_at(self._lock, self._path + LOCK_SUFFIX):
                raise RegistryError(
                    f"registry {self._file.path}: {self._path}{LOCK_SUFFIX} was deleted while in use; "
                    "leave it where it is"
                )
            os.replace(new, self._path)
        except BaseException:
            with suppress(OSError):
                os.unlink(new)
            raise
        try:
            self._sync_folder()
        except OSError as error:
            trouble = self._file.trouble(error)
            raise RegistryError(f"{trouble} (whether the change was stored is unknown)") from error
        return pin

    def keep(self, data: bytes, suffix: str) -> str:
        """Where `data` is kept from now on: a file of this suffix, numbered if that one has other content."""
        draft, _ = self._write(data)
        try:
            number = 1
            while True:
                path = f"{self._path}.{suffix}.bak" if number == 1 else f"{self._path}.{suffix}.{number}.bak"
                try:
                    # A link appears whole or not at all, and never replaces a file that is there.
                    os.link(draft, path)
                    break
                except FileExistsError:
                    if _holds(path, data):
                        break
                number += 1
        finally:
            os.unlink(draft)
        self._sync_folder()
        return path

    def sweep(self) -> None:
        """Remove what a process that was killed left half written. Its lock is ours, so nobody writes it."""
        folder, name = os.path.split(self._path)
        for other in os.listdir(folder):
            if other.startswith(name) and _NEW.fullmatch(other, len(name)):
                with suppress(FileNotFoundError):
                    os.unlink(os.path.join(folder, other))

    def _write(self, data: bytes) -> tuple[str, Pin]:
        """A new file beside the old one, on the disk."""
        path = f"{self._path}.{secrets.token_hex(8)}.new"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            _give_to_owner_of(self._path, descriptor)
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        except BaseException:
            os.close(descriptor)
            with suppress(OSError):
                os.unlink(path)
            raise
        return path, Pin(descriptor)

    def _sync_folder(self) -> None:
        descriptor = os.open(os.path.dirname(self._path), os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _stamp(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _folder(path: str) -> str:
    return os.path.dirname(os.path.realpath(path))


def _read(path: str) -> tuple[Pin, bytes]:
    # Without O_NONBLOCK opening a pipe would wait for ever.
    pin = Pin(descriptor := os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "this is not a regular file")
    with open(descriptor, "rb", closefd=False) as file:
        return pin, file.read()


def _give_to_owner_of(path: str, descriptor: int) -> None:
    """Else a command that root runs by hand would leave files that the server may not open."""
    if os.geteuid() == 0:
        with suppress(FileNotFoundError):
            owner, ours = os.stat(path), os.fstat(descriptor)
            if (owner.st_uid, owner.st_gid) != (ours.st_uid, ours.st_gid):
                os.fchown(descriptor, owner.st_uid, owner.st_gid)


def _is_at(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _holds(path: str, data: bytes) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read() == data
    except OSError:
        return False


_files = renewed_in_children(WholeFile._after_fork)
