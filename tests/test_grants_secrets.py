"""Repeats while server secrets change."""

from __future__ import annotations

import pytest

from oauth_refresh.cases import Event, Refuse
from oauth_refresh.tokens import Secrets

from .line import (
    GRACE,
    KEY,
    LOST_KEY,
    NEW_KEY,
    REFRESH_TTL,
    START,
    access_token,
    ended,
    issued,
    redeemed,
    refresh_token_of,
    refresh_tokens,
)

TOKENS = refresh_tokens(8)
NARROW = ("notes:read",)


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param((KEY,), id="the same"),
        pytest.param((NEW_KEY, KEY), id="as first fallback"),
        pytest.param((NEW_KEY, LOST_KEY, KEY), id="as second fallback"),
    ],
)
def test_a_repeat_uses_the_secret_that_reproduces_the_pair(keys: tuple[bytes, ...]):
    played = redeemed(2)
    played.secrets = Secrets(keys)
    answer = issued(played.refresh(TOKENS[1]))
    assert (answer.access_token, answer.refresh_token, answer.store) == (access_token(2), TOKENS[2], None)
    answer = issued(played.refresh(TOKENS[1], scopes=NARROW))
    assert (answer.access_token, answer.refresh_token) == (access_token(2, 1, NARROW), TOKENS[2])


def test_a_host_that_knows_the_new_secret_as_a_fallback_repeats_what_another_signed():
    """In the middle of a rolling change one host signs with the new secret, another still with the old."""
    played = redeemed()
    played.secrets = Secrets((NEW_KEY, KEY))
    pair = issued(played.refresh(TOKENS[1]))
    played.secrets = Secrets((KEY, NEW_KEY))
    again = issued(played.refresh(TOKENS[1]))
    assert (again.access_token, again.refresh_token) == (pair.access_token, pair.refresh_token)
    assert refresh_token_of(pair) != TOKENS[2]


@pytest.mark.parametrize(
    ("age", "used", "reason"),
    [
        pytest.param(0.0, False, "not_reproduced_yet", id="at once"),
        pytest.param(GRACE - 0.125, True, "not_reproduced_yet", id="just within the grace period"),
        pytest.param(GRACE, False, "not_reproduced", id="after the grace period"),
        pytest.param(REFRESH_TTL - 1, False, "not_reproduced", id="just before the expiry"),
    ],
)
def test_a_repeat_that_no_known_secret_reproduces_changes_nothing(age: float, used: bool, reason: str):
    played = redeemed(2)
    played.change(used=used)
    before = played.grant
    played.secrets = Secrets((NEW_KEY, LOST_KEY))
    played.now = START + age
    event = Event("repeat_not_reproduced", (("age", age), ("behind", 1)))
    assert played.refresh(TOKENS[1]) == Refuse(reason, None, (event,))
    assert played.grant == before
    played.secrets = Secrets((NEW_KEY, KEY))
    assert issued(played.refresh(TOKENS[1])).refresh_token == TOKENS[2]


def test_a_repeat_that_cannot_be_reproduced_is_reuse_once_its_time_is_over():
    played = redeemed(2)
    played.change(used=True)
    played.secrets = Secrets((NEW_KEY,))
    played.now = START + GRACE
    assert isinstance(played.refresh(TOKENS[1]), Refuse)
    assert ended(played)
