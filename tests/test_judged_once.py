"""A token that was judged before is judged alike: whatever happened meanwhile, in whichever process."""

from __future__ import annotations

from random import Random

import pytest

from oauth_refresh import access_checks
from oauth_refresh.backends.memory import MemoryBackend
from oauth_refresh.cases import Policy, Refuse
from oauth_refresh.errors import InvalidGrant
from oauth_refresh.identity import Identity
from oauth_refresh.registry import Issued, TokenRegistry
from oauth_refresh.tokens import Secrets
from tests.test_registry import HOUR, KEYS, NOW, Clock

POLICY = Policy(access_ttl=HOUR, refresh_ttl=24 * HOUR, grace=60.0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def backend() -> MemoryBackend:
    return MemoryBackend()


def process(backend: MemoryBackend, clock: Clock, secrets: Secrets = KEYS) -> TokenRegistry:
    """One of the processes that share the backend."""
    return TokenRegistry(backend, secrets, POLICY, grant_max_age=48 * HOUR, clock=clock)


def warmed(one: TokenRegistry) -> Issued:
    """A new pair whose access token this process has let in more than once."""
    issued = one.create_with_refresh("ada", ["notes:read"], client_id="c")
    assert isinstance(one.check(issued.access_token), Identity)
    assert one.check(issued.access_token) is one.check(issued.access_token)
    return issued


@pytest.mark.requirement("RS-29")
def test_a_revocation_by_another_process_counts_at_the_next_request(
    backend: MemoryBackend, clock: Clock
) -> None:
    one, other = process(backend, clock), process(backend, clock)
    issued = warmed(one)
    other.revoke(issued.grant_id)
    assert one.check(issued.access_token) == Refuse("revoked")


def test_a_record_that_vanished_lets_nobody_in(backend: MemoryBackend, clock: Clock) -> None:
    one = process(backend, clock)
    issued = warmed(one)
    key = b"g" + bytes.fromhex(issued.grant_id)
    backend.swap(key, backend.get(key), None)
    assert one.check(issued.access_token) == Refuse("unknown")


@pytest.mark.parametrize(
    ("after", "good"), [(HOUR - 2, True), (HOUR - 1, True), (HOUR - 0.9, False), (2 * HOUR, False)]
)
def test_a_token_that_was_let_in_before_expires_to_the_second(
    backend: MemoryBackend, clock: Clock, after: float, good: bool
) -> None:
    one = process(backend, clock)
    issued = warmed(one)
    clock.now = NOW + after
    assert isinstance(one.check(issued.access_token), Identity) is good


def test_a_replaced_token_ends_half_the_grace_period_after_the_rotation(
    backend: MemoryBackend, clock: Clock
) -> None:
    one, other = process(backend, clock), process(backend, clock)
    issued = warmed(one)
    other.rotate_via_refresh_token(issued.refresh_token or "")
    clock.now = NOW + 28
    assert one.check(issued.access_token) is one.check(issued.access_token)
    clock.now = NOW + 30
    assert one.check(issued.access_token) == Refuse("expired")


def test_the_use_of_a_token_is_still_written_once_per_interval(backend: MemoryBackend, clock: Clock) -> None:
    one = process(backend, clock)
    issued = warmed(one)
    clock.now = NOW + 301
    one.check(issued.access_token)
    grant = one.get(issued.grant_id)
    assert grant is not None
    assert grant.last_used_at == NOW + 301


def test_a_refusal_is_no_refusal_any_more_when_the_clock_is_set_back(
    backend: MemoryBackend, clock: Clock
) -> None:
    one = process(backend, clock)
    issued = warmed(one)
    clock.now = NOW + 2 * HOUR
    assert one.check(issued.access_token) == one.check(issued.access_token) == Refuse("expired")
    clock.now = NOW
    assert isinstance(one.check(issued.access_token), Identity)


def test_a_token_that_a_rotation_hands_out_is_let_in_where_its_guess_was_refused(
    backend: MemoryBackend, clock: Clock
) -> None:
    one, other = process(backend, clock), process(backend, clock)
    issued = warmed(one)
    before = backend.get(b"g" + bytes.fromhex(issued.grant_id))
    pair = other.rotate_via_refresh_token(issued.refresh_token or "")
    after = backend.get(b"g" + bytes.fromhex(issued.grant_id))
    # The registry goes back in time, and forth again.
    backend.swap(b"g" + bytes.fromhex(issued.grant_id), after, before.body if before else b"")
    assert one.check(pair.access_token) == one.check(pair.access_token) == Refuse("unknown")
    backend.swap(b"g" + bytes.fromhex(issued.grant_id), before, after.body if after else b"")
    assert isinstance(one.check(pair.access_token), Identity)


def test_what_is_remembered_is_bounded(
    backend: MemoryBackend, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_checks, "_REMEMBERED_MAX", 8)
    one = process(backend, clock)
    tokens = [warmed(one).access_token for _ in range(30)]
    assert len(one._judged) <= 8
    assert all(isinstance(one.check(token), Identity) for token in tokens)


def test_no_token_is_kept_in_memory(backend: MemoryBackend, clock: Clock) -> None:
    one = process(backend, clock)
    issued = warmed(one)
    assert issued.access_token not in repr(one._judged)
    assert issued.access_token[20:] not in repr(one._judged)


@pytest.mark.parametrize("seed", range(12))
def test_a_process_that_remembers_answers_like_one_that_just_started(
    backend: MemoryBackend, clock: Clock, seed: int
) -> None:
    chance, old = Random(seed), process(backend, clock)
    first = old.create_with_refresh("ada", ["notes:read"], client_id="c")
    pairs = [first]
    for _ in range(200):
        clock.now += chance.choice([0, 0, 0.5, 5, 31, 61, 299, 301, HOUR])
        act = chance.random()
        if act < 0.2:
            token = chance.choice(pairs[-3:]).refresh_token or ""
            try:
                pairs.append(process(backend, clock).rotate_via_refresh_token(token))
            except InvalidGrant:
                pairs.append(old.create_with_refresh("ada", ["notes:read"], client_id="c"))
        elif act < 0.25:
            process(backend, clock).revoke(chance.choice(pairs[-3:]).access_token)
        for pair in pairs[-4:]:
            assert old.check(pair.access_token) == process(backend, clock).check(pair.access_token)
