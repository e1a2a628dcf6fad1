"""A database or Valkey in trouble, through the whole of HTTP: 503, a way out in the log, then on it goes."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.backends import valkey
from tests.backends.postgres import PostgreSQL
from tests.backends.slow_line import Line
from tests.flows.client import OAuthClient, error, pair
from tests.flows.clocked import BASE, Clocked
from tests.flows.headless import User
from tests.flows.in_process import session_with
from tests.flows.outage import assert_the_rest_is_untouched, assert_unavailable, assert_writes_are_refused
from tests.flows.secret import Secret

pytestmark = pytest.mark.slow

PASSWORD = "mellon"
TIMES = "timeout=0.4&connect_timeout=2"


class CuttingLine(Line):
    """A line whose answer number `cut_answer`, from now on and from 0, ends after a few bytes."""

    cut_answer: int | None = None

    def _answer(self, near: Any, data: bytes) -> bool:
        if self.cut_answer is not None:
            self.cut_answer -= 1
            if self.cut_answer < 0:
                self.cut_answer, self.cut_after = None, 3
        return super()._answer(near, data)


class Store:
    """A server, the line that leads to it, and the URL of a registry at the end of the line."""

    server: Any

    def __init__(self, server: Any) -> None:
        self.server = server
        self.line = CuttingLine(server.port)
        self.url = self.place()
        self.let_in(PASSWORD)

    def place(self) -> str:
        raise NotImplementedError

    def let_in(self, password: str) -> None:
        """The registry's account has this password from now on, and nobody is connected."""
        raise NotImplementedError

    def close(self) -> None:
        self.line.close()


class SQLStore(Store):
    def place(self) -> str:
        self.server.run("DROP OWNED BY registry")
        self.server.run("GRANT ALL ON SCHEMA public TO registry")
        return f"postgresql://registry:{PASSWORD}@127.0.0.1:{self.line.port}/postgres?sslmode=disable&{TIMES}"

    def let_in(self, password: str) -> None:
        self.server.run(f"ALTER ROLE registry PASSWORD '{password}'")
        self.server.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'registry'")


class ValkeyStore(Store):
    def place(self) -> str:
        self.server.ask("FLUSHALL")
        return f"valkey://registry:{PASSWORD}@127.0.0.1:{self.line.port}?{TIMES}"

    def let_in(self, password: str) -> None:
        rights = ("on", "resetpass", f">{password}", "allkeys", "+@all")
        self.server.ask("ACL", "SETUSER", "registry", *rights)
        self.server.ask("CLIENT", "KILL", "USER", "registry")


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    server = PostgreSQL()
    server.run(f"CREATE ROLE registry LOGIN PASSWORD '{PASSWORD}'")
    yield server
    server.remove()


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[valkey.Server]:
    with valkey.running([valkey.single(tmp_path_factory.mktemp("valkey"))]) as [server]:
        yield server


@pytest.fixture
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    if request.param == "postgresql":
        store: Store = SQLStore(request.getfixturevalue("postgresql"))
    else:
        store = ValkeyStore(request.getfixturevalue("single"))
    yield store
    store.close()


