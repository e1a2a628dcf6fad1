"""How often was a password guessed wrong, and how long must the next guess wait?"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from oauth_refresh.attempts import Attempts
from oauth_refresh.backends.base import Entry
from oauth_refresh.backends.memory import MemoryBackend
from oauth_refresh.errors import RegistryError

NOW = 1_800_000_000.0


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def backend() -> MemoryBackend:
    return MemoryBackend()


@pytest.fixture
def attempts(backend: MemoryBackend, clock: Clock) -> Attempts:
    return Attempts(backend, clock, limit=3, window=900.0, sleep=lambda _: None)


def exhaust(attempts: Attempts, realm: str = "account", name: str = "alice") -> None:
    assert [attempts.reserve(realm, name) for _ in range(3)] == [0, 0, 0]


@pytest.mark.requirement("UI-10")
def test_attempts_up_to_the_limit_go_on_and_the_next_waits(attempts: Attempts) -> None:
    exhaust(attempts)
    assert attempts.reserve("account", "alice") == 900
    assert attempts.wait("account", "alice") == 900
    assert attempts.wait("account", "bob") == 0
    assert attempts.wait("address", "alice") == 0


def test_the_default_is_ten_attempts_in_a_quarter_of_an_hour(backend: MemoryBackend, clock: Clock) -> None:
    attempts = Attempts(backend, clock)
    assert [attempts.reserve("account", "alice") for _ in range(12)] == [0] * 10 + [900] * 2


@pytest.mark.parametrize(
    ("elapsed", "wait"),
    [(0, 900), (0.5, 900), (1, 899), (899, 1), (899.9, 1), (900, 0), (901, 0), (-60, 900), (-61, 0)],
    ids=str,
)
def test_the_wait_lasts_until_the_window_that_began_with_the_first_attempt_ends(
    attempts: Attempts, clock: Clock, elapsed: float, wait: int
) -> None:
    exhaust(attempts)
    clock.now += elapsed
    assert attempts.wait("account", "alice") == wait
    assert attempts.reserve("account", "alice") == wait


def test_a_host_whose_clock_was_years_ahead_locks_nobody_out(
    attempts: Attempts, backend: MemoryBackend, clock: Clock
) -> None:
    clock.now += 10 * 365 * 86400
    exhaust(attempts)
    clock.now = NOW
    exhaust(attempts)
    assert attempts.reserve("account", "alice") == 900
    assert backend.purge(NOW + 900) == 1


def test_hosts_whose_clocks_differ_a_little_count_together(backend: MemoryBackend) -> None:
    clocks = [Clock(), Clock(), Clock()]
    clocks[1].now, clocks[2].now = NOW - 2, NOW - 60
    hosts = [Attempts(backend, clock, limit=3) for clock in clocks]
    assert [host.reserve("account", "alice") for host in (*hosts, *hosts)] == [0, 0, 0, 900, 900, 900]


def test_refused_attempts_do_not_prolong_the_wait(attempts: Attempts, clock: Clock) -> None:
    exhaust(attempts)
    clock.now += 899
    for _ in range(5):
        attempts.reserve("account", "alice")
    clock.now += 1
    exhaust(attempts)
    assert attempts.wait("account", "alice") == 900


def test_looking_counts_nothing(attempts: Attempts, backend: MemoryBackend) -> None:
    for _ in range(10):
        assert attempts.wait("account", "alice") == 0
    assert list(backend.keys()) == []


def test_a_failure_told_afterwards_counts_as_well(attempts: Attempts) -> None:
    for _ in range(3):
        assert attempts.wait("client", "a") == 0
        attempts.failed("client", "a")
    assert attempts.wait("client", "a") == 900


def test_clearing_starts_anew_and_leaves_nothing_behind(attempts: Attempts, backend: MemoryBackend) -> None:
    exhaust(attempts)
    attempts.clear("account", "alice")
    assert list(backend.keys()) == []
    exhaust(attempts)
    attempts.clear("account", "nobody")


def test_giving_back_undoes_one_attempt_and_no_more(attempts: Attempts) -> None:
    exhaust(attempts, "address", "192.0.2.7")
    attempts.give_back("address", "192.0.2.7")
    assert attempts.reserve("address", "192.0.2.7") == 0
    assert attempts.reserve("address", "192.0.2.7") == 900
    attempts.give_back("address", "198.51.100.1")
    exhaust(attempts, "address", "198.51.100.1")
    assert attempts.wait("address", "198.51.100.1") == 900


@pytest.mark.parametrize("name", ["ALICE", " alice ", "\uff41lice"], ids=["case", "space", "width"])
def test_another_spelling_of_a_name_is_not_another_set_of_attempts(attempts: Attempts, name: str) -> None:
    exhaust(attempts)
    assert attempts.wait("account", name) == 900


def test_realm_and_name_are_not_run_together(attempts: Attempts) -> None:
    exhaust(attempts, "account", "alice")
    assert attempts.wait("accounta", "lice") == 0


def test_any_name_can_be_counted(attempts: Attempts) -> None:
    exhaust(attempts, "account", "")
    exhaust(attempts, "account", "\ud800" + "x" * 100_000)


def test_the_record_is_small_names_nobody_and_may_be_forgotten_with_the_window(
    attempts: Attempts, backend: MemoryBackend
) -> None:
    attempts.reserve("account", "alice")
    (key,) = backend.keys(b"l")
    entry = backend.get(key)
    assert entry is not None
    assert len(key) == 33
    assert entry.body == b"\x01" + msgspec.msgpack.encode([1, NOW])
    assert backend.purge(NOW + 899) == 0
    assert backend.purge(NOW + 900) == 1


def test_counters_are_shared_by_all_who_share_the_registry(backend: MemoryBackend, clock: Clock) -> None:
    workers = [Attempts(backend, clock, limit=3) for _ in range(2)]
    assert [workers[turn % 2].reserve("account", "alice") for turn in range(4)] == [0, 0, 0, 900]


@pytest.mark.requirement("UI-10")
def test_of_a_hundred_guesses_at_once_only_as_many_as_the_limit_are_looked_at(
    backend: MemoryBackend, clock: Clock
) -> None:
    attempts = Attempts(backend, clock, limit=10)
    with ThreadPoolExecutor(25) as pool:
        waits = list(pool.map(lambda _: attempts.reserve("account", "alice"), range(100)))
    assert waits.count(0) == 10
    assert attempts.wait("account", "alice") == 900


class Contested(MemoryBackend):
    """Somebody else counts an attempt just before each swap."""

    rival: Callable[[], object] | None = None

    def get(self, key: bytes) -> Entry | None:
        entry = super().get(key)
        rival, self.rival = self.rival, None
        if rival is not None:
            rival()
            self.rival = rival
        return entry


def test_a_lost_swap_is_tried_again_until_the_limit_is_reached(clock: Clock) -> None:
    backend = Contested()
    pauses: list[float] = []
    attempts = Attempts(backend, clock, limit=3, sleep=pauses.append)
    backend.rival = lambda: attempts.failed("account", "alice")
    assert attempts.reserve("account", "alice") == 900
    assert len(pauses) == 3
    assert all(0 <= pause < 0.1 for pause in pauses)


def test_a_swap_that_is_lost_for_ever_lets_nobody_in_and_does_not_hang(clock: Clock) -> None:
    class Hopeless(MemoryBackend):
        def swap(self, *_: object, **__: object) -> bool:
            return False

    attempts = Attempts(Hopeless(), clock, limit=3, sleep=lambda _: None)
    assert attempts.reserve("account", "alice") == 1


@pytest.mark.parametrize("body", [b"", b"\x02\x92\x01\x01", b"\x01nonsense", b"\x01\x91\x01"], ids=repr)
def test_a_record_that_cannot_be_read_is_trouble_and_not_a_free_attempt(
    attempts: Attempts, backend: MemoryBackend, body: bytes
) -> None:
    attempts.reserve("account", "alice")
    (key,) = backend.keys()
    assert backend.swap(key, backend.get(key), body)
    with pytest.raises(RegistryError):
        attempts.wait("account", "alice")
    with pytest.raises(RegistryError):
        attempts.reserve("account", "alice")


@pytest.mark.parametrize(("limit", "window"), [(0, 900.0), (10, 0.5)], ids=["limit", "window"])
def test_a_limit_that_would_count_nothing_is_refused(
    backend: MemoryBackend, clock: Clock, limit: int, window: float
) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Attempts(backend, clock, limit, window)
