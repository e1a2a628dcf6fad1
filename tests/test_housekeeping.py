"""The registry is rid of what has expired, by one worker of all."""

from __future__ import annotations

from threading import Barrier, Thread

import pytest

from oauth_refresh.backends.memory import MemoryBackend
from oauth_refresh.errors import RegistryError
from oauth_refresh.housekeeping import Housekeeping

NOW = 1_800_000_000.0


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


def with_dead_record() -> MemoryBackend:
    backend = MemoryBackend()
    backend.swap(b"g-dead", None, b"x", NOW - 1)
    backend.swap(b"g-alive", None, b"x", NOW + 100_000)
    return backend


@pytest.mark.requirement("OPS-02")
def test_what_has_expired_goes_and_the_rest_stays() -> None:
    backend = with_dead_record()
    assert Housekeeping(backend, 3600, Clock()).purge_if_due() == 1
    assert backend.get(b"g-dead") is None
    assert backend.get(b"g-alive") is not None


def test_of_many_workers_one_does_it_per_interval() -> None:
    backend, clock = with_dead_record(), Clock()
    workers = [Housekeeping(backend, 3600, clock) for _ in range(8)]
    found: list[int | None] = []
    barrier = Barrier(8)

    def work(worker: Housekeeping) -> None:
        barrier.wait(10)
        found.append(worker.purge_if_due())

    threads = [Thread(target=work, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(found, key=str) == [1] + [None] * 7
    clock.now += 3599
    assert workers[0].purge_if_due() is None
    clock.now += 1
    assert workers[0].purge_if_due() == 0


def test_the_first_look_is_spread_over_the_interval_and_runs_beside_the_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: high / 2)
    backend, clock = with_dead_record(), Clock()
    housekeeping = Housekeeping(backend, 3600, clock)
    assert housekeeping.look_after() is None
    clock.now += 1799
    assert housekeeping.look_after() is None
    clock.now += 1
    thread = housekeeping.look_after()
    assert thread is not None
    thread.join(10)
    assert backend.get(b"g-dead") is None
    assert housekeeping.look_after() is None


def test_an_interval_of_0_turns_it_off() -> None:
    housekeeping = Housekeeping(with_dead_record(), 0, Clock())
    for _ in range(3):
        assert housekeeping.look_after() is None


def test_a_registry_in_trouble_is_left_alone_until_the_next_time(caplog: pytest.LogCaptureFixture) -> None:
    class Down(MemoryBackend):
        def purge(self, now: float) -> int:
            raise RegistryError("the disk is full")

    assert Housekeeping(Down(), 3600, Clock()).purge_if_due() is None
    assert "housekeeping has to wait: the disk is full" in caplog.text


def test_a_clock_that_was_wrong_does_not_stop_it_for_good() -> None:
    backend, clock = with_dead_record(), Clock()
    clock.now += 10 * 365 * 86400
    Housekeeping(backend, 3600, clock).purge_if_due()
    clock.now = NOW
    assert Housekeeping(backend, 3600, clock).purge_if_due() == 0


def test_a_process_whose_clock_was_ahead_looks_again_when_it_is_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    backend, clock = with_dead_record(), Clock()
    clock.now += 10 * 365 * 86400
    housekeeping = Housekeeping(backend, 3600, clock)
    assert housekeeping.look_after() is None
    clock.now = NOW
    thread = housekeeping.look_after()
    assert thread is not None
    thread.join(10)
    assert backend.get(b"g-dead") is None
    assert housekeeping.due_at == NOW + 3600


@pytest.mark.parametrize(("back", "looks"), [(0, False), (3600, False), (3601, True)])
def test_a_clock_that_went_back_by_less_than_the_interval_makes_no_extra_round(
    monkeypatch: pytest.MonkeyPatch, back: float, looks: bool
) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    clock = Clock()
    housekeeping = Housekeeping(MemoryBackend(), 3600, clock)
    housekeeping.look_after()
    clock.now -= back
    assert (housekeeping.look_after() is not None) is looks
