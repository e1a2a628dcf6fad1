"""A refresh token that is newer than the record: the registry went back in time."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from oauth_refresh.cases import Event, Issue, Refuse
from oauth_refresh.records import Access, Grant, Previous
from oauth_refresh.tokens import Rights, Secrets

from . import derivation
from .line import (
    ACCESS_TTL,
    CODE_TTL,
    GRACE,
    KEY,
    LINE,
    NEW_KEY,
    OTHER_CLIENT,
    PENDING,
    POLICY,
    REFRESH_TTL,
    RESOURCES,
    SCOPES,
    START,
    WAITING_CODE,
    Played,
    access_record,
    access_token,
    ended,
    goes_on,
    issued,
    redeemed,
    refresh_tokens,
)

TOKENS = refresh_tokens(12)
LAST = 2**32 - 1


def rolled_back(generation: int = 2, **stage: object) -> Played:
    """A registry that knows generation 2 (0: the pending code), 100 s later."""
    played = Played(**stage) if generation == 0 else redeemed(generation, **stage)  # type: ignore[arg-type]
    played.now = START + 100
    return played


def behind(generations: int) -> Refuse:
    return Refuse("ahead", None, (Event("registry_behind", (("generations", generations),)),))


@pytest.mark.parametrize("ahead", [1, 2, 9])
def test_a_token_ahead_rolls_the_record_forward(ahead: int):
    played = rolled_back()
    before = played.grant
    answer = played.refresh(TOKENS[2 + ahead])
    access = access_token(3 + ahead)
    expected = replace(
        before,
        generation=3 + ahead,
        refresh_hash=derivation.digest(TOKENS[3 + ahead]),
        refresh_expires_at=START + 100 + REFRESH_TTL,
        access=access_record(access, START + 100 + ACCESS_TTL),
        previous=Previous(derivation.digest(TOKENS[2 + ahead]), START + 100, None),
    )
    assert answer == Issue(
        "rolled_forward",
        expected,
        access,
        TOKENS[3 + ahead],
        3600,
        Rights(SCOPES, RESOURCES),
        (Event("registry_rolled_back", (("generations", ahead),)),),
    )
    goes_on(played)


def test_both_old_access_tokens_end():
    played = redeemed(2)
    assert isinstance(played.use(access_token(1)), Access)
    assert isinstance(played.use(access_token(2)), Access)
    issued(played.refresh(TOKENS[3]))
    assert played.use(access_token(1)) == Refuse("unknown")
    assert played.use(access_token(2)) == Refuse("unknown")


def test_the_successor_is_unused_and_counts_begin_again():
    played = rolled_back()
    played.change(used=True, epoch=4, late_repeats=2, late_marked=True)
    issued(played.refresh(TOKENS[3]))
    grant = played.grant
    assert (grant.used, grant.epoch, grant.late_repeats, grant.late_marked) == (False, 0, 0, False)


def test_what_was_lost_and_is_done_again_gives_the_same_pair():
    played = redeemed(2)
    lost = played.copy()
    first = issued(lost.refresh(TOKENS[2]))
    second = issued(lost.refresh(TOKENS[3]))
    again = issued(played.refresh(TOKENS[2]))
    assert (again.access_token, again.refresh_token) == (first.access_token, first.refresh_token)
    rolled = issued(redeemed(2).refresh(TOKENS[3]))
    assert (rolled.access_token, rolled.refresh_token) == (second.access_token, second.refresh_token)


def test_a_token_ahead_is_repeated_like_any_other_afterwards():
    played = rolled_back()
    first = issued(played.refresh(TOKENS[5]))
    played.now += GRACE * 3
    again = issued(played.refresh(TOKENS[5]))
    assert (again.outcome, again.access_token, again.refresh_token) == (
        "repeated",
        first.access_token,
        first.refresh_token,
    )


def test_what_the_roll_forward_skipped_is_older():
    played = rolled_back()
    issued(played.refresh(TOKENS[5]))
    assert isinstance(played.refresh(TOKENS[4]), Refuse)
    assert ended(played)


@pytest.mark.parametrize("generation", [1, 2, 7])
@pytest.mark.parametrize("now", [START, START + CODE_TTL * 10], ids=["code alive", "code expired"])
def test_a_pending_code_counts_as_redeemed(generation: int, now: float):
    played = rolled_back(0)
    played.now = now
    answer = issued(played.refresh(TOKENS[generation]))
    assert (answer.outcome, answer.refresh_token) == ("rolled_forward", TOKENS[generation + 1])
    assert played.grant.code == replace(WAITING_CODE, redeemed=True)
    second = played.redeem()
    assert isinstance(second, Refuse)
    assert second.reason == "code_reused"
    assert ended(played)


def switched_off() -> list[object]:
    policy, secrets = POLICY, Secrets((KEY,))
    return [
        pytest.param(policy.but(roll_forward=False), secrets, id="switched off"),
        pytest.param(policy.but(issue_refresh=False), secrets, id="no refresh tokens for this client"),
        pytest.param(policy, Secrets((KEY,), frozenset([KEY])), id="secret beside the data"),
        pytest.param(
            policy, Secrets((NEW_KEY, KEY), frozenset([KEY])), id="verifying secret beside the data"
        ),
    ]


@pytest.mark.parametrize(("policy", "secrets"), switched_off())
@pytest.mark.parametrize("generation", [0, 2])
def test_where_there_is_no_roll_forward_a_token_ahead_changes_nothing(policy, secrets, generation: int):
    played = rolled_back(generation)
    before = played.grant
    played.policy, played.secrets = policy, secrets
    assert played.refresh(TOKENS[5]) == behind(5 - generation)
    assert played.grant == before
    played.policy, played.secrets = POLICY, Secrets((KEY,))
    assert issued(played.refresh(TOKENS[5])).refresh_token == TOKENS[6]


def test_a_configured_secret_rolls_forward_though_a_fallback_lies_beside_the_data():
    played = rolled_back(secrets=Secrets((KEY, NEW_KEY), frozenset([NEW_KEY])))
    assert issued(played.refresh(TOKENS[5])).outcome == "rolled_forward"


@pytest.mark.parametrize(
    "grant",
    [
        pytest.param(replace(PENDING, code=None), id="access token alone, minted by the application"),
        pytest.param(
            replace(PENDING, code=replace(WAITING_CODE, redeemed=True), generation=1),
            id="access token alone, from a code",
        ),
    ],
)
def test_a_grant_without_refresh_tokens_is_not_rolled_forward(grant: Grant):
    played = Played(grant)
    assert played.refresh(TOKENS[5]) == behind(5 - grant.generation)
    assert played.grant == grant


@pytest.mark.parametrize(
    ("left", "outcome"),
    [
        pytest.param(1.0, "rolled_forward", id="one second left"),
        pytest.param(0.999, "expired", id="less than one second left"),
        pytest.param(-1e6, "expired", id="long expired"),
    ],
)
def test_a_record_whose_refresh_expiry_is_past_is_not_rolled_forward(left: float, outcome: str):
    played = rolled_back()
    before = played.grant
    played.now = START + REFRESH_TTL - left
    answer = played.refresh(TOKENS[5])
    assert outcome == (answer.reason if isinstance(answer, Refuse) else answer.outcome)
    assert (played.grant == before) is (outcome == "expired")


@pytest.mark.parametrize("left", [1.0, 0.999])
def test_a_roll_forward_keeps_to_the_absolute_end(left: float):
    played = rolled_back()
    played.change(ends_at=played.now + left)
    answer = played.refresh(TOKENS[5])
    if left < 1:
        assert answer == Refuse("ended")
    else:
        assert issued(answer).expires_in == 1
        assert played.grant.refresh_expires_at == played.now + 1


@pytest.mark.parametrize(
    ("ask", "reason"),
    [
        pytest.param({"client_id": OTHER_CLIENT}, "other_client", id="another client"),
        pytest.param({"scopes": ("admin",)}, "scope", id="wider scope"),
        pytest.param({"resources": ("https://other.example",)}, "resource", id="foreign resource"),
    ],
)
def test_a_wrong_request_rolls_nothing_forward(ask: dict[str, str], reason: str):
    played = rolled_back()
    before = played.grant
    answer = played.refresh(TOKENS[5], **ask)  # type: ignore[arg-type]
    assert isinstance(answer, Refuse)
    assert (answer.reason, answer.store) == (reason, None)
    assert played.grant == before


def test_a_lifetime_under_one_second_rolls_nothing_forward():
    played = rolled_back()
    before = played.grant
    played.policy = POLICY.but(refresh_ttl=0.5)
    assert played.refresh(TOKENS[5]) == Refuse("lifetime")
    assert played.grant == before


def test_a_revoked_record_is_not_rolled_forward():
    played = rolled_back()
    played.change(revoked_at=START, revoked_why="revoked")
    before = played.grant
    assert played.refresh(TOKENS[5]) == Refuse("revoked")
    assert played.grant == before


@pytest.mark.parametrize(
    ("generation", "outcome"),
    [
        pytest.param(LAST - 1, "rolled_forward", id="last but one"),
        pytest.param(LAST, "generations", id="last"),
    ],
)
def test_there_is_no_roll_forward_past_the_last_generation(generation: int, outcome: str):
    played = rolled_back()
    before = played.grant
    answer = played.refresh(derivation.refresh_text(LINE, generation, bytes(32)))
    if isinstance(answer, Refuse):
        assert answer == Refuse("generations")
        assert played.grant == before
        goes_on(played)
    else:
        assert played.grant.generation == LAST
    assert outcome == (answer.reason if isinstance(answer, Refuse) else answer.outcome)


def test_after_a_change_of_secret_a_fallback_recognises_and_the_first_derives():
    played = rolled_back()
    played.secrets = Secrets((NEW_KEY, KEY))
    successor = derivation.next_refresh(LINE._replace(server_secret=NEW_KEY), TOKENS[5])
    assert issued(played.refresh(TOKENS[5])).refresh_token == successor
    goes_on(played, successor)


def test_a_token_ahead_whose_secret_is_forgotten_is_noise():
    played = rolled_back()
    before = played.grant
    played.secrets = Secrets((NEW_KEY,))
    assert played.refresh(TOKENS[5]) == Refuse("noise")
    assert played.grant == before
    played.secrets = Secrets((KEY,))
    assert issued(played.refresh(TOKENS[2])).outcome == "rotated"


def test_a_roll_forward_binds_a_grant_without_a_client():
    played = rolled_back()
    played.change(client_id="")
    issued(played.refresh(TOKENS[5], client_id=OTHER_CLIENT))
    assert played.grant.client_id == OTHER_CLIENT
