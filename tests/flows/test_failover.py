"""A registry's server dies under a fleet that rotates without pause: which sessions outlive it?

`python -m benchmarks.failover` does the same with 200 clients, several times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.backends import valkey
from tests.backends.postgres import PostgreSQL
from tests.flows import failover
from tests.flows.fleet import Fleet

CLIENTS = 40

pytestmark = pytest.mark.slow

Muster = Callable[..., Fleet]


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[valkey.Cluster]:
    with valkey.cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture
def cluster(shared_cluster: valkey.Cluster) -> valkey.Cluster:
    """With every node up, whatever the test before has done to it."""
    shared_cluster.wait_until_whole()
    return shared_cluster


@pytest.fixture
def muster(tmp_path: Path) -> Iterator[Muster]:
    """`muster(registry, **settings)` is a fleet of the demo over that registry."""
    with ExitStack() as stack:

        def start(registry: str, **settings: str) -> Fleet:
            server = failover.demo(tmp_path, registry, **settings)
            stack.callback(server.close)
            return Fleet(server.start(), CLIENTS)

        yield start


def assert_quiet(fleet: Fleet) -> None:
    assert "Traceback" not in fleet.server.log()


@pytest.mark.requirement("TOK-10")
def test_a_failover_that_loses_acknowledged_rotations_loses_no_session(
    cluster: valkey.Cluster, muster: Muster
) -> None:
    fleet = muster(cluster.url)
    came = failover.lose_a_primary(cluster, fleet)
    assert came.behind
    assert came.rolled >= came.behind.keys()
    assert came.lost == set()
    assert_quiet(fleet)


def test_without_roll_forward_the_sessions_that_the_failover_forgot_are_lost(
    cluster: valkey.Cluster, muster: Muster
) -> None:
    fleet = muster(cluster.url, OAUTH_ROLL_FORWARD="off")
    came = failover.lose_a_primary(cluster, fleet)
    assert came.behind
    assert came.lost >= came.behind.keys()
    assert {session.lost for session in fleet.sessions} == {None, "400 invalid_grant"}
    assert_quiet(fleet)


@pytest.mark.requirement("TOK-10")
def test_a_postgresql_that_was_killed_and_started_again_loses_no_session(muster: Muster) -> None:
    server = PostgreSQL()
    try:
        fleet = muster(server.url())
        came = failover.lose_a_postgresql(server, fleet)
        assert came.waited >= failover.DOWN_SECONDS
        assert came.lost == set()
        assert_quiet(fleet)
    finally:
        server.remove()
