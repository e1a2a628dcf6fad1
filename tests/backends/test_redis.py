"""What a registry in Valkey costs, keeps and forgets, beyond the contract."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oauth_refresh.backends import redis_index, redis_link
from oauth_refresh.backends.base import Entry
from oauth_refresh.backends.redis import RedisBackend, _pages, open_url
from oauth_refresh.backends.redis_index import NEVER_BASE, NO_HORIZON, PARTS, hash_term, part_names, read_head
from oauth_refresh.backends.redis_link import Facts
from oauth_refresh.errors import NotReplicatedError, RegistryError
from tests.backends import valkey

DAY = 86400.0
PREFIX = b"oauth_refresh:"
TERM = PREFIX + b"i" + hash_term(b"term") + b"\0"
"""The only part of the term in tests that ask for `one_part`."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[valkey.Server, valkey.Server]]:
    with valkey.with_replica(tmp_path_factory.mktemp("servers")) as servers:
        yield servers


@pytest.fixture
def server(servers: tuple[valkey.Server, valkey.Server]) -> valkey.Server:
    """Empty, with a replica that is up to date."""
    servers[0].ask("FLUSHALL")
    return servers[0]


@pytest.fixture
def replica(server: valkey.Server, servers: tuple[valkey.Server, valkey.Server]) -> Iterator[valkey.Server]:
    yield servers[1]
    servers[1].resume()


@pytest.fixture
def backend(server: valkey.Server) -> Iterator[RedisBackend]:
    backend = opened(server)
    yield backend
    backend.close()


def opened(server: valkey.Server, options: str = "") -> RedisBackend:
    backend = open_url(f"valkey://{server.address}{options}")
    assert isinstance(backend, RedisBackend)
    return backend


def create(backend: RedisBackend, key: bytes = b"k", life: float | None = DAY, *terms: bytes) -> Entry:
    expires_at = None if life is None else time.time() + life
    assert backend.swap(key, None, b"1", expires_at, terms) is True
    entry = backend.get(key)
    assert entry
    return entry


def commands(server: valkey.Server) -> dict[str, int]:
    """How often each command was called since the last question, but those of this question."""
    found = {
        name.removeprefix("cmdstat_"): stat["calls"] for name, stat in server.info("commandstats").items()
    }
    server.ask("CONFIG", "RESETSTAT")
    ours = ("info", "config|resetstat", "client|setinfo", "replconf", "ping", "hello")
    return {name: calls for name, calls in found.items() if name not in ours}


# --- what it costs


def test_a_rotation_is_one_command_and_a_check_another(server: valkey.Server, backend: RedisBackend) -> None:
    entry: Entry | None = create(backend, b"k", DAY, b"subject", b"client")
    commands(server)
    for lap in range(20):
        assert backend.swap(b"k", entry, b"%d" % lap, time.time() + DAY, [b"client", b"subject"]) is True
        entry = backend.get(b"k")
    assert commands(server) == {"set": 20, "get": 20}


def test_threads_that_end_leave_no_connections_behind(server: valkey.Server, backend: RedisBackend) -> None:
    before = server.info("clients")["connected_clients"]
    for _ in range(20):
        backend.get(b"k")
    assert server.info("clients")["connected_clients"] == before + 1
    backend.close()
    valkey.wait_until("the close", lambda: server.info("clients")["connected_clients"] == before)


# --- what it forgets


def test_the_server_forgets_a_record_ten_minutes_late(server: valkey.Server, backend: RedisBackend) -> None:
    end = time.time() + 1000.0004
    backend.swap(b"k", None, b"1", end)
    assert 0 <= server.ask("PEXPIRETIME", PREFIX + b"rk") - (end + 600) * 1000 < 1
    assert backend.swap(b"k", backend.get(b"k"), b"2", end + 5) is True
    assert 0 <= server.ask("PEXPIRETIME", PREFIX + b"rk") - (end + 605) * 1000 < 1


def test_a_host_whose_clock_is_minutes_behind_loses_nothing(backend: RedisBackend) -> None:
    assert create(backend, b"k", -300.0, b"term").body == b"1"
    assert list(backend.find(b"term")) == [b"k"]


@pytest.mark.usefixtures("one_part")
@pytest.mark.parametrize("end", [None, 1e12, float("inf")])
def test_a_record_without_an_end_is_kept(
    server: valkey.Server, backend: RedisBackend, end: float | None
) -> None:
    create(backend)
    assert backend.swap(b"k", backend.get(b"k"), b"2", end, [b"term"]) is True
    assert server.ask("PEXPIRETIME", PREFIX + b"rk") == -1
    assert server.ask("PEXPIRETIME", TERM) == -1


