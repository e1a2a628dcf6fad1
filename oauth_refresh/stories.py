"""Why was I logged out? A grant's life as a story, from its record and from the events that were kept.

Pure, like the rules, and it asks the rules themselves: what a token would hear now is what they answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from . import grants
from .cases import Ask, Case, Issue, Policy, Refuse
from .grants import Standing
from .records import Grant, alive
from .refusals import error_of
from .story_words import (
    ACCESS_EXPIRED,
    AGAIN,
    BROWSER,
    BY_HAND,
    ENDS,
    EVENTS,
    OF_CLIENT,
    OUTCOMES,
    REASONS,
    REFUSED_AT,
    STANDINGS,
    reason_of,
    refused_at,
)
from .tokens import ACCESS, CODE, Presented, Secrets

GOOD = ("good", "rotated", "repeated", "caught_up", "rolled_forward")
"""The outcomes of verdicts on what is good."""

HEARS_OF_ACCESS = "401 invalid_token, and renews or asks its user."


class Happening(NamedTuple):
    """One point of the time line. `at` is seconds since 1970; `source` is "record" or "event log"."""

    at: float
    what: str
    text: str
    source: str = "record"


class Verdict(NamedTuple):
    """What is heard by whoever presents the token now, why, and what can be done about it.

    `hears` is the error, and what becomes of the grant by it; empty for a token that is good.
    """

    outcome: str
    text: str
    advice: str
    hears: str = ""


class Told(NamedTuple):
    """An event of the event log."""

    at: float
    name: str
    fields: Mapping[str, object]


# --- what the token is, and what it hears ---------------------------------------------------------


def standing_of(grant: Grant, presented: Presented, secrets: Secrets) -> str:
    """One sentence about where this code or token stands in its grant."""
    if presented.kind == CODE:
        code = grant.code
        if code is None or code.hash != presented.hash:
            return "It is no code of this grant: a typing error, or a guess."
        return "It is the authorization code of this grant."
    if presented.kind == ACCESS:
        return _standing_of_access_token(grant, presented)
    standing, _ = grants.classify(grant, presented, secrets)
    if standing is Standing.NOISE:
        return STANDINGS[standing.value]
    where = (
        f"It is the refresh token of generation {presented.generation}; the grant is at {grant.generation}. "
    )
    return where + STANDINGS[standing.value]


def _standing_of_access_token(grant: Grant, presented: Presented) -> str:
    if grant.access is not None and grant.access.hash == presented.hash:
        return "It is the current access token of this grant."
    previous = grant.previous
    if previous is not None and previous.access is not None and previous.access.hash == presented.hash:
        return (
            "It is the access token that the last rotation replaced; it lives on for half the grace period."
        )
    return (
        "It is not one that this grant knows now: it was replaced by a newer one, it was revoked by its "
        "client, or it was never issued. Of access tokens only the last two are kept."
    )


def verdict(
    grant: Grant, presented: Presented, client_id: str | None, now: float, policy: Policy, secrets: Secrets
) -> Verdict:
    """What the rules answer if `client_id` presents this now. Nothing is stored."""
    if presented.kind == ACCESS:
        access = grants.check_access(grant, presented.hash, now)
        if isinstance(access, Refuse):
            return _refusal_of_access(access, grant)
        return Verdict("good", *OUTCOMES["good"])
    if presented.kind == CODE:
        return _verdict_of_code(grant, presented, now)
    answer = grants.refresh(Case(grant, presented, Ask(client_id), now, policy, secrets))
    if isinstance(answer, Issue):
        return Verdict(answer.outcome, *OUTCOMES[answer.outcome])
    code = error_of(answer, presented).code
    ends = answer.store is not None and answer.store.revoked_at is not None and grant.revoked_at is None
    return _refusal(answer, grant)._replace(hears=f"{code}, and the grant ends." if ends else f"{code}.")


def _verdict_of_code(grant: Grant, presented: Presented, now: float) -> Verdict:
    code = grant.code
    if code is None or code.hash != presented.hash:
        return _refusal(Refuse("noise"), grant)
    if grant.revoked_at is not None:
        return _refusal(Refuse("revoked"), grant)
    if code.redeemed:
        hears = "invalid_grant, and the grant ends if everything else in the request is right."
        return _refusal(Refuse("code_reused"), grant)._replace(hears=hears)
    if not alive(code.expires_at, now):
        return _refusal(Refuse("code_expired"), grant)
    return Verdict("good", *OUTCOMES["code"])


def verdict_of_grant(grant: Grant, now: float) -> Verdict:
    """What its client hears that presents the newest refresh token, or the code if that is pending.

    Where it has neither, what it hears that presents the access token.
    """
    found = _verdict_of_newest(grant, now)
    if found.outcome in GOOD or may_ask_for_tokens(grant):
        return found
    return found._replace(hears=HEARS_OF_ACCESS)


def _verdict_of_newest(grant: Grant, now: float) -> Verdict:
    if grant.revoked_at is not None:
        return _refusal(Refuse("revoked"), grant)
    if not alive(grant.ends_at, now):
        return _refusal(Refuse("ended"), grant)
    if grant.code is not None and not grant.code.redeemed:
        pending = alive(grant.code.expires_at, now)
        return Verdict("good", *OUTCOMES["code"]) if pending else _refusal(Refuse("code_expired"), grant)
    if grant.refresh_hash:
        lives = alive(grant.refresh_expires_at, now)
        return Verdict("good", *OUTCOMES["alive"]) if lives else _refusal(Refuse("expired"), grant)
    lives = grant.access is not None and alive(grant.access.expires_at, now)
    return Verdict("good", *OUTCOMES["access alone"]) if lives else _refusal(Refuse("access_expired"), grant)


def unknown(*, of_access: bool = False) -> Verdict:
    """The verdict where there is no such grant; `of_access` if it is an access token that names it."""
    hears = HEARS_OF_ACCESS if of_access else "invalid_grant."
    return Verdict("unknown_grant", *REASONS["unknown_grant"], hears)


def may_ask_for_tokens(grant: Grant) -> bool:
    """Whether its client has a code or refresh token to bring, and not an access token alone."""
    return bool(grant.refresh_hash) or (grant.code is not None and not grant.code.redeemed)


def where_client_is_gone(found: Verdict) -> Verdict:
    """The verdict on a code, a refresh token or their grant, whose client nobody knows.

    The client is asked for first, so no token is even looked at; why the grant had ended is told still.
    """
    if found.outcome == "revoked":
        return found._replace(hears="invalid_client.")
    return Verdict("client_gone", *REASONS["client_gone"], "invalid_client.")


def _refusal_of_access(refusal: Refuse, grant: Grant) -> Verdict:
    reason = refusal.reason
    if reason == "expired":
        reason = "access_expired" if not grant.refresh_hash else "access_expired_alone"
    found = _refusal(Refuse(reason), grant)
    return found._replace(outcome=refusal.reason, hears=HEARS_OF_ACCESS)


def _refusal(refusal: Refuse, grant: Grant) -> Verdict:
    text, advice = REASONS[refusal.reason]
    if refusal.reason == "revoked":
        text, advice = ENDS.get(grant.revoked_why, (f"The grant was ended ({grant.revoked_why}).", advice))
    again, longer = AGAIN[made(grant)]
    return Verdict(refusal.reason, text, advice.format(again=again, longer=longer), "invalid_grant.")


def made(grant: Grant) -> str:
    """How this grant was made: one of the keys of `AGAIN`."""
    if grant.code is not None:
        return BROWSER
    return OF_CLIENT if grant.client_id and not grant.subject else BY_HAND


# --- the time line --------------------------------------------------------------------------------


def timeline(grant: Grant | None, events: Iterable[Told], now: float) -> list[Happening]:
    """What happened to this grant, the oldest first. Events tell more than the record, and go before it."""
    told = [_told(event) for event in events]
    names = {happening.what for happening in told}
    kept = (
        [] if grant is None else [each for each in _recorded(grant, now) if not _is_told(each, told, names)]
    )
    return sorted([*kept, *told], key=lambda happening: happening.at)


def _is_told(recorded: Happening, told: list[Happening], names: set[str]) -> bool:
    """Whether an event tells of the same thing as this line of the record."""
    if recorded.what == "created":
        return bool(names & {"code_issued", "grant_created"})
    if recorded.what == "revoked":
        return bool(names & {"grant_revoked", "token_reused", "code_reused"})
    if recorded.what == "rotated":
        rotations = ("token_rotated", "registry_rolled_back")
        return any(each.what in rotations and abs(each.at - recorded.at) < 2 for each in told)
    return False


def _recorded(grant: Grant, now: float) -> Iterator[Happening]:
    how = "the user allowed it" if grant.code is not None else "it was made without a browser"
    yield Happening(grant.created_at, "created", f"The grant began: {how}.")
    code = grant.code
    if code is not None and not code.redeemed and not alive(code.expires_at, now):
        yield Happening(
            code.expires_at, "code_expired", "The authorization code expired; nobody had redeemed it."
        )
    if grant.previous is not None:
        text = f"Generation {grant.generation} of the refresh token was handed out for the one before it."
        yield Happening(grant.previous.rotated_at, "rotated", text)
    if grant.last_used_at is not None:
        yield Happening(grant.last_used_at, "used", "An access token was used, for the last time on record.")
    for at, what, name in (
        (None if grant.access is None else grant.access.expires_at, "access_expires", "The access token"),
        (grant.refresh_expires_at if grant.refresh_hash else None, "refresh_expires", "The refresh token"),
        (grant.ends_at, "ends", "The grant, by its absolute end,"),
    ):
        if at is not None and grant.revoked_at is None:
            yield Happening(at, what, f"{name} {'expires' if alive(at, now) else 'expired'}.")
    if grant.revoked_at is not None:
        text, _ = ENDS.get(grant.revoked_why, (f"The grant was ended ({grant.revoked_why}).", ""))
        yield Happening(grant.revoked_at, "revoked", text)


def _told(event: Told) -> Happening:
    fields = event.fields
    text = EVENTS.get(event.name, event.name)
    if event.name == "access_refused":
        text = _told_of_access(fields)
    elif event.name == "token_refused":
        generation = fields.get("presented_generation")
        which = "" if generation is None else f" of generation {generation}"
        text = f"A {fields.get('presented', 'token')}{which} was refused. {_why(reason_of(fields))}"
    elif event.name == "grant_revoked":
        text = ENDS.get(str(fields.get("why")), (f"{text} ({fields.get('why')})", ""))[0]
    elif event.name in ("token_rotated", "token_reused", "token_repeated") and "generation" in fields:
        text = f"{text} {_details(fields)}"
    return Happening(event.at, event.name, text.strip(), "event log")


def _told_of_access(fields: Mapping[str, object]) -> str:
    reason = str(fields.get("reason"))
    if reason in REFUSED_AT:
        return f"An access token was refused at {refused_at(reason, fields)}"
    return f"An access token was refused. {ACCESS_EXPIRED if reason == 'expired' else _why(reason)}"


def _why(reason: str) -> str:
    if reason == "unknown_grant":
        return "The registry held no such grant."
    return REASONS.get(reason, (f"The reason: {reason}.", ""))[0]


def _details(fields: Mapping[str, object]) -> str:
    parts = [f"generation {fields['generation']}"]
    age, behind = fields.get("age"), fields.get("behind")
    if isinstance(age, (int, float)):
        parts.append(f"{age:.0f} s after it was replaced")
    if behind is not None:
        parts.append(f"{behind} behind")
    return f"({', '.join(parts)})"
