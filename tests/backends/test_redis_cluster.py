"""A Valkey cluster of three primaries with a replica each: the contract, moving slots, failovers."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import redis
from redis.crc import key_slot

from oauth_refresh.backends.base import Backend, Entry
from oauth_refresh.backends.contract import SharedBackendContract
from oauth_refresh.backends.redis import RedisBackend, open_url
from oauth_refresh.backends.redis_index import hash_term, part_name, record_name
from oauth_refresh.errors import NotReplicatedError, RegistryError
from tests.backends import valkey

LATER = time.time() + 86400
PREFIX = b"oauth_refresh:"


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[valkey.Cluster]:
    with valkey.cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture
def cluster(shared_cluster: valkey.Cluster) -> valkey.Cluster:
    """With every node up, whatever the test before has done to it, and empty."""
    shared_cluster.wait_until_whole()
    for node in shared_cluster.nodes:
        with suppress(redis.ReadOnlyError):
            node.ask("FLUSHALL")
    return shared_cluster


@pytest.fixture
def backend(cluster: valkey.Cluster) -> Iterator[Backend]:
    backend = open_url(f"{cluster.url}?timeout=2&connect_timeout=1")
    yield backend
    backend.close()


class TestValkeyCluster(SharedBackendContract):
    @pytest.fixture(autouse=True)
    def _cluster(self, shared_cluster: valkey.Cluster) -> None:
        self.url = shared_cluster.url

    def open_store(self, place: Path) -> Backend:
        return open_url(f"{self.url}?prefix={place.name}:")


def name(key: bytes) -> bytes:
    return record_name(PREFIX, key)


def key_of(cluster: valkey.Cluster, primary: valkey.Server) -> bytes:
    return next(key for key in (b"g%d" % n for n in range(1000)) if cluster.owner(name(key)) is primary)


def created(backend: Backend, key: bytes, body: bytes = b"1", index: tuple[bytes, ...] = ()) -> Entry:
    assert backend.swap(key, None, body, LATER, index, "required") is True
    entry = backend.get(key)
    assert entry
    return entry


def test_records_are_spread_over_all_primaries(backend: Backend, cluster: valkey.Cluster) -> None:
    for number in range(300):
        backend.swap(b"g%d" % number, None, b"1", LATER)
    sizes = [node.ask("DBSIZE") for node in cluster.nodes if node.info("replication")["role"] == "master"]
    assert sum(sizes) == 300
    assert min(sizes) > 60


# --- slots that move


def test_a_slot_that_has_moved_is_followed(backend: Backend, cluster: valkey.Cluster) -> None:
    entry = created(backend, b"k", index=(b"term",))
    with moving(cluster, name(b"k")) as (source, target, slot):
        migrate(source, target, slot)
        for node in (target, source):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", target.ask("CLUSTER", "MYID"))
        assert backend.get(b"k") == entry
        assert backend.swap(b"k", entry, b"2", LATER, [b"term"]) is True
        assert list(backend.find(b"term")) == [b"k"]
        assert list(backend.keys()) == [b"k"]


def test_records_are_read_and_written_while_their_slot_moves(
    backend: Backend, cluster: valkey.Cluster
) -> None:
    entry = created(backend, b"k", index=(b"term",))
    with moving(cluster, name(b"k")) as (source, target, slot):
        assert backend.get(b"k") == entry
        migrate(source, target, slot)
        assert backend.get(b"k") == entry
        assert backend.swap(b"k", entry, b"2", LATER, [b"term"], "required") is True
        assert backend.swap(b"k", entry, b"3", LATER, [b"term"]) is False
        assert list(backend.find(b"term")) == [b"k"]


def test_terms_are_read_and_written_while_their_slot_moves(backend: Backend, cluster: valkey.Cluster) -> None:
    part = part_name(PREFIX, hash_term(b"term"), b"k")
    same = next(
        key for key in (b"%d" % n for n in range(9999)) if part_name(PREFIX, part[-17:-1], key) == part
    )
    created(backend, b"k", index=(b"term",))
    with moving(cluster, part) as (source, target, slot):
        migrate(source, target, slot)
        created(backend, same, index=(b"term",))
        assert sorted(backend.find(b"term")) == sorted([b"k", same])


class moving:  # noqa: N801 - reads as a verb
    """The key's slot is on its way from its primary to another one, and ends up with one of the two."""

    def __init__(self, cluster: valkey.Cluster, key: bytes) -> None:
        self.slot = key_slot(key)
        self.source = cluster.owner(key)
        primaries = [node for node in cluster.nodes if node.info("replication")["role"] == "master"]
        self.target = next(node for node in primaries if node is not self.source)

    def __enter__(self) -> tuple[valkey.Server, valkey.Server, int]:
        self.target.ask("CLUSTER", "SETSLOT", self.slot, "IMPORTING", self.source.ask("CLUSTER", "MYID"))
        self.source.ask("CLUSTER", "SETSLOT", self.slot, "MIGRATING", self.target.ask("CLUSTER", "MYID"))
        return self.source, self.target, self.slot

    def __exit__(self, *_: object) -> None:
        migrate(self.source, self.target, self.slot)
        for node in (self.target, self.source):
            node.ask("CLUSTER", "SETSLOT", self.slot, "NODE", self.target.ask("CLUSTER", "MYID"))