def test_purge_leaves_to_the_server_what_it_forgets_by_itself(
    server: valkey.Server, backend: RedisBackend
) -> None:
    create(backend, b"k", -300.0)
    commands(server)
    assert backend.purge(time.time()) == 0
    assert commands(server) == {"time": 1}


def test_purge_of_one_registry_leaves_another_one_alone(server: valkey.Server, backend: RedisBackend) -> None:
    other = opened(server, "?prefix=oauth_refresh%3A%3F")
    alike = opened(server, "?prefix=oauth_refresh%3Ax")
    for each in (backend, other, alike):
        create(each)
    assert other.purge(time.time() + 2 * DAY) == 1
    assert [len(list(each.keys())) for each in (backend, other, alike)] == [1, 0, 1]


# --- index terms


@pytest.fixture
def one_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_index, "PARTS", 1)


def test_a_term_of_many_records_is_spread_evenly(server: valkey.Server, backend: RedisBackend) -> None:
    keys = sorted(b"g%d" % number for number in range(10 * PARTS))
    for key in keys:
        create(backend, key, DAY, b"term")
    sizes = [server.ask("ZCARD", name) for name in part_names(PREFIX, hash_term(b"term"))]
    assert (sum(sizes), len(sizes), min(sizes) > 0, max(sizes) < 30) == (len(keys), PARTS, True, True)
    assert sorted(backend.find(b"term")) == keys


def horizon(server: valkey.Server, key: bytes = b"k") -> float:
    score = server.ask("ZSCORE", TERM, key)
    return float(score) * 60 - time.time()


@pytest.mark.usefixtures("one_part")
def test_a_term_outlives_its_record_by_a_quarter_and_its_set_by_a_minute(
    server: valkey.Server, backend: RedisBackend
) -> None:
    create(backend, b"k", DAY, b"term")
    assert horizon(server) == pytest.approx(DAY + 600 + DAY / 4, abs=120)
    assert server.ask("EXPIRETIME", TERM) == float(server.ask("ZSCORE", TERM, b"k")) * 60 + 60
    create(backend, b"short", 60.0, b"term")
    assert horizon(server, b"short") == pytest.approx(60 + 600 + 3600, abs=120)
    assert server.ask("EXPIRETIME", TERM) == float(server.ask("ZSCORE", TERM, b"k")) * 60 + 60


@pytest.mark.usefixtures("one_part")
def test_terms_are_written_again_before_they_would_be_forgotten(
    server: valkey.Server, backend: RedisBackend
) -> None:
    entry = create(backend, b"k", DAY, b"term")
    server.ask("DEL", TERM)  # as a failover may
    assert backend.swap(b"k", entry, b"2", time.time() + DAY * 1.24, [b"term"]) is True
    assert list(backend.find(b"term")) == []
    assert backend.swap(b"k", backend.get(b"k"), b"3", time.time() + DAY * 1.26, [b"term"]) is True
    assert list(backend.find(b"term")) == [b"k"]
    assert horizon(server) > DAY * 1.5


@pytest.mark.usefixtures("one_part")
def test_a_term_that_stays_is_never_shortened(server: valkey.Server, backend: RedisBackend) -> None:
    entry = create(backend, b"k", DAY, b"term")
    before = horizon(server)
    assert backend.swap(b"k", entry, b"2", time.time() + 60, [b"term", b"other"]) is True
    assert horizon(server) == pytest.approx(before, abs=5)


@pytest.mark.usefixtures("one_part")
def test_what_is_past_its_horizon_is_dropped_by_the_next_one(
    server: valkey.Server, backend: RedisBackend
) -> None:
    create(backend, b"k", DAY, b"term")
    for number in range(150):
        server.ask("ZADD", TERM, 1000 + number, b"past %d" % number)
    create(backend, b"l", DAY, b"term")
    assert server.ask("ZCARD", TERM) == 52
    create(backend, b"m", DAY, b"term")
    assert server.ask("ZRANGE", TERM, 0, -1) == [b"k", b"l", b"m"]


