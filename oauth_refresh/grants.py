"""What may happen to a grant: every rule of redemption, rotation, repeat, reuse, roll forward and revocation.

The rules are pure functions over the record: `(record, what was presented, now, policy) -> what should
happen`, with the record to store, if any. They read no clock, no store and no randomness.
"""

from __future__ import annotations

import hmac
from enum import Enum

from msgspec.structs import replace

from . import pkce
from .cases import Ask, Case, Event, Issue, Policy, Refuse
from .records import Access, Code, Grant, Previous, alive, elapsed
from .resources import covers
from .tokens import (
    ACCESS,
    GENERATION_MAX,
    REFRESH,
    Link,
    Presented,
    Rights,
    Secrets,
    derive,
    derive_forward,
    hash_token,
    verifying_key,
)

SHARED_AFTER = 3
"""Generations running with a late repeat, after which a shared credential is suspected."""

LATE_REPEATS_MAX = 255

_ROTATED = Event("token_rotated")


class Standing(Enum):
    """Where a refresh token stands in its grant's line."""

    CURRENT = "current"
    PREVIOUS = "previous"
    OLDER = "older"
    AHEAD = "ahead"
    STRAY = "stray"
    NOISE = "noise"


# In Python 3.11 an Enum looks its members up slowly.
CURRENT, PREVIOUS, OLDER, AHEAD, STRAY, NOISE = Standing

DUMMY = Grant(
    id=bytes(16),
    client_id="",
    subject="",
    access=Access(bytes(32), None, None, "", 0.0),
    previous=Previous(bytes(32), 0.0),
    used=False,
    last_used_at=None,
    revoked_at=0.0,
    ends_at=0.0,
    properties={},
    seed=bytes(32),
    scopes=(),
    resources=(),
    created_at=0.0,
    refresh_hash=bytes(32),
)
"""Classified where there is no such grant, so that the time taken tells nothing."""


# --- where a token stands -------------------------------------------------------------------------


def classify(grant: Grant, presented: Presented, secrets: Secrets) -> tuple[Standing, bytes | None]:
    """Where this refresh token stands, and the server secret that verified its tag (None if a hash matched).

    By hash first: a token whose hash matches is accepted whatever its tag, so that a change of the server
    secret logs nobody out. The tag recognises every other token that was ever issued for this grant.
    """
    if hmac.compare_digest(grant.refresh_hash, presented.hash):
        return CURRENT, None
    if grant.previous is not None and hmac.compare_digest(grant.previous.refresh_hash, presented.hash):
        return PREVIOUS, None
    if presented.imported:
        # Its hash is on record, so it is genuine, and it stands before every generation of ours.
        return (OLDER if grant.generation >= 2 else STRAY), None
    key = verifying_key(presented, grant.seed, secrets)
    if key is None:
        return NOISE, None
    if presented.generation > grant.generation:
        return AHEAD, key
    if presented.generation <= grant.generation - 2:
        return OLDER, key
    return STRAY, key


def check_access(grant: Grant, token_hash: bytes, now: float) -> Access | Refuse:
    """The access token of this grant that has this hash, if it is good now."""
    access = grant.access
    if access is None or not hmac.compare_digest(access.hash, token_hash):
        previous = grant.previous
        access = previous.access if previous is not None else None
        if access is None or not hmac.compare_digest(access.hash, token_hash):
            return Refuse("unknown")
    if grant.revoked_at is not None:
        return Refuse("revoked")
    if not (alive(access.expires_at, now) and alive(grant.ends_at, now)):
        return Refuse("expired")
    return access


def mark_used(grant: Grant, token_hash: bytes, now: float, interval: float) -> Grant | None:
    """The record after this access token was presented, or None where nothing is to be written.

    Only a live token in the current place counts as the use of a successor. Its first use is written at
    once; afterwards `last_used_at` moves at most once per `interval` seconds.
    """
    if grant.access is None or check_access(grant, token_hash, now) is not grant.access:
        return None
    if grant.used and grant.last_used_at is not None and elapsed(grant.last_used_at, now) < interval:
        return None
    return replace(grant, used=True, last_used_at=now)


