"""Numbers for Prometheus: events, token requests by outcome, refusals by reason, and how long endpoints take.

With PROMETHEUS_MULTIPROC_DIR (the client library's own variable) the numbers of all worker processes are
added up, whichever of them answers; without it each process tells its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Histogram, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector

from .census import Census
from .events import log

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """A listener for events. Labels have few values: no client, no user, no path of a stranger's choice."""

    def __init__(self) -> None:
        if _FOLDER in os.environ:
            os.makedirs(os.environ[_FOLDER], mode=0o700, exist_ok=True)
        self._registry = CollectorRegistry()
        self._events = self._counter("events", "Events by name.", "event")
        self._tokens = self._counter(
            "token_requests", "Codes and refresh tokens that were presented.", "outcome", "reason"
        )
        self._access = self._counter("access_refused", "Refused access tokens.", "reason")
        self._requests = self._counter("requests_refused", "Refused requests to endpoints.", "error")
        self._seconds = Histogram(
            "oauth_refresh_endpoint_seconds",
            "How long endpoints took to answer.",
            ("endpoint", "status"),
            buckets=SECONDS,
            registry=self._registry,
        )

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"oauth_refresh_{name}", meaning, labels, registry=self._registry)

    def __call__(self, name: str, fields: Mapping[str, object]) -> None:
        count = fields.get("count")
        times = count if isinstance(count, int) else 1
        self._events.labels(name).inc(times)
        if "outcome" in fields:
            self._tokens.labels(fields["outcome"], fields.get("reason", "")).inc()
        if name == "access_refused":
            self._access.labels(fields["reason"]).inc(times)
        elif name == "request_refused":
            self._requests.labels(fields["error"]).inc()

    def answered(self, endpoint: str, status: int, seconds: float) -> None:
        """One request to an endpoint was answered with this status."""
        try:
            self._seconds.labels(endpoint, str(status)).observe(seconds)
        except Exception:
            # Numbers of several processes are files, and a full disk must not cost the client its answer.
            log.exception("a request could not be counted")

    def exposition(self, accept: str, census: Census | None = None) -> tuple[bytes, str]:
        """All numbers, those of `census` too, and the content type of their format: what `accept` prefers."""
        encode, content_type = choose_encoder(accept)
        return encode(_WithCensus(self._all(), census)), content_type

    def _all(self) -> CollectorRegistry:
        if _FOLDER not in os.environ:
            return self._registry
        everywhere = CollectorRegistry()
        MultiProcessCollector(everywhere)  # type: ignore[no-untyped-call]
        return everywhere


class _WithCensus(CollectorRegistry):
    """The numbers of a process or of all, and what one worker of all hosts has counted in the registry."""

    def __init__(self, numbers: CollectorRegistry, census: Census | None) -> None:
        super().__init__()
        self._numbers = numbers
        self._census = census

    def collect(self) -> Iterator[Metric]:
        yield from self._numbers.collect()
        census = self._census
        if census is not None:
            alive = "Grants that a client can use or renew, by the newest count."
            yield GaugeMetricFamily("oauth_refresh_grants_alive", alive, census.estimated(census.live))
            at = "When they were counted, in seconds since 1970."
            yield GaugeMetricFamily("oauth_refresh_grants_counted_at", at, census.at)


@cache
def of_this_process() -> Metrics:
    """The one that every server in this process shares: the library knows a number by its name alone."""
    return Metrics()
