"""Byte strings that the server did not issue: they are noise, and change nothing."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from oauth_refresh import grants
from oauth_refresh.cases import Refuse
from oauth_refresh.grants import DUMMY, Standing, classify
from oauth_refresh.records import Previous
from oauth_refresh.tokens import Presented, Secrets

from . import derivation
from .line import (
    CODE,
    GRANT_ID,
    KEY,
    LINE,
    LOST_KEY,
    NEW_KEY,
    PENDING,
    POLICY,
    SECRETS,
    START,
    Played,
    ended,
    goes_on,
    issued,
    presented,
    redeemed,
    refresh_tokens,
)

TOKENS = refresh_tokens(6)
POLICIES = [
    pytest.param(POLICY, id="revoke"),
    pytest.param(POLICY.but(reuse="refuse"), id="refuse"),
    pytest.param(POLICY.but(reuse="catch-up"), id="catch-up"),
    pytest.param(POLICY.but(grace=0.0), id="grace 0"),
]
KNOWS_THE_SECRET = derivation.Line(KEY, bytes(32), GRANT_ID)
KNOWS_THE_REGISTRY = LINE._replace(server_secret=LOST_KEY)


@pytest.mark.parametrize(
    ("generation", "standing"),
    [
        pytest.param(0, Standing.OLDER, id="0: never issued, but genuine by its tag"),
        pytest.param(1, Standing.OLDER, id="1"),
        pytest.param(2, Standing.OLDER, id="2"),
        pytest.param(3, Standing.PREVIOUS, id="3"),
        pytest.param(4, Standing.CURRENT, id="4"),
        pytest.param(5, Standing.AHEAD, id="5"),
        pytest.param(6, Standing.AHEAD, id="6"),
    ],
)
def test_where_the_tokens_of_one_line_stand(generation: int, standing: Standing):
    grant = redeemed(4).grant
    token = TOKENS[generation] if generation else derivation.refresh_text(LINE, 0, bytes(32))
    by_hash = standing in (Standing.CURRENT, Standing.PREVIOUS)
    assert classify(grant, presented(token), SECRETS) == (standing, None if by_hash else KEY)


@pytest.mark.parametrize(
    ("generation", "standing"),
    [(2, Standing.OLDER), (3, Standing.STRAY), (4, Standing.STRAY), (5, Standing.AHEAD)],
)
def test_where_the_tokens_of_another_line_stand(generation: int, standing: Standing):
    grant = redeemed(4).grant
    other = derivation.refresh_text(LINE._replace(server_secret=NEW_KEY), generation, bytes(32))
    assert classify(grant, presented(other), Secrets((KEY, NEW_KEY))) == (standing, NEW_KEY)


def test_a_hash_that_matches_is_enough_whatever_the_tag():
    grant = redeemed(4).grant
    for generation, standing in ((4, Standing.CURRENT), (3, Standing.PREVIOUS)):
        assert classify(grant, presented(TOKENS[generation]), Secrets((LOST_KEY,))) == (standing, None)


IMPORTED = Presented("ort_", GRANT_ID, bytes(range(32)), derivation.digest("ab" * 32), imported=True)
ANOTHER = bytes(32)


@pytest.mark.parametrize(
    ("generation", "current", "previous", "standing"),
    [
        pytest.param(0, IMPORTED.hash, None, Standing.CURRENT, id="not rotated yet"),
        pytest.param(1, ANOTHER, IMPORTED.hash, Standing.PREVIOUS, id="rotated once"),
        pytest.param(2, ANOTHER, ANOTHER, Standing.OLDER, id="rotated twice"),
        pytest.param(9, ANOTHER, ANOTHER, Standing.OLDER, id="long ago"),
        pytest.param(1, ANOTHER, ANOTHER, Standing.STRAY, id="another token was rotated in its place"),
    ],
)
def test_where_an_imported_token_stands(
    generation: int, current: bytes, previous: bytes | None, standing: Standing
):
    """It has no tag. Its hash is on record elsewhere, and so it is genuine when it comes here."""
    before = None if previous is None else Previous(previous, START)
    grant = replace(PENDING, code=None, generation=generation, refresh_hash=current, previous=before)
    assert classify(grant, IMPORTED, SECRETS) == (standing, None)


@pytest.mark.requirement("RT-20")
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("generation", [1, 2, 3, 4, 5, 2**32 - 1])
@pytest.mark.parametrize(
    "line",
    [
        pytest.param(KNOWS_THE_SECRET, id="by one who knows the server secret"),
        pytest.param(KNOWS_THE_REGISTRY, id="by one who knows the registry"),
    ],
)
def test_a_forged_refresh_token_changes_nothing(policy, generation: int, line: derivation.Line):
    played = redeemed(4, policy=policy)
    before = played.grant
    for secret in (bytes(32), derivation.secret_of(TOKENS[4]), before.refresh_hash):
        forged = derivation.refresh_text(line, generation, secret)
        assert played.refresh(forged) == Refuse("noise")
        assert played.revoke(forged) == Refuse("noise")
    assert played.grant == before
    goes_on(played)


@pytest.mark.parametrize("generation", [3, 4], ids=["previous", "current"])
def test_every_bit_of_a_token_counts(generation: int):
    played = redeemed(4)
    before = played.grant
    raw = derivation.spelled(TOKENS[generation])
    # The grant id leads to another record, so the flips begin after it.
    for bit in range(128, len(raw) * 8):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        assert played.refresh(derivation.spell("ort_", bytes(flipped))) == Refuse("noise")
    assert played.grant == before
    goes_on(played)


def test_a_token_is_not_known_under_another_generation():
    played = redeemed(4)
    before = played.grant
    raw = derivation.spelled(TOKENS[4])
    for generation in (0, 1, 2, 3, 5, 6, 2**32 - 1):
        moved = raw[:16] + derivation.four(generation) + raw[20:]
        assert played.refresh(derivation.spell("ort_", moved)) == Refuse("noise")
    assert played.grant == before


def test_a_token_of_one_grant_is_noise_in_another():
    """Also where an attacker, who owns the other grant, knows that grant's whole line."""
    played = redeemed(4)
    before = played.grant
    own = derivation.Line(KEY, os.urandom(32), os.urandom(16))
    token = derivation.next_refresh(own, derivation.code(own.grant_id, os.urandom(32)))
    moved = derivation.spell("ort_", GRANT_ID + derivation.spelled(token)[16:])
    assert played.refresh(moved) == Refuse("noise")
    assert played.refresh(token) == Refuse("noise")
    assert played.grant == before


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=16, max_size=16), st.integers(0, 2**32 - 1))
def test_random_tokens_are_noise(secret: bytes, tag: bytes, generation: int):
    played = redeemed(3)
    before = played.grant
    raw = GRANT_ID + derivation.four(generation) + secret
    assert played.refresh(derivation.spell("ort_", raw + tag)) == Refuse("noise")
    for prefix in ("oac_", "oat_"):
        text = derivation.spell(prefix, GRANT_ID + secret)
        assert played.redeem(text) == Refuse("noise")
        assert played.revoke(text) == Refuse("noise")
        assert grants.check_access(before, presented(text).hash, played.now) == Refuse("unknown")
    assert played.grant == before