def migrate(source: valkey.Server, target: valkey.Server, slot: int) -> None:
    if keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 100):
        source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)


# --- a primary that ends


def test_after_the_end_of_a_primary_everything_works_again_without_a_restart(
    backend: Backend, cluster: valkey.Cluster
) -> None:
    entries = {key: created(backend, key, index=(b"term",)) for key in (b"g%d" % n for n in range(30))}
    primary = cluster.owner(name(b"g0"))
    primary.kill()
    for key, entry in entries.items():
        assert valkey.patiently(lambda key=key: backend.get(key)) == entry  # type: ignore[misc]
    for key, entry in entries.items():
        assert backend.swap(key, entry, b"2", LATER, [b"term"]) is True
    assert sorted(backend.find(b"term")) == sorted(entries)
    assert list(backend.keys()) == sorted(entries)
    cluster.wait_until_whole()
    assert {backend.get(key).body for key in entries} == {b"2"}  # type: ignore[union-attr]


def test_what_was_acknowledged_as_required_outlives_the_primary(
    backend: Backend, cluster: valkey.Cluster
) -> None:
    primary = cluster.owner(name(b"g0"))
    key = key_of(cluster, primary)
    entry = created(backend, key, b"0")
    for number in range(1, 50):
        assert backend.swap(key, entry, b"%d" % number, LATER, copies="required") is True
        entry = backend.get(key)  # type: ignore[assignment]
    primary.kill()
    assert valkey.patiently(lambda: backend.get(key)) == entry
    assert entry.body == b"49"


