"""What does the event log know of a grant that its record does not? It changes the verdict on it.

Pure, as the stories are: the events are handed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .grants import check_access
from .records import Access, Grant
from .resources import covers
from .stories import GOOD, Told, Verdict, made
from .story_gone import end_of
from .story_words import (
    ASK,
    BROUGHT_BACK,
    GRANTED,
    ISSUED_SINCE,
    NOTHING_TO_DO,
    OLDER_THAN_LOG,
    REFUSED_AT,
    STANDING_SINCE,
    refused_at,
)
from .tokens import ACCESS, Presented

_HEARS_THERE: Mapping[str, str] = {
    "scope": "403 insufficient_scope there.",
    "audience": "401 invalid_token there.",
}


def with_events(
    found: Verdict, grant: Grant, presented: Presented | None, told: Sequence[Told], now: float
) -> Verdict:
    """The verdict that the record alone leads to, after what the events of this grant add."""
    end = end_of(told)
    if end is not None and found.outcome in GOOD:
        text = f"{found.text} {BROUGHT_BACK.text.format(end=end[1].text)}"
        return found._replace(text=text, advice=BROUGHT_BACK.advice)
    newest = newest_generation(grant, told)
    if newest is not None:
        older = OLDER_THAN_LOG.text.format(generation=grant.generation, newest=newest)
        if _is_unknown_access_token(found, presented):
            return found._replace(text=f"{older} {ISSUED_SINCE}", advice=OLDER_THAN_LOG.advice)
        if presented is None and found.outcome in GOOD:
            return found._replace(text=f"{found.text} {older}", advice=OLDER_THAN_LOG.advice)
    return _where_refused(found, grant, presented, told, now) if found.outcome in GOOD else found


# --- a registry that was set back -----------------------------------------------------------------


def newest_generation(grant: Grant, told: Iterable[Told]) -> int | None:
    """The newest generation that the events tell of, or None if the record is as new.

    An event is told after its record is stored: read the record after the events.
    """
    generations = [each for event in told if isinstance(each := event.fields.get("generation"), int)]
    newest = max(generations, default=0)
    return newest if newest > grant.generation else None


def standing(known: str, found: Verdict, grant: Grant, presented: Presented, told: Iterable[Told]) -> str:
    """Where the token stands in its grant: as it is `known` by the record, unless the log knows better."""
    if _is_unknown_access_token(found, presented) and newest_generation(grant, told) is not None:
        return STANDING_SINCE
    return known


def _is_unknown_access_token(found: Verdict, presented: Presented | None) -> bool:
    return presented is not None and presented.kind == ACCESS and found.outcome == "unknown"


# --- good, and refused all the same ---------------------------------------------------------------


def _where_refused(
    found: Verdict, grant: Grant, presented: Presented | None, told: Iterable[Told], now: float
) -> Verdict:
    """The verdict on what is good, with the path that last refused its access token, if it still would.

    Of a refresh token only the words change: where it is presented, it is good.
    """
    access = _access_of(grant, presented, now)
    refusals = [event for event in told if _still_refused(grant, access, event)]
    if not refusals:
        return found
    last = max(refusals, key=lambda event: event.at)
    reason = str(last.fields["reason"])
    where = refused_at(reason, last.fields)
    way = GRANTED if _is_granted(grant, last) else made(grant)
    advice = REFUSED_AT[reason].advice.format(ask=ASK[reason][way])
    if presented is not None and presented.kind != ACCESS:
        both = advice if found.advice == NOTHING_TO_DO else f"{found.advice} {advice}"
        return found._replace(text=f"{found.text} Its access token was refused at {where}", advice=both)
    it = "The grant is alive, but its access token" if presented is None else "It is good, but it"
    return Verdict(reason, f"{it} was refused at {where}", advice, _HEARS_THERE[reason])


def _access_of(grant: Grant, presented: Presented | None, now: float) -> Access | None:
    if presented is None or presented.kind != ACCESS:
        return grant.access
    found = check_access(grant, presented.hash, now)
    return found if isinstance(found, Access) else None


def _still_refused(grant: Grant, access: Access | None, event: Told) -> bool:
    """Whether this event refused what the grant's access token still lacks, or is for."""
    if event.name != "access_refused":
        return False
    fields = event.fields
    match fields.get("reason"):
        case "scope":
            held = grant.scopes if access is None else grant.scopes_of(access)
            lacking = str(fields.get("lacking", ""))
            return not lacking or not set(lacking.split()) <= set(held)
        case "audience":
            audience = grant.resources if access is None else grant.audience_of(access)
            return fields.get("audience") in (None, " ".join(audience))
    return False


def _is_granted(grant: Grant, event: Told) -> bool:
    """Whether a renewal alone gives the program what was lacking."""
    if not grant.refresh_hash:
        return False
    lacking, resource = event.fields.get("lacking"), event.fields.get("resource")
    if event.fields["reason"] == "scope":
        return bool(lacking) and set(str(lacking).split()) <= set(grant.scopes)
    return bool(resource) and any(covers(granted, str(resource)) for granted in grant.resources)