def settled_until(grant: Grant, access: Access, interval: float) -> float:
    """Up to when this access token, which is good now, is good by this record, and nothing is to be written.

    Seconds since 1970, never later than `check_access` and `mark_used` would say.
    """
    ends = [end - 1 for end in (access.expires_at, grant.ends_at) if end is not None]
    if access is grant.access and grant.last_used_at is not None:
        ends.append(grant.last_used_at + interval)
    return min(ends, default=float("inf"))


# --- redemption of the authorization code ---------------------------------------------------------


def redeem(case: Case) -> Issue | Refuse:
    """Exchange the authorization code for the first pair (RFC 6749 section 4.1.3, RFC 7636 section 4.6).

    A second redemption that is right in everything revokes the grant; one that is wrong changes nothing.
    """
    grant, code = case.grant, case.grant.code
    if code is None or not hmac.compare_digest(code.hash, case.presented.hash):
        return Refuse("noise")
    if case.ask.client_id is None:
        # No token names the client here, so it must name itself (RFC 6749 section 4.1.3).
        return _other_client(case)
    refusal = _judge_client_and_end(case) or _judge_code(code, case.ask) or _judge_rights(case)
    if refusal is not None:
        return refusal
    if code.redeemed:
        return Refuse("code_reused", revoked(grant, case.now, "code_reused"), (Event("code_reused"),))
    refusal = _judge_times(code.expires_at, case)
    if refusal is not None:
        return refusal
    redeemed = replace(grant, code=replace(code, redeemed=True))
    return _advance("redeemed", case.but(grant=redeemed), 1, None, Event("code_redeemed"))


def _judge_code(code: Code, ask: Ask) -> Refuse | None:
    if code.challenge and ask.verifier is None:
        return Refuse("verifier_missing")
    if not code.challenge and ask.verifier is not None:
        return Refuse("verifier_unexpected")
    if ask.verifier is not None and not pkce.verify(code.challenge, ask.verifier):
        return Refuse("verifier")
    if ask.redirect_uri is None and code.challenge:
        return None
    return None if ask.redirect_uri == code.redirect_uri else Refuse("redirect_uri")


def open_pair(grant: Grant, secret: bytes, now: float, policy: Policy, secrets: Secrets) -> Issue:
    """The first pair of a grant that begins without a code, derived from `secret` (32 random bytes)."""
    presented = Presented(REFRESH, grant.id, secret, b"")
    case = Case(grant, presented, Ask(), now, policy, secrets)
    return _advance("created", case, 1, None, Event("grant_created"))


# --- exchange of a refresh token ------------------------------------------------------------------


def refresh(case: Case) -> Issue | Refuse:
    """Exchange a refresh token (RFC 6749 section 6, RFC 9700 section 4.14).

    Everything is validated before anything rotates: a refusal stores nothing, but for a reuse.
    """
    standing, key = classify(case.grant, case.presented, case.secrets)
    if standing is NOISE:
        return Refuse("noise")
    refusal = _judge_client_and_end(case) or _judge_rights(case)
    if refusal is not None:
        return refusal
    if standing is CURRENT:
        return _rotate(case)
    if standing is PREVIOUS and case.grant.previous is not None:
        return _repeat_or_reuse(case, case.grant.previous)
    if standing is OLDER:
        return _catch_up_or_reuse(case, case.grant.generation - case.presented.generation)
    if standing is AHEAD:
        return _roll_forward(case, key)
    return Refuse("stray", None, (Event("token_stray"),))


def _judge_client_and_end(case: Case) -> Refuse | None:
    grant = case.grant
    if case.ask.client_id != grant.client_id:
        refusal = _judge_client(case)
        if refusal is not None:
            return refusal
    if grant.revoked_at is not None:
        return Refuse("revoked")
    return None if grant.ends_at is None or alive(grant.ends_at, case.now) else Refuse("ended")


def _judge_client(case: Case) -> Refuse | None:
    owner, client_id = case.grant.client_id, case.ask.client_id
    return _other_client(case) if owner and client_id is not None and client_id != owner else None


def _other_client(case: Case) -> Refuse:
    return Refuse("other_client", None, (Event("client_mismatch", (("presented_by", case.ask.client_id),)),))


