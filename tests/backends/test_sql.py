"""What records in PostgreSQL and MariaDB cost, and how they are kept, beyond the contract."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from threading import Barrier

import pytest

from oauth_refresh.backends.base import Entry
from oauth_refresh.backends.sql import SQLBackend
from oauth_refresh.backends.sql_tables import DEAD_AT_ONCE
from tests.backends.children import in_a_child
from tests.backends.slow_line import Line
from tests.backends.sql_store import FAMILIES, Store

NOW = 1_900_000_000.0
HOUR = 3600.0
WARM = 7
"""Uses of a statement after which the driver has prepared it."""


@pytest.fixture(params=FAMILIES)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    store = Store(request.param)
    yield store
    store.close()


@pytest.fixture
def backend(store: Store) -> SQLBackend:
    return store.open()


@pytest.fixture
def line(store: Store) -> Iterator[Line]:
    line = Line(store.server.port)
    yield line
    line.close()


@pytest.fixture
def postgresql() -> Iterator[Store]:
    store = Store("postgresql")
    yield store
    store.close()


def fill(backend: SQLBackend, count: int) -> dict[bytes, list[bytes]]:
    """Records like grants: a key of 17 bytes, 450 bytes, one term of its own and one that many share."""
    records = {}
    for number in range(count):
        # The same keys each time, for the fill of an index depends on them.
        key, subject = b"g" + sha256(b"%d" % number).digest()[:16], b"s:someone-%d@example.org" % number
        records[key] = [subject, b"c:client with a long name %d" % (number % 10)]
        assert backend.swap(key, None, os.urandom(450), NOW + number * 600, records[key])
    return records


def rotate(backend: SQLBackend, key: bytes, terms: list[bytes], expires_at: float) -> None:
    assert backend.swap(key, backend.get(key), os.urandom(450), expires_at, terms)


# --- what it costs


def test_a_get_is_one_round_trip(store: Store, line: Line) -> None:
    backend = store.open(port=line.port)
    backend.swap(b"k", None, b"1")
    for _ in range(WARM):
        backend.get(b"k")
    before = line.exchanges
    for _ in range(20):
        assert backend.get(b"k") == Entry(b"1", b"1")
        assert backend.get(b"no such key") is None
    assert (line.exchanges - before, line.connections) == (40, 1)


def test_a_swap_is_one_round_trip_whatever_it_changes(store: Store, line: Line) -> None:
    backend = store.open(port=line.port)
    terms = [[b"a"], [b"a"], [b"b", b"c"], [], [b"d", b"b"]]

    def live(key: bytes) -> None:
        body = b""
        assert backend.swap(key, None, body, NOW, terms[0])
        for number, index in enumerate(terms):
            assert backend.swap(key, Entry(body, body), body := b"%d" % number, NOW + number * HOUR, index)
        assert not backend.swap(key, None, b"x", NOW)
        assert not backend.swap(key, Entry(b"x", b"x"), b"y", NOW)
        assert backend.swap(key, Entry(body, body), None)

    for number in range(WARM):
        live(b"warm %d" % number)
    before = line.exchanges
    live(b"k")
    assert line.exchanges - before == 1 + len(terms) + 2 + 1


def test_a_page_of_a_walk_is_one_round_trip(store: Store, line: Line) -> None:
    backend = store.open(port=line.port)
    for number in range(30):
        backend.swap(b"%d" % number, None, b"1", index=[b"term"])
    for _ in range(WARM):
        assert (len(list(backend.find(b"term"))), len(list(backend.keys()))) == (30, 30)
    before = line.exchanges
    assert (len(list(backend.find(b"term"))), len(list(backend.keys()))) == (30, 30)
    assert line.exchanges - before == 2


def test_in_postgresql_a_record_of_450_bytes_takes_at_most_800(postgresql: Store) -> None:
    backend, size = postgresql.open(), "SELECT pg_total_relation_size('{record}')"
    backend.create()
    ((empty,),) = postgresql.run(size)
    records = fill(backend, 10_000)
    ((full,),) = postgresql.run(size)
    assert (full - empty) / len(records) <= 800
    for number, (key, terms) in enumerate(records.items()):
        rotate(backend, key, terms, NOW + number * 600 + 30 * 86400)
    assert postgresql.run(size)[0][0] <= full * 1.02


def test_in_postgresql_a_rotation_writes_no_index(postgresql: Store) -> None:
    backend = postgresql.open()
    for lap, (key, terms) in enumerate(fill(backend, 20).items()):
        for day in range(5):
            rotate(backend, key, terms, NOW + (lap + day) * 86400)
    statistics = (
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = '{record}'",
        "SELECT pg_stat_force_next_flush()",
    )
    with backend._server.cursor() as cursor:
        cursor.execute(statistics[1])
        cursor.execute("SELECT 1")
    assert postgresql.run(statistics[0]) == [(100, 100)]


# --- how it is kept


def test_a_swap_of_the_same_body_wins(backend: SQLBackend) -> None:
    backend.swap(b"k", None, b"1", NOW, [b"term"])
    for _ in range(2):
        assert backend.swap(b"k", Entry(b"1", b"1"), b"1", NOW, [b"term"]) is True


def test_more_terms_than_there_are_places_for_are_refused(backend: SQLBackend) -> None:
    with pytest.raises(ValueError, match="at most 2 index terms"):
        backend.swap(b"k", None, b"1", index=[b"%d" % number for number in range(3)])


def test_a_walk_misses_no_record_whose_terms_change_places(backend: SQLBackend) -> None:
    keys = [b"%04d" % number for number in range(1200)]
    for key in keys:
        backend.swap(key, None, b"1", index=[b"term"])
    named: list[bytes] = []
    for key in backend.find(b"term"):
        if len(named) % 400 == 0:
            for other in (keys[0], keys[700], keys[-1]):
                entry = backend.get(other)
                more = b"%d" % len(named)
                assert backend.swap(other, entry, more, index=[b"term", more])
        named.append(key)
    assert named == keys


def test_purge_postpones_what_was_renewed_and_looks_at_it_no_more(store: Store, backend: SQLBackend) -> None:
    backend.swap(b"k", None, b"1", NOW)
    backend.swap(b"k", Entry(b"1", b"1"), b"2", NOW + 100 * HOUR)
    due = "SELECT due FROM {record}"
    assert store.run(due) == [(NOW // HOUR,)]
    assert backend.purge(NOW + 1) == 0
    assert store.run(due) == [(NOW // HOUR,)]
    assert backend.purge(NOW + HOUR) == 0
    assert store.run(due) == [(NOW // HOUR + 100,)]
    assert backend.purge(NOW + 100 * HOUR) == 1


def test_purge_postpones_for_ever_what_no_longer_ends(store: Store, backend: SQLBackend) -> None:
    backend.swap(b"k", None, b"1", NOW)
    backend.swap(b"k", Entry(b"1", b"1"), b"2", None)
    assert backend.purge(NOW + 10 * HOUR) == 0
    assert store.run("SELECT due FROM {record}") == [(None,)]
    backend.swap(b"k", Entry(b"2", b"2"), b"3", NOW)
    assert backend.purge(NOW) == 1


def test_purge_goes_through_many_records_in_batches(backend: SQLBackend) -> None:
    count = 2 * DEAD_AT_ONCE + 10
    for number in range(count):
        backend.swap(b"early %d" % number, None, b"1", NOW - 2 * HOUR - number)
        backend.swap(b"renewed %d" % number, None, b"1", NOW - 2 * HOUR)
        backend.swap(b"renewed %d" % number, Entry(b"1", b"1"), b"2", NOW + HOUR)
    for number in range(DEAD_AT_ONCE + 10):
        backend.swap(b"now %d" % number, None, b"1", NOW)
        backend.swap(b"soon %d" % number, None, b"1", NOW + 1)
    assert backend.purge(NOW) == count + DEAD_AT_ONCE + 10
    assert backend.purge(NOW) == 0
    assert len(list(backend.keys())) == count + DEAD_AT_ONCE + 10


# --- sessions


def test_every_postgresql_session_has_the_chosen_settings(postgresql: Store) -> None:
    settings = (
        "statement_timeout",
        "default_transaction_isolation",
        "synchronous_commit",
        "application_name",
    )

    def session(backend: SQLBackend) -> list[str]:
        with backend._server.cursor() as cursor:
            return [cursor.execute(f"SHOW {name}").fetchone()[0] for name in settings]

    assert session(postgresql.open()) == ["5s", "read committed", "on", "oauth_refresh"]
    chosen = postgresql.open(timeout=0.5, synchronous_commit="remote_apply")
    assert session(chosen) == ["500ms", "read committed", "remote_apply", "oauth_refresh"]
    assert session(postgresql.open(pooler="yes"))[0] == "0"


def test_behind_a_pooler_nothing_is_prepared(postgresql: Store) -> None:
    counts = []
    for pooler in ("no", "yes"):
        backend = postgresql.open(pooler=pooler)
        for _ in range(20):
            backend.get(b"k")
        with backend._server.cursor() as cursor:
            counts.append(cursor.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()[0])
    assert counts == [1, 0]


def test_every_mariadb_session_has_the_chosen_settings() -> None:
    store = Store("mariadb")
    with store.open(timeout=2.5)._server.cursor() as cursor:
        cursor.execute("SELECT @@autocommit, @@sql_mode, @@innodb_lock_wait_timeout, @@max_statement_time")
        assert cursor.fetchone() == (1, "STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION", 2, 2.5)
    store.close()


def session_id(backend: SQLBackend, store: Store) -> int:
    with backend._server.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()" if store.is_postgresql else "SELECT CONNECTION_ID()")
        return int(cursor.fetchone()[0])


def test_a_connection_is_used_again(store: Store, backend: SQLBackend) -> None:
    assert len({session_id(backend, store) for _ in range(5)}) == 1


def test_an_old_connection_is_replaced(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr("oauth_refresh.backends.sql_connections.monotonic", lambda: clock[0])
    backend = store.open(pool_recycle=60)
    first = session_id(backend, store)
    clock[0] += 59
    assert session_id(backend, store) == first
    clock[0] += 2
    assert session_id(backend, store) != first


def test_threads_share_no_more_connections_than_allowed(store: Store) -> None:
    backend, gate = store.open(pool_size=3), Barrier(12)

    def use(number: int) -> int:
        gate.wait(60)
        for lap in range(5):
            backend.swap(b"%d %d" % (number, lap), None, b"1")
        return session_id(backend, store)

    with ThreadPoolExecutor(12) as pool:
        assert 1 <= len(set(pool.map(use, range(12)))) <= 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_opens_connections_of_its_own(store: Store, backend: SQLBackend) -> None:
    backend.swap(b"k", None, b"1")
    before = session_id(backend, store)

    def use() -> tuple[int, bool]:
        return session_id(backend, store), backend.swap(b"k", Entry(b"1", b"1"), b"2")

    in_child, swapped = in_a_child(use)
    assert (in_child != before, swapped) == (True, True)
    assert session_id(backend, store) == before
    assert backend.get(b"k") == Entry(b"2", b"2")
