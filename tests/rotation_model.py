"""The rules of rotation a second time, in the words of their table: the judge of the state machine.

Nothing here reads a record. What must be true of a stored record stands in a `Ghost` that is kept beside it,
made of the texts of tokens where the record has hashes.
"""

from __future__ import annotations

from typing import NamedTuple

from oauth_refresh.cases import Policy
from oauth_refresh.records import Grant

from . import derivation
from .line import CLIENT, CODE_TTL, RESOURCES, SCOPES


class Host(NamedTuple):
    """A process that answers: the server secrets that it knows, the first of which signs."""

    keys: tuple[bytes, ...]
    beside_data: frozenset[bytes] = frozenset()


class Ghost(NamedTuple):
    """What must be true of one stored version of a grant."""

    pending: bool = True
    dead: bool = False
    generation: int = 0
    current: str = ""
    refresh_ends: float | None = None
    previous: str = ""
    rotated_at: float | None = None
    used: bool = False
    access: str = ""
    access_ends: float = 0.0
    epoch: int = 0
    lingering: str = ""
    lingering_ends: float = 0.0
    rotations: tuple[float, ...] = ()
    late: int = 0
    late_marked: bool = False


class Request(NamedTuple):
    """What is asked. Client and verifier may be wrong, scopes too wide."""

    token: str
    client_id: str | None = CLIENT
    scopes: tuple[str, ...] | None = None
    right_verifier: bool = True


class Verdict(NamedTuple):
    """What must come of it: an outcome or the reason of a refusal, and what is true afterwards."""

    outcome: str
    after: Ghost
    refresh_token: str = ""
    access_token: str = ""
    access_ends: float = 0.0
    suspected: bool = False