def _judge_rights(case: Case) -> Refuse | None:
    grant, ask = case.grant, case.ask
    if ask.scopes is not None and not set(ask.scopes) <= set(grant.scopes):
        return Refuse("scope")
    # A grant without resources is good for the whole server, so that every resource is less.
    for wanted in ask.resources or ():
        if grant.resources and not any(covers(granted, wanted) for granted in grant.resources):
            return Refuse("resource")
    if grant.proof_key and ask.proof_key != grant.proof_key:
        return Refuse("proof")
    return None


def _judge_times(expires_at: float | None, case: Case) -> Refuse | None:
    """Judged after reuse: neither an expiry nor a lifetime cut to nothing hides a theft."""
    # `alive`, spelled out, as every renewal asks.
    if expires_at is not None and expires_at - case.now < 1:
        return Refuse("expired")
    policy = case.policy
    return None if policy.access_ttl >= 1 and policy.refresh_ttl >= 1 else Refuse("lifetime")


def _rotate(case: Case) -> Issue | Refuse:
    grant = case.grant
    refusal = _judge_times(grant.refresh_expires_at, case)
    if refusal is not None:
        return refusal
    if grant.generation >= GENERATION_MAX:
        return Refuse("generations")
    if case.policy.reuse == "catch-up" or grant.rotations:
        case = case.but(grant=replace(grant, rotations=_rotations(case, 1)))
    previous = Previous(case.presented.hash, case.now, _lingering(case))
    return _advance("rotated", case, grant.generation + 1, previous, _ROTATED)


def _repeat_or_reuse(case: Case, previous: Previous) -> Issue | Refuse:
    grant, policy = case.grant, case.policy
    age = elapsed(previous.rotated_at, case.now)
    if not grant.refresh_hash and (age >= policy.grace or grant.access is None):
        # It had no successor, so its client keeps it (RFC 6749 section 6), and will try it again.
        return Refuse("no_successor")
    # Grace 0 is strict single use, whether the successor was used or not.
    if policy.grace <= 0 or (grant.used and age >= policy.grace):
        return _catch_up_or_reuse(case, 1)
    refusal = _judge_times(grant.refresh_expires_at, case)
    if refusal is not None:
        return refusal
    if age < policy.grace or grant.late_marked:
        return _hand_out_again("repeated", case, grant, 1, age)
    late = min(grant.late_repeats + 1, LATE_REPEATS_MAX)
    counted = replace(grant, late_repeats=late, late_marked=True)
    suspicion = (Event("token_shared_suspected", (("generations", late),)),) if late >= SHARED_AFTER else ()
    return _hand_out_again("repeated", case, counted, 1, age, suspicion)


def _catch_up_or_reuse(case: Case, behind: int) -> Issue | Refuse:
    grant, policy = case.grant, case.policy
    if policy.reuse == "catch-up" and behind <= min(policy.catch_up_generations, len(grant.rotations)):
        age = elapsed(grant.rotations[-behind], case.now)
        if age <= policy.catch_up_window:
            refusal = _judge_times(grant.refresh_expires_at, case)
            return refusal or _hand_out_again("caught_up", case, grant, behind, age)
    event = Event("token_reused", (("behind", behind), ("policy", policy.reuse)))
    if policy.reuse == "refuse":
        return Refuse("reused", None, (event,))
    return Refuse("reused", revoked(grant, case.now, "token_reused"), (event,))


def _roll_forward(case: Case, key: bytes | None) -> Issue | Refuse:
    """The registry went back in time: go on from the token that the client holds."""
    grant, presented, policy = case.grant, case.presented, case.policy
    skipped = presented.generation - grant.generation
    pending = grant.code is not None and not grant.code.redeemed
    never_issued = not policy.issue_refresh or (not grant.refresh_hash and not pending)
    if not policy.roll_forward or key is None or key in case.secrets.beside_data or never_issued:
        return Refuse("ahead", None, (Event("registry_behind", (("generations", skipped),)),))
    refusal = _judge_times(grant.refresh_expires_at, case)
    if refusal is not None:
        return refusal
    if presented.generation >= GENERATION_MAX:
        return Refuse("generations")
    forward = replace(
        grant,
        code=None if grant.code is None else replace(grant.code, redeemed=True),
        rotations=_rotations(case, skipped + 1),
        late_repeats=0,
        late_marked=False,
    )
    return _advance(
        "rolled_forward",
        case.but(grant=forward),
        presented.generation + 1,
        Previous(presented.hash, case.now, None),
        Event("registry_rolled_back", (("generations", skipped),)),
    )


