"""The grants among which costs are measured are grants: their tokens let in, and rotate."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from benchmarks import driving, population
from oauth_refresh.backends import open_backend
from oauth_refresh.identity import Identity
from oauth_refresh.registry import TokenRegistry

COUNT = 20


@pytest.fixture(params=["memory", "file"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> TokenRegistry:
    now = time.time()
    if request.param == "file":
        population.write_file(tmp_path / "tokens.json", range(COUNT), now)
        return driving.middleware(f"file://{tmp_path}/tokens.json").registry
    backend = open_backend("memory:")
    population.put(backend, range(COUNT), now)
    return driving.middleware(backend).registry


def test_every_grant_has_tokens_that_work(registry: TokenRegistry) -> None:
    for number in range(COUNT):
        identity = registry.check(population.access_token(number))
        assert isinstance(identity, Identity)
        assert identity.subject == f"user-{number}@example.org"
        client_id = population.client_id(number)
        issued = registry.rotate_via_refresh_token(population.refresh_token(number), client_id=client_id)
        assert isinstance(registry.check(issued.access_token), Identity)


def test_a_grant_as_issued_rotates_as_well() -> None:
    backend, now = open_backend("memory:"), time.time()
    population.put(backend, range(COUNT), now, population.record_as_issued)
    registry = driving.middleware(backend).registry
    for number in range(COUNT):
        before = population.record_as_issued(number, now)
        token, client_id = population.refresh_token(number, generation=1), population.client_id(number)
        issued = registry.rotate_via_refresh_token(token, client_id=client_id)
        assert isinstance(registry.check(issued.access_token), Identity)
        after = backend.get(before.key)
        assert after is not None
        assert len(after.body) > len(before.body)


def test_each_has_a_user_and_a_client_of_its_own(registry: TokenRegistry) -> None:
    for number in range(COUNT):
        assert len(list(registry.list(subject=f"user-{number}@example.org"))) == 1
        assert len(list(registry.list(client_id=population.client_id(number)))) == 1
    assert len(list(registry.list())) == COUNT
