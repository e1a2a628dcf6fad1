"""The renewal that nearly all are: a client presents its current refresh token, and wants what it has.

`grants.refresh` comes to the same answer by asking one question after the other. That is where the rules are
read, and what decides wherever anything is out of the ordinary. Here the questions and the derivation of the
tokens stand in one function, because in Python most of them take less time than the call of a function does:
a renewal in memory takes a quarter less. `tests/test_plain_renewals.py` holds the two against each other.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from hmac import compare_digest

from msgspec.structs import replace

from .cases import Event, Issue, Policy
from .keyed_hashes import BLOCK_BYTES, INNER, OUTER
from .records import FORGET_AFTER, Access, Grant, Previous
from .tokens import (
    FIRST_EPOCH,
    GENERATION_MAX,
    TAG_BYTES,
    TO_URLSAFE,
    Rights,
    Secrets,
    keys_of_grant,
    rights_digest,
)

EVENTS = (Event("token_rotated"),)
_LINES_MAX = 1024

Asked = tuple["tuple[str, ...] | None", "tuple[str, ...] | None"]
"""The scopes and the resources that a request names, each None where it names none."""

Plain = tuple[Grant, str, str, int, float]
"""The record to store, access and refresh token, for how many seconds the first is good, and when the record
may be forgotten. The rights are the grant's."""

RenewPlainly = Callable[[Grant, bytes, bytes, "str | None", "Asked | None", float, Secrets], "Plain | None"]
"""What is answered to a refresh token, given the grant, the token's hash and the secret in it, the client,
what that asks for, the time, and the server secrets. None for whatever may be anything but plain: nothing is
refused here."""

_Basis = tuple[bytes, tuple[str, ...], tuple[str, ...]]
_Line = tuple[_Basis, bytes, bytes, bytes, bytes, bytes]
"""What stays the same in all pairs of a grant: server secret, scopes and resources, and what follows from
them: the end of an access token's message, and the beginnings of the inner and outer hash of its salts and
tags."""

_lines: dict[bytes, _Line] = {}
"""Those of the grants renewed last, by their seeds."""


@lru_cache(64)
def plain_renewals(policy: Policy) -> RenewPlainly:
    """How renewals under this policy are answered where `grants.refresh` would answer with a rotation without
    peculiarities. What follows from the policy is settled here, so whoever asks often had better keep it.
    """
    # A lifetime may be "not a number", as an operator's hook may answer.
    is_plain = policy.access_ttl >= 1 and policy.refresh_ttl >= 1 and policy.issue_refresh
    return _plain_renewals(policy) if is_plain else never


def _plain_renewals(policy: Policy) -> RenewPlainly:
    access_ttl, refresh_ttl, half_of_grace = policy.access_ttl, policy.refresh_ttl, policy.grace / 2
    rotations_kept = policy.catch_up_generations if policy.reuse == "catch-up" else 0

    def renew(
        grant: Grant,
        token_hash: bytes,
        secret: bytes,
        client_id: str | None,
        asked: Asked | None,
        now: float,
        secrets: Secrets,
    ) -> Plain | None:
        access, expires_at, grant_end = grant.access, grant.refresh_expires_at, grant.ends_at
        if (
            not compare_digest(grant.refresh_hash, token_hash)
            or client_id != grant.client_id
            or (asked is not None and not _is_granted(grant, *asked))
            or grant.proof_key
            or grant.revoked_at is not None
            or (grant_end is not None and grant_end - now < 1)
            or (expires_at is not None and expires_at - now < 1)
            or grant.generation >= GENERATION_MAX
        ):
            return None

        # The pair: `tokens.derive` and the two methods of its link.
        grant_id, generation = grant.id, grant.generation + 1
        seed, basis = grant.seed, (secrets.keys[0], grant.scopes, grant.resources)
        line = _lines.get(seed)
        if line is None or line[0] != basis:
            line = _remember(seed, basis)
        _, first_of_rights, salt_inner, salt_outer, tag_inner, tag_outer = line
        block = secret.ljust(BLOCK_BYTES, b"\0")
        inner, outer = block.translate(INNER), block.translate(OUTER)
        place = grant_id + generation.to_bytes(4, "big")
        salt = sha256(salt_outer + sha256(salt_inner + place).digest()).digest()
        refresh_secret = sha256(outer + sha256(inner + b"refresh\0" + salt).digest()).digest()
        signed = place + refresh_secret
        signature = sha256(tag_outer + sha256(tag_inner + signed).digest()).digest()
        message = b"access\0" + salt + first_of_rights
        access_secret = sha256(outer + sha256(inner + message).digest()).digest()
        refresh_token = b"ort_" + b2a_base64(signed + signature[:TAG_BYTES])[:-2].translate(TO_URLSAFE)
        access_token = b"oat_" + b2a_base64(grant_id + access_secret)[:-1].translate(TO_URLSAFE)

        # Full lifetimes, which only the absolute end may cut.
        access_end, refresh_end = now + access_ttl, now + refresh_ttl
        if grant_end is not None:
            access_end, refresh_end = min(access_end, grant_end), min(refresh_end, grant_end)
        last_end = refresh_end
        if access_end > last_end:
            last_end = access_end

        # The access token that is replaced lives on for half the grace period at most.
        replaced = None
        if access is not None:
            end, until = access.expires_at, now + half_of_grace
            if end is None or end > until:
                end = until
            if end - now >= 1:
                replaced = Access(access.hash, access.scopes, access.audience, access.proof_key, end)
                if end > last_end:
                    last_end = end
        code = grant.code
        if code is not None and code.expires_at > last_end:
            last_end = code.expires_at
        if grant.created_at > last_end:
            last_end = grant.created_at

        stored = replace(
            grant,
            generation=generation,
            refresh_hash=sha256(refresh_token).digest(),
            refresh_expires_at=refresh_end,
            access=Access(sha256(access_token).digest(), None, None, "", access_end),
            epoch=0,
            used=False,
            previous=Previous(token_hash, now, replaced),
            late_repeats=grant.late_repeats if grant.late_marked else 0,
            late_marked=False,
            rotations=(*grant.rotations, now)[-rotations_kept:] if rotations_kept else (),
        )
        seconds = int(access_end - now)
        return stored, access_token.decode(), refresh_token.decode(), seconds, last_end + FORGET_AFTER

    return renew


def never(*_: object) -> None:
    """What is answered to a policy under which nothing is plain."""


def issue_of(plain: Plain) -> Issue:
    """The same as the rules say it."""
    stored, access_token, refresh_token, seconds, _ = plain
    rights = Rights(stored.scopes, stored.resources)
    return Issue("rotated", stored, access_token, refresh_token, seconds, rights, EVENTS)


def _is_granted(grant: Grant, scopes: tuple[str, ...] | None, resources: tuple[str, ...] | None) -> bool:
    """Whether just what the grant has is asked for."""
    return (scopes is None or scopes == grant.scopes) and (resources is None or resources == grant.resources)


def _remember(seed: bytes, basis: _Basis) -> _Line:
    key, scopes, resources = basis
    (salt_inner, salt_outer), (tag_inner, tag_outer) = keys_of_grant(key, seed)
    first_of_rights = FIRST_EPOCH + rights_digest(Rights(scopes, resources))
    line = (basis, first_of_rights, salt_inner, salt_outer, tag_inner + b"refresh\0", tag_outer)
    if len(_lines) >= _LINES_MAX:
        _lines.clear()
    _lines[seed] = line
    return line
