"""The policy for fleets that share one credential: an old refresh token gets the current pair."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from oauth_refresh.cases import Event, Issue, Policy, Refuse
from oauth_refresh.records import Access
from oauth_refresh.tokens import Rights, Secrets

from . import derivation
from .line import (
    ACCESS_TTL,
    CODE,
    GRACE,
    KEY,
    LINE,
    LOST_KEY,
    NEW_KEY,
    OTHER_CLIENT,
    POLICY,
    REFRESH_TTL,
    RESOURCES,
    SCOPES,
    START,
    Played,
    access_record,
    access_token,
    ended,
    goes_on,
    issued,
    refresh_token_of,
    refresh_tokens,
    repeated,
)

WINDOW, MOST = 1000.0, 4
CATCH_UP = POLICY.but(reuse="catch-up", catch_up_generations=MOST, catch_up_window=WINDOW)
TOKENS = refresh_tokens(70)
NARROW = ("notes:read",)


def fleet(generation: int = 8, policy: Policy = CATCH_UP, pace: float = 10.0) -> Played:
    """Rotated every `pace` seconds; every successor was used. Its clock stands at the last rotation."""
    played = Played(policy=policy)
    answer = issued(played.redeem())
    for _ in range(generation - 1):
        played.now += pace
        answer = issued(played.refresh(refresh_token_of(answer)))
        assert isinstance(played.use(answer.access_token), Access)
    return played


def reused(behind: int) -> Event:
    return Event("token_reused", (("behind", behind), ("policy", "catch-up")))


def test_an_old_token_gets_the_current_pair():
    played = fleet()
    played.now += GRACE
    answer = played.refresh(TOKENS[5])
    assert answer == Issue(
        "caught_up",
        None,
        access_token(8),
        TOKENS[8],
        3540,
        Rights(SCOPES, RESOURCES),
        (repeated(GRACE + 20, behind=3),),
    )
    goes_on(played)


@pytest.mark.parametrize(
    ("behind", "outcome"),
    [
        pytest.param(1, "caught_up", id="1: the previous one, after the grace period"),
        pytest.param(2, "caught_up", id="2"),
        pytest.param(MOST, "caught_up", id="N"),
        pytest.param(MOST + 1, "reused", id="N + 1"),
        pytest.param(7, "reused", id="the first of all"),
    ],
)
def test_catch_up_reaches_back_over_so_many_generations(behind: int, outcome: str):
    played = fleet()
    played.now += GRACE
    before = played.grant
    answer = played.refresh(TOKENS[8 - behind])
    if outcome == "reused":
        revoked = replace(before, revoked_at=played.now, revoked_why="token_reused")
        assert answer == Refuse("reused", revoked, (reused(behind),))
        assert ended(played)
    else:
        assert issued(answer).outcome == outcome
        assert (issued(answer).access_token, issued(answer).refresh_token) == (access_token(8), TOKENS[8])
        assert played.grant == before
        goes_on(played)


@pytest.mark.parametrize(
    ("age", "outcome"),
    [
        pytest.param(WINDOW, "caught_up", id="just as long as the window"),
        pytest.param(WINDOW + 0.125, "reused", id="longer than the window"),
        pytest.param(-5.0, "caught_up", id="a clock that went back"),
    ],
)
@pytest.mark.parametrize("behind", [1, 3])
def test_catch_up_is_for_tokens_retired_within_the_window(age: float, outcome: str, behind: int):
    played = fleet()
    played.now += age - 10 * (behind - 1)
    answer = played.refresh(TOKENS[8 - behind])
    if age < GRACE and behind == 1:
        assert issued(answer).outcome == "repeated"
    elif outcome == "reused":
        assert isinstance(answer, Refuse)
        assert ended(played)
    else:
        assert issued(answer).outcome == outcome


def test_within_the_grace_period_the_previous_token_is_repeated_as_ever():
    played = fleet()
    played.now += GRACE - 1
    assert issued(played.refresh(TOKENS[7])).outcome == "repeated"


def test_an_unused_successor_is_repeated_beyond_the_window_too():
    played = fleet()
    issued(played.refresh(TOKENS[8]))
    played.now += WINDOW * 10
    assert issued(played.refresh(TOKENS[8])).outcome == "repeated"


def test_the_record_keeps_the_times_of_the_last_rotations():
    played = fleet(4)
    assert played.grant.rotations == (START + 10, START + 20, START + 30)
    played = fleet(8)
    assert played.grant.rotations == tuple(START + 10 * number for number in (4, 5, 6, 7))


def test_no_other_policy_keeps_times_of_rotations():
    played = fleet(4)
    played.policy = POLICY
    issued(played.refresh(TOKENS[4]))
    assert played.grant.rotations == ()


def test_what_was_rotated_before_the_policy_was_set_is_older():
    played = fleet(4, policy=POLICY)
    played.policy = CATCH_UP
    issued(played.refresh(TOKENS[4]))
    assert played.grant.rotations == (START + 30,)
    allowed, refused = played.copy(), played.copy()
    allowed.use(access_token(5))
    allowed.now += GRACE
    assert issued(allowed.refresh(TOKENS[4])).outcome == "caught_up"
    assert refused.refresh(TOKENS[3]) == Refuse("reused", refused.grant, (reused(2),))
    assert ended(refused)


def test_fewer_generations_than_were_kept_are_honoured_at_once():
    played = fleet()
    played.policy = CATCH_UP.but(catch_up_generations=2)
    assert issued(played.copy().refresh(TOKENS[6])).outcome == "caught_up"
    assert isinstance(played.copy().refresh(TOKENS[5]), Refuse)
    issued(played.refresh(TOKENS[8]))
    assert len(played.grant.rotations) == 2


def test_catch_up_reaches_64_generations():
    policy = CATCH_UP.but(catch_up_generations=64)
    played = fleet(70, policy, pace=1.0)
    played.now += GRACE
    assert issued(played.refresh(TOKENS[6])).refresh_token == TOKENS[70]
    assert isinstance(played.refresh(TOKENS[5]), Refuse)


def test_catching_up_is_not_a_use_and_counts_as_no_late_repeat():
    played = fleet()
    played.change(used=False, late_repeats=2)
    before = played.grant
    played.now += GRACE
    assert issued(played.refresh(TOKENS[6])).store is None
    assert played.grant == before


def test_catching_up_with_other_rights_gets_the_next_epoch():
    played = fleet()
    before = played.grant
    assert before.previous is not None
    answer = issued(played.refresh(TOKENS[5], scopes=NARROW))
    assert (answer.access_token, answer.refresh_token) == (access_token(8, 1, NARROW), TOKENS[8])
    assert played.grant == replace(
        before,
        epoch=1,
        access=access_record(answer.access_token, played.now + ACCESS_TTL, NARROW),
        previous=replace(before.previous, access=access_record(access_token(8), played.now + GRACE / 2)),
    )


@pytest.mark.parametrize(
    ("ask", "reason"),
    [
        pytest.param({"client_id": OTHER_CLIENT}, "other_client", id="another client"),
        pytest.param({"scopes": ("admin",)}, "scope", id="wider scope"),
        pytest.param({"resources": ("https://other.example",)}, "resource", id="foreign resource"),
    ],
)
@pytest.mark.parametrize("generation", [7, 5, 1], ids=["previous", "within reach", "beyond reach"])
def test_a_wrong_request_neither_catches_up_nor_ends(ask: dict[str, str], reason: str, generation: int):
    played = fleet()
    played.now += GRACE
    before = played.grant
    answer = played.refresh(TOKENS[generation], **ask)  # type: ignore[arg-type]
    assert isinstance(answer, Refuse)
    assert (answer.reason, played.grant) == (reason, before)
    goes_on(played)


def test_a_catch_up_is_an_act_and_so_the_refresh_expiry_is_judged_before_it():
    played = fleet(policy=CATCH_UP.but(catch_up_window=REFRESH_TTL * 2))
    before = played.grant
    played.now += REFRESH_TTL - 0.999
    assert played.copy().refresh(TOKENS[5]) == Refuse("expired")
    assert played.copy().refresh(TOKENS[7]) == Refuse("expired")
    assert played.grant == before
    played.now -= 0.001
    assert issued(played.refresh(TOKENS[5])).outcome == "caught_up"


def test_what_is_beyond_reach_is_a_reuse_also_when_expired():
    played = fleet()
    played.now += REFRESH_TTL
    assert isinstance(played.refresh(TOKENS[1]), Refuse)
    assert ended(played)


def test_a_lifetime_under_one_second_catches_nothing_up():
    played = fleet()
    before = played.grant
    played.policy = CATCH_UP.but(access_ttl=0.5)
    assert played.refresh(TOKENS[5]) == Refuse("lifetime")
    assert played.grant == before


# --- after a rollback -----------------------------------------------------------------------------


def test_generations_that_a_roll_forward_skipped_count_as_rotated_at_that_moment():
    played = fleet(3)
    played.now = START + 500
    issued(played.refresh(TOKENS[5]))
    assert played.grant.rotations == (START + 20, START + 500, START + 500, START + 500)
    played.now += GRACE
    for generation in (4, 3, 2):
        assert issued(played.refresh(TOKENS[generation])).refresh_token == TOKENS[6]
    goes_on(played)


def test_a_long_roll_forward_keeps_no_more_times_than_it_may():
    played = fleet(3)
    issued(played.refresh(TOKENS[60]))
    assert played.grant.rotations == (START + 20,) * MOST


# --- changes of the server secret ---------------------------------------------------------------------


def mixed_line(keys: tuple[bytes, ...]) -> tuple[Played, list[str]]:
    """A fleet whose generations 1, 2, 3, … were derived under these secrets, one after the other."""
    played = Played(policy=CATCH_UP, secrets=Secrets((keys[0],)))
    tokens = [CODE, refresh_token_of(played.redeem())]
    for key in keys[1:]:
        played.secrets = Secrets((key,))
        played.now += 10
        tokens.append(refresh_token_of(played.refresh(tokens[-1])))
    played.now += GRACE
    played.change(used=True)
    return played, tokens


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param((KEY, KEY, KEY, KEY), id="no change"),
        pytest.param((KEY, NEW_KEY, NEW_KEY, NEW_KEY), id="changed at once"),
        pytest.param((KEY, KEY, NEW_KEY, NEW_KEY), id="changed in the middle"),
        pytest.param((KEY, KEY, KEY, NEW_KEY), id="changed last"),
        pytest.param((NEW_KEY, KEY, KEY, KEY), id="changed back"),
    ],
)
@pytest.mark.parametrize("known", [(KEY, NEW_KEY), (NEW_KEY, LOST_KEY, KEY)])
def test_a_walk_crosses_one_change_of_secret(keys: tuple[bytes, ...], known: tuple[bytes, ...]):
    played, tokens = mixed_line(keys)
    played.secrets = Secrets(known)
    answer = issued(played.refresh(tokens[1]))
    line = LINE._replace(server_secret=keys[-1])
    assert answer.refresh_token == tokens[4]
    assert answer.access_token == derivation.next_access(line, tokens[3], 0, SCOPES, RESOURCES)
    assert answer.store is None


@pytest.mark.parametrize(
    ("keys", "known"),
    [
        pytest.param((KEY, KEY, NEW_KEY, KEY), (KEY, NEW_KEY), id="two changes"),
        pytest.param((KEY, NEW_KEY, NEW_KEY, NEW_KEY), (KEY,), id="a secret that this host does not know"),
    ],
)
@pytest.mark.parametrize(
    ("age", "reason"),
    [
        pytest.param(GRACE - 0.125, "not_reproduced_yet", id="retired within the grace period"),
        pytest.param(GRACE, "not_reproduced", id="retired before"),
    ],
)
def test_a_walk_that_does_not_end_at_the_current_token_changes_nothing(
    keys: tuple[bytes, ...], known: tuple[bytes, ...], age: float, reason: str
):
    played, tokens = mixed_line(keys)
    before = played.grant
    played.secrets = Secrets(known)
    played.now = before.rotations[-3] + age
    event = Event("repeat_not_reproduced", (("age", age), ("behind", 3)))
    assert played.refresh(tokens[1]) == Refuse(reason, None, (event,))
    assert played.grant == before
    played.secrets = Secrets((KEY, NEW_KEY))
    assert issued(played.refresh(tokens[4])).outcome == "rotated"


def test_a_line_that_a_rollback_left_behind_does_not_catch_up():
    """The lost generation 3 does not lead to today's generation 5, which was made under another secret."""
    played = fleet(2)
    played.secrets = Secrets((NEW_KEY, KEY))
    tip = TOKENS[2]
    for _ in range(3):
        played.now += 10
        tip = refresh_token_of(played.refresh(tip))
    played.now += GRACE
    before = played.grant
    assert played.refresh(TOKENS[4]) == Refuse("stray", None, (Event("token_stray"),))
    answer = played.refresh(TOKENS[3])
    assert isinstance(answer, Refuse)
    assert answer.reason == "not_reproduced"
    assert played.grant == before
    goes_on(played, tip)