class Family:
    """A grant's constants, and from what each of its refresh tokens was ever derived."""

    def __init__(self, number: int, policy: Policy, created_at: float, ends_at: float | None) -> None:
        self.grant_id = bytes([number]) * 16
        self.seed = bytes([number + 100]) * 32
        self.code = derivation.code(self.grant_id, bytes([number + 200]) * 32)
        self.code_ends = created_at + CODE_TTL
        self.ends_at = ends_at
        self.policy = policy
        self.origin: dict[str, tuple[str, bytes]] = {}

    def line(self, key: bytes) -> derivation.Line:
        return derivation.Line(key, self.seed, self.grant_id)

    def capped(self, end: float) -> float:
        return end if self.ends_at is None else min(end, self.ends_at)

    def key_of(self, token: str) -> bytes | None:
        return self.origin[token][1] if token in self.origin else None

    def keys_between(self, token: str, current: str) -> list[bytes] | None:
        """The secrets that led from `token` to `current`, one for each step, if any did."""
        keys: list[bytes] = []
        while current != token:
            if current not in self.origin:
                return None
            current, key = self.origin[current]
            keys.insert(0, key)
        return keys

    # --- judging ----------------------------------------------------------------------------------

    def standing(self, ghost: Ghost, token: str, host: Host) -> str:
        if token == ghost.current:
            return "current"
        if token == ghost.previous:
            return "previous"
        if self.key_of(token) not in host.keys:
            return "noise"
        generation = derivation.generation_of(token)
        if generation > ghost.generation:
            return "ahead"
        return "older" if generation <= ghost.generation - 2 else "stray"

    def redeem(self, ghost: Ghost, request: Request, host: Host, now: float) -> Verdict:
        if request.token != self.code:
            return Verdict("noise", ghost)
        if request.client_id != CLIENT:
            return Verdict("other_client", ghost)
        wrong = self._wrong(ghost, request, now)
        if wrong in ("revoked", "ended"):
            return Verdict(wrong, ghost)
        if not request.right_verifier:
            return Verdict("verifier", ghost)
        if wrong:
            return Verdict(wrong, ghost)
        if not ghost.pending:
            return Verdict("code_reused", ghost._replace(dead=True))
        if self.code_ends - now < 1:
            return Verdict("expired", ghost)
        return self._advance("redeemed", ghost, request, host, now, Ghost(pending=False))

    def refresh(self, ghost: Ghost, request: Request, host: Host, now: float) -> Verdict:
        where = self.standing(ghost, request.token, host)
        if where == "noise":
            return Verdict("noise", ghost)
        if request.client_id not in (None, CLIENT):
            return Verdict("other_client", ghost)
        wrong = self._wrong(ghost, request, now)
        if wrong:
            return Verdict(wrong, ghost)
        age = 0.0 if ghost.rotated_at is None else max(0.0, now - ghost.rotated_at)
        if where == "previous" and (self.policy.grace == 0 or (ghost.used and age >= self.policy.grace)):
            where = "older"
        if where == "older":
            return self._older(ghost, request, host, now)
        if where == "stray":
            return Verdict("stray", ghost)
        if where == "ahead" and not self._may_roll_forward(request.token, host):
            return Verdict("ahead", ghost)
        if ghost.refresh_ends is not None and ghost.refresh_ends - now < 1:
            return Verdict("expired", ghost)
        if where == "previous":
            return self._repeat("repeated", ghost, request, host, now, age)
        return self._rotate(ghost, request, host, now, skipped=where == "ahead")

    def use(self, ghost: Ghost, token: str, now: float) -> Verdict:
        """An access token at the guard."""
        ends = {ghost.lingering: ghost.lingering_ends, ghost.access: ghost.access_ends}.get(token)
        if ends is None or not token:
            return Verdict("unknown", ghost)
        if ghost.dead:
            return Verdict("revoked", ghost)
        if self.capped(ends) - now < 1:
            return Verdict("expired", ghost)
        return Verdict("good", ghost._replace(used=True) if token == ghost.access else ghost)

    def revoke(self, ghost: Ghost, request: Request, host: Host) -> Verdict:
        token = request.token
        if token.startswith("ort_"):
            known = self.standing(ghost, token, host) != "noise"
            after = ghost._replace(dead=True)
        else:
            known = bool(token) and token in (ghost.access, ghost.lingering)
            after = ghost._replace(lingering="")
            if token == ghost.access:
                after = ghost._replace(access="", epoch=ghost.epoch + 1)
        if not known:
            return Verdict("noise", ghost)
        if request.client_id not in (None, CLIENT):
            return Verdict("other_client", ghost)
        return Verdict("ended", ghost if ghost.dead else after)

    # --- the table --------------------------------------------------------------------------------

    def _wrong(self, ghost: Ghost, request: Request, now: float) -> str:
        if ghost.dead:
            return "revoked"
        if self.ends_at is not None and self.ends_at - now < 1:
            return "ended"
        return "scope" if set(request.scopes or ()) - set(SCOPES) else ""

    def _may_roll_forward(self, token: str, host: Host) -> bool:
        return self.policy.roll_forward and self.key_of(token) not in host.beside_data

    def _older(self, ghost: Ghost, request: Request, host: Host, now: float) -> Verdict:
        policy = self.policy
        behind = ghost.generation - derivation.generation_of(request.token)
        if policy.reuse == "refuse":
            return Verdict("reused", ghost)
        if policy.reuse == "catch-up" and behind <= min(policy.catch_up_generations, len(ghost.rotations)):
            age = max(0.0, now - ghost.rotations[-behind])
            if age <= policy.catch_up_window:
                if ghost.refresh_ends is not None and ghost.refresh_ends - now < 1:
                    return Verdict("expired", ghost)
                return self._repeat("caught_up", ghost, request, host, now, age)
        return Verdict("reused", ghost._replace(dead=True))

    def _rotate(self, ghost: Ghost, request: Request, host: Host, now: float, *, skipped: bool) -> Verdict:
        jump = derivation.generation_of(request.token) + 1 - ghost.generation
        after = ghost._replace(
            pending=False,
            previous=request.token,
            rotated_at=now,
            rotations=self._times(ghost.rotations, [now] * jump),
            late=ghost.late if ghost.late_marked and not skipped else 0,
            late_marked=False,
            lingering="",
        )
        if not skipped:
            after = self._set_aside(ghost, after, now)
        return self._advance("rolled_forward" if skipped else "rotated", ghost, request, host, now, after)

    def _times(self, before: tuple[float, ...], new: list[float]) -> tuple[float, ...]:
        if self.policy.reuse != "catch-up":
            return ()
        return (*before, *new)[-self.policy.catch_up_generations :]

    def _set_aside(self, ghost: Ghost, after: Ghost, now: float) -> Ghost:
        """The current access token moves to the previous place, for half the grace period at most."""
        ends = min(ghost.access_ends, now + self.policy.grace / 2)
        if not ghost.access or ends - now < 1:
            return after
        return after._replace(lingering=ghost.access, lingering_ends=ends)

    def _advance(
        self, outcome: str, ghost: Ghost, request: Request, host: Host, now: float, after: Ghost
    ) -> Verdict:
        line = self.line(host.keys[0])
        refresh = derivation.next_refresh(line, request.token)
        self.origin[refresh] = (request.token, host.keys[0])
        access = derivation.next_access(line, request.token, 0, request.scopes or SCOPES, RESOURCES)
        after = after._replace(
            generation=derivation.generation_of(refresh),
            current=refresh,
            refresh_ends=self.capped(now + self.policy.refresh_ttl),
            used=False,
            access=access,
            access_ends=self.capped(now + self.policy.access_ttl),
            epoch=0,
        )
        return Verdict(outcome, after, refresh, access, after.access_ends)

    def _repeat(
        self, outcome: str, ghost: Ghost, request: Request, host: Host, now: float, age: float
    ) -> Verdict:
        keys = self.keys_between(request.token, ghost.current)
        changes = sum(a != b for a, b in zip(keys[1:], keys, strict=False)) if keys else 0
        if keys is None or changes > 1 or not set(keys) <= set(host.keys):
            return Verdict("not_reproduced_yet" if age < self.policy.grace else "not_reproduced", ghost)
        after, suspected = ghost, False
        if outcome == "repeated" and age >= self.policy.grace and not ghost.late_marked:
            after = ghost._replace(late=ghost.late + 1, late_marked=True)
            suspected = after.late >= 3
        parent, key = self.origin[ghost.current]
        scopes = request.scopes or SCOPES
        same = derivation.next_access(self.line(key), parent, ghost.epoch, scopes, RESOURCES)
        if ghost.access == same and ghost.access_ends - now >= 1:
            return Verdict(outcome, after, ghost.current, same, ghost.access_ends, suspected)
        epoch = ghost.epoch + 1 if ghost.access else ghost.epoch
        fresh = derivation.next_access(self.line(key), parent, epoch, scopes, RESOURCES)
        after = self._set_aside(ghost, after, now)._replace(
            access=fresh, access_ends=self.capped(now + self.policy.access_ttl), epoch=epoch
        )
        return Verdict(outcome, after, ghost.current, fresh, after.access_ends, suspected)


