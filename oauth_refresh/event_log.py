"""The event log: one line of JSON per event, in a file that any number of processes append to."""

from __future__ import annotations

import errno
import json
import os
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone

from .backends.forking import renewed_in_children
from .events import log

_COMPLAINT_SECONDS = 60.0


class EventLog:
    """A listener that appends every event to the file `path`, which it makes with mode 0600.

    Each line is one `write` to a file opened for appending, so lines of several processes do not mix. A file
    that was renamed or removed (log rotation) is made anew. What cannot be written is lost, with a line in
    the log once a minute: no request fails or waits for it. Opens nothing before the first event, so it may
    be made before a fork.
    """

    def __init__(self, path: str, clock: Callable[[], float]) -> None:
        self._path = os.path.abspath(path)
        self._clock = clock
        self._lock = threading.Lock()
        self._file: int | None = None
        self._torn = False
        self._quiet_until = float("-inf")
        _logs.add(self)

    def __call__(self, name: str, fields: Mapping[str, object]) -> None:
        line = _line(self._clock(), name, fields)
        with self._lock:
            try:
                self._append(line)
            except OSError as error:
                self._close()
                self._complain(error)

    def _append(self, line: bytes) -> None:
        file = self._current()
        whole = b"\n" + line if self._torn else line
        # After a line that a full disk cut short the next one begins on a line of its own.
        self._torn = _write(file, whole) < len(whole)

    def _current(self) -> int:
        """The open file, if it still is the one at the path; else the one that is."""
        if self._file is not None and not _is_at(self._file, self._path):
            self._close()
        if self._file is None:
            self._file = _open(self._path)
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _complain(self, error: OSError) -> None:
        if self._clock() >= self._quiet_until:
            self._quiet_until = self._clock() + _COMPLAINT_SECONDS
            reason = error.strerror or error
            log.error("the event log %s cannot be written, events are missing: %s", self._path, reason)

    def _after_fork(self) -> None:
        self._lock = threading.Lock()  # a thread that does not exist in the child may have held it


_logs = renewed_in_children(EventLog._after_fork)


def _open(path: str) -> int:
    # Not blocking: a pipe without a reader must not hold up a request.
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0)
    try:
        return os.open(path, flags | getattr(os, "O_CLOEXEC", 0), 0o600)
    except OSError as error:
        # A socket cannot be opened by its path, also where it is one's own output, as it is under systemd.
        if error.errno != errno.ENXIO:
            raise
        for output in (1, 2):
            if _is_at(output, path):
                return os.dup(output)
        raise


def _write(file: int, line: bytes) -> int:
    """How many bytes were taken."""
    if not stat.S_ISSOCK(os.fstat(file).st_mode):
        return os.write(file, line)
    # Not `socket`, which gevent replaces: its sockets would change how the process's output blocks.
    import _socket

    output = _socket.socket(fileno=os.dup(file))
    try:
        return output.send(line, _socket.MSG_DONTWAIT)
    finally:
        output.close()


def _is_at(file: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def _line(now: float, name: str, fields: Mapping[str, object]) -> bytes:
    told = {"time": rfc3339(now), "event": name, **fields}
    # ASCII: nothing in it moves the cursor of a terminal or turns the direction of its text.
    return json.dumps(told, separators=(",", ":"), default=str).encode() + b"\n"


def rfc3339(moment: float) -> str:
    """This moment (seconds since 1970) as in RFC 3339, in UTC, with milliseconds."""
    text = datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def read_events(path: str, containing: str = "") -> Iterator[dict[str, object]]:
    """The events in this file whose lines contain this text, the oldest first. OSError if it cannot be read.

    Lines that are no events (torn by a full disk) are left out.
    """
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            if containing not in line:
                continue
            try:
                told = json.loads(line)
            except ValueError:
                continue
            if isinstance(told, dict) and isinstance(told.get("event"), str):
                yield told