# --- making pairs ---------------------------------------------------------------------------------


def _advance(outcome: str, case: Case, generation: int, previous: Previous | None, event: Event) -> Issue:
    """Make the pair after the presented token the current one, of this generation.

    It has full lifetimes, which only the absolute end may cut.
    """
    grant, now, policy = case.grant, case.now, case.policy
    rights, key = _rights(case), case.secrets.keys[0]
    link = derive(key, grant.seed, grant.id, generation, case.presented.secret)
    access_token = link.access_token(grant.id, 0, rights)
    expires_at, refresh_expires_at = now + policy.access_ttl, now + policy.refresh_ttl
    if grant.ends_at is not None:
        expires_at, refresh_expires_at = (
            min(expires_at, grant.ends_at),
            min(refresh_expires_at, grant.ends_at),
        )
    refresh_token = link.refresh_token(grant.id) if policy.issue_refresh else None
    stored = replace(
        grant,
        client_id=grant.client_id or case.ask.client_id or "",
        generation=generation,
        refresh_hash=b"" if refresh_token is None else hash_token(refresh_token),
        refresh_expires_at=None if refresh_token is None else refresh_expires_at,
        access=_access(hash_token(access_token), rights, grant, expires_at),
        epoch=0,
        used=False,
        previous=previous,
        late_repeats=grant.late_repeats if grant.late_marked else 0,
        late_marked=False,
    )
    return Issue(outcome, stored, access_token, refresh_token, int(expires_at - now), rights, (event,))


def _hand_out_again(
    outcome: str, case: Case, counted: Grant, behind: int, age: float, events: tuple[Event, ...] = ()
) -> Issue | Refuse:
    """The current pair once more, derived forward from a token that is `behind` generations back.

    `counted` is the record to go on from (with a late repeat counted). For the same rights nothing else
    changes; for other rights, or where the access token ended, the next epoch's takes its place.
    """
    grant, now = case.grant, case.now
    link = _reproduce(case, behind)
    if link is None:
        # Within the grace period another host may have signed with a secret that this one does not know yet.
        reason = "not_reproduced_yet" if age < case.policy.grace else "not_reproduced"
        return Refuse(reason, None, (Event("repeat_not_reproduced", (("age", age), ("behind", behind))),))
    rights = _rights(case)
    access, stored = grant.access, counted
    access_token = _live_access_token(grant, link, rights, now)
    if access is None or access_token is None:
        epoch = grant.epoch if access is None else grant.epoch + 1
        if epoch > GENERATION_MAX:
            return Refuse("generations")
        access_token = link.access_token(grant.id, epoch, rights)
        expires_at = now + case.policy.access_ttl
        expires_at = expires_at if grant.ends_at is None else min(expires_at, grant.ends_at)
        access = _access(hash_token(access_token), rights, grant, expires_at)
        stored = replace(counted, access=access, epoch=epoch, previous=_moved_aside(case))
    repeated = Event("token_repeated", (("age", age), ("behind", behind)))
    return Issue(
        outcome,
        None if stored is grant else stored,
        access_token,
        link.refresh_token(grant.id) if grant.refresh_hash else None,
        _seconds_left(access, now),
        rights,
        (repeated, *events),
    )


def _live_access_token(grant: Grant, link: Link, rights: Rights, now: float) -> str | None:
    """The access token in the current place, if it is the one for these rights and has not ended."""
    if grant.access is None or not alive(grant.access.expires_at, now):
        return None
    text = link.access_token(grant.id, grant.epoch, rights)
    return text if hmac.compare_digest(grant.access.hash, hash_token(text)) else None


