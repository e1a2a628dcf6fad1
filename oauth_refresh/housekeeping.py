"""When is the registry rid of what has expired? Now and then, by one worker of all, beside the requests."""

from __future__ import annotations

import math
import os
import random
import struct
import threading
from collections.abc import Callable

from .backends.base import Backend
from .backends.moving import refuse_moved
from .errors import RegistryError
from .events import log

_RECORD = b"h" + b"housekeeping"
_FORMAT = b"\x01"


class Housekeeping:
    """Purges the registry once per `interval` seconds, however many workers and hosts there are.

    `look_after` is called at requests, and need not be before `due_at` (seconds since 1970). Requests that
    are rare call it all the same: only then it finds out that the clock was ahead and has gone back since,
    so that `due_at` is further away than anybody meant. The purge runs in a thread of its own, and the first
    one comes at a random moment of the first interval, so that workers that start together do not all look
    at once. An interval of 0 turns it off.
    """

    def __init__(self, backend: Backend, interval: float, clock: Callable[[], float]) -> None:
        self._backend = backend
        self._interval = interval
        self._clock = clock
        self.due_at = -math.inf if interval else math.inf
        """When this process looks next; drawn at its first request, not before a fork."""
        self._pid = 0
        self._lock = threading.Lock()

    def look_after(self) -> threading.Thread | None:
        """The thread that has just been started to do it, if it is time."""
        due_at, now = self.due_at, self._clock()
        # Twice the interval, so that no clock that is set back by a little makes an extra round.
        if not self._interval or 0 < due_at - now <= 2 * self._interval:
            return None
        if self._pid != os.getpid():
            self.due_at = now + random.uniform(0, self._interval)  # noqa: S311 - spreads load
            self._pid = os.getpid()
            return None
        if not self._lock.acquire(blocking=False):
            return None
        try:
            if self.due_at != due_at:
                return None
            self.due_at = now + self._interval
        finally:
            self._lock.release()
        thread = threading.Thread(target=self.purge_if_due, name="oauth_refresh housekeeping", daemon=True)
        thread.start()
        return thread

    def purge_if_due(self) -> int | None:
        """Purge unless some worker has done so within the interval: how many records went, or None."""
        try:
            if not self._claim():
                return None
            removed = self._backend.purge(self._clock())
        except RegistryError as error:
            log.warning("housekeeping has to wait: %s", error)
            return None
        log.info("housekeeping removed %d records that had expired", removed)
        return removed

    def _claim(self) -> bool:
        """Whether it falls to this worker: of all that try at once, one swap wins."""
        entry, now = self._backend.get(_RECORD), self._clock()
        if entry is not None and 0 <= now - _moment(entry.body) < self._interval:
            return False
        return self._backend.swap(_RECORD, entry, _FORMAT + struct.pack(">d", now))


def _moment(body: bytes) -> float:
    """When it was last done. What cannot be read counts as long ago."""
    refuse_moved(body)
    if body[:1] != _FORMAT or len(body) != 9:
        return float("-inf")
    moment: float = struct.unpack(">d", body[1:])[0]
    return moment