def test_a_grant_that_has_no_refresh_token_accepts_none():
    played = Played(policy=POLICY.but(issue_refresh=False))
    issued(played.redeem())
    before = played.grant
    assert played.refresh(derivation.refresh_text(LINE, 1, bytes(32))) != Refuse("noise")
    assert played.refresh(derivation.refresh_text(KNOWS_THE_REGISTRY, 1, bytes(32))) == Refuse("noise")
    assert played.grant == before


@pytest.mark.parametrize("generation", [0, 1, 2, 2**32 - 1])
def test_nothing_can_be_had_from_the_dummy_record(generation: int):
    """It stands in where there is no such grant, and everybody knows its seed."""
    line = derivation.Line(LOST_KEY, bytes(32), bytes(16))
    token = presented(derivation.refresh_text(line, generation, bytes(32)))
    assert classify(DUMMY, token, SECRETS) == (Standing.NOISE, None)
    assert grants.check_access(DUMMY, bytes(32), 0.0) == Refuse("revoked")


def test_the_empty_hash_of_a_pending_grant_matches_nothing():
    pending = Played().grant
    assert pending.refresh_hash == b""
    assert classify(pending, presented(TOKENS[1]).but(tag=bytes(16)), SECRETS) == (Standing.NOISE, None)
    assert classify(pending, presented(CODE), SECRETS) == (Standing.NOISE, None)


def test_a_code_grants_nothing_twice_even_with_a_guess_in_between():
    played = Played()
    guess = derivation.code(GRANT_ID, bytes(32))
    assert played.redeem(guess) == Refuse("noise")
    issued(played.redeem())
    assert played.redeem(guess) == Refuse("noise")
    goes_on(played)
    played.redeem()
    assert ended(played)
