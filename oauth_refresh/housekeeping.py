"""When is the registry rid of what has expired? Now and then, by one worker of all, beside the requests."""

from __future__ import annotations

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

    `looked_after` is called at requests and costs a comparison. The purge runs in a thread of its own, and
    the first one comes at a random moment of the first interval, so that workers that start together do
    not all look at once. An interval of 0 turns it off.
    """

    def __init__(self, backend: Backend, interval: float, clock: Callable[[], float]) -> None:
        self._backend = backend
        self._interval = interval
        self._clock = clock
        # The moment when this process looks next; drawn in the process itself, not before a fork.
        self._due: tuple[int, float] | None = None
        self._lock = threading.Lock()

    def looked_after(self) -> threading.Thread | None:
        """The thread that has just been started to do it, if it is time."""
        if not self._interval:
            return None
        due, clock = self._due, self._clock
        now = clock()
        if due is not None and now < due[1]:
            return None
        if due is None or due[0] != os.getpid():
            self._due = (os.getpid(), now + random.uniform(0, self._interval))  # noqa: S311 - spreads load
            return None
        if not self._lock.acquire(blocking=False):
            return None
        try:
            if self._due != due:
                return None
            self._due = (os.getpid(), now + self._interval)
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
