"""The previous refresh token once more: the identical pair, for a client whose answer was lost."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from oauth_refresh.cases import Event, Issue, Refuse
from oauth_refresh.records import Access
from oauth_refresh.tokens import Rights

from .line import (
    ACCESS_TTL,
    GRACE,
    OTHER_CLIENT,
    POLICY,
    REFRESH_TTL,
    RESOURCES,
    SCOPES,
    START,
    access_record,
    access_token,
    ended,
    goes_on,
    issued,
    redeemed,
    refresh_tokens,
    repeated,
)

TOKENS = refresh_tokens(8)
NARROW = ("notes:read",)
LAST = 2**32 - 1


# --- when ------------------------------------------------------------------------------------------


@pytest.mark.requirement("RT-10")
@pytest.mark.parametrize(
    ("age", "used", "outcome"),
    [
        pytest.param(0.0, True, "repeated", id="at once"),
        pytest.param(GRACE - 0.001, True, "repeated", id="just within the grace period"),
        pytest.param(GRACE, True, "reused", id="the grace period is over"),
        pytest.param(GRACE + 0.001, True, "reused", id="just after the grace period"),
        pytest.param(-5.0, True, "repeated", id="a clock that went back"),
        pytest.param(GRACE - 0.001, False, "repeated", id="unused, within the grace period"),
        pytest.param(GRACE, False, "repeated", id="unused, the grace period is over"),
        pytest.param(REFRESH_TTL - 1, False, "repeated", id="unused, one second before the expiry"),
        pytest.param(REFRESH_TTL - 0.999, False, "expired", id="unused, less than a second left"),
        pytest.param(REFRESH_TTL + 1e6, False, "expired", id="unused, long expired"),
        pytest.param(REFRESH_TTL + 1e6, True, "reused", id="used and expired: reuse is judged first"),
    ],
)
def test_a_repeat_is_given_in_the_grace_period_or_while_the_successor_is_unused(
    age: float, used: bool, outcome: str
):
    played = redeemed(2)
    played.change(used=used)
    before = played.grant
    played.now = START + age
    answer = played.refresh(TOKENS[1])
    if isinstance(answer, Issue):
        assert (answer.outcome, answer.refresh_token) == (outcome, TOKENS[2])
        goes_on(played)
    elif outcome == "expired":
        assert answer == Refuse("expired")
        assert played.grant == before
    else:
        assert answer.reason == outcome
        assert ended(played)


@pytest.mark.requirement("RT-11")
def test_a_repeat_gives_the_identical_pair_and_stores_nothing():
    played = redeemed(2)
    played.now = START + 59.5
    answer = played.refresh(TOKENS[1])
    assert answer == Issue(
        "repeated", None, access_token(2), TOKENS[2], 3540, Rights(SCOPES, RESOURCES), (repeated(59.5),)
    )
    goes_on(played)


def test_any_number_of_repeats_gives_the_same_pair():
    played = redeemed(2)
    before = played.grant
    pairs = set()
    for _ in range(30):
        played.now += 1
        answer = issued(played.refresh(TOKENS[1]))
        pairs.add((answer.access_token, answer.refresh_token))
    assert pairs == {(access_token(2), TOKENS[2])}
    assert played.grant == before


@pytest.mark.requirement("RT-10")
def test_repeats_do_not_extend_the_grace_period():
    played = redeemed(2)
    assert played.use(access_token(2)) == played.grant.access
    played.now = START + GRACE - 1
    issued(played.refresh(TOKENS[1]))
    played.now = START + GRACE
    assert isinstance(played.refresh(TOKENS[1]), Refuse)
    assert ended(played)


@pytest.mark.requirement("RT-13")
def test_rotating_the_successor_ends_the_repeat_at_once():
    played = redeemed(2)
    issued(played.refresh(TOKENS[2]))
    assert isinstance(played.refresh(TOKENS[1]), Refuse)
    assert ended(played)


def test_a_revoked_grant_has_no_grace():
    played = redeemed(2)
    played.change(revoked_at=START, revoked_why="revoked")
    before = played.grant
    assert played.refresh(TOKENS[1]) == Refuse("revoked")
    assert played.grant == before


def test_an_ended_grant_has_no_grace():
    played = redeemed(2)
    played.change(ends_at=START + 10)
    played.now = START + 9.5
    assert played.refresh(TOKENS[1]) == Refuse("ended")
    played.now = START + 9
    assert issued(played.refresh(TOKENS[1])).refresh_token == TOKENS[2]


@pytest.mark.requirement("RT-12")
@pytest.mark.parametrize(
    "ask", [{"client_id": OTHER_CLIENT}, {"scopes": ("admin",)}, {"resources": ("https://other.example",)}]
)
@pytest.mark.parametrize("age", [1.0, GRACE, GRACE * 5])
def test_a_repeat_is_checked_like_a_first_presentation(ask: dict[str, str], age: float):
    played = redeemed(2)
    before = played.grant
    played.now += age
    assert isinstance(played.refresh(TOKENS[1], **ask), Refuse)  # type: ignore[arg-type]
    assert played.grant == before
    assert issued(played.refresh(TOKENS[1])).refresh_token == TOKENS[2]


# --- the access token of a repeat -------------------------------------------------------------------


def test_a_repeat_for_other_rights_gets_the_next_epoch_and_the_old_token_lingers():
    played = redeemed(2)
    before = played.grant
    assert before.previous is not None
    played.now = START + 20
    answer = issued(played.refresh(TOKENS[1], scopes=NARROW))
    expected = replace(
        before,
        epoch=1,
        access=access_record(access_token(2, 1, NARROW), START + 20 + ACCESS_TTL, NARROW),
        previous=replace(before.previous, access=access_record(access_token(2), START + 20 + GRACE / 2)),
    )
    assert answer == Issue(
        "repeated",
        expected,
        access_token(2, 1, NARROW),
        TOKENS[2],
        3600,
        Rights(NARROW, RESOURCES),
        (repeated(20.0),),
    )
    assert isinstance(played.use(access_token(2)), Access)
    assert played.use(access_token(1)) == Refuse("unknown")
    goes_on(played)


def test_rights_that_come_and_go_never_meet_an_access_token_twice():
    played = redeemed(2)
    given = [
        issued(played.refresh(TOKENS[1], scopes=scopes)).access_token
        for scopes in (NARROW, NARROW, SCOPES, NARROW)
    ]
    assert given == [
        access_token(2, 1, NARROW),
        access_token(2, 1, NARROW),
        access_token(2, 2),
        access_token(2, 3, NARROW),
    ]


def test_capped_rights_are_other_rights():
    played = redeemed(2)
    assert issued(played.refresh(TOKENS[1], allowed_scopes=NARROW)).access_token == access_token(2, 1, NARROW)
    assert issued(played.refresh(TOKENS[1], scopes=NARROW)).access_token == access_token(2, 1, NARROW)


@pytest.mark.parametrize(
    ("left", "epoch", "expires_in"),
    [
        pytest.param(2.5, 0, 2, id="alive"),
        pytest.param(1.0, 0, 1, id="one second left"),
        pytest.param(0.999, 1, 3600, id="less than one second left"),
        pytest.param(-500.0, 1, 3600, id="expired"),
    ],
)
def test_a_repeat_replaces_an_access_token_that_has_expired(left: float, epoch: int, expires_in: int):
    played = redeemed(2)
    played.now = START + ACCESS_TTL - left
    before = played.grant
    answer = issued(played.refresh(TOKENS[1]))
    assert (answer.access_token, answer.expires_in) == (access_token(2, epoch), expires_in)
    assert played.grant.epoch == epoch
    assert played.grant.previous == before.previous


def test_a_repeated_access_token_ends_at_the_absolute_end():
    played = redeemed(2)
    played.change(ends_at=START + 100.5)
    played.now = START + 40
    answer = issued(played.refresh(TOKENS[1], scopes=NARROW))
    assert answer.expires_in == 60
    assert played.grant.access == access_record(access_token(2, 1, NARROW), START + 100.5, NARROW)


@pytest.mark.parametrize(
    ("expires_in", "lingers"),
    [
        pytest.param(ACCESS_TTL, GRACE / 2, id="half the grace period"),
        pytest.param(GRACE / 2 + 0.5, GRACE / 2, id="its expiry is just later"),
        pytest.param(GRACE / 2 - 0.5, GRACE / 2 - 0.5, id="its own expiry comes first"),
        pytest.param(1.0, 1.0, id="one second left"),
    ],
)
def test_a_replaced_access_token_lingers_for_half_the_grace_period_after_the_repeat(
    expires_in: float, lingers: float
):
    played = redeemed(2)
    played.now = START + ACCESS_TTL - expires_in
    issued(played.refresh(TOKENS[1], scopes=NARROW))
    assert played.grant.previous is not None
    assert played.grant.previous.access == access_record(access_token(2), played.now + lingers)
    assert played.grant.previous.rotated_at == START


def test_a_revoked_access_token_is_not_handed_out_again():
    played = redeemed(2)
    before = played.grant
    played.revoke(access_token(2))
    answer = issued(played.refresh(TOKENS[1]))
    assert answer.access_token == access_token(2, 1)
    assert played.grant == replace(
        before, epoch=1, access=access_record(access_token(2, 1), START + ACCESS_TTL)
    )
    assert played.use(access_token(2)) == Refuse("unknown")
    assert issued(played.refresh(TOKENS[1], scopes=NARROW)).access_token == access_token(2, 2, NARROW)


def test_a_revoked_access_token_does_not_linger():
    played = redeemed(2)
    played.revoke(access_token(2))
    before = played.grant.previous
    issued(played.refresh(TOKENS[1], scopes=NARROW))
    assert played.grant.previous == before
    assert played.use(access_token(2)) == Refuse("unknown")


def test_revoking_the_lingering_access_token_does_not_bring_it_back():
    played = redeemed(2)
    issued(played.refresh(TOKENS[1], scopes=NARROW))
    played.revoke(access_token(2))
    assert issued(played.refresh(TOKENS[1])).access_token == access_token(2, 2)
    assert played.use(access_token(2)) == Refuse("unknown")


def test_a_use_before_the_repeat_still_counts_after_it():
    played = redeemed(2)
    played.use(access_token(2))
    issued(played.refresh(TOKENS[1], scopes=NARROW))
    played.now = START + GRACE
    assert isinstance(played.refresh(TOKENS[1]), Refuse)
    assert ended(played)


# --- the last epoch ----------------------------------------------------------------------------------


def test_the_last_epoch_is_reached():
    played = redeemed(2)
    played.change(epoch=LAST - 1)
    assert issued(played.refresh(TOKENS[1], scopes=NARROW)).access_token == access_token(2, LAST, NARROW)
    assert played.grant.epoch == LAST
    issued(played.refresh(TOKENS[1], scopes=NARROW))


def test_there_is_no_repeat_after_the_last_epoch():
    played = redeemed(2)
    played.change(epoch=LAST)
    before = played.grant
    assert played.refresh(TOKENS[1], scopes=NARROW) == Refuse("generations")
    assert played.grant == before
    assert issued(played.refresh(TOKENS[2])).refresh_token == TOKENS[3]
    assert played.grant.epoch == 0


def test_past_the_last_epoch_no_repeat_fills_an_empty_place():
    played = redeemed(2)
    last = access_token(2, LAST)
    played.change(epoch=LAST, access=access_record(last, START + ACCESS_TTL))
    played.revoke(last)
    assert played.refresh(TOKENS[1]) == Refuse("generations")
    assert played.use(last) == Refuse("unknown")
    goes_on(played)


# --- grace 0 -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("age", [-1.0, 0.0, 1.0, REFRESH_TTL])
def test_grace_0_is_strict_single_use(used: bool, age: float):
    played = redeemed(2, policy=POLICY.but(grace=0.0))
    played.change(used=used)
    played.now = START + age
    event = Event("token_reused", (("behind", 1), ("policy", "revoke")))
    assert played.refresh(TOKENS[1]) == Refuse("reused", played.grant, (event,))
    assert ended(played)


def test_with_grace_0_the_replaced_access_token_ends_at_once():
    played = redeemed(2, policy=POLICY.but(grace=0.0))
    assert played.grant.previous is not None
    assert played.grant.previous.access is None
    assert played.use(access_token(1)) == Refuse("unknown")
    assert isinstance(played.use(access_token(2)), Access)
