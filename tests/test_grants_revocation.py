"""Revocation by the client (RFC 7009): what ends, and that nothing brings it back."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from oauth_refresh import grants
from oauth_refresh.cases import Ask, Case, Event, Refuse
from oauth_refresh.records import Access, Grant
from oauth_refresh.tokens import Secrets

from . import derivation
from .line import (
    CODE,
    GRANT_ID,
    KEY,
    LINE,
    NEW_KEY,
    OTHER_CLIENT,
    PENDING,
    POLICY,
    REFRESH_TTL,
    SECRETS,
    START,
    Played,
    access_token,
    ended,
    goes_on,
    issued,
    presented,
    redeemed,
    refresh_tokens,
)

TOKENS = refresh_tokens(9)
NARROW = ("notes:read",)


@pytest.mark.requirement("REV-06")
@pytest.mark.parametrize(
    "generation", [1, 4, 5, 6, 9], ids=["oldest", "older", "previous", "current", "ahead"]
)
@pytest.mark.parametrize("later", [0.0, REFRESH_TTL * 3], ids=["alive", "expired"])
@pytest.mark.parametrize("client_id", ["a-client", None], ids=["its client", "no client named"])
def test_any_refresh_token_of_the_grant_revokes_it(generation: int, later: float, client_id: str | None):
    played = redeemed(6)
    before = played.grant
    played.now += later
    answer = played.revoke(TOKENS[generation], client_id)
    assert answer == replace(before, revoked_at=played.now, revoked_why="revoked_by_client")
    assert ended(played)


def test_a_stray_refresh_token_revokes_the_grant():
    played = redeemed(2)
    played.secrets = Secrets((NEW_KEY, KEY))
    issued(played.refresh(TOKENS[2]))
    assert isinstance(played.revoke(TOKENS[3]), Grant)
    assert ended(played)


def test_a_refresh_token_ahead_revokes_a_grant_whose_code_is_pending_again():
    played = Played()
    assert isinstance(played.revoke(TOKENS[3]), Grant)
    assert played.redeem() == Refuse("revoked")


@pytest.mark.requirement("REV-07")
def test_after_a_revocation_nothing_is_accepted():
    played = redeemed(6)
    played.revoke(TOKENS[6])
    for generation in range(1, 10):
        assert played.refresh(TOKENS[generation]) == Refuse("revoked")
    assert played.redeem() == Refuse("revoked")
    assert played.use(access_token(6)) == Refuse("revoked")
    assert played.use(access_token(5)) == Refuse("revoked")


def test_a_second_revocation_leaves_the_record_as_it_is():
    played = redeemed(2)
    played.revoke(TOKENS[2])
    before = played.grant
    played.now += 100
    for text in (TOKENS[2], TOKENS[1], access_token(2), access_token(1)):
        assert played.revoke(text) == before
    assert played.grant == before


@pytest.mark.requirement("REV-03")
def test_another_clients_token_is_not_revoked():
    played = redeemed(6)
    before = played.grant
    event = Event("client_mismatch", (("presented_by", OTHER_CLIENT),))
    for text in (TOKENS[1], TOKENS[5], TOKENS[6], TOKENS[9], access_token(6), access_token(5)):
        assert played.revoke(text, OTHER_CLIENT) == Refuse("other_client", None, (event,))
    assert played.grant == before
    goes_on(played)


def test_a_grant_without_a_client_is_revoked_by_whoever_holds_a_token():
    played = redeemed(2)
    played.change(client_id="")
    assert isinstance(played.revoke(TOKENS[1], OTHER_CLIENT), Grant)
    assert ended(played)


@pytest.mark.requirement("REV-04")
@pytest.mark.parametrize(
    "text",
    [
        pytest.param(CODE, id="code"),
        pytest.param("oat_" + CODE[4:], id="code as access token"),
        pytest.param(derivation.spell("oat_", GRANT_ID + bytes(32)), id="unknown access token"),
        pytest.param(
            derivation.refresh_text(LINE._replace(server_secret=NEW_KEY), 2, bytes(32)), id="forged tag"
        ),
        pytest.param(access_token(1), id="access token that was replaced twice"),
    ],
)
def test_noise_revokes_nothing(text: str):
    played = redeemed(3)
    before = played.grant
    assert played.revoke(text) == Refuse("noise")
    assert played.grant == before
    goes_on(played)


def test_the_current_access_token_ends_alone():
    played = redeemed(2)
    before = played.grant
    assert played.revoke(access_token(2)) == replace(before, access=None, epoch=1)
    assert played.use(access_token(2)) == Refuse("unknown")
    assert isinstance(played.use(access_token(1)), Access)
    goes_on(played)


def test_the_previous_access_token_ends_alone():
    played = redeemed(2)
    before = played.grant
    assert before.previous is not None
    ended_alone = replace(before, previous=replace(before.previous, access=None))
    assert played.revoke(access_token(1)) == ended_alone
    assert played.use(access_token(1)) == Refuse("unknown")
    assert isinstance(played.use(access_token(2)), Access)
    goes_on(played)


def test_an_access_token_that_expired_is_ended_like_a_live_one():
    played = redeemed(2)
    played.now += POLICY.access_ttl * 2
    assert isinstance(played.revoke(access_token(2)), Grant)
    goes_on(played)


def test_revoking_an_access_token_twice_is_noise():
    played = redeemed(2)
    played.revoke(access_token(2))
    before = played.grant
    assert played.revoke(access_token(2)) == Refuse("noise")
    assert played.grant == before


def test_no_rotation_and_no_repeat_brings_a_revoked_access_token_back():
    played = redeemed(2)
    gone = access_token(2)
    played.revoke(gone)
    for _ in range(3):
        assert issued(played.refresh(TOKENS[1])).access_token != gone
        assert issued(played.refresh(TOKENS[1], scopes=NARROW)).access_token != gone
        assert played.use(gone) == Refuse("unknown")
    issued(played.refresh(TOKENS[2]))
    assert played.use(gone) == Refuse("unknown")


def test_every_revocation_raises_the_epoch():
    played = redeemed(2)
    given = [access_token(2)]
    for _ in range(4):
        played.revoke(given[-1])
        given.append(issued(played.refresh(TOKENS[1])).access_token)
    assert given == [access_token(2, epoch) for epoch in range(5)]


def test_a_rotation_after_a_revoked_access_token_leaves_nothing_lingering():
    played = redeemed(2)
    played.revoke(access_token(2))
    issued(played.refresh(TOKENS[2]))
    assert played.grant.previous is not None
    assert played.grant.previous.access is None
    assert played.grant.epoch == 0


def test_a_refresh_that_was_under_way_leaves_no_token_that_works():
    """It decided before the revocation, so its swap is lost, and the second reading finds the grant gone."""
    played = redeemed(2)
    under_way = Case(played.grant, presented(TOKENS[2]), Ask(), START, POLICY, SECRETS)
    decided = issued(grants.refresh(under_way))
    played.revoke(TOKENS[2])
    assert decided.store is not None
    assert played.grant != under_way.grant
    assert played.refresh(TOKENS[2]) == Refuse("revoked")
    assert played.refresh(decided.refresh_token or "") == Refuse("revoked")
    assert played.use(decided.access_token) == Refuse("unknown")


def test_the_first_reason_and_time_of_a_revocation_stay():
    revoked = grants.revoked(PENDING, START, "subject_revoked")
    assert revoked == replace(PENDING, revoked_at=START, revoked_why="subject_revoked")
    assert grants.revoked(revoked, START + 1, "revoked") is revoked