@pytest.mark.usefixtures("one_part")
def test_a_set_whose_last_record_has_an_end_again_is_forgotten_again(
    server: valkey.Server, backend: RedisBackend
) -> None:
    entry = create(backend, b"k", None, b"term")
    assert server.ask("EXPIRETIME", TERM) == -1
    assert read_head(entry.version).horizon == NO_HORIZON
    create(backend, b"l", DAY, b"term")
    assert server.ask("EXPIRETIME", TERM) == -1
    server.ask("ZREM", TERM, b"k")
    create(backend, b"m", DAY, b"term")
    assert server.ask("EXPIRETIME", TERM) > 0


@pytest.mark.usefixtures("one_part")
def test_a_dead_record_without_an_end_leaves_its_term_once_its_name_is_a_day_old(
    server: valkey.Server, backend: RedisBackend
) -> None:
    for key in (b"old", b"new", b"living"):
        create(backend, key, None, b"term")
    minute = int(time.time() / 60)
    for key in (b"old", b"living"):
        server.ask("ZADD", TERM, NEVER_BASE + minute - 1442, key)
    for key in (b"old", b"new"):
        server.ask("DEL", PREFIX + b"r" + key)
    # Whoever named the new one may be about to write it at this moment.
    assert list(backend.find(b"term")) == [b"living"]
    assert sorted(server.ask("ZRANGE", TERM, 0, -1)) == [b"living", b"new"]


@pytest.mark.usefixtures("one_part")
def test_a_deletion_takes_the_old_name_of_a_record_without_an_end_along(
    server: valkey.Server, backend: RedisBackend
) -> None:
    minute = int(time.time() / 60)
    for key, change in ((b"deleted", None), (b"renamed", b"2")):
        entry = create(backend, key, None, b"term")
        server.ask("ZADD", TERM, NEVER_BASE + minute - 1442, key)
        assert backend.swap(key, entry, change) is True
    assert server.ask("EXISTS", TERM) == 0


@pytest.mark.usefixtures("one_part")
def test_find_ignores_a_term_that_was_written_ahead_of_its_record(
    server: valkey.Server, backend: RedisBackend
) -> None:
    server.ask("ZADD", TERM, NEVER_BASE, b"never written")
    create(backend, b"other", DAY, b"other term")
    server.ask("ZADD", TERM, int(time.time() / 60) + 1000, b"other")
    assert list(backend.find(b"term")) == []


@pytest.mark.usefixtures("one_part")
def test_terms_are_on_the_replica_before_the_record_is_written(
    backend: RedisBackend, replica: valkey.Server, caplog: pytest.LogCaptureFixture
) -> None:
    assert create(backend, b"k", DAY, b"term")
    assert replica.ask("ZRANGE", TERM, 0, -1) == [b"k"]


# --- copies


@pytest.mark.parametrize(("copies", "waits"), [("none", 0), ("wanted", 1), ("required", 1)])
def test_a_write_waits_for_a_replica_if_it_is_asked_to(
    server: valkey.Server, backend: RedisBackend, replica: valkey.Server, copies: Any, waits: int
) -> None:
    entry = create(backend)
    commands(server)
    assert backend.swap(b"k", entry, b"2", copies=copies) is True
    assert backend.swap(b"k", backend.get(b"k"), None, copies=copies) is True
    assert commands(server).get("wait", 0) == 2 * waits
    if waits:
        assert replica.ask("EXISTS", PREFIX + b"rk") == 0


def test_a_required_copy_that_is_not_made_in_a_second_is_told_and_the_write_is_done(
    backend: RedisBackend, replica: valkey.Server
) -> None:
    entry = create(backend)
    replica.pause()
    began = time.monotonic()
    with pytest.raises(NotReplicatedError):
        backend.swap(b"k", entry, b"2", copies="required")
    assert 0.9 < time.monotonic() - began < 2
    assert backend.swap(b"k", entry, b"3", copies="required") is False
    found = backend.get(b"k")
    assert found
    assert found.body == b"2"


def test_all_terms_and_the_record_wait_two_seconds_at_most(
    backend: RedisBackend, replica: valkey.Server, caplog: pytest.LogCaptureFixture
) -> None:
    replica.pause()
    began = time.monotonic()
    with caplog.at_level(logging.WARNING, "oauth_refresh"):
        backend.swap(b"k", None, b"1", None, [b"%d" % number for number in range(2)], "wanted")
    assert time.monotonic() - began < 3
    assert len([record for record in caplog.records if "replicas confirmed" in record.message]) == 2


