"""How much fetching may strangers cause here? Counted in the registry, so over all workers and hosts.

Before anybody has signed in, a client id that is a URL makes this server ask its host. What is limited is the
trouble for that host, and the time that workers spend waiting for slow ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .attempts import Attempts
from .backends.base import Backend
from .errors import TooManyRequests

SLOW_SECONDS = 2.0
SLOW_MAX = 30
"""Slow fetches in a quarter of an hour. Each may hold a thread for ten seconds, and threads may be few."""


class FetchQuotas:
    """Fetches in a quarter of an hour: of unknown documents from one host, and from all; of each known one.

    Slow ones count by themselves. A document that a user has allowed has all its quotas to itself, so that no
    stranger can use them up.
    """

    def __init__(
        self,
        backend: Backend,
        clock: Callable[[], float] = time.time,
        *,
        stopwatch: Callable[[], float] = time.monotonic,
        per_host: int = 100,
        unknown: int = 1000,
        known: int = 600,
        slow: int = SLOW_MAX,
    ) -> None:
        self._stopwatch = stopwatch
        self._per_host = Attempts(backend, clock, limit=per_host)
        self._unknown = Attempts(backend, clock, limit=unknown)
        self._known = Attempts(backend, clock, limit=known)
        self._slow = Attempts(backend, clock, limit=slow)

    @contextmanager
    def fetching(self, url: str, host: str, *, known: bool, used: bool) -> Iterator[None]:
        """Count one fetch, made inside. Raises `TooManyRequests` instead if there were too many."""
        whose = url if used else ""
        wait = self._slow.wait("slow documents", whose)
        if not wait and known:
            wait = self._known.reserve("document", url)
        elif not wait:
            wait = self._per_host.reserve("documents of", host) or self._unknown.reserve("documents", "")
        if wait:
            raise TooManyRequests("too many client metadata documents just now", retry_after=wait)
        started = self._stopwatch()
        try:
            yield
        finally:
            if self._stopwatch() - started >= SLOW_SECONDS:
                self._slow.failed("slow documents", whose)