class Story:
    """A client with a pair in use, and a browser that is signed in, before the trouble begins."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.server = Clocked(folder, registry=store.url, secret_key="a server secret for tests")
        self.client = self.server.client()
        self.user = User(browser=self.client.connect())
        self.held = pair(self.client.refresh(self.client.connected(self.user).refresh))
        assert self.client.call(self.held.access).status_code == 200

    def assert_goes_on(self) -> None:
        renewed = pair(self.client.refresh(self.held.refresh))
        assert self.client.call(renewed.access).status_code == 200
        assert self.client.connected(self.user)
        assert self.client.register().status_code == 201


@pytest.fixture
def story(tmp_path: Path, store: Store) -> Iterator[Story]:
    story = Story(tmp_path, store)
    yield story
    story.server.backend.close()


Fault = Callable[[Store], Iterator[None]]

# --- the faults -----------------------------------------------------------------------------------


@contextmanager
def meets(store: Store, fault: Fault) -> Iterator[None]:
    """The fault begins and, whatever happens meanwhile, ends: these are the two parts of its function."""
    parts = fault(store)
    next(parts)
    try:
        yield
    finally:
        next(parts, None)


def down(store: Store) -> Iterator[None]:
    store.server.kill()
    yield
    store.server.start()
    store.let_in(PASSWORD)  # Valkey knew it in memory only


def silent(store: Store) -> Iterator[None]:
    store.line.silent = True
    yield
    store.line.silent = False
    store.line.break_connections()


def other_password(store: Store) -> Iterator[None]:
    store.let_in("changed")
    yield
    store.let_in(PASSWORD)


def newer_schema(store: Store) -> Iterator[None]:
    store.server.run("UPDATE oauth_refresh_schema SET version = 2")
    yield
    store.server.run("UPDATE oauth_refresh_schema SET version = 1")


def demoted(store: Store) -> Iterator[None]:
    store.server.ask("REPLICAOF", "127.0.0.1", valkey.free_ports(1)[0])
    store.line.break_connections()
    yield
    store.server.ask("REPLICAOF", "NO", "ONE")


def set_read_only(store: Store) -> Iterator[None]:
    store.server.run("ALTER ROLE registry SET default_transaction_read_only = on")
    store.line.break_connections()
    yield
    store.server.run("ALTER ROLE registry RESET default_transaction_read_only")
    store.line.break_connections()


def full_disk(store: Store) -> Iterator[None]:
    store.server.run(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = '53100'; END $$"
    )
    store.server.run(
        "CREATE TRIGGER fail BEFORE INSERT OR UPDATE ON oauth_refresh_record FOR EACH ROW "
        "EXECUTE FUNCTION fail()"
    )
    yield
    store.server.run("DROP FUNCTION fail CASCADE")


def full_memory(store: Store) -> Iterator[None]:
    store.server.ask("CONFIG", "SET", "maxmemory", "1mb")
    yield
    store.server.ask("CONFIG", "SET", "maxmemory", "0")


# The store, the fault, and what the log tells the operator to do about it.
NOTHING_WORKS: dict[str, tuple[str, Fault, str]] = {
    "PostgreSQL down": ("postgresql", down, "check that the server runs"),
    "PostgreSQL silent": ("postgresql", silent, "look on the server for locks|check that the server runs"),
    "PostgreSQL with another password": ("postgresql", other_password, "check user and password"),
    "Valkey down": ("valkey", down, "check that it runs"),
    "Valkey silent": ("valkey", silent, "no answer in time"),
    "Valkey with another password": ("valkey", other_password, "check user and password"),
    "Valkey made a replica": ("valkey", demoted, "this server is a replica"),
}

WRITES_FAIL: dict[str, tuple[str, Fault, str]] = {
    "PostgreSQL read-only": ("postgresql", set_read_only, "name the primary in OAUTH_REGISTRY"),
    "PostgreSQL without room": ("postgresql", full_disk, "make room on the server's disk"),
    "Valkey without room": ("valkey", full_memory, "it is full"),
}


def faults(table: dict[str, tuple[str, Fault, str]]) -> pytest.MarkDecorator:
    rows = [(kind, fault, advice) for kind, fault, advice in table.values()]
    return pytest.mark.parametrize(("store", "fault", "advice"), rows, indirect=["store"], ids=table.keys())


def assert_told(caplog: pytest.LogCaptureFixture, advice: str) -> None:
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert told
    assert all(re.search(advice, line) for line in told), told
    assert not any(record.exc_info for record in caplog.records)
    assert PASSWORD not in caplog.text


@pytest.mark.requirement("HTTP-14")
@pytest.mark.requirement("REV-08")
@faults(NOTHING_WORKS)
def test_a_server_that_cannot_be_asked_is_503_until_it_can(
    story: Story, store: Store, fault: Fault, advice: str, caplog: pytest.LogCaptureFixture
) -> None:
    client, held = story.client, story.held
    with meets(store, fault):
        assert_writes_are_refused(client, held)
        assert_unavailable(client.call(held.access))
        assert_unavailable(client.call(Secret("oat_" + "A" * 64)))
        assert_unavailable(client.redeem(Secret("oac_" + "A" * 64), Secret("v" * 64)))
        page = story.user.browser.get(client.begin().url)
        assert (page.status_code, page.headers["Content-Type"]) == (503, "text/html; charset=utf-8")
        assert_the_rest_is_untouched(client)
    assert_told(caplog, advice)
    story.assert_goes_on()


@pytest.mark.requirement("HTTP-14")
@pytest.mark.requirement("REV-08")
@faults(WRITES_FAIL)
def test_a_server_that_takes_no_writes_serves_the_api_and_refuses_the_rest(
    story: Story, store: Store, fault: Fault, advice: str, caplog: pytest.LogCaptureFixture
) -> None:
    client, held = story.client, story.held
    with meets(store, fault):
        assert_writes_are_refused(client, held)
        assert client.call(held.access).status_code == 200
        assert error(client.call(Secret("oat_" + "A" * 64))) == (401, "invalid_token")
        assert error(client.refresh(Secret("ort_" + "A" * 91))) == (400, "invalid_grant")
        assert_the_rest_is_untouched(client)
    assert_told(caplog, advice)
    story.assert_goes_on()


@pytest.mark.parametrize("store", ["postgresql"], indirect=True)
def test_a_worker_that_meets_tables_of_a_later_release_answers_503(
    story: Story, store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    later = Clocked(tmp_path, registry=store.url, secret_key="a server secret for tests")
    client = OAuthClient(BASE, lambda: session_with(later.middleware))
    with meets(store, newer_schema):
        assert_unavailable(client.call(story.held.access))
    assert_told(caplog, "install the release that made them")
    assert client.call(story.held.access).status_code == 200
    later.backend.close()


# --- answers that are late, or cut in the middle --------------------------------------------------


@pytest.mark.parametrize("store", ["postgresql", "valkey"], indirect=True)
def test_a_slow_server_is_waited_for(story: Story, store: Store) -> None:
    store.line.delay = 0.1
    story.assert_goes_on()


@pytest.mark.requirement("TOK-10")
@pytest.mark.parametrize("store", ["postgresql", "valkey"], indirect=True)
def test_an_answer_that_is_cut_costs_a_refresh_a_503_at_most(story: Story, store: Store) -> None:
    client, held = story.client, story.held
    cut = 0
    for number in range(5):
        before = store.line.connections
        store.line.cut_answer = number
        answer = client.refresh(held.refresh)
        if answer.status_code != 200:
            assert_unavailable(answer)
        cut += store.line.connections > before
        store.line.cut_answer = None
        renewed = pair(client.refresh(held.refresh))
        assert answer.status_code == 503 or renewed == pair(answer)
        assert client.call(renewed.access).status_code == 200
        held = renewed
    assert cut >= 2  # the read of the grant and its swap at the least


# --- hosts whose clocks differ --------------------------------------------------------------------


@pytest.mark.parametrize("skew", [60.0, -60.0])
@pytest.mark.parametrize("store", ["postgresql", "valkey"], indirect=True)
def test_hosts_a_minute_apart_serve_one_client_in_turn(tmp_path: Path, store: Store, skew: float) -> None:
    settings = {"registry": store.url, "secret_key": "a server secret for tests", "code_ttl": "2m"}
    here, there = Clocked(tmp_path, **settings), Clocked(tmp_path, **settings)
    there.now += skew
    client = here.client()
    client.register()
    attempt, code = client.sign_in(User(browser=client.connect()))
    other = OAuthClient(BASE, lambda: session_with(there.middleware))
    other.client_id, other.server = client.client_id, client.server
    held = pair(other.redeem(code, attempt.verifier))
    for _ in range(3):
        for one, another in ((client, other), (other, client)):
            renewed = pair(one.refresh(held.refresh))
            assert pair(another.refresh(held.refresh)) == renewed  # as if the answer had been lost
            assert another.call(renewed.access).status_code == 200
            assert one.call(renewed.access).status_code == 200
            held = renewed
    for server in (here, there):
        server.backend.close()
