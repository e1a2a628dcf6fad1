"""Which events tell of an answer of the rules? Of those about one request, exactly one has an `outcome`."""

from __future__ import annotations

from .cases import Event, Issue, Refuse
from .tokens import ACCESS, CODE, REFRESH, Presented

REUSES = frozenset({"reused", "code_reused"})
"""Refusals that have an event of their own beside `token_refused`: they end the grant, or would."""

_KINDS = {CODE: "code", ACCESS: "access token", REFRESH: "refresh token"}


def events_of(answer: Issue | Refuse, presented: Presented) -> tuple[Event, ...]:
    """The events of the rules, one of them with the `outcome` of the request, and a refusal's `reason`."""
    if isinstance(answer, Issue):
        first, *others = answer.events
        return (Event(first.name, (*first.fields, ("outcome", answer.outcome))), *others)
    if answer.reason in REUSES:
        first, *others = answer.events
        return (Event(first.name, (*first.fields, *_told("reused", answer.reason, presented))), *others)
    return (*answer.events, refused(answer.reason, presented))


def refused(reason: str, presented: Presented) -> Event:
    return Event("token_refused", _told("refused", reason, presented))


def malformed(kind: str) -> Event:
    """The refusal of what came as a code or token of this kind, and is none."""
    about = (("outcome", "refused"), ("reason", "malformed"), ("presented", _KINDS[kind]))
    return Event("token_refused", about)


def _told(outcome: str, reason: str, presented: Presented) -> tuple[tuple[str, object], ...]:
    about = (("outcome", outcome), ("reason", reason), ("presented", _KINDS[presented.kind]))
    # The generation of noise is whatever its sender wrote.
    if presented.kind != REFRESH or reason in ("noise", "unknown_grant"):
        return about
    return (*about, ("presented_generation", presented.generation))
