"""The current refresh token: when it rotates, and what the next pair is."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from oauth_refresh.cases import Event, Issue, Policy, Refuse
from oauth_refresh.records import Access, Grant, Previous
from oauth_refresh.tokens import Rights, Secrets

from . import derivation
from .line import (
    ACCESS_TTL,
    CLIENT,
    GRACE,
    KEY,
    LINE,
    LOST_KEY,
    NEW_KEY,
    OTHER_CLIENT,
    PENDING,
    POLICY,
    REFRESH_TTL,
    RESOURCES,
    SCOPES,
    START,
    Played,
    access_record,
    access_token,
    goes_on,
    issued,
    redeemed,
    refresh_token_of,
    refresh_tokens,
)

TOKENS = refresh_tokens(4)
LAST = 2**32 - 1


@pytest.mark.requirement("RT-06")
@pytest.mark.requirement("RT-23")
def test_the_current_token_rotates():
    played = redeemed()
    first = played.grant
    played.now = START + 1000.5
    answer = played.refresh(TOKENS[1])
    expected = replace(
        first,
        generation=2,
        refresh_hash=derivation.digest(TOKENS[2]),
        refresh_expires_at=START + 1000.5 + REFRESH_TTL,
        access=access_record(access_token(2), START + 1000.5 + ACCESS_TTL),
        previous=Previous(
            derivation.digest(TOKENS[1]),
            START + 1000.5,
            access_record(access_token(1), START + 1000.5 + GRACE / 2),
        ),
    )
    assert answer == Issue(
        "rotated",
        expected,
        access_token(2),
        TOKENS[2],
        3600,
        Rights(SCOPES, RESOURCES),
        (Event("token_rotated"),),
    )
    goes_on(played)


def test_a_line_of_tokens_is_a_function_of_what_lies_in_three_places():
    played = redeemed()
    for generation in range(1, 4):
        assert refresh_token_of(played.refresh(TOKENS[generation])) == TOKENS[generation + 1]


def test_a_rotation_starts_afresh_what_the_last_generation_counted():
    played = redeemed(2)
    played.change(used=True, epoch=7, last_used_at=START - 5)
    issued(played.refresh(TOKENS[2]))
    assert (played.grant.used, played.grant.epoch, played.grant.last_used_at) == (False, 0, START - 5)


@pytest.mark.requirement("RT-18")
@pytest.mark.parametrize("rotations", [1, 2, 50])
def test_lifetimes_do_not_shrink_from_rotation_to_rotation(rotations: int):
    played = redeemed()
    answer = issued(played.refresh(TOKENS[1]))
    for _ in range(rotations):
        played.now += REFRESH_TTL - 1
        answer = issued(played.refresh(answer.refresh_token or ""))
    assert answer.expires_in == 3600
    assert played.grant.refresh_expires_at == played.now + REFRESH_TTL
    assert played.grant.access is not None
    assert played.grant.access.expires_at == played.now + ACCESS_TTL


@pytest.mark.requirement("BCP-24")
@pytest.mark.requirement("Q-44")
@pytest.mark.requirement("RT-05")
@pytest.mark.requirement("RT-18")
@pytest.mark.parametrize(
    ("left", "outcome"),
    [
        pytest.param(1.0, "rotated", id="one second left"),
        pytest.param(0.999, "expired", id="less than one second left"),
        pytest.param(0.0, "expired", id="nothing left"),
        pytest.param(-1e6, "expired", id="long expired"),
    ],
)
def test_a_refresh_token_is_good_until_less_than_a_second_is_left(left: float, outcome: str):
    played = redeemed()
    before = played.grant
    played.now = START + REFRESH_TTL - left
    answer = played.refresh(TOKENS[1])
    if outcome == "expired":
        assert answer == Refuse("expired")
        assert played.grant == before
        played.now = START + REFRESH_TTL - 1
        goes_on(played)
    else:
        assert issued(answer).outcome == outcome


@pytest.mark.parametrize(
    ("left", "outcome"),
    [
        pytest.param(1.0, "rotated", id="one second left"),
        pytest.param(0.999, "ended", id="less than one second left"),
        pytest.param(-1e6, "ended", id="long past"),
    ],
)
def test_nothing_rotates_past_the_absolute_end(left: float, outcome: str):
    played = redeemed()
    played.change(ends_at=START + 100)
    before = played.grant
    played.now = START + 100 - left
    answer = played.refresh(TOKENS[1])
    if outcome == "ended":
        assert answer == Refuse("ended")
        assert played.grant == before
        played.now = START + 99
        goes_on(played)
    else:
        assert issued(answer).expires_in == 1
        assert played.grant.access is not None
        assert played.grant.access.expires_at == played.grant.refresh_expires_at == START + 100


@pytest.mark.parametrize(
    ("policy", "ends_at", "expiries"),
    [
        pytest.param(Policy(10, 100), None, (10, 100), id="no absolute end"),
        pytest.param(Policy(10, 100), 100.5, (10, 100), id="absolute end after both"),
        pytest.param(Policy(10, 100), 50.5, (10, 50.5), id="absolute end between"),
        pytest.param(Policy(10, 100), 5.5, (5.5, 5.5), id="absolute end before both"),
        pytest.param(Policy(100, 10), None, (100, 10), id="access outlives refresh"),
        pytest.param(Policy(1, 1), None, (1, 1), id="shortest"),
    ],
)
def test_both_lifetimes_are_full_and_only_the_absolute_end_cuts_them(
    policy: Policy, ends_at: float | None, expiries: tuple[float, float]
):
    played = redeemed()
    played.change(ends_at=None if ends_at is None else START + ends_at)
    played.policy = policy
    answer = issued(played.refresh(TOKENS[1]))
    assert played.grant.access is not None
    assert played.grant.access.expires_at == START + expiries[0]
    assert played.grant.refresh_expires_at == START + expiries[1]
    assert answer.expires_in == int(expiries[0])


def test_the_end_of_the_access_token_says_nothing_about_the_refresh_token():
    played = redeemed()
    played.now = START + ACCESS_TTL + 10
    assert played.use(access_token(1)) == Refuse("expired")
    assert issued(played.refresh(TOKENS[1])).refresh_token == TOKENS[2]
    assert played.grant.previous == Previous(derivation.digest(TOKENS[1]), played.now, None)


# --- what is refused changes nothing ---------------------------------------------------------------


@pytest.mark.requirement("RT-03")
@pytest.mark.requirement("RT-04")
@pytest.mark.requirement("RT-14")
@pytest.mark.requirement("RT-15")
@pytest.mark.requirement("RT-17")
@pytest.mark.requirement("TOK-09")
@pytest.mark.parametrize(
    ("ask", "reason"),
    [
        pytest.param({"client_id": OTHER_CLIENT}, "other_client", id="another client"),
        pytest.param({"client_id": ""}, "other_client", id="empty client id"),
        pytest.param({"scopes": ("admin",)}, "scope", id="foreign scope"),
        pytest.param({"scopes": (*SCOPES, "admin")}, "scope", id="wider scope"),
        pytest.param({"scopes": ("Notes:read",)}, "scope", id="scope in another case"),
        pytest.param({"resources": ("https://other.example/api",)}, "resource", id="foreign resource"),
        pytest.param({"resources": (*RESOURCES, "https://as.example")}, "resource", id="wider resource"),
        pytest.param({"resources": ("https://as.example/apis",)}, "resource", id="half a segment more"),
        pytest.param({"resources": ("https://as.example/ap",)}, "resource", id="half a segment less"),
    ],
)
def test_a_refresh_that_asks_for_too_much_changes_nothing(ask: dict[str, str], reason: str):
    played = redeemed(2)
    before = played.grant
    for token in TOKENS[1:3]:
        answer = played.refresh(token, **ask)  # type: ignore[arg-type]
        assert isinstance(answer, Refuse)
        assert (answer.reason, answer.store) == (reason, None)
        assert played.grant == before
    goes_on(played)


def test_another_client_is_an_event():
    answer = redeemed().refresh(TOKENS[1], client_id=OTHER_CLIENT)
    event = Event("client_mismatch", (("presented_by", OTHER_CLIENT),))
    assert answer == Refuse("other_client", None, (event,))


@pytest.mark.parametrize(
    ("bound", "shown", "reason"),
    [
        pytest.param("thumb", "thumb", None, id="the key it is bound to"),
        pytest.param("thumb", "other", "proof", id="another key"),
        pytest.param("thumb", "", "proof", id="no proof"),
        pytest.param("", "thumb", None, id="a proof for a grant that is not bound"),
    ],
)
def test_a_bound_grant_needs_its_key(bound: str, shown: str, reason: str | None):
    played = redeemed()
    played.change(proof_key=bound)
    before = played.grant
    answer = played.refresh(TOKENS[1], proof_key=shown)
    if reason is not None:
        assert answer == Refuse(reason)
        assert played.grant == before
        answer = played.refresh(TOKENS[1], proof_key=bound)
    access = derivation.next_access(LINE, TOKENS[1], 0, SCOPES, RESOURCES, bound or shown)
    assert issued(answer).access_token == access
    assert issued(answer).rights.proof_key == (bound or shown)


@pytest.mark.parametrize("lifetime", ["access_ttl", "refresh_ttl"])
@pytest.mark.parametrize("seconds", [0.999, 0.0, -1.0, float("nan")])
def test_a_lifetime_under_one_second_refuses_and_changes_nothing(lifetime: str, seconds: float):
    played = redeemed(2)
    before = played.grant
    played.policy = POLICY.but(**{lifetime: seconds})
    assert played.refresh(TOKENS[2]) == Refuse("lifetime")
    assert played.refresh(TOKENS[1]) == Refuse("lifetime")
    assert played.grant == before
    played.policy = POLICY.but(**{lifetime: 1.0})
    assert issued(played.refresh(TOKENS[2])).outcome == "rotated"


# --- rights ------------------------------------------------------------------------------------------


@pytest.mark.requirement("RT-15")
@pytest.mark.requirement("RT-16")
@pytest.mark.requirement("RT-17")
@pytest.mark.requirement("RES-07")
@pytest.mark.parametrize(
    ("ask", "rights"),
    [
        pytest.param({}, Rights(SCOPES, RESOURCES), id="nothing said"),
        pytest.param({"scopes": SCOPES[::-1]}, Rights(SCOPES, RESOURCES), id="all scopes, other order"),
        pytest.param({"scopes": ("notes:read",) * 2}, Rights(("notes:read",), RESOURCES), id="fewer scopes"),
        pytest.param({"scopes": ()}, Rights((), RESOURCES), id="no scopes"),
        pytest.param({"resources": RESOURCES[1:]}, Rights(SCOPES, RESOURCES[1:]), id="fewer resources"),
        pytest.param({"resources": ()}, Rights(SCOPES, RESOURCES), id="empty list of resources"),
        pytest.param(
            {"resources": (RESOURCES[1] + "/b", RESOURCES[0] + "/a")},
            Rights(SCOPES, (RESOURCES[0] + "/a", RESOURCES[1] + "/b")),
            id="below the granted resources",
        ),
        pytest.param(
            {"allowed_scopes": ("notes:write", "admin")}, Rights(("notes:write",), RESOURCES), id="capped"
        ),
        pytest.param({"allowed_scopes": ()}, Rights((), RESOURCES), id="capped to nothing"),
    ],
)
def test_an_access_token_may_be_narrower_and_the_grant_keeps_its_own(ask: dict[str, object], rights: Rights):
    played = redeemed()
    answer = issued(played.refresh(TOKENS[1], **ask))  # type: ignore[arg-type]
    assert answer.rights == rights
    assert answer.refresh_token == TOKENS[2]
    assert answer.access_token == derivation.next_access(LINE, TOKENS[1], 0, rights.scopes, rights.audience)
    grant, access = played.grant, played.grant.access
    assert access is not None
    told = (rights.scopes, rights.audience, rights.proof_key)
    assert (grant.scopes_of(access), grant.audience_of(access), access.proof_key) == told
    assert (access.hash, access.expires_at) == (
        derivation.digest(answer.access_token),
        START + ACCESS_TTL,
    )
    # What is the grant's own is not kept twice.
    assert (access.scopes is None, access.audience is None) == (
        rights.scopes == SCOPES,
        rights.audience == RESOURCES,
    )
    assert (played.grant.scopes, played.grant.resources) == (SCOPES, RESOURCES)
    assert issued(played.refresh(TOKENS[2])).rights == Rights(SCOPES, RESOURCES)


def test_a_grant_for_the_whole_server_may_be_narrowed_to_any_resource():
    """A token that the application minted without resources is good everywhere, so every resource is less."""
    played = redeemed()
    played.change(resources=())
    assert issued(played.refresh(TOKENS[1], resources=RESOURCES)).rights.audience == RESOURCES
    assert issued(played.refresh(TOKENS[2])).rights.audience == ()


# --- clients -----------------------------------------------------------------------------------------


@pytest.mark.requirement("RT-04")
def test_a_refresh_token_names_its_client_so_the_request_need_not():
    assert issued(redeemed().refresh(TOKENS[1], client_id=None)).refresh_token == TOKENS[2]


def test_the_first_rotation_that_names_a_client_binds_a_grant_without_one():
    played = redeemed()
    played.change(client_id="")
    issued(played.refresh(TOKENS[1], client_id=None))
    assert played.grant.client_id == ""
    issued(played.refresh(TOKENS[1], client_id=OTHER_CLIENT))
    assert played.grant.client_id == ""
    issued(played.refresh(TOKENS[2], client_id=CLIENT))
    assert played.grant.client_id == CLIENT
    assert isinstance(played.refresh(TOKENS[3], client_id=OTHER_CLIENT), Refuse)
    goes_on(played)


# --- the last generation -------------------------------------------------------------------------------


def at_generation(generation: int) -> tuple[Played, str]:
    token = derivation.refresh_text(LINE, generation, bytes(range(32)))
    played = redeemed()
    played.change(generation=generation, refresh_hash=derivation.digest(token))
    return played, token


def test_the_last_generation_is_reached():
    played, token = at_generation(LAST - 1)
    assert issued(played.refresh(token)).refresh_token == derivation.next_refresh(LINE, token)
    assert played.grant.generation == LAST


def test_there_is_no_rotation_after_the_last_generation():
    played, token = at_generation(LAST)
    before = played.grant
    assert played.refresh(token) == Refuse("generations")
    assert played.grant == before
    assert played.use(access_token(1)) == played.grant.access


# --- server secrets --------------------------------------------------------------------------------------


@pytest.mark.requirement("OPS-04")
@pytest.mark.parametrize(
    "keys",
    [
        pytest.param((NEW_KEY, KEY), id="the old one is a fallback"),
        pytest.param((NEW_KEY,), id="the old one is forgotten"),
    ],
)
def test_a_change_of_the_server_secret_logs_nobody_out(keys: tuple[bytes, ...]):
    """A token whose hash is in the record is accepted whatever its tag. The first secret derives."""
    played = redeemed()
    played.secrets = Secrets(keys)
    successor = derivation.next_refresh(LINE._replace(server_secret=NEW_KEY), TOKENS[1])
    assert refresh_token_of(played.refresh(TOKENS[1])) == successor
    goes_on(played, successor)


def test_a_fallback_neither_signs_nor_derives():
    played = redeemed()
    played.secrets = Secrets((KEY, NEW_KEY, LOST_KEY))
    assert refresh_token_of(played.refresh(TOKENS[1])) == TOKENS[2]


# --- imported tokens ---------------------------------------------------------------------------------------


def imported() -> tuple[Grant, str]:
    """A grant of generation 0, as an import makes it: unknown client, an access token without an end."""
    secret = bytes(range(7, 39))
    token = derivation.refresh_text(LINE._replace(server_secret=LOST_KEY), 0, secret)
    access = Access(bytes(range(32)), SCOPES, (), "", None)
    grant = replace(
        PENDING,
        code=None,
        client_id="",
        refresh_hash=derivation.digest(token),
        refresh_expires_at=START + 1000,
        access=access,
    )
    return grant, token


def test_an_unlimited_imported_access_token_ends_half_the_grace_period_after_the_first_rotation():
    grant, token = imported()
    played = Played(grant, now=START + 100)
    issued(played.refresh(token))
    assert grant.access is not None
    assert played.grant.previous == Previous(
        grant.refresh_hash, START + 100, replace(grant.access, expires_at=START + 100 + GRACE / 2)
    )


def test_an_imported_refresh_token_rotates_and_is_repeated_like_any_other():
    grant, token = imported()
    played = Played(grant, now=START + 100)
    answer = issued(played.refresh(token))
    assert refresh_token_of(answer) == derivation.next_refresh(LINE, token)
    again = issued(played.refresh(token))
    assert (again.access_token, again.refresh_token) == (answer.access_token, answer.refresh_token)
    assert (played.grant.generation, played.grant.client_id) == (1, CLIENT)