@pytest.mark.parametrize(("option", "waits"), [("0", 0), ("1", 1), ("2", 1)])
def test_the_number_of_replicas_may_be_set(server: valkey.Server, option: str, waits: int) -> None:
    backend = opened(server, f"?replicas={option}&timeout=0.4")
    backend.get(b"k")
    commands(server)
    if option == "2":
        with pytest.raises(NotReplicatedError, match="1 of 2 replicas confirmed"):
            backend.swap(b"k", None, b"1", copies="required")
    else:
        assert backend.swap(b"k", None, b"1", copies="required") is True
    assert commands(server).get("wait", 0) == waits


def test_without_a_replica_nothing_is_waited_for(tmp_path: Path) -> None:
    with valkey.running([valkey.single(tmp_path)]) as [server]:
        backend = opened(server)
        backend.get(b"k")
        commands(server)
        assert backend.swap(b"k", None, b"1", copies="required") is True
        assert commands(server) == {"set": 1}


# --- what a server says of itself


@pytest.mark.parametrize(
    ("info", "replace", "delete"),
    [
        (b"redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.0.1\r\n", True, True),
        (b"redis_version:7.2.4\r\nvalkey_version:8.1.0\r\n", True, False),
        (b"redis_version:7.2.4\r\nvalkey_version:8.0.3\r\n", False, False),
        (b"redis_version:8.4.0\r\n", True, False),
        (b"redis_version:8.2.1\r\n", False, False),
        (b"redis_version:7.0.15\r\n", False, False),
    ],
)
def test_scripts_are_used_where_the_server_does_not_compare(info: bytes, replace: bool, delete: bool) -> None:
    facts = Facts(info)
    assert (facts.replace_if_equal, facts.delete_if_equal) == (replace, delete)


def test_a_server_that_is_too_old_is_told(server: valkey.Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_link, "_OLDEST", (99, 0))
    monkeypatch.setattr(redis_link, "_version", lambda info, name: (6, 2) if name == "redis_version" else ())
    with pytest.raises(RegistryError) as raised:
        opened(server).get(b"k")
    assert str(raised.value) == (
        f"registry valkey://{server.address}: Redis 6.2 is too old; 7.0 or any Valkey is needed"
    )


def test_a_server_without_a_log_of_changes_is_warned_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        valkey.running([valkey.Server(tmp_path)]) as [server],
        caplog.at_level(logging.WARNING, "oauth_refresh"),
    ):
        backend = opened(server)
        for _ in range(3):
            backend.get(b"k")
            backend.close()
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["registry valkey"]
    assert "appendonly is off" in caplog.records[0].getMessage()


# --- what else is there


def test_keys_of_another_program_are_told(server: valkey.Server, backend: RedisBackend) -> None:
    server.ask("SET", PREFIX + b"rstrange", b"strange")
    server.ask("SADD", PREFIX + b"rset", b"member")
    with pytest.raises(RegistryError, match=r"another program uses the same keys \(set another \?prefix=\)"):
        backend.get(b"strange")
    with pytest.raises(RegistryError, match=r"another program uses the same keys; set another \?prefix="):
        backend.get(b"set")


def test_a_key_named_like_a_term_is_a_record(server: valkey.Server, backend: RedisBackend) -> None:
    create(backend, b"i" + hash_term(b"term"), DAY, b"term")
    assert list(backend.keys()) == list(backend.find(b"term")) == [b"i" + hash_term(b"term")]


# --- walks over a server that is replaced meanwhile


def walk(answers: list[tuple[tuple[bytes, list[bytes]], str]]) -> list[bytes]:
    def page(cursor: int) -> tuple[Any, str]:
        asked.append(cursor)
        return answers.pop(0)

    asked: list[int] = []
    return [key for keys in _pages(page, "server") for key in keys]


def test_a_walk_begins_again_in_a_new_process() -> None:
    answers = [
        ((b"7", [b"a"]), "one"),
        ((b"9", [b"x"]), "two"),
        ((b"3", [b"a"]), "two"),
        ((b"0", [b"b"]), "two"),
    ]
    assert walk(answers) == [b"a", b"b"]


@pytest.mark.parametrize("processes", ["abcdef", ["", "", ""]])
def test_a_walk_that_never_gets_to_the_end_is_told(processes: list[str]) -> None:
    with pytest.raises(RegistryError, match="another server took over during a walk"):
        walk([((b"7", []), process) for process in processes])


def test_after_a_fork_no_lock_is_inherited(backend: RedisBackend) -> None:
    with backend._route._lock:
        lock = backend._route._lock
        backend._route._forget()
        assert backend._route._lock is not lock
