"""How many grants are alive? Right where they are few, and near enough where they are many."""

from __future__ import annotations

import os
from typing import Any

import pytest

from oauth_refresh import census as module
from oauth_refresh.census import CensusTaker
from oauth_refresh.errors import RegistryError

from .driving import InProcess


@pytest.fixture
def server() -> InProcess:
    return InProcess(admins="alice")


def taker(server: InProcess) -> CensusTaker:
    return CensusTaker(server.registry, server.clock, pause=lambda seconds: None)


def test_live_grants_are_counted_by_age_use_and_client(server: InProcess) -> None:
    server.registry.create("alice", [])
    server.clock.forward(2 * 86400)
    client = server.register()
    tokens = server.tokens(client)
    server.tokens(client)
    server.registry.create_with_refresh("bob", [], client_id=client.client_id)
    server.registry.revoke_subject("nobody")
    server.registry.revoke(server.registry.create("carol", []).grant_id)
    server.code(client)
    server.clock.forward(7200)
    server.refresh(client, tokens["refresh_token"])
    census = taker(server).take_if_due()
    assert census is not None
    # Carol's is seen and not alive. The first one, and the one whose code nobody came for, are forgotten.
    assert (census.seen, census.live, census.share) == (4, 3, 1.0)
    assert census.ages == [0, 3, 0, 0, 0, 0]
    assert sum(census.unused) == 3
    assert census.clients == [(client.client_id, 3)]


def test_of_very_many_grants_the_rest_is_estimated(
    server: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2000):
        server.registry.create("alice", [])
    monkeypatch.setattr(module, "SEEN_MAX", 500)
    census = taker(server).take_if_due()
    assert census is not None
    assert census.seen == 500
    # The deviation of such an estimate is some 4 %; seven times that happens to nobody.
    assert census.estimated(census.live) == pytest.approx(2000, rel=0.28)


def test_one_worker_of_all_counts_and_the_others_read(server: InProcess) -> None:
    first, second = taker(server), taker(server)
    assert first.take_if_due() is not None
    assert second.take_if_due() is None
    server.registry.create("alice", [])
    seen = second.latest()
    assert seen is not None
    assert seen.live == 0
    server.clock.forward(module.INTERVAL)
    again = second.latest(patience=10)
    assert again is not None
    assert again.live == 1


def test_a_census_that_cannot_be_read_is_taken_anew(server: InProcess) -> None:
    backend = server.registry.backend
    backend.swap(b"mcensus", None, b"\x01" + os.urandom(9))
    found = taker(server).latest(patience=10)
    assert found is not None
    assert found.seen == 0


def test_a_registry_that_is_away_is_said_in_the_log_only(
    server: InProcess, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*args: Any, **more: Any) -> Any:
        raise RegistryError("away")

    monkeypatch.setattr(server.registry.backend, "swap", away)
    assert taker(server).take_if_due() is None
    assert "grants cannot be counted now: away" in caplog.text
