"""Are the operator's numbers right, over many processes, and whatever goes wrong on the way?"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oauth_refresh.backends import open_backend
from oauth_refresh.backends.base import Backend
from oauth_refresh.backends.memory import MemoryBackend
from oauth_refresh.errors import RegistryError
from oauth_refresh.statistics import BUCKET_MINUTES, KEPT_MINUTES, Statistics, series_of, total

from .driving import Clock, InProcess

NOW = 1_800_000_000.0
ROTATED = ("token_rotated", {"outcome": "rotated"})
REFUSED = ("token_refused", {"outcome": "refused", "presented": "refresh token"})


class Later:
    """Keeps what was to be done later, until the test says so."""

    def __init__(self) -> None:
        self.kept: list[Callable[[], None]] = []

    def __call__(self, seconds: float, callback: Callable[[], None]) -> None:
        self.kept.append(callback)

    def comes(self) -> None:
        kept, self.kept = self.kept, []
        for callback in kept:
            callback()


def made(backend: Backend, clock: Clock) -> tuple[Statistics, Later]:
    later = Later()
    return Statistics(backend, clock, later=later), later


@pytest.mark.parametrize(
    ("name", "fields", "series"),
    [
        ("token_rotated", {"outcome": "rotated"}, "rotated"),
        ("registry_rolled_back", {"outcome": "rolled_forward"}, "rotated"),
        ("token_repeated", {"outcome": "repeated"}, "repeated"),
        ("token_repeated", {"outcome": "caught_up"}, "repeated"),
        ("token_refused", {"outcome": "refused", "presented": "refresh token"}, "refused"),
        (
            "token_reused",
            {"outcome": "reused", "presented": "refresh token", "policy": "revoke"},
            "reused ended",
        ),
        ("token_reused", {"outcome": "reused", "presented": "refresh token", "policy": "refuse"}, "reused"),
        ("token_refused", {"outcome": "refused", "presented": "code"}, ""),
        ("code_reused", {"outcome": "reused", "presented": "code"}, "ended"),
        ("code_redeemed", {"outcome": "redeemed"}, "granted"),
        ("grant_created", {}, "granted"),
        ("grant_revoked", {"why": "user"}, "ended"),
        ("login_failed", {}, "login_failed"),
        ("login", {}, ""),
    ],
)
def test_each_event_counts_as_what_it_is(name: str, fields: dict[str, object], series: str) -> None:
    assert " ".join(series_of(name, fields)) == series


def test_the_numbers_are_those_of_the_requests() -> None:
    server = InProcess(admins="alice")
    server.middleware.server.statistics._later = Later()
    client = server.register()
    tokens = server.tokens(client)
    second = server.refresh(client, tokens["refresh_token"]).json
    server.refresh(client, tokens["refresh_token"])
    third = server.refresh(client, second["refresh_token"]).json
    assert server.api(third["access_token"]).status == 200
    server.clock.forward(3600)
    server.refresh(client, tokens["refresh_token"])
    server.refresh(client, third["refresh_token"])
    statistics = server.middleware.server.statistics
    statistics.flush()
    minutes = statistics.read(120)
    assert {name: total(minutes, name) for name in minutes[0].counts} == {
        "rotated": 2,
        "repeated": 1,
        "refused": 1,
        "reused": 1,
        "granted": 1,
        "ended": 1,
        "login_failed": 0,
    }
    assert [minute.at for minute in minutes] == [NOW + 3600 - 60 * n for n in range(119, -1, -1)]
    assert minutes[-1].counts["reused"] == 1
    assert minutes[-61].counts["rotated"] == 2


def test_without_a_dashboard_nothing_is_counted() -> None:
    server = InProcess()
    server.tokens()
    server.middleware.server.statistics.flush()
    assert list(server.registry.backend.keys(b"m")) == []


def test_a_write_whose_outcome_nobody_knows_counts_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    backend, clock = MemoryBackend(), Clock()
    ours, later = made(backend, clock)
    others, _ = made(backend, clock)
    others(*REFUSED)
    others.flush()
    ours(*ROTATED)
    swap = backend.swap

    def lost_answer(*args: Any, **more: Any) -> bool:
        swap(*args, **more)
        raise RegistryError("the connection broke")

    monkeypatch.setattr(backend, "swap", lost_answer)
    later.comes()
    monkeypatch.undo()
    others(*REFUSED)
    others.flush()
    later.comes()
    ours(*ROTATED)
    later.comes()
    (minute,) = ours.read(1)
    assert (minute.counts["rotated"], minute.counts["refused"]) == (2, 2)


def test_a_registry_that_is_away_for_a_while_loses_no_count(monkeypatch: pytest.MonkeyPatch) -> None:
    backend, clock = MemoryBackend(), Clock()
    statistics, later = made(backend, clock)

    def away(*args: Any, **more: Any) -> Any:
        raise RegistryError("away")

    monkeypatch.setattr(backend, "get", away)
    statistics(*ROTATED)
    later.comes()
    later.comes()
    assert len(later.kept) == 1
    monkeypatch.undo()
    later.comes()
    assert later.kept == []
    assert total(statistics.read(1), "rotated") == 1


def test_events_between_two_writes_begin_one_write_only() -> None:
    statistics, later = made(MemoryBackend(), Clock())
    for _ in range(100):
        statistics(*ROTATED)
    assert len(later.kept) == 1


def test_records_are_few_and_may_be_forgotten_after_a_day() -> None:
    backend, clock = MemoryBackend(), Clock()
    statistics, _ = made(backend, clock)
    for _ in range(2 * KEPT_MINUTES // BUCKET_MINUTES):
        for _ in range(3):
            statistics(*ROTATED)
            clock.forward(BUCKET_MINUTES * 20)
        statistics.flush()
        backend.purge(clock())
    assert len(list(backend.keys(b"m"))) <= KEPT_MINUTES // BUCKET_MINUTES + 2
    assert total(statistics.read(KEPT_MINUTES, 10), "rotated") == pytest.approx(3 * 144, abs=6)
    assert len(statistics._mine.buckets) <= 3


def test_steps_add_up_their_minutes() -> None:
    clock = Clock(NOW + 5 * 60)
    statistics, _ = made(MemoryBackend(), clock)
    for _ in range(25):
        statistics(*ROTATED)
        clock.forward(60)
    statistics.flush()
    clock.forward(-60)
    steps = statistics.read(30, 10)
    assert [(step.at - NOW, step.counts["rotated"]) for step in steps] == [
        (0.0, 5),
        (600.0, 10),
        (1200.0, 10),
    ]


def test_a_record_of_the_future_is_neither_read_nor_overwritten() -> None:
    backend, clock = MemoryBackend(), Clock()
    statistics, later = made(backend, clock)
    statistics(*ROTATED)
    later.comes()
    (key,) = backend.keys(b"m")
    backend.swap(key, backend.get(key), b"\x02future")
    statistics(*ROTATED)
    later.comes()
    entry = backend.get(key)
    assert entry is not None
    assert entry.body == b"\x02future"
    with pytest.raises(RegistryError, match="newer release"):
        statistics.read(1)


def _count(path: str, times: int) -> None:
    statistics = Statistics(open_backend(f"sqlite:///{path}", announce=False), lambda: NOW, later=Later())
    threads = [threading.Thread(target=_emit, args=(statistics, times)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statistics.flush()


def _emit(statistics: Statistics, times: int) -> None:
    for turn in range(times):
        statistics(*ROTATED)
        if turn % 20 == 0:
            statistics.flush()


def test_no_count_is_lost_among_threads_and_processes(tmp_path: Path) -> None:
    path = str(tmp_path / "oauth.db").lstrip("/")
    started = [multiprocessing.get_context("spawn").Process(target=_count, args=(path, 50)) for _ in range(3)]
    for process in started:
        process.start()
    for process in started:
        process.join()
    reader = Statistics(open_backend(f"sqlite:///{path}", announce=False), lambda: NOW, later=Later())
    assert total(reader.read(1), "rotated") == 3 * 4 * 50


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_does_not_count_again_what_its_parent_has_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    backend, clock = MemoryBackend(), Clock()
    statistics, _ = made(backend, clock)
    statistics(*ROTATED)
    parent = statistics._mine
    # As in a child: another process id. A real one would have a memory of its own.
    monkeypatch.setattr(os, "getpid", lambda: -1)
    statistics(*REFUSED)
    assert statistics._mine is not parent
    statistics.flush()
    (minute,) = statistics.read(1)
    assert (minute.counts["rotated"], minute.counts["refused"]) == (0, 1)