# --- comparing with a record -----------------------------------------------------------------------------


def seen(ghost: Ghost) -> dict[str, object]:
    """What a record must show if this ghost is right."""
    return {
        "pending": ghost.pending,
        "dead": ghost.dead,
        "generation": ghost.generation,
        "current": _digest(ghost.current),
        "refresh ends": ghost.refresh_ends,
        "previous": _digest(ghost.previous),
        "rotated at": ghost.rotated_at,
        "used": ghost.used,
        "access": _digest(ghost.access),
        "access ends": ghost.access_ends if ghost.access else None,
        "epoch": ghost.epoch,
        "lingering": _digest(ghost.lingering),
        "lingering ends": ghost.lingering_ends if ghost.lingering else None,
        "rotations": ghost.rotations,
        "late": (ghost.late, ghost.late_marked),
    }


def shown(grant: Grant) -> dict[str, object]:
    """What a record shows."""
    access, previous = grant.access, grant.previous
    lingering = previous.access if previous is not None else None
    return {
        "pending": grant.code is not None and not grant.code.redeemed,
        "dead": grant.revoked_at is not None,
        "generation": grant.generation,
        "current": grant.refresh_hash,
        "refresh ends": grant.refresh_expires_at,
        "previous": previous.refresh_hash if previous is not None else b"",
        "rotated at": previous.rotated_at if previous is not None else None,
        "used": grant.used,
        "access": access.hash if access is not None else b"",
        "access ends": access.expires_at if access is not None else None,
        "epoch": grant.epoch,
        "lingering": lingering.hash if lingering is not None else b"",
        "lingering ends": lingering.expires_at if lingering is not None else None,
        "rotations": grant.rotations,
        "late": (grant.late_repeats, grant.late_marked),
    }


def _digest(text: str) -> bytes:
    return derivation.digest(text) if text else b""
