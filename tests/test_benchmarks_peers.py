"""The peers of the benchmarks prove that they do the work before they are timed, and answer with a time."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.peers import asking, environment
from benchmarks.stores import RawMemory, Store
from benchmarks.timing import interleaved

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the environment of the tests, which has two of the three: a registry of packages may be far away."""
    monkeypatch.setattr(environment, "python", lambda: sys.executable)


@pytest.fixture(params=["oauthlib", "Authlib"])
def peer(request: pytest.FixtureRequest) -> Iterator[asking.Peer]:
    running = asking.Peer(request.param, "memory")
    yield running
    running.kill()


def test_a_peer_takes_its_turn_among_others(peer: asking.Peer) -> None:
    found = interleaved({"here": list, "there": peer.turn("check")}, rounds=5, batch=40)
    assert found["there"].p10 > found["here"].p10 > 0


def test_a_peer_rotates_each_time(peer: asking.Peer) -> None:
    seen = []
    for _ in range(3):
        peer.rotate(1)
        seen.append(tuple(peer.ask(do="newest")))
    assert len(set(seen)) == 3
    assert peer.ask(do="good", token=seen[-1][0]) is True
    assert peer.ask(do="good", token=seen[-1][0] + "x") is False


@pytest.mark.parametrize("library", ["oauthlib", "Authlib"])
def test_what_a_peer_has_answered_outlives_it(tmp_path: Path, library: str) -> None:
    address = asking.address(Store("sqlite", f"sqlite://{tmp_path}/oauth.db", RawMemory()), library)
    asking.prove_durable(library, address)
    with pytest.raises(AssertionError):
        asking.prove_durable(library, "memory")
