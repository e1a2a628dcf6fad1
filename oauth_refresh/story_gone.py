"""What does the event log tell of a grant whose record the registry no longer holds?

Pure, as the stories are: the events are handed in, and how a moment is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from .stories import HEARS_OF_ACCESS, Told, Verdict
from .story_words import (
    AGAIN,
    BROWSER,
    BY_HAND,
    ENDS,
    GONE,
    OF_CLIENT,
    REASONS,
    Words,
    reason_of,
)

_BEGINNINGS = {"code_issued": BROWSER, "grant_created": BY_HAND, "client_token_issued": OF_CLIENT}
_SAY_NOTHING = ("unknown_grant", "unknown", "noise", "malformed")
"""Refusals that anybody causes who names a grant."""

_LASTING = ("expired", "code_expired", "ended", "revoked", "generations", "no_successor")
"""Refusals after which nothing of a grant is good again."""


class Gone(NamedTuple):
    """What the event log tells of such a grant. Times are seconds since 1970."""

    subject: str
    client_id: str
    began_at: float
    heard_of_at: float
    how: str
    """One of the keys of `AGAIN`."""
    began: bool
    """Whether its beginning is told, and not only something later."""
    ended_at: float | None
    end: Words | None
    refused: bool
    """Whether its end is known from a refusal alone, before which it had come."""


def gone(told: Iterable[Told]) -> Gone | None:
    """What these events tell of their grant; None if they do not show that there ever was one."""
    events = sorted((each for each in told if _shows_a_grant(each)), key=lambda event: event.at)
    if not events:
        return None
    how = next((_BEGINNINGS[each.name] for each in events if each.name in _BEGINNINGS), None)
    end, refused = end_of(events), False
    if end is None:
        end, refused = _refusal_at_the_end(events), True
    return Gone(
        subject=_last(events, "subject"),
        client_id=_last(events, "client"),
        began_at=events[0].at,
        heard_of_at=events[-1].at,
        how=how or BROWSER,
        began=how is not None,
        ended_at=None if end is None else end[0],
        end=None if end is None else end[1],
        refused=refused,
    )


def verdict(
    found: Gone, moment: Callable[[float], str], *, of_access: bool, client_is_known: bool
) -> Verdict:
    """What is heard of a token of this grant, and what became of it. `moment` writes a time, in UTC."""
    began = f"{'It was made' if found.began else 'It is first told of'} {moment(found.began_at)}"
    if found.end is None or found.ended_at is None:
        text, advice = GONE["unknown"]
        text = text.format(began=began, at=moment(found.heard_of_at))
    else:
        text, _ = GONE["refused" if found.refused else "ended"]
        text = f"{text.format(began=began, at=moment(found.ended_at))} {found.end.text}"
        advice = found.end.advice
    again, longer = AGAIN[found.how]
    if of_access or found.how == OF_CLIENT:
        hears = HEARS_OF_ACCESS
    else:
        hears = "invalid_grant." if client_is_known else "invalid_client."
    return Verdict("unknown_grant", text, advice.format(again=again, longer=longer), hears)


def _shows_a_grant(event: Told) -> bool:
    return not (event.name.endswith("_refused") and event.fields.get("reason") in _SAY_NOTHING)


def _last(events: Sequence[Told], field: str) -> str:
    return next((str(each.fields[field]) for each in reversed(events) if each.fields.get(field)), "")


def end_of(events: Iterable[Told]) -> tuple[float, Words] | None:
    """When and how somebody or something ended the grant, as far as these events tell."""
    for event in events:
        why = event.fields.get("why") if event.name == "grant_revoked" else event.name
        is_reuse = event.name == "code_reused" or (
            event.name == "token_reused" and event.fields.get("policy") != "refuse"
        )
        if is_reuse or event.name == "grant_revoked":
            otherwise = Words(f"The grant was ended ({why}).", REASONS["revoked"].advice)
            return event.at, ENDS.get(str(why), otherwise)
    return None


def _refusal_at_the_end(events: Iterable[Told]) -> tuple[float, Words] | None:
    for event in events:
        reason = reason_of(event.fields)
        if event.name == "token_refused" and reason in _LASTING:
            return event.at, REASONS[reason]
    return None
