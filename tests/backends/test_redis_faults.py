"""What goes wrong with a Valkey or Redis server is said clearly, and is over once its cause is gone."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis

from oauth_refresh.backends.base import Backend, Entry
from oauth_refresh.backends.redis import open_url
from oauth_refresh.errors import RegistryError
from tests.backends import valkey
from tests.backends.valkey_proxy import Proxy, proxy_to

LATER = time.time() + 86400
UNKNOWN = "(whether the change was stored is unknown)"
ONE = Entry(b"1", b"\x101")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[valkey.Server]:
    with valkey.running([valkey.single(tmp_path_factory.mktemp("server"))]) as [server]:
        yield server


@pytest.fixture
def server(shared: valkey.Server) -> valkey.Server:
    """Empty, and with the configuration that it began with."""
    if shared.process is None:
        shared.start()
    for name, value in (("maxmemory", 0), ("maxmemory-policy", "noeviction"), ("min-replicas-to-write", 0)):
        shared.ask("CONFIG", "SET", name, value)
    shared.ask("REPLICAOF", "NO", "ONE")
    shared.ask("FLUSHALL")
    shared.ask("CONFIG", "RESETSTAT")
    return shared


@pytest.fixture
def backend(server: valkey.Server) -> Iterator[Backend]:
    backend = opened(server.port)
    assert backend.swap(b"k", None, b"1", LATER, [b"term"]) is True
    yield backend
    backend.close()


@pytest.fixture
def proxy(server: valkey.Server) -> Iterator[Proxy]:
    with proxy_to(server.port) as proxy:
        yield proxy


@pytest.fixture
def far(backend: Backend, proxy: Proxy) -> Iterator[Backend]:
    """The same registry behind the proxy, with a connection that is open."""
    assert backend.swap(b"plain", None, b"1", LATER) is True
    far = opened(proxy.port, "?timeout=0.3")
    assert far.get(b"plain") == ONE
    yield far
    far.close()


def opened(port: int, options: str = "", login: str = "") -> Backend:
    return open_url(f"valkey://{login}127.0.0.1:{port}{options}")


def trouble(call: Callable[[], object]) -> str:
    with pytest.raises(RegistryError) as raised:
        call()
    return str(raised.value)


def calls(server: valkey.Server, command: str) -> int:
    found = server.info("commandstats").get(f"cmdstat_{command}")
    return int(found["calls"]) if found else 0


def everything(backend: Backend) -> list[Callable[[], object]]:
    return [
        lambda: backend.get(b"k"),
        lambda: backend.swap(b"k", ONE, b"2", LATER),
        lambda: backend.swap(b"new", None, b"1", LATER, [b"term"]),
        lambda: list(backend.find(b"term")),
        lambda: list(backend.keys()),
        lambda: backend.purge(LATER * 2),
    ]


# --- down


def test_a_server_that_is_down_is_told_and_works_when_it_is_back(
    backend: Backend, server: valkey.Server
) -> None:
    entry = backend.get(b"k")
    server.kill()
    for call in everything(backend):
        text = trouble(call)
        assert text.startswith(f"registry valkey://{server.address}: ")
        assert text.endswith("Connection refused.: check that it runs, and host and port in OAUTH_REGISTRY")
    server.start()
    assert backend.get(b"k") == entry
    assert backend.swap(b"k", entry, b"2", LATER, [b"term"]) is True


def test_a_server_that_was_killed_and_started_between_two_calls_is_not_even_noticed(
    backend: Backend, server: valkey.Server
) -> None:
    for lap in range(2):
        entry = backend.get(b"k")
        server.kill()
        server.start()
        assert backend.swap(b"k", entry, b"lap %d" % lap, LATER, [b"term"]) is True
        server.kill()
        server.start()
        assert list(backend.find(b"term")) == [b"k"]


def test_an_older_server_that_takes_over_is_asked_by_scripts(tmp_path: Path) -> None:
    newer = valkey.single(tmp_path, name="newer")
    older = valkey.single(tmp_path, program=valkey.redis_program(), name="older")
    older.port = newer.port
    backend = opened(newer.port)
    for server in (newer, older):
        with valkey.running([server]):
            backend.swap(b"k", None, b"1", LATER)
            assert backend.swap(b"k", ONE, b"2", LATER) is True
            assert calls(server, "eval") == (server is older)
            assert backend.swap(b"k", Entry(b"2", b"\x102"), None) is True


def test_a_host_that_nobody_knows_is_told() -> None:
    text = trouble(lambda: open_url("valkey://nobody.invalid").get(b"k"))
    assert text.startswith("registry valkey://nobody.invalid:6379: ")
    assert text.endswith("check that it runs, and host and port in OAUTH_REGISTRY")


def test_a_server_that_is_still_reading_its_data_is_told(tmp_path: Path) -> None:
    with valkey.running([valkey.single(tmp_path)]) as [server]:
        backend = opened(server.port)
        for number in range(100):
            backend.swap(b"%d" % number, None, bytes(20000))
        server.ask("BGREWRITEAOF")
        valkey.wait_until("the rewrite", lambda: server.info("persistence")["aof_rewrite_in_progress"] == 0)
        server.kill()
        server.arguments += ["--loading-process-events-interval-bytes", "1024", "--key-load-delay", "20000"]
        server.launch()
        valkey.wait_until("loading", lambda: "reads its data" in trouble(lambda: backend.get(b"0")))
        for call in everything(backend)[:2]:
            assert "it has just started and reads its data; it goes on by itself" in trouble(call)
        assert valkey.patiently(lambda: backend.get(b"0")) is not None


# --- slow, and cut


def test_an_answer_that_comes_too_late_is_told_and_the_change_not_asked_for_again(
    far: Backend, proxy: Proxy, server: valkey.Server
) -> None:
    proxy.hold()
    late = f"registry valkey://127.0.0.1:{proxy.port}: no answer in time"
    assert trouble(lambda: far.get(b"plain")) == late
    assert trouble(lambda: far.get(b"plain")).endswith(
        "check that it runs, and what is between here and there"
    )
    proxy.release()
    assert (calls(server, "get"), proxy.connections) == (2, 2)
    assert far.get(b"plain") == ONE
    proxy.hold()
    sets = calls(server, "set")
    assert trouble(lambda: far.swap(b"plain", ONE, b"2", LATER)) == f"{late} {UNKNOWN}"
    assert calls(server, "set") == sets + 1
    proxy.release()
    assert far.get(b"plain") == Entry(b"2", b"\x102")


@pytest.mark.parametrize("count", [0, 1, 4])
def test_a_read_whose_answer_is_cut_is_asked_once_more(far: Backend, proxy: Proxy, count: int) -> None:
    proxy.cut_after(count)
    assert far.get(b"plain") == ONE


def test_a_read_is_answered_though_many_idle_connections_are_broken(
    backend: Backend, server: valkey.Server, proxy: Proxy
) -> None:
    far = opened(proxy.port)
    proxy.hold()
    with ThreadPoolExecutor(4) as pool:
        reads = [pool.submit(far.get, b"unknown") for _ in range(4)]
        valkey.wait_until("four connections", lambda: proxy.connections == 4)
        proxy.release()
        assert [read.result() for read in reads] == [None] * 4
    proxy.cut()
    assert far.get(b"unknown") is None
    far.close()


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_change_whose_answer_is_cut_is_told_and_not_asked_again(
    far: Backend, proxy: Proxy, server: valkey.Server, count: int
) -> None:
    sets = calls(server, "set")
    proxy.cut_after(count)
    text = trouble(lambda: far.swap(b"plain", ONE, b"2", LATER))
    assert text.startswith(f"registry valkey://127.0.0.1:{proxy.port}: the connection broke: ")
    assert text.endswith(UNKNOWN)
    assert calls(server, "set") == sets + 1
    assert far.get(b"plain") == Entry(b"2", b"\x102")
    proxy.cut_after(count)
    assert UNKNOWN in trouble(lambda: far.swap(b"plain", Entry(b"2", b"\x102"), None))
    assert far.get(b"plain") is None


def test_a_term_whose_answer_is_cut_is_written_again(far: Backend, proxy: Proxy) -> None:
    proxy.cut_after(1)
    assert far.swap(b"new", None, b"1", LATER, [b"term"]) is True
    assert sorted(far.find(b"term")) == [b"k", b"new"]


def test_a_connection_that_was_closed_while_idle_costs_nobody_an_error(
    far: Backend, proxy: Proxy, server: valkey.Server
) -> None:
    proxy.cut()
    valkey.wait_until("the cut", lambda: not far._route._server(far._place.addresses[0]).idle[0].is_usable())  # type: ignore[attr-defined]
    assert far.swap(b"plain", ONE, b"2", LATER) is True
    proxy.cut()
    assert far.get(b"plain") == Entry(b"2", b"\x102")


# --- not allowed


def test_a_wrong_password_is_told_but_not_repeated(
    server: valkey.Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.ask("ACL", "SETUSER", "registry", "on", ">sesame", "allkeys", "+@all")
    good = opened(server.port, login="registry:sesame@")
    assert good.swap(b"k", None, b"1", LATER) is True
    with caplog.at_level(logging.DEBUG):
        for login in ("registry:mellon@", "nobody:sesame@"):
            text = trouble(lambda login=login: opened(server.port, login=login).get(b"k"))  # type: ignore[misc]
            assert text == (
                f"registry valkey://{server.address}: invalid username-password pair or user is disabled.: "
                "check user and password in OAUTH_REGISTRY"
            )
    assert not [record for record in caplog.records if "sesame" in record.getMessage()]
    server.ask("ACL", "SETUSER", "registry", "resetpass", ">changed")
    good.close()
    assert "check user and password" in trouble(lambda: good.get(b"k"))
    server.ask("ACL", "SETUSER", "registry", ">sesame")
    assert good.get(b"k") == ONE
    server.ask("ACL", "DELUSER", "registry")


def test_a_missing_password_is_told(server: valkey.Server) -> None:
    server.ask("ACL", "SETUSER", "default", "resetpass", ">sesame")
    server.login = {"password": "sesame"}
    try:
        assert "check user and password in OAUTH_REGISTRY" in trouble(lambda: opened(server.port).get(b"k"))
    finally:
        server.ask("ACL", "SETUSER", "default", "nopass")
        server.login = {}


NEEDED = (
    "+get +set +del +delifeq +exists +getrange +eval +scan +wait +info +time +expireat +pexpiretime +persist "
    "+zadd +zrange +zrangebyscore +zrem +zscan +zscore"
)
"""As the documentation lists them, to the letter."""


def test_the_rights_that_the_documentation_names_are_enough(server: valkey.Server) -> None:
    server.ask("ACL", "SETUSER", "registry", "on", ">sesame", "~oauth_refresh:*", *NEEDED.split())
    backend = opened(server.port, login="registry:sesame@")
    backend.swap(b"k", None, b"1", None, [b"term"], "required")
    backend.swap(b"k", backend.get(b"k"), b"2", LATER, [b"other"])
    assert (list(backend.keys()), list(backend.find(b"other"))) == ([b"k"], [b"k"])
    assert backend.swap(b"k", backend.get(b"k"), None) is True
    backend.swap(b"k", None, b"1", LATER)
    assert backend.purge(LATER * 2) == 1
    document = (Path(__file__).parents[2] / "docs" / "registry-redis.md").read_text()
    assert NEEDED in " ".join(document.split())
    server.ask("ACL", "SETUSER", "registry", "-set")
    assert trouble(lambda: backend.swap(b"k", None, b"1", LATER)).endswith(
        "see the documentation for what the user of OAUTH_REGISTRY must be allowed"
    )
    assert backend.get(b"k") is None
    server.ask("ACL", "DELUSER", "registry")


def test_a_record_whose_term_cannot_be_written_is_not_written(server: valkey.Server) -> None:
    server.ask("ACL", "SETUSER", "registry", "on", ">sesame", "~*", "+@all", "-zadd")
    backend = opened(server.port, login="registry:sesame@")
    trouble(lambda: backend.swap(b"k", None, b"1", LATER, [b"term"]))
    assert backend.get(b"k") is None
    server.ask("ACL", "SETUSER", "registry", "+zadd")
    assert backend.swap(b"k", None, b"1", LATER, [b"term"]) is True
    server.ask("ACL", "DELUSER", "registry")


def test_a_server_that_became_a_replica_is_told_and_works_when_it_is_none(
    backend: Backend, server: valkey.Server, tmp_path: Path
) -> None:
    entry = backend.get(b"k")
    with valkey.running([valkey.single(tmp_path)]) as [other]:
        server.ask("REPLICAOF", "127.0.0.1", other.port)
        assert "use redis+sentinel: or redis+cluster:" in trouble(
            lambda: backend.swap(b"k", entry, b"2", LATER)
        )
        time.sleep(1.1)  # so long may a demotion stay unnoticed
        for call in everything(backend):
            assert trouble(call) == (
                f"registry valkey://{server.address}: this server is a replica, not a primary; set "
                "OAUTH_REGISTRY to the primary, or use redis+sentinel: or redis+cluster:, which follow it"
            )
        server.ask("REPLICAOF", "NO", "ONE")
        assert backend.swap(b"k", None, b"1", LATER) in (True, False)


def test_too_few_replicas_for_the_server_are_told(backend: Backend, server: valkey.Server) -> None:
    entry = backend.get(b"k")
    server.ask("CONFIG", "SET", "min-replicas-to-write", 1)
    for call in everything(backend)[1:3]:
        assert "min-replicas-to-write is not met; when replicas are back it goes on by itself" in trouble(
            call
        )
    assert backend.get(b"k") == entry
    server.ask("CONFIG", "SET", "min-replicas-to-write", 0)
    assert backend.swap(b"k", entry, b"2", LATER, [b"term"]) is True


def test_too_many_connections_are_told(server: valkey.Server) -> None:
    with redis.Redis(port=server.port, single_connection_client=True) as holder:
        before = holder.config_get("maxclients")["maxclients"]
        holder.config_set("maxclients", 1)
        try:
            assert "raise maxclients, or run fewer workers" in trouble(lambda: opened(server.port).get(b"k"))
        finally:
            holder.config_set("maxclients", before)
    assert opened(server.port).get(b"k") is None


# --- full, and forgetful


@pytest.mark.parametrize("program", ["valkey", "redis"])
def test_a_full_server_is_told_and_goes_on_when_there_is_room(program: str, tmp_path: Path) -> None:
    chosen = valkey.redis_program() if program == "redis" else ""
    with valkey.running([valkey.single(tmp_path, program=chosen)]) as [server]:
        backend = opened(server.port)
        backend.swap(b"k", None, b"1", LATER, [b"term"])
        entry = backend.get(b"k")
        server.ask("CONFIG", "SET", "maxmemory", 1)
        for call in (
            lambda: backend.swap(b"k", entry, b"2", LATER, [b"term"]),
            lambda: backend.swap(b"k", entry, b"2", LATER, [b"another"]),
            lambda: backend.swap(b"new", None, b"1", LATER),
        ):
            assert trouble(call).endswith(
                "it is full: raise maxmemory, or free memory; nothing was forgotten"
            )
        assert backend.get(b"k") == entry
        assert list(backend.find(b"term")) == [b"k"]
        server.ask("CONFIG", "SET", "maxmemory", 0)
        assert backend.swap(b"k", entry, b"2", LATER, [b"term"]) is True


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_a_server_that_would_evict_records_is_refused_unless_that_is_accepted(
    server: valkey.Server, policy: str
) -> None:
    server.ask("CONFIG", "SET", "maxmemory-policy", policy)
    backend = opened(server.port)
    assert trouble(lambda: backend.get(b"k")) == (
        f"registry valkey://{server.address}: maxmemory-policy is {policy}, so a full server would forget "
        "sessions and revocations; set it to noeviction (CONFIG SET maxmemory-policy noeviction, and in the "
        "server's configuration), or accept that with ?eviction=accept"
    )
    assert opened(server.port, "?eviction=accept").get(b"k") is None
    server.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    assert backend.get(b"k") is None
