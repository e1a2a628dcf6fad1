"""Access tokens at the guard: which one is good, and what a use writes down."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from oauth_refresh import grants
from oauth_refresh.cases import Refuse
from oauth_refresh.records import Access, Previous

from .line import (
    ACCESS_TTL,
    CODE,
    GRACE,
    PENDING,
    POLICY,
    START,
    Played,
    access_record,
    access_token,
    issued,
    presented,
    redeemed,
    refresh_tokens,
)

TOKENS = refresh_tokens(4)
INTERVAL = 300.0


@pytest.mark.requirement("TOK-12")
@pytest.mark.parametrize(
    ("left", "good"),
    [
        pytest.param(ACCESS_TTL, True, id="at once"),
        pytest.param(1.0, True, id="one second left"),
        pytest.param(0.999, False, id="less than one second left"),
        pytest.param(0.0, False, id="nothing left"),
        pytest.param(-1e6, False, id="long expired"),
    ],
)
def test_the_current_access_token_is_good_until_less_than_a_second_is_left(left: float, good: bool):
    played = redeemed()
    played.now = START + ACCESS_TTL - left
    expected = access_record(access_token(1), START + ACCESS_TTL) if good else Refuse("expired")
    assert played.use(access_token(1)) == expected


@pytest.mark.requirement("RT-21")
@pytest.mark.parametrize(
    ("age", "answer"),
    [
        pytest.param(0.0, "good", id="at once"),
        pytest.param(GRACE / 2 - 1, "good", id="a second before half the grace period"),
        pytest.param(GRACE / 2 - 0.999, "expired", id="less than a second before half the grace period"),
        pytest.param(GRACE / 2, "expired", id="half the grace period"),
        pytest.param(GRACE - 1, "expired", id="between half and full grace period"),
    ],
)
def test_the_replaced_access_token_is_good_for_half_the_grace_period(age: float, answer: str):
    played = redeemed(2)
    played.now = START + age
    lingering = access_record(access_token(1), START + GRACE / 2)
    assert played.use(access_token(1)) == (lingering if answer == "good" else Refuse(answer))
    assert issued(played.refresh(TOKENS[1])).access_token == access_token(2)


@pytest.mark.parametrize(
    ("left", "good"),
    [(10.0, True), (1.0, True), (0.999, False)],
)
def test_the_replaced_access_token_keeps_its_own_expiry_if_that_comes_first(left: float, good: bool):
    played = redeemed()
    played.now = START + ACCESS_TTL - 10
    issued(played.refresh(TOKENS[1]))
    played.now = START + ACCESS_TTL - left
    assert isinstance(played.use(access_token(1)), Access) is good


def test_another_token_takes_the_one_previous_place():
    played = redeemed(3)
    assert played.use(access_token(1)) == Refuse("unknown")
    assert isinstance(played.use(access_token(2)), Access)


def test_the_replaced_access_token_keeps_its_own_rights():
    played = Played()
    narrow = issued(played.redeem(scopes=("notes:read",)))
    issued(played.refresh(TOKENS[1]))
    answer = played.use(narrow.access_token)
    assert isinstance(answer, Access)
    assert answer.scopes == ("notes:read",)


@pytest.mark.parametrize("grace", [1.0, 1.999, 2.0])
def test_half_a_grace_period_under_one_second_is_none(grace: float):
    played = redeemed(2, policy=POLICY.but(grace=grace))
    assert isinstance(played.use(access_token(1)), Access) is (grace == 2.0)


def test_an_access_token_of_a_revoked_grant_is_refused():
    played = redeemed(2)
    played.change(revoked_at=START, revoked_why="revoked")
    assert played.use(access_token(2)) == Refuse("revoked")
    assert played.use(access_token(1)) == Refuse("revoked")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(access_token(2), id="of the generation to come"),
        pytest.param(access_token(1, 1), id="of the epoch to come"),
        pytest.param(access_token(1, 0, ("notes:read",)), id="of other rights"),
        pytest.param(CODE, id="the code"),
        pytest.param(TOKENS[1], id="the refresh token"),
    ],
)
def test_nothing_else_is_an_access_token(text: str):
    played = redeemed()
    before = played.grant
    assert played.use(text) == Refuse("unknown")
    assert played.grant == before
    assert isinstance(played.use(access_token(1)), Access)


@pytest.mark.parametrize("place", ["current", "previous"])
@pytest.mark.parametrize(("left", "good"), [(1.0, True), (0.999, False)])
def test_a_token_without_an_expiry_ends_at_the_absolute_end(place: str, left: float, good: bool):
    unlimited = Access(presented(access_token(1)).hash, (), (), "", None)
    if place == "current":
        grant = replace(PENDING, access=unlimited, ends_at=START + left)
    else:
        grant = replace(PENDING, previous=Previous(b"", START, unlimited), ends_at=START + left)
    expected = unlimited if good else Refuse("expired")
    assert grants.check_access(grant, unlimited.hash, START) == expected
    assert grants.check_access(replace(grant, ends_at=None), unlimited.hash, START + 1e12) == unlimited


# --- what a use writes down ---------------------------------------------------------------------------


def test_the_first_use_of_a_successor_is_written_down_at_once():
    played = redeemed(2)
    before = played.grant
    played.now = START + 3
    assert isinstance(played.use(access_token(2)), Access)
    assert played.grant == replace(before, used=True, last_used_at=START + 3)


@pytest.mark.parametrize("last_used_at", [START - 1, START, START + 3, START + 1000])
def test_the_first_use_of_a_successor_is_written_down_whenever_the_one_before_was_used(last_used_at: float):
    played = redeemed(2)
    played.change(last_used_at=last_used_at)
    played.now = START + 3
    played.use(access_token(2))
    assert (played.grant.used, played.grant.last_used_at) == (True, START + 3)


@pytest.mark.parametrize(
    ("later", "written"),
    [
        pytest.param(0.0, False, id="at once"),
        pytest.param(INTERVAL - 0.001, False, id="just within the interval"),
        pytest.param(INTERVAL, True, id="after the interval"),
        pytest.param(-5.0, False, id="a clock that went back"),
    ],
)
def test_later_uses_are_written_down_once_per_interval(later: float, written: bool):
    played = redeemed()
    played.use(access_token(1))
    before = played.grant
    played.now = START + later
    played.use(access_token(1), INTERVAL)
    assert played.grant == (replace(before, last_used_at=START + later) if written else before)


def test_an_access_token_of_any_epoch_in_the_current_place_counts():
    played = redeemed(2)
    answer = issued(played.refresh(TOKENS[1], scopes=("notes:read",)))
    played.use(answer.access_token)
    assert played.grant.used


def test_the_replaced_access_token_is_no_use_of_the_successor():
    played = redeemed(2)
    before = played.grant
    assert isinstance(played.use(access_token(1)), Access)
    assert played.grant == before


def test_a_token_that_is_no_longer_current_writes_nothing():
    """The swap of a use was lost to a rotation: the use is asked again for the same hash, and dropped."""
    played = redeemed()
    token_hash = presented(access_token(1)).hash
    assert grants.mark_used(played.grant, token_hash, START, INTERVAL) is not None
    issued(played.refresh(TOKENS[1]))
    assert grants.mark_used(played.grant, token_hash, START, INTERVAL) is None


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"revoked_at": START}, id="revoked grant"),
        pytest.param({"ends_at": START + 0.5}, id="ended grant"),
        pytest.param({"access": None}, id="revoked token"),
    ],
)
def test_a_dead_access_token_is_no_use_of_the_successor(fields: dict[str, object]):
    played = redeemed(2)
    played.change(**fields)
    assert grants.mark_used(played.grant, presented(access_token(2)).hash, START, INTERVAL) is None


@pytest.mark.parametrize(("left", "counts"), [(1.0, True), (0.999, False)])
def test_an_expired_access_token_is_no_use_of_the_successor(left: float, counts: bool):
    played = redeemed(2)
    now = START + ACCESS_TTL - left
    marked = grants.mark_used(played.grant, presented(access_token(2)).hash, now, INTERVAL)
    assert (marked is not None) is counts
