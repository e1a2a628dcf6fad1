"""What a process has encoded it does not decode again: the same grant, or none at all."""

from __future__ import annotations

import random
from typing import Any

import pytest

from oauth_refresh import access_checks
from oauth_refresh.backends.memory import MemoryBackend
from oauth_refresh.cases import Refuse
from oauth_refresh.errors import InvalidGrant
from oauth_refresh.identity import Identity
from oauth_refresh.records import Grant, decode
from oauth_refresh.registry import Issued, TokenRegistry

from .test_registry import KEYS, POLICY, Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


def registry_over(backend: MemoryBackend, clock: Clock) -> TokenRegistry:
    return TokenRegistry(backend, KEYS, POLICY.but(reuse="catch-up"), clock=clock, last_used_interval=10)


def renewed(registry: TokenRegistry, issued: Issued, scopes: list[str] | None = None) -> Issued:
    assert issued.refresh_token is not None
    return registry.rotate_via_refresh_token(issued.refresh_token, scopes=scopes)


def test_what_is_remembered_is_what_would_be_decoded(clock: Clock):
    """Over every kind of change that a registry makes, by two processes that take turns."""
    backend, chance = MemoryBackend(), random.Random(3)
    processes = [registry_over(backend, clock) for _ in range(2)]
    lines = [
        [processes[0].create_with_refresh("ada", ["read", "write"], client_id="c", label=label)]
        for label in ("", "lap top")
    ]
    seen = 0
    for _ in range(600):
        registry, line = chance.choice(processes), chance.choice(lines)
        clock.now += chance.choice([0.0, 0.5, 8.0, 70.0])
        scopes = chance.choice([None, None, ["read"]])
        match chance.randrange(4):
            case 0 | 1:
                line.append(renewed(registry, line[-1], scopes))
            case 2:
                renewed(registry, line[max(0, len(line) - chance.randint(2, 4))], scopes)
            case _:
                registry.check(line[-1].access_token)
        for process in processes:
            for key, (body, grant) in process.encoded.items():
                assert decode(body, key[1:]) == grant
                entry = backend.get(key)
                seen += entry is not None and entry.body == body
    assert seen > 600


def test_a_change_by_another_process_counts(clock: Clock):
    backend = MemoryBackend()
    registry, other = registry_over(backend, clock), registry_over(backend, clock)
    issued = renewed(registry, registry.create_with_refresh("ada", ["read"]))
    assert other.revoke(issued.grant_id)
    assert issued.refresh_token is not None
    with pytest.raises(InvalidGrant):
        registry.rotate_via_refresh_token(issued.refresh_token)


def test_what_an_application_does_to_properties_is_not_stored(clock: Clock):
    backend = MemoryBackend()
    registry = registry_over(backend, clock)
    issued = registry.create_with_refresh("ada", ["read"], properties={"teams": ["blue"]})
    for _ in range(3):
        issued = renewed(registry, issued)
        for _ in range(2):
            identity = registry.check(issued.access_token)
            assert isinstance(identity, Identity)
            teams: Any = identity.properties["teams"]
            teams.append("red")
    grant = registry.get(issued.grant_id)
    assert grant is not None
    assert grant.properties == {"teams": ["blue"]}


@pytest.mark.parametrize("kind", ["refresh", "access"])
def test_a_forgery_is_worked_on_as_if_nothing_were_remembered(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, kind: str
):
    """How long it takes must not tell which grants were in use here lately."""
    registry = registry_over(MemoryBackend(), clock)
    issued = registry.create_with_refresh("ada", ["read"])
    decoded: list[bytes] = []

    def counted(body: bytes, grant_id: bytes) -> Grant:
        decoded.append(grant_id)
        return decode(body, grant_id)

    monkeypatch.setattr(access_checks, "decode", counted)
    if kind == "access":
        token = issued.access_token
        assert registry.check(token[:-1] + ("A" if token[-1] != "A" else "B")) == Refuse("unknown")
        assert len(decoded) == 1
        assert isinstance(registry.check(token), Identity)
    else:
        token = issued.refresh_token or ""
        with pytest.raises(InvalidGrant):
            registry.rotate_via_refresh_token(token[:50] + ("A" if token[50] != "A" else "B") + token[51:])
        assert len(decoded) == 1
        renewed(registry, issued)
    assert len(decoded) == 1


def test_only_so_many_are_remembered(clock: Clock, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(access_checks, "_ENCODED_MAX", 5)
    registry = registry_over(MemoryBackend(), clock)
    for _ in range(12):
        registry.create_with_refresh("ada", ["read"])
        assert 1 <= len(registry.encoded) <= 5
