"""Refresh tokens that come back too late: who notices, who is hurt, and who must not be."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from oauth_refresh.cases import Event, Issue, Refuse
from oauth_refresh.records import Access
from oauth_refresh.tokens import Secrets

from . import derivation
from .line import (
    CLIENT,
    GRACE,
    KEY,
    LINE,
    LOST_KEY,
    NEW_KEY,
    OTHER_CLIENT,
    POLICY,
    REFRESH_TTL,
    START,
    Played,
    access_token,
    ended,
    goes_on,
    issued,
    redeemed,
    refresh_tokens,
)

TOKENS = refresh_tokens(9)


def reused(behind: int, policy: str = "revoke") -> Event:
    return Event("token_reused", (("behind", behind), ("policy", policy)))


@pytest.mark.requirement("RT-07")
@pytest.mark.requirement("RT-08")
@pytest.mark.parametrize("behind", [2, 3, 7])
@pytest.mark.parametrize("age", [0.0, GRACE, REFRESH_TTL - 1, REFRESH_TTL * 2], ids=lambda age: f"{age:g} s")
@pytest.mark.parametrize("used", [False, True], ids=["unused", "used"])
def test_a_token_two_or_more_generations_old_ends_the_grant(behind: int, age: float, used: bool):
    played = redeemed(8)
    played.change(used=used)
    before = played.grant
    played.now = START + age
    answer = played.refresh(TOKENS[8 - behind])
    expected = replace(before, revoked_at=played.now, revoked_why="token_reused")
    assert answer == Refuse("reused", expected, (reused(behind),))
    assert ended(played)


def test_the_previous_token_ends_the_grant_once_grace_and_successors_first_use_are_past():
    played = redeemed(2)
    assert isinstance(played.use(access_token(2)), Access)
    before = played.grant
    played.now = START + GRACE
    expected = replace(before, revoked_at=played.now, revoked_why="token_reused")
    assert played.refresh(TOKENS[1]) == Refuse("reused", expected, (reused(1),))
    assert ended(played)


def test_a_reuse_ends_both_access_tokens():
    played = redeemed(3)
    assert isinstance(played.use(access_token(2)), Access)
    assert isinstance(played.use(access_token(3)), Access)
    played.refresh(TOKENS[1])
    assert played.use(access_token(2)) == Refuse("revoked")
    assert played.use(access_token(3)) == Refuse("revoked")


@pytest.mark.parametrize("behind", [1, 2, 5])
def test_refuse_refuses_this_request_and_nothing_else(behind: int):
    played = redeemed(8, policy=POLICY.but(reuse="refuse"))
    assert isinstance(played.use(access_token(8)), Access)
    before = played.grant
    played.now = START + GRACE
    for _ in range(3):
        answer = played.refresh(TOKENS[8 - behind])
        assert answer == Refuse("reused", None, (reused(behind, "refuse"),))
        assert played.grant == before
    goes_on(played)


def test_refuse_still_repeats_within_the_grace_period():
    played = redeemed(2, policy=POLICY.but(reuse="refuse"))
    played.use(access_token(2))
    played.now = START + GRACE - 1
    assert issued(played.refresh(TOKENS[1])).refresh_token == TOKENS[2]


def test_refuse_with_grace_0_leaves_the_grant_to_the_one_who_came_first():
    played = redeemed(2, policy=POLICY.but(reuse="refuse", grace=0.0))
    assert played.refresh(TOKENS[1]) == Refuse("reused", None, (reused(1, "refuse"),))
    goes_on(played)


@pytest.mark.requirement("RT-09")
@pytest.mark.parametrize(
    "ask",
    [
        pytest.param({"client_id": OTHER_CLIENT}, id="another client"),
        pytest.param({"scopes": ("admin",)}, id="wider scope"),
        pytest.param({"resources": ("https://other.example",)}, id="foreign resource"),
    ],
)
@pytest.mark.parametrize("behind", [1, 2, 5])
def test_an_old_token_in_a_wrong_request_ends_nothing(ask: dict[str, str], behind: int):
    played = redeemed(8)
    played.change(used=True)
    before = played.grant
    played.now = START + GRACE
    assert isinstance(played.refresh(TOKENS[8 - behind], **ask), Refuse)  # type: ignore[arg-type]
    assert played.grant == before
    goes_on(played)


def test_an_old_token_without_its_key_ends_nothing():
    played = redeemed(5)
    played.change(proof_key="thumb")
    before = played.grant
    assert played.refresh(TOKENS[1], proof_key="other") == Refuse("proof")
    assert played.grant == before


@pytest.mark.requirement("RT-09")
@pytest.mark.parametrize("generation", range(1, 10))
def test_another_client_is_refused_with_a_token_of_any_standing(generation: int):
    """older: 1 to 6; previous: 7; current: 8; ahead: 9."""
    played = redeemed(8)
    before = played.grant
    event = Event("client_mismatch", (("presented_by", OTHER_CLIENT),))
    answer = played.refresh(TOKENS[generation], client_id=OTHER_CLIENT)
    assert answer == Refuse("other_client", None, (event,))
    assert played.grant == before
    goes_on(played)


@pytest.mark.parametrize("fields", [{"revoked_at": START}, {"ends_at": START}], ids=["revoked", "ended"])
def test_another_client_is_named_before_the_grants_end_is_told(fields: dict[str, object]):
    played = redeemed(2)
    played.change(**fields)
    event = Event("client_mismatch", (("presented_by", OTHER_CLIENT),))
    for token in TOKENS[1:4]:
        assert played.refresh(token, client_id=OTHER_CLIENT) == Refuse("other_client", None, (event,))


@pytest.mark.parametrize("lifetime", ["access_ttl", "refresh_ttl"])
def test_a_lifetime_under_one_second_does_not_hide_a_reuse(lifetime: str):
    played = redeemed(5, policy=POLICY)
    played.policy = POLICY.but(**{lifetime: 0.5})
    assert isinstance(played.refresh(TOKENS[1]), Refuse)
    assert ended(played)


def test_a_reuse_in_an_ended_grant_changes_nothing():
    played = redeemed(5)
    played.change(ends_at=START + 10)
    before = played.grant
    played.now = START + 10
    assert played.refresh(TOKENS[1]) == Refuse("ended")
    assert played.grant == before


def test_a_second_reuse_keeps_the_time_and_reason_of_the_first():
    played = redeemed(5)
    played.refresh(TOKENS[1])
    before = played.grant
    played.now += 10
    assert played.refresh(TOKENS[1]) == Refuse("revoked")
    assert played.grant == before


# --- tokens that a change of secret leaves behind ---------------------------------------------------------


def test_a_reuse_is_recognised_by_a_fallback():
    played = redeemed(5)
    played.secrets = Secrets((NEW_KEY, LOST_KEY, KEY))
    assert played.refresh(TOKENS[1]) == Refuse("reused", played.grant, (reused(4),))
    assert ended(played)


def test_a_reuse_whose_secret_is_forgotten_is_noise():
    played = redeemed(5)
    before = played.grant
    played.secrets = Secrets((NEW_KEY,))
    assert played.refresh(TOKENS[1]) == Refuse("noise")
    assert played.grant == before
    assert issued(played.refresh(TOKENS[5])).outcome == "rotated"


def after_a_rollback_with_a_change_of_secret() -> tuple[Played, list[str]]:
    """Generation 3 was lost and made again under another secret. Second: the lost line, by generation."""
    played = redeemed(2)
    played.secrets = Secrets((NEW_KEY, KEY))
    issued(played.refresh(TOKENS[2]))
    return played, TOKENS


def test_a_stray_token_is_refused_and_ends_nothing():
    played, lost = after_a_rollback_with_a_change_of_secret()
    before = played.grant
    assert played.refresh(lost[3]) == Refuse("stray", None, (Event("token_stray"),))
    assert played.grant == before
    goes_on(played, derivation.next_refresh(LINE._replace(server_secret=NEW_KEY), TOKENS[2]))


def test_a_stray_token_stays_stray_for_one_generation_more():
    played, lost = after_a_rollback_with_a_change_of_secret()
    tip = derivation.next_refresh(LINE._replace(server_secret=NEW_KEY), TOKENS[2])
    tip = issued(played.refresh(tip)).refresh_token or ""
    assert played.refresh(lost[3]) == Refuse("stray", None, (Event("token_stray"),))
    goes_on(played, tip)


def test_a_line_that_fell_two_generations_behind_is_older():
    played, lost = after_a_rollback_with_a_change_of_secret()
    tip = derivation.next_refresh(LINE._replace(server_secret=NEW_KEY), TOKENS[2])
    for _ in range(2):
        tip = issued(played.refresh(tip)).refresh_token or ""
    assert played.refresh(lost[3]) == Refuse("reused", played.grant, (reused(2),))
    assert ended(played)


def test_a_stray_token_of_another_client_is_a_mismatch():
    played, lost = after_a_rollback_with_a_change_of_secret()
    answer = played.refresh(lost[3], client_id=OTHER_CLIENT)
    assert isinstance(answer, Refuse)
    assert answer.reason == "other_client"


def test_an_old_token_may_come_without_a_client_id():
    """A public client may leave it out; the token names it."""
    played = redeemed(5)
    assert played.refresh(TOKENS[1], client_id=None) == Refuse("reused", played.grant, (reused(4),))
    assert played.grant.client_id == CLIENT
    assert ended(played)


def test_the_grace_period_is_for_the_previous_token_alone():
    played = redeemed(3)
    assert isinstance(played.copy().refresh(TOKENS[2]), Issue)
    assert isinstance(played.refresh(TOKENS[1]), Refuse)
    assert ended(played)
