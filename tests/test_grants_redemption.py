"""The authorization code: when it is exchanged for the first pair, and what a second attempt does."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from oauth_refresh import grants
from oauth_refresh.cases import Event, Issue, Refuse
from oauth_refresh.records import Access
from oauth_refresh.tokens import Rights

from . import derivation
from .line import (
    ACCESS_TTL,
    CHALLENGE,
    CLIENT,
    CODE,
    CODE_TTL,
    GRANT_ID,
    LINE,
    OTHER_CLIENT,
    PENDING,
    POLICY,
    REDIRECT_URI,
    REFRESH_TTL,
    RESOURCES,
    SCOPES,
    SECRETS,
    START,
    WAITING_CODE,
    Played,
    access_record,
    access_token,
    ended,
    goes_on,
    issued,
    redeemed,
    refresh_token_of,
    refresh_tokens,
)

REFRESH_1 = refresh_tokens(1)[1]

WRONG = [
    pytest.param({"client_id": OTHER_CLIENT}, "other_client", id="another client"),
    pytest.param({"client_id": None}, "other_client", id="no client named"),
    pytest.param({"verifier": "x" * 43}, "verifier", id="wrong verifier"),
    pytest.param({"verifier": ""}, "verifier", id="empty verifier"),
    pytest.param({"verifier": None}, "verifier_missing", id="no verifier"),
    pytest.param({"verifier": CHALLENGE}, "verifier", id="challenge for verifier"),
    pytest.param({"redirect_uri": REDIRECT_URI + "/"}, "redirect_uri", id="wrong redirect URI"),
    pytest.param({"redirect_uri": ""}, "redirect_uri", id="empty redirect URI"),
    pytest.param({"scopes": ("admin",)}, "scope", id="wider scope"),
    pytest.param({"resources": ("https://other.example",)}, "resource", id="foreign resource"),
]


def test_a_code_is_exchanged_for_the_first_pair():
    played = Played(now=START + 5)
    answer = played.redeem()
    expected = replace(
        PENDING,
        code=replace(WAITING_CODE, redeemed=True),
        generation=1,
        refresh_hash=derivation.digest(REFRESH_1),
        refresh_expires_at=START + 5 + REFRESH_TTL,
        access=access_record(access_token(1), START + 5 + ACCESS_TTL),
    )
    assert answer == Issue(
        "redeemed",
        expected,
        access_token(1),
        REFRESH_1,
        3600,
        Rights(SCOPES, RESOURCES),
        (Event("code_redeemed"),),
    )
    goes_on(played)


@pytest.mark.requirement("RT-01")
def test_without_refresh_tokens_the_code_gives_an_access_token_alone():
    played = Played(policy=POLICY.but(issue_refresh=False))
    answer = issued(played.redeem())
    assert (answer.access_token, answer.refresh_token, answer.expires_in) == (access_token(1), None, 3600)
    assert played.grant == replace(
        PENDING,
        code=replace(WAITING_CODE, redeemed=True),
        generation=1,
        access=access_record(access_token(1), START + ACCESS_TTL),
    )
    assert isinstance(played.use(access_token(1)), Access)


@pytest.mark.parametrize(
    ("left", "outcome"),
    [
        pytest.param(CODE_TTL, "redeemed", id="at once"),
        pytest.param(1.0, "redeemed", id="one second left"),
        pytest.param(0.999, "expired", id="less than one second left"),
        pytest.param(0.0, "expired", id="nothing left"),
        pytest.param(-1.0, "expired", id="too late"),
        pytest.param(CODE_TTL + 5, "redeemed", id="a clock that went back"),
    ],
)
def test_a_code_is_good_until_less_than_a_second_is_left(left: float, outcome: str):
    played = Played(now=START + CODE_TTL - left)
    answer = played.redeem()
    assert outcome == (answer.reason if isinstance(answer, Refuse) else answer.outcome)
    assert (played.grant == PENDING) is (outcome == "expired")


@pytest.mark.parametrize(
    ("left", "outcome"),
    [pytest.param(1.0, "redeemed", id="one second left"), pytest.param(0.999, "ended", id="less than one")],
)
def test_a_code_is_not_good_past_the_absolute_end(left: float, outcome: str):
    played = Played(replace(PENDING, ends_at=START + left))
    answer = played.redeem()
    assert outcome == (answer.reason if isinstance(answer, Refuse) else answer.outcome)
    assert (played.grant.generation == 1) is (outcome == "redeemed")


def test_the_first_pair_ends_at_the_absolute_end():
    played = Played(replace(PENDING, ends_at=START + 100.9))
    assert issued(played.redeem()).expires_in == 100
    assert played.grant.refresh_expires_at == START + 100.9
    assert played.grant.access is not None
    assert played.grant.access.expires_at == START + 100.9


@pytest.mark.requirement("CODE-01")
@pytest.mark.requirement("CODE-02")
@pytest.mark.requirement("CODE-03")
@pytest.mark.requirement("CODE-09")
@pytest.mark.requirement("TOK-09")
@pytest.mark.parametrize(("ask", "reason"), WRONG)
def test_a_redemption_that_is_wrong_changes_nothing(ask: dict[str, str], reason: str):
    played = Played()
    answer = played.redeem(**ask)  # type: ignore[arg-type]
    assert isinstance(answer, Refuse)
    assert (answer.reason, answer.store) == (reason, None)
    assert issued(played.redeem()).outcome == "redeemed"
    goes_on(played)


@pytest.mark.requirement("CODE-05")
@pytest.mark.requirement("CODE-06")
@pytest.mark.parametrize("later", [0.0, CODE_TTL, REFRESH_TTL - 1, REFRESH_TTL * 30])
@pytest.mark.parametrize("redirect_uri", [REDIRECT_URI, None], ids=["redirect URI", "redirect URI omitted"])
def test_a_second_redemption_that_is_right_revokes_the_grant_at_any_time(
    later: float, redirect_uri: str | None
):
    played = redeemed()
    before = played.grant
    played.now += later
    answer = played.redeem(redirect_uri=redirect_uri)
    revoked = replace(before, revoked_at=played.now, revoked_why="code_reused")
    assert answer == Refuse("code_reused", revoked, (Event("code_reused"),))
    assert played.grant == revoked
    assert ended(played)


def test_a_second_redemption_revokes_also_after_rotations():
    played = redeemed(5)
    assert played.redeem() == Refuse("code_reused", played.grant, (Event("code_reused"),))
    assert ended(played)


@pytest.mark.requirement("CODE-07")
@pytest.mark.parametrize(("ask", "reason"), WRONG)
def test_a_second_redemption_that_is_wrong_changes_nothing(ask: dict[str, str], reason: str):
    played = redeemed()
    before = played.grant
    answer = played.redeem(**ask)  # type: ignore[arg-type]
    assert isinstance(answer, Refuse)
    assert (answer.reason, answer.store) == (reason, None)
    assert played.grant == before
    goes_on(played)


def test_of_two_redemptions_at_once_one_wins_and_the_other_revokes():
    """Both read the pending record; the one whose swap is lost reads again, and is a second redemption."""
    played = Played()
    assert played.copy().redeem() == played.redeem()
    assert played.redeem() == Refuse("code_reused", played.grant, (Event("code_reused"),))
    assert ended(played)


def test_a_third_redemption_changes_nothing_any_more():
    played = redeemed()
    played.redeem()
    played.now += 10
    before = played.grant
    assert played.redeem() == Refuse("revoked")
    assert played.grant == before


@pytest.mark.requirement("CODE-04")
def test_a_redirect_uri_may_be_left_out_where_pkce_protected_the_code():
    played = Played()
    assert issued(played.redeem(redirect_uri=None)).refresh_token == REFRESH_1


@pytest.mark.requirement("CODE-04")
def test_a_redirect_uri_may_not_be_left_out_without_pkce():
    played = Played(replace(PENDING, code=replace(WAITING_CODE, challenge="")))
    assert played.redeem(verifier=None, redirect_uri=None) == Refuse("redirect_uri")
    assert issued(played.redeem(verifier=None)).refresh_token == REFRESH_1


@pytest.mark.parametrize("verifier", ["y" * 43, ""])
def test_a_verifier_without_challenge_is_refused(verifier: str):
    played = Played(replace(PENDING, code=replace(WAITING_CODE, challenge="")))
    assert played.redeem(verifier=verifier) == Refuse("verifier_unexpected")
    assert issued(played.redeem(verifier=None)).refresh_token == REFRESH_1


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(derivation.code(GRANT_ID, bytes(32)), id="another code of the same grant id"),
        pytest.param(access_token(1), id="access token"),
        pytest.param(REFRESH_1, id="refresh token"),
        pytest.param("oat_" + CODE[4:], id="code under the prefix of access tokens"),
    ],
)
def test_what_is_not_the_code_is_noise(text: str):
    played = Played()
    assert played.redeem(text) == Refuse("noise")
    assert issued(played.redeem()).outcome == "redeemed"
    assert played.redeem(text) == Refuse("noise")
    goes_on(played)


def test_a_grant_without_a_code_has_none_to_redeem():
    assert Played(replace(PENDING, code=None)).redeem() == Refuse("noise")


@pytest.mark.parametrize("text", [CODE, access_token(1)])
def test_a_code_or_access_token_is_not_refreshed(text: str):
    played = redeemed()
    assert played.refresh(text) == Refuse("noise")
    goes_on(played)


def test_a_code_of_a_revoked_grant_gives_nothing():
    played = Played()
    played.change(revoked_at=START, revoked_why="consent_withdrawn")
    before = played.grant
    assert played.redeem() == Refuse("revoked")
    assert played.grant == before


@pytest.mark.requirement("CODE-10")
@pytest.mark.requirement("RT-16")
def test_a_narrower_first_token_leaves_the_grant_as_wide_as_it_was():
    played = Played()
    answer = issued(played.redeem(scopes=("notes:read",), resources=RESOURCES[1:]))
    narrow = derivation.next_access(LINE, CODE, 0, ("notes:read",), RESOURCES[1:])
    assert (answer.access_token, answer.rights) == (narrow, Rights(("notes:read",), RESOURCES[1:]))
    assert (played.grant.scopes, played.grant.resources) == (SCOPES, RESOURCES)
    assert issued(played.refresh(REFRESH_1)).rights == Rights(SCOPES, RESOURCES)


def test_a_users_shrunken_rights_cap_the_first_token():
    answer = issued(Played().redeem(allowed_scopes=("notes:write", "unheard-of")))
    assert answer.rights.scopes == ("notes:write",)


@pytest.mark.parametrize("lifetime", ["access_ttl", "refresh_ttl"])
def test_a_lifetime_under_one_second_refuses_and_changes_nothing(lifetime: str):
    played = Played(policy=POLICY.but(**{lifetime: 0.999}))
    assert played.redeem() == Refuse("lifetime")
    assert played.grant == PENDING
    played.policy = POLICY.but(**{lifetime: 1.0})
    assert issued(played.redeem()).outcome == "redeemed"


def test_a_lifetime_under_one_second_does_not_hide_a_second_redemption():
    played = redeemed()
    played.policy = POLICY.but(access_ttl=0.5)
    assert isinstance(played.redeem(), Refuse)
    assert ended(played)


def test_a_pair_can_be_opened_without_a_code():
    """For an application that mints itself: 32 random bytes stand for the secret of a code."""
    grant = replace(PENDING, code=None, client_id="")
    secret = bytes(range(90, 122))
    answer = grants.open_pair(grant, secret, START, POLICY, SECRETS)
    start = derivation.code(GRANT_ID, secret)
    refresh = derivation.next_refresh(LINE, start)
    access = derivation.next_access(LINE, start, 0, SCOPES, RESOURCES)
    assert answer == Issue(
        "created",
        replace(
            grant,
            generation=1,
            refresh_hash=derivation.digest(refresh),
            refresh_expires_at=START + REFRESH_TTL,
            access=Access(derivation.digest(access), None, None, "", START + ACCESS_TTL),
        ),
        access,
        refresh,
        3600,
        Rights(SCOPES, RESOURCES),
        (Event("grant_created"),),
    )
    assert answer.store is not None
    played = Played(answer.store)
    assert refresh_token_of(played.refresh(refresh)) == derivation.next_refresh(LINE, refresh)
    assert played.grant.client_id == CLIENT