def _reproduce(case: Case, behind: int) -> Link | None:
    """The link of the current generation, if known server secrets lead there from the presented token."""
    grant, access = case.grant, case.grant.access
    start = grant.generation - behind
    for link in derive_forward(case.secrets.keys, grant.seed, grant.id, start, case.presented.secret, behind):
        if grant.refresh_hash:
            made, known = link.refresh_token(grant.id), grant.refresh_hash
        elif access is not None:
            # The pair has no refresh token.
            rights = Rights(grant.scopes_of(access), grant.audience_of(access), access.proof_key)
            made, known = link.access_token(grant.id, grant.epoch, rights), access.hash
        else:
            return None
        if hmac.compare_digest(hash_token(made), known):
            return link
    return None


def _rights(case: Case) -> Rights:
    grant, ask = case.grant, case.ask
    if ask.scopes is None and ask.allowed_scopes is None and not ask.resources:
        return Rights(grant.scopes, grant.resources, ask.proof_key)
    scopes = grant.scopes if ask.scopes is None else tuple(sorted(set(ask.scopes)))
    if ask.allowed_scopes is not None:
        scopes = tuple(scope for scope in scopes if scope in ask.allowed_scopes)
    audience = tuple(sorted(set(ask.resources))) if ask.resources else grant.resources
    return Rights(scopes, audience, ask.proof_key)


def _access(token_hash: bytes, rights: Rights, grant: Grant, expires_at: float) -> Access:
    scopes = None if rights.scopes == grant.scopes else rights.scopes
    audience = None if rights.audience == grant.resources else rights.audience
    return Access(token_hash, scopes, audience, rights.proof_key, expires_at)


def _seconds_left(access: Access, now: float) -> int:
    # Only imported tokens have no end, and none of them is ever handed out again.
    return 0 if access.expires_at is None else int(access.expires_at - now)


def _lingering(case: Case) -> Access | None:
    """The current access token as it lives on in the previous place: for half the grace period at most.

    Requests in flight do not fail; a process that still holds the old pair hears 401 while its refresh
    token is still repeated.
    """
    access, until = case.grant.access, case.now + case.policy.grace / 2
    if access is None:
        return None
    expires_at = access.expires_at
    if expires_at is None or expires_at > until:
        expires_at = until
    if expires_at - case.now < 1:  # not `alive`
        return None
    return Access(access.hash, access.scopes, access.audience, access.proof_key, expires_at)


def _moved_aside(case: Case) -> Previous | None:
    previous, replaced = case.grant.previous, _lingering(case)
    return previous if previous is None or replaced is None else replace(previous, access=replaced)


def _rotations(case: Case, count: int) -> tuple[float, ...]:
    """The times of the newest rotations, after `count` more at this moment. Kept for catch-up alone."""
    if case.policy.reuse != "catch-up":
        return ()
    most = case.policy.catch_up_generations
    return (*case.grant.rotations, *(case.now,) * min(count, most))[-most:]


# --- the end --------------------------------------------------------------------------------------


def revoked(grant: Grant, now: float, why: str) -> Grant:
    """The grant, revoked. One that is revoked already keeps its first time and reason."""
    return grant if grant.revoked_at is not None else replace(grant, revoked_at=now, revoked_why=why)


def revoke_presented(case: Case) -> Grant | Refuse:
    """The record after its client revoked this token (RFC 7009 section 2.1), or why nothing changes.

    Any genuine refresh token revokes the grant, also an older or expired one. An access token ends that
    token only; the epoch then rises, so that no repeat hands it out again (past the last epoch none hands
    out anything until the next rotation). A grant that is revoked already comes back as it is.
    """
    grant, presented = case.grant, case.presented
    if presented.kind == REFRESH:
        if classify(grant, presented, case.secrets)[0] is NOISE:
            return Refuse("noise")
        return _judge_client(case) or revoked(grant, case.now, "revoked_by_client")
    if presented.kind != ACCESS:
        return Refuse("noise")
    previous = grant.previous
    if grant.access is not None and hmac.compare_digest(grant.access.hash, presented.hash):
        ended = replace(grant, access=None, epoch=grant.epoch + 1)
    elif (
        previous is not None
        and previous.access is not None
        and hmac.compare_digest(previous.access.hash, presented.hash)
    ):
        ended = replace(grant, previous=replace(previous, access=None))
    else:
        return Refuse("noise")
    # In a revoked grant nothing is left to end, and a token taken out would shorten the time it is kept.
    return _judge_client(case) or (grant if grant.revoked_at is not None else ended)
