"""What the SQL registry says of a server in trouble, and that it goes on once the trouble is over."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from threading import Event, Thread
from urllib.parse import quote

import pytest

from oauth_refresh.backends import sql_psycopg, sql_pymysql
from oauth_refresh.backends.base import Entry
from oauth_refresh.backends.sql import SQLBackend, open_url
from oauth_refresh.errors import RegistryError
from tests.backends import mariadb, postgres
from tests.backends.slow_line import Line
from tests.backends.sql_store import FAMILIES, Store

ONE, TWO = Entry(b"1", b"1"), Entry(b"2", b"2")
REACH = "check that the server runs and can be reached from here, and host and port in OAUTH_REGISTRY"
SLOW = "look on the server for locks, long transactions and load; the option timeout says how long to wait"
READ_ONLY = "it takes no writes, so it is a standby or was set read-only; name the primary in OAUTH_REGISTRY"
STANDBY = "this server takes no writes, so what it knows may be old; name the primary in OAUTH_REGISTRY"
UNKNOWN = "(whether the change was stored is unknown)"


@pytest.fixture(params=FAMILIES)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    store = Store(request.param)
    yield store
    store.close()


@pytest.fixture
def postgresql() -> Iterator[Store]:
    store = Store("postgresql")
    yield store
    store.close()


@pytest.fixture
def line(store: Store) -> Iterator[Line]:
    line = Line(store.server.port)
    yield line
    line.close()


@pytest.fixture
def backend(store: Store, line: Line, monkeypatch: pytest.MonkeyPatch) -> SQLBackend:
    """Over the line, impatient, with one record."""
    monkeypatch.setattr(sql_psycopg, "SERVER_FIRST", 0.1)
    monkeypatch.setattr(sql_pymysql, "SERVER_FIRST", 0.1)
    backend = store.open(port=line.port, timeout=0.5, connect_timeout=2)
    assert backend.swap(b"k", None, b"1", index=[b"term"])
    return backend


def trouble(call: Callable[[], object]) -> str:
    """What the operator reads. Neither it nor what it came from tells a password or what was to be stored."""
    with pytest.raises(RegistryError) as raised:
        call()
    error: BaseException | None = raised.value
    while error is not None:
        assert "sesame" not in str(error)
        assert "confidential" not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return str(raised.value)


# --- a server that goes away


def test_a_server_that_was_killed_and_restarted_costs_no_call(store: Store) -> None:
    backend = store.open()
    backend.swap(b"k", None, b"1")
    store.server.kill()
    for call in (lambda: backend.get(b"k"), lambda: backend.swap(b"k", ONE, b"2"), lambda: backend.purge(0)):
        assert REACH in trouble(call)
    store.server.start()
    assert backend.swap(b"k", ONE, b"2") is True
    store.server.kill()
    store.server.start()
    assert backend.swap(b"k", TWO, b"3") is True
    assert backend.get(b"k") == Entry(b"3", b"3")


def test_a_connection_that_the_server_closed_while_idle_is_replaced(store: Store) -> None:
    backend = store.open()
    backend.swap(b"k", None, b"1")
    with backend._server.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()" if store.is_postgresql else "SELECT CONNECTION_ID()")
        number = int(cursor.fetchone()[0])
    end = "SELECT pg_terminate_backend(%s, 5000)" if store.is_postgresql else "KILL %s"
    store.run(end, number)
    time.sleep(0.005)  # two milliseconds after its last use it is not idle yet
    assert backend.swap(b"k", ONE, b"2") is True


def test_nobody_at_the_port_is_told(store: Store) -> None:
    backend = store.open(port=postgres.free_port())
    for call in (lambda: backend.get(b"k"), lambda: backend.swap(b"k", None, b"1"), lambda: backend.create()):
        assert REACH in trouble(call)


def test_a_server_that_does_not_greet_is_given_up(store: Store, line: Line) -> None:
    line.silent = True
    backend = store.open(port=line.port, timeout=0.5, connect_timeout=2)
    begun = time.monotonic()
    trouble(lambda: backend.get(b"k"))
    assert time.monotonic() - begun < 4
    line.silent = False
    line.break_connections()
    assert backend.get(b"k") is None


# --- answers that are lost


def test_a_get_whose_answer_was_cut_is_asked_again_on_a_fresh_connection(
    backend: SQLBackend, line: Line
) -> None:
    for length in (0, 3, 20):
        before, line.cut_after = line.connections, length
        assert backend.get(b"k") == ONE
        assert line.connections == before + 1


def test_a_walk_whose_answer_was_cut_is_asked_again(backend: SQLBackend, line: Line) -> None:
    line.cut_after = 3
    assert list(backend.find(b"term")) == [b"k"]
    line.cut_after = 3
    assert list(backend.keys()) == [b"k"]


def test_a_get_is_asked_again_only_once(backend: SQLBackend, line: Line, store: Store) -> None:
    store.run("ALTER TABLE {record} RENAME TO {record}_away")
    line.cut_after = 0
    assert "the tables are missing" in trouble(lambda: backend.get(b"k"))
    store.run("ALTER TABLE {record}_away RENAME TO {record}")
    assert backend.get(b"k") == ONE


@pytest.mark.parametrize("length", [0, 3])
def test_a_swap_whose_answer_was_cut_has_an_unknown_outcome_and_is_not_repeated(
    backend: SQLBackend, line: Line, length: int
) -> None:
    before, line.cut_after = line.connections, length
    assert trouble(lambda: backend.swap(b"k", ONE, b"2")).endswith(UNKNOWN)
    assert line.connections == before
    assert backend.get(b"k") == TWO
    line.cut_after = length
    assert trouble(lambda: backend.swap(b"new", None, b"1")).endswith(UNKNOWN)
    assert backend.get(b"new") == ONE
    line.cut_after = length
    assert trouble(lambda: backend.swap(b"new", ONE, None)).endswith(UNKNOWN)
    assert backend.get(b"new") is None


def test_a_swap_that_did_not_arrive_has_an_unknown_outcome(backend: SQLBackend, line: Line) -> None:
    line.deaf = True
    assert trouble(lambda: backend.swap(b"k", ONE, b"2")).endswith(UNKNOWN)
    line.deaf = False
    assert backend.get(b"k") == ONE
    assert backend.swap(b"k", ONE, b"2") is True


def test_a_server_that_falls_silent_is_given_up_and_not_asked_again(backend: SQLBackend, line: Line) -> None:
    for call in (lambda: backend.get(b"k"), lambda: backend.swap(b"k", ONE, b"2")):
        line.silent = True
        before, begun = line.connections, time.monotonic()
        assert "timed out" in trouble(call)
        assert 0.5 <= time.monotonic() - begun < 2
        assert line.connections == before
        line.silent = False
        backend.get(b"k")


def test_a_slow_line_is_waited_for(backend: SQLBackend, line: Line) -> None:
    line.delay = 0.1
    assert backend.get(b"k") == ONE
    assert backend.swap(b"k", ONE, b"2") is True


# --- a server that is slow, full or conflicting


def test_a_lock_that_is_held_too_long_is_told(backend: SQLBackend, store: Store) -> None:
    other = store.open()
    with other._server.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(f"UPDATE {store.record} SET expires_at = 1")
        refused = trouble(lambda: backend.swap(b"k", ONE, b"2"))
        assert refused.startswith(f"registry {backend._server.place}: ")
        assert refused.endswith(SLOW)
        assert backend.get(b"k") == ONE
        cursor.execute("ROLLBACK")
    assert backend.swap(b"k", ONE, b"2") is True


def raising(store: Store, what: str, sqlstate: str, number: int, times: int = 10**6) -> None:
    """Every write fails like that in the server, the first `times` times."""
    if store.is_postgresql:
        store.run("CREATE SEQUENCE {record}_tries")
        store.run(
            "CREATE FUNCTION {record}_fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"IF nextval('{store.record}_tries') <= {times} THEN "
            f"RAISE EXCEPTION '{what}' USING ERRCODE = '{sqlstate}'; END IF; RETURN NEW; END $$"
        )
        store.run(
            "CREATE TRIGGER fail BEFORE INSERT OR UPDATE ON {record} FOR EACH ROW "
            "EXECUTE FUNCTION {record}_fail()"
        )
        return
    # What a failing statement changes is undone, but not the time, nor a sequence.
    store.run("CREATE SEQUENCE {record}_tries")
    for event in ("INSERT", "UPDATE"):
        store.run(
            f"CREATE TRIGGER {store.prefix}_{event} BEFORE {event} ON {{record}} FOR EACH ROW "
            f"IF nextval({store.record}_tries) <= {times} THEN "
            f"SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = '{what}'; END IF"
        )


def test_a_full_disk_is_told(backend: SQLBackend, store: Store) -> None:
    raising(store, "no space left", "53100", 1114)
    for call in (
        lambda: backend.swap(b"k", ONE, b"confidential"),
        lambda: backend.swap(b"new", None, b"confidential"),
    ):
        assert trouble(call) == (
            f"registry {backend._server.place}: no space left: make room on the server's disk, then it goes "
            "on by itself"
        )
    assert backend.get(b"k") == ONE


def test_a_statement_that_gave_way_to_another_is_sent_again(backend: SQLBackend, store: Store) -> None:
    raising(store, "deadlock", "40P01", 1213, times=3)
    assert backend.swap(b"k", ONE, b"2") is True


def test_a_statement_that_always_gives_way_is_told(backend: SQLBackend, store: Store) -> None:
    raising(store, "deadlock", "40P01", 1213)
    assert trouble(lambda: backend.swap(b"k", ONE, b"2")) == (
        f"registry {backend._server.place}: deadlock: see the message; the server's log may say more"
    )
    assert backend.get(b"k") == ONE


def test_more_threads_than_connections_wait_and_are_told(store: Store) -> None:
    backend, inside, done = store.open(pool_size=1, timeout=0.2), Event(), Event()

    def hold() -> None:
        with backend._server.cursor():
            inside.set()
            done.wait(60)

    holder = Thread(target=hold)
    holder.start()
    inside.wait(60)
    assert trouble(lambda: backend.get(b"k")) == (
        f"registry {backend._server.place}: all 1 connections of this process are in use; raise pool_size "
        "to its number of threads, or look on the server for what holds them up"
    )
    done.set()
    holder.join()
    assert backend.get(b"k") is None


def test_a_record_that_is_too_long_is_told_without_its_contents(backend: SQLBackend) -> None:
    assert trouble(lambda: backend.swap(b"confidential" + os.urandom(5000), None, b"confidential"))
    assert backend.get(b"k") == ONE


# --- a server that takes no writes


def test_a_postgresql_set_read_only_is_told_and_reads_go_on(postgresql: Store) -> None:
    backend = postgresql.open()
    backend.swap(b"k", None, b"1")

    def set_to(value: str) -> None:
        with backend._server.cursor() as cursor:
            cursor.execute(f"SET default_transaction_read_only = {value}")

    set_to("on")
    assert trouble(lambda: backend.swap(b"k", ONE, b"2")) == (
        f"registry {backend._server.place}: cannot execute UPDATE in a read-only transaction: {READ_ONLY}"
    )
    set_to("on")
    assert backend.get(b"k") == ONE
    set_to("off")
    assert backend.swap(b"k", ONE, b"2") is True


def test_a_postgresql_standby_is_refused() -> None:
    server = postgres.PostgreSQL()
    try:
        store = Store("postgresql")
        store.server = server
        backend = store.open()
        backend.swap(b"k", None, b"1")
        server.stop()
        (server.data / "standby.signal").touch()
        server.start()
        for call in (lambda: backend.get(b"k"), lambda: backend.swap(b"k", ONE, b"2")):
            assert trouble(call).endswith(READ_ONLY)
        server.stop()
        (server.data / "standby.signal").unlink()
        server.start()
        assert backend.swap(b"k", ONE, b"2") is True
        store.close()
    finally:
        server.remove()


def test_a_mariadb_that_becomes_a_replica_is_refused_at_once() -> None:
    store = Store("mariadb")
    backend = store.open()
    backend.swap(b"k", None, b"1", index=[b"term"])
    store.run("SET GLOBAL read_only = 1")
    try:
        for call in (
            lambda: backend.get(b"k"),
            lambda: backend.get(b"no such key"),
            lambda: list(backend.find(b"no such term")),
            lambda: list(backend.keys()),
        ):
            assert trouble(call) == f"registry {backend._server.place}: {STANDBY}"
        assert trouble(lambda: backend.swap(b"k", ONE, b"2")).endswith(READ_ONLY)
    finally:
        store.run("SET GLOBAL read_only = 0")
    assert backend.swap(b"k", ONE, b"2") is True
    store.close()


def test_a_standby_that_must_confirm_and_is_away_does_not_hold_a_worker_up(
    postgresql: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_psycopg, "SERVER_FIRST", 0.1)
    waiting = postgresql.open(timeout=0.3)
    waiting.swap(b"k", None, b"1")
    postgresql.run("ALTER SYSTEM SET synchronous_standby_names = 'away'")
    postgresql.run("SELECT pg_reload_conf()")
    try:
        with waiting._server.cursor() as cursor:
            for _ in range(1000):
                cursor.execute("SHOW synchronous_standby_names")
                if cursor.fetchone() == ("away",):
                    break
        # Another process of the server says to all the others that there is something to wait for.
        with suppress(RegistryError):
            for number in range(1000):
                waiting.swap(b"probe %d" % number, None, b"1")
        begun = time.monotonic()
        assert trouble(lambda: waiting.swap(b"k", ONE, b"2")).endswith(UNKNOWN)
        assert time.monotonic() - begun < 2
        assert waiting.get(b"k") == ONE
        assert postgresql.open(synchronous_commit="local").swap(b"new", None, b"1") is True
    finally:
        postgresql.run("ALTER SYSTEM RESET synchronous_standby_names")
        postgresql.run("SELECT pg_reload_conf()")


# --- accounts


def test_a_wrong_password_is_told(store: Store) -> None:
    wrong = store.url().replace("sesame%20street", "open%20sesame")
    assert trouble(lambda: open_url(wrong).get(b"k")).endswith(
        "check user and password in OAUTH_REGISTRY, and what the server lets in from this host"
    )


def test_a_missing_database_is_told(store: Store) -> None:
    url = store.server.url("nowhere", sslmode="disable")
    assert trouble(lambda: open_url(url).get(b"k")).endswith(
        "create the database, or name another in OAUTH_REGISTRY"
    )


def test_a_password_of_any_characters_is_sent_as_it_is(store: Store) -> None:
    password, name = "sésame €/:@?#&%", f"account_{store.prefix}"
    if store.is_postgresql:
        store.run(f"CREATE USER {name} PASSWORD '{password}'")
        store.run(f"GRANT CREATE ON SCHEMA public TO {name}")
    else:
        store.run(f"CREATE USER {name} IDENTIFIED BY %s", password)
        store.run(f"GRANT ALL ON registry.* TO {name}")
    account = "postgres" if store.is_postgresql else "oauth"
    url = store.url().replace(f"{account}:{quote(mariadb.PASSWORD)}@", f"{name}:{quote(password, safe='')}@")
    backend = open_url(url)
    assert backend.swap(b"k", None, b"1") is True
    backend.close()
