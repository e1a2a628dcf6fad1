"""A primary that sentinels watch over: the contract, and a replica that takes its place."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from oauth_refresh.backends import redis_route
from oauth_refresh.backends.base import Backend
from oauth_refresh.backends.contract import SharedBackendContract
from oauth_refresh.backends.redis import open_url
from oauth_refresh.errors import RegistryError
from tests.backends import valkey

LATER = time.time() + 86400


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[valkey.Watched]:
    with valkey.watched(tmp_path_factory.mktemp("sentinel")) as made:
        yield made


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[valkey.Watched]:
    with valkey.watched(tmp_path) as made:
        yield made


class TestValkeySentinel(SharedBackendContract):
    @pytest.fixture(autouse=True)
    def _watched(self, shared: valkey.Watched) -> None:
        self.url = shared.url

    def open_store(self, place: Path) -> Backend:
        return open_url(f"{self.url}?prefix={place.name}:")


def trouble(backend: Backend) -> str:
    with pytest.raises(RegistryError) as raised:
        backend.get(b"k")
    return str(raised.value)


def test_a_replica_that_takes_over_is_found_without_a_restart(watched: valkey.Watched) -> None:
    backend = open_url(f"{watched.url}?timeout=1")
    assert backend.swap(b"k", None, b"1", LATER, [b"term"], "required") is True
    entry = backend.get(b"k")
    watched.primary.kill()
    assert valkey.patiently(lambda: backend.get(b"k")) == entry
    assert valkey.patiently(lambda: backend.swap(b"k", entry, b"2", LATER, [b"term"])) is True
    assert list(backend.find(b"term")) == list(backend.keys()) == [b"k"]
    watched.primary.start()
    link = ("slave", "up")
    valkey.wait_until("its demotion", lambda: valkey.role_and_link(watched.primary) == link)
    entry = backend.get(b"k")
    assert entry
    assert entry.body == b"2"
    time.sleep(1.1)  # so often is it asked how many replicas there are
    assert backend.swap(b"k", entry, b"3", LATER, copies="required") is True
    backend.close()


def test_a_primary_that_is_demoted_while_it_lives_is_not_read_any_more(watched: valkey.Watched) -> None:
    backend = open_url(watched.url)
    backend.swap(b"k", None, b"1", LATER)
    watched.fail_over()
    assert valkey.patiently(lambda: backend.swap(b"k", backend.get(b"k"), b"2", LATER)) is True
    assert watched.replica.ask("GET", "oauth_refresh:rk") == b"\x102"


def test_a_primary_that_the_sentinels_gave_up_is_left_even_if_it_answers(
    watched: valkey.Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = open_url(watched.url)
    assert backend.swap(b"k", None, b"1", LATER) is True
    with valkey.running([valkey.single(tmp_path)]) as [other]:
        watched.sentinel.ask("SENTINEL", "REMOVE", watched.name)
        watched.sentinel.ask("SENTINEL", "MONITOR", watched.name, "127.0.0.1", other.port, 1)
        assert backend.get(b"k") is not None
        monkeypatch.setattr(redis_route, "monotonic", lambda: time.monotonic() + 5.1)
        assert backend.get(b"k") is None
    assert watched.primary.info("replication")["role"] == "master"


def test_one_sentinel_is_enough(shared: valkey.Watched) -> None:
    [port] = valkey.free_ports(1)
    backend = open_url(f"redis+sentinel://127.0.0.1:{port},{shared.sentinel.address}/{shared.name}/0")
    assert backend.get(b"unknown") is None


def test_without_any_sentinel_the_error_names_them(shared: valkey.Watched) -> None:
    one, other = valkey.free_ports(2)
    text = trouble(open_url(f"redis+sentinel://127.0.0.1:{one},127.0.0.1:{other}/{shared.name}"))
    for port in (one, other):
        assert f"registry redis+sentinel://127.0.0.1:{port}: " in text
    assert text.count("check that it runs, and host and port in OAUTH_REGISTRY") == 2


def test_a_sentinel_that_is_gone_does_not_stop_a_backend_that_knows_the_primary(
    watched: valkey.Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_route, "_SENTINEL_SECONDS", 0.0)
    backend = open_url(watched.url)
    backend.swap(b"k", None, b"1", LATER)
    watched.sentinel.kill()
    assert backend.swap(b"k", backend.get(b"k"), b"2", LATER) is True


def test_a_name_that_the_sentinels_do_not_know_is_told(shared: valkey.Watched) -> None:
    address = shared.sentinel.address
    assert trouble(open_url(f"valkey+sentinel://{address}/other")) == (
        f"registry valkey+sentinel://{address}: the sentinel knows no primary named other: "
        "check the name in OAUTH_REGISTRY"
    )


def test_sentinels_have_a_password_of_their_own(shared: valkey.Watched) -> None:
    sentinel = shared.sentinel
    sentinel.ask("ACL", "SETUSER", "default", "resetpass", ">sesame")
    try:
        url = f"valkey+sentinel://{sentinel.address}/{shared.name}"
        assert open_url(f"{url}?sentinel_password=sesame").get(b"unknown") is None
        for wrong in (url, f"{url}?sentinel_password=opensesame"):
            text = trouble(open_url(wrong))
            assert "check user and password in OAUTH_REGISTRY" in text
            assert "sesame" not in text
    finally:
        sentinel.login = {"password": "sesame"}
        sentinel.ask("ACL", "SETUSER", "default", "nopass")
        sentinel.login = {}
