"""The generated grants of `benchmarks.grants` are grants as any others."""

from __future__ import annotations

from benchmarks import grants
from oauth_refresh.backends import open_backend
from oauth_refresh.registry import TokenRegistry

NOW = 1_900_000_000.0


def test_the_tokens_of_a_generated_grant_work() -> None:
    backend = open_backend("memory:")
    assert grants.fill(backend, 30, NOW) == 30
    registry = TokenRegistry(backend, grants.SECRETS, grants.POLICY, clock=lambda: NOW + 60)
    token = grants.tokens_of(17, NOW).refresh_token
    assert token is not None
    assert registry.rotate_via_refresh_token(token).refresh_token != token
    assert len(list(registry.list(subject="user5@example.org"))) == 3


def test_a_run_that_was_cut_off_is_run_again() -> None:
    backend = open_backend("memory:")
    grants.fill(backend, 10, NOW)
    assert grants.fill(backend, 30, NOW) == 20
