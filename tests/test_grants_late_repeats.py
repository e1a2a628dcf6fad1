"""Repeats that come later than the grace period, and the suspicion that they raise."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from oauth_refresh.cases import Event

from .line import (
    GRACE,
    START,
    Played,
    access_token,
    issued,
    redeemed,
    refresh_tokens,
    repeated,
)

TOKENS = refresh_tokens(8)
NARROW = ("notes:read",)


def late_repeats(played: Played, generation: int, times: int = 1) -> list[Event]:
    """The client comes back `times` times after the grace period, with what it had before `generation`."""
    played.now += GRACE
    events: list[Event] = []
    for _ in range(times):
        events += issued(played.refresh(TOKENS[generation - 1])).events
    return events


def test_the_first_late_repeat_of_a_generation_is_counted():
    played = redeemed(2)
    before = played.grant
    played.now = START + GRACE
    answer = issued(played.refresh(TOKENS[1]))
    assert answer.store == replace(before, late_repeats=1, late_marked=True)
    assert answer.events == (repeated(GRACE),)
    assert (answer.access_token, answer.refresh_token) == (access_token(2), TOKENS[2])


def test_a_repeat_within_the_grace_period_is_not_counted():
    played = redeemed(2)
    played.now = START + GRACE - 0.001
    assert issued(played.refresh(TOKENS[1])).store is None


def test_a_generation_is_counted_once():
    played = redeemed(2)
    late_repeats(played, 2, times=10)
    assert (played.grant.late_repeats, played.grant.late_marked) == (1, True)
    assert issued(played.refresh(TOKENS[1])).store is None


def test_a_late_repeat_for_other_rights_is_counted_too():
    played = redeemed(2)
    played.now = START + GRACE
    issued(played.refresh(TOKENS[1], scopes=NARROW))
    assert (played.grant.late_repeats, played.grant.late_marked, played.grant.epoch) == (1, True, 1)


@pytest.mark.parametrize("times", [1, 3])
def test_late_repeats_in_three_generations_running_make_sharing_suspected(times: int):
    played = redeemed(2)
    seen = []
    for generation in (2, 3, 4, 5):
        events = late_repeats(played, generation, times)
        seen.append([event for event in events if event.name == "token_shared_suspected"])
        issued(played.refresh(TOKENS[generation]))
        assert not played.grant.late_marked
    assert seen == [
        [],
        [],
        [Event("token_shared_suspected", (("generations", 3),))],
        [Event("token_shared_suspected", (("generations", 4),))],
    ]


def test_a_generation_without_a_late_repeat_starts_the_count_again():
    played = redeemed(2)
    for generation in (2, 3):
        late_repeats(played, generation)
        issued(played.refresh(TOKENS[generation]))
    assert played.grant.late_repeats == 2
    issued(played.refresh(TOKENS[4]))
    assert (played.grant.late_repeats, played.grant.late_marked) == (0, False)
    assert late_repeats(played, 5) == [repeated(GRACE)]
    assert played.grant.late_repeats == 1


def test_the_count_stays_small():
    played = redeemed(2)
    played.change(late_repeats=255)
    played.now = START + GRACE
    events = issued(played.refresh(TOKENS[1])).events
    assert events == (repeated(GRACE), Event("token_shared_suspected", (("generations", 255),)))
    assert played.grant.late_repeats == 255