def test_a_required_write_that_the_replica_has_not_is_told_and_the_new_primary_forgets_it(
    backend: Backend, cluster: valkey.Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    primary = cluster.owner(name(b"g0"))
    key, replica = key_of(cluster, primary), cluster.replica_of(primary)
    entry = created(backend, key)
    replica.pause()
    try:
        with pytest.raises(NotReplicatedError, match="0 of 1 replicas confirmed"):
            backend.swap(key, entry, b"2", LATER, copies="required")
        assert backend.get(key).body == b"2"  # type: ignore[union-attr]
    finally:
        primary.kill()
        replica.kill()  # what has reached its socket only is not replicated
    replica.start()
    assert valkey.patiently(lambda: backend.get(key)) == entry


def test_a_primary_that_hangs_is_left_when_another_takes_over(
    backend: Backend, cluster: valkey.Cluster
) -> None:
    primary = cluster.owner(name(b"g0"))
    key = key_of(cluster, primary)
    entry = created(backend, key)
    primary.pause()
    try:
        with pytest.raises(RegistryError) as raised:
            backend.swap(key, entry, b"2", LATER)
        assert str(raised.value) == (
            f"registry valkey+cluster://{primary.address}: no answer in time "
            "(whether the change was stored is unknown)"
        )
        assert valkey.patiently(lambda: backend.get(key)) == entry
        assert backend.swap(key, entry, b"3", LATER) is True
    finally:
        primary.resume()
    cluster.wait_until_whole()
    assert backend.get(key).body == b"3"  # type: ignore[union-attr]


def test_a_backend_that_starts_in_the_middle_of_a_failover_finds_its_way(cluster: valkey.Cluster) -> None:
    primary = cluster.owner(name(b"g0"))
    key = key_of(cluster, primary)
    primary.kill()
    nodes = [primary.address, *(node.address for node in cluster.nodes if node is not primary)]
    backend = open_url(f"redis+cluster://{nodes[0]},{nodes[1]}/0?timeout=1")
    assert valkey.patiently(lambda: backend.swap(key, None, b"1", LATER)) is True
    backend.close()


def test_without_any_node_the_error_says_what_was_tried(cluster: valkey.Cluster) -> None:
    ports = valkey.free_ports(2)
    backend = open_url(f"valkey+cluster://127.0.0.1:{ports[0]},127.0.0.1:{ports[1]}")
    with pytest.raises(RegistryError) as raised:
        backend.get(b"k")
    assert "Connection refused" in str(raised.value)
    assert "check that it runs, and host and port in OAUTH_REGISTRY" in str(raised.value)


def test_a_single_server_under_a_cluster_url_is_told(tmp_path: Path) -> None:
    with valkey.running([valkey.single(tmp_path)]) as [server]:
        backend = open_url(f"redis+cluster://{server.address}")
        with pytest.raises(RegistryError) as raised:
            backend.get(b"k")
        assert str(raised.value) == (
            f"registry redis+cluster://{server.address}: This instance has cluster support disabled: "
            "it is no cluster; write redis: in place of redis+cluster:"
        )


def test_a_cluster_under_the_url_of_a_single_server_is_told(cluster: valkey.Cluster) -> None:
    node = next(node for node in cluster.nodes if node is not cluster.owner(name(b"k")))
    backend = open_url(f"redis://{node.address}")
    with pytest.raises(RegistryError) as raised:
        backend.get(b"k")
    assert "part of a cluster; write redis+cluster://" in str(raised.value) or "is a replica" in str(
        raised.value
    )


def test_a_slot_that_nobody_served_is_looked_up_again(backend: RedisBackend, cluster: valkey.Cluster) -> None:
    entry = created(backend, b"k")
    backend._route._table[key_slot(name(b"k"))] = None  # type: ignore[attr-defined]
    assert backend.get(b"k") == entry


def test_nodes_that_left_the_cluster_are_not_asked_any_more(
    backend: RedisBackend, cluster: valkey.Cluster
) -> None:
    backend.get(b"k")
    stranger = backend._route._server(backend._place.addresses[0]._replace(port=1))
    assert stranger in backend._route._servers.values()
    list(backend.keys())
    assert stranger not in backend._route._servers.values()


def test_a_warning_says_that_a_wanted_copy_was_not_made(
    backend: Backend, cluster: valkey.Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    primary = cluster.owner(name(b"g0"))
    key, replica = key_of(cluster, primary), cluster.replica_of(primary)
    replica.pause()
    try:
        with caplog.at_level(logging.WARNING, "oauth_refresh"):
            assert backend.swap(key, None, b"1", LATER, copies="wanted") is True
    finally:
        replica.resume()
    [record] = caplog.records
    assert record.getMessage() == (
        f"registry {cluster.url}: 0 of 1 replicas confirmed a write in time; a failover now could undo it; "
        "see the replication of the servers (INFO replication)"
    )
