"""The stage of the state machine: grants in a store with compare-and-swap, hosts, processes, and a clock.

Every answer of the rules is compared here with `rotation_model`, and judged by `rotation_invariants`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from hypothesis.stateful import RuleBasedStateMachine
from msgspec.structs import replace

from oauth_refresh import grants
from oauth_refresh.cases import Ask, Case, Issue, Policy, Refuse
from oauth_refresh.records import Access, Code, Grant, decode, encode
from oauth_refresh.tokens import Secrets

from . import derivation
from .line import CHALLENGE, PENDING, REDIRECT_URI, VERIFIER, judged, presented
from .rotation_model import Family, Ghost, Host, Request, Verdict, seen, shown

START = 1_700_000_000.0
ACCESS_TTL, REFRESH_TTL, GRACE = 300.0, 1200.0, 60.0
FIRST_KEY = b"server secret number 0"
INTERVAL = 100.0

EVENTS = {
    "redeemed": ["code_redeemed"],
    "rotated": ["token_rotated"],
    "repeated": ["token_repeated"],
    "caught_up": ["token_repeated"],
    "rolled_forward": ["registry_rolled_back"],
    "reused": ["token_reused"],
    "code_reused": ["code_reused"],
    "ahead": ["registry_behind"],
    "stray": ["token_stray"],
    "other_client": ["client_mismatch"],
    "not_reproduced": ["repeat_not_reproduced"],
    "not_reproduced_yet": ["repeat_not_reproduced"],
}

Answer = Issue | Refuse | Grant | Access


class Version(NamedTuple):
    """One stored state of a grant, what must be true of it, and the state that it replaced."""

    body: bytes
    ghost: Ghost
    before: Version | None


@dataclass(eq=False)
class Process:
    """A program that holds a pair. `overtaken`: a request of its own arrived too late to be harmless."""

    stage: Stage
    refresh_token: str = ""
    access_token: str = ""
    overtaken: bool = False


@dataclass(eq=False)
class Stage:
    """A grant, its stored versions, and everything that was ever handed out for it."""

    family: Family
    at: Version
    processes: list[Process] = field(default_factory=list)
    refresh_tokens: list[str] = field(default_factory=list)
    access_tokens: list[str] = field(default_factory=list)
    keys_used: set[bytes] = field(default_factory=set)
    revoked_access: set[str] = field(default_factory=set)
    retired_at: dict[str, float] = field(default_factory=dict)
    rolled_back: bool = False

    def ended(self, now: float) -> bool:
        return self.family.ends_at is not None and self.family.ends_at - now < 1

    def alive(self, now: float) -> bool:
        """Not ended and not expired; perhaps revoked."""
        refresh_ends = self.at.ghost.refresh_ends
        return not self.ended(now) and (refresh_ends is None or refresh_ends - now >= 1)


@dataclass(eq=False)
class UnderWay:
    """A request that has read and decided. If its swap is lost, it reads and decides again."""

    stage: Stage
    process: Process | None
    kind: str
    request: Request
    host: Host
    now: float
    read: Version
    answer: Answer
    store: Grant | None
    verdict: Verdict


class StagedMachine(RuleBasedStateMachine):
    """How a request runs. What is requested, and when, is left to the rules of the machine."""

    policy = Policy(ACCESS_TTL, REFRESH_TTL, GRACE)

    def set_up(self, ends_after: float | None, roll_forward: bool, beside_data: bool, fleet: int) -> None:
        self.now = START
        self.terms = self.policy.but(roll_forward=roll_forward, catch_up_generations=3, catch_up_window=400.0)
        self.newest_key = 0
        self.newest_grant = 0
        host = Host((FIRST_KEY,), frozenset([FIRST_KEY]) if beside_data else frozenset())
        self.hosts = [host, host]
        self.under_way: list[UnderWay] = []
        self.ends_after = ends_after
        self.lonely, self.fleet = self.sign_in(1, host), self.sign_in(fleet, host)

    def sign_in(self, processes: int, host: Host) -> Stage:
        """A new grant, whose first pair reaches all processes at once."""
        self.newest_grant += 1
        ends_at = None if self.ends_after is None else self.now + self.ends_after
        family = Family(self.newest_grant, self.terms, self.now, ends_at)
        code = Code(derivation.digest(family.code), CHALLENGE, REDIRECT_URI, family.code_ends)
        pending = replace(
            PENDING, id=family.grant_id, seed=family.seed, code=code, created_at=self.now, ends_at=ends_at
        )
        stage = Stage(family, Version(encode(pending), Ghost(), None))
        stage.processes = [Process(stage) for _ in range(processes)]
        work = self.do(stage, "redeem", Request(family.code), host)
        for process in stage.processes:
            process.refresh_token = work.verdict.refresh_token
            process.access_token = work.verdict.access_token
        return stage

    def draw_key(self) -> bytes:
        self.newest_key += 1
        return b"server secret number %d" % self.newest_key

    # --- one request ------------------------------------------------------------------------------

    def do(
        self,
        stage: Stage,
        kind: str,
        request: Request,
        host: Host,
        process: Process | None = None,
        *,
        arrives: bool = True,
    ) -> UnderWay:
        """Read, decide, store and answer, with nobody in between."""
        work = self.decide(stage, kind, request, host, process)
        assert self.store(work)
        if arrives:
            self.answer(work)
        return work

    def decide(
        self, stage: Stage, kind: str, request: Request, host: Host, process: Process | None = None
    ) -> UnderWay:
        record = decode(stage.at.body, stage.family.grant_id)
        answer, store = self.ask(kind, record, request, host)
        verdict = self._judge(stage, kind, request, host)
        if process is not None and kind == "refresh":
            self._note_if_overtaken(process, request)
        work = UnderWay(stage, process, kind, request, host, self.now, stage.at, answer, store, verdict)
        self._compare(work, record)
        self.judge(work, record)
        return work

    def judge(self, work: UnderWay, record: Grant) -> None:
        """Judge a decision that was just made."""

    def judge_stored(self, work: UnderWay) -> None:
        """Judge what was just stored."""

    def ask(self, kind: str, record: Grant, request: Request, host: Host) -> tuple[Answer, Grant | None]:
        """What the rules answer, and what they want stored."""
        token = presented(request.token)
        if kind == "use":
            access = grants.check_access(record, token.hash, self.now)
            refused = isinstance(access, Refuse)
            return access, None if refused else grants.mark_used(record, token.hash, self.now, INTERVAL)
        verifier = VERIFIER if request.right_verifier else VERIFIER[::-1]
        ask = Ask(request.client_id, request.scopes, None, "", None, verifier, REDIRECT_URI)
        case = Case(record, token, ask, self.now, self.terms, Secrets(*host))
        if kind == "revoke":
            revoked = grants.revoke_presented(case)
            return revoked, None if isinstance(revoked, Refuse) or revoked is record else revoked
        answer = grants.redeem(case) if kind == "redeem" else judged(case)
        return answer, answer.store

    def _judge(self, stage: Stage, kind: str, request: Request, host: Host) -> Verdict:
        family, ghost = stage.family, stage.at.ghost
        if kind == "use":
            return family.use(ghost, request.token, self.now)
        if kind == "revoke":
            return family.revoke(ghost, request, host)
        judge = family.redeem if kind == "redeem" else family.refresh
        return judge(ghost, request, host, self.now)

    def _note_if_overtaken(self, process: Process, request: Request) -> None:
        """I2 exempts a process whose own request arrives after the next rotation, or late after a use."""
        ghost = process.stage.at.ghost
        held = request.token in (ghost.current, ghost.previous)
        rotated_at = ghost.rotated_at if ghost.rotated_at is not None else self.now
        late = request.token == ghost.previous and ghost.used and self.now - rotated_at >= GRACE
        process.overtaken |= not held or late

    def _compare(self, work: UnderWay, record: Grant) -> None:
        answer, verdict = work.answer, work.verdict
        if isinstance(answer, Issue):
            assert answer.outcome == verdict.outcome
            assert (answer.refresh_token, answer.access_token) == (
                verdict.refresh_token,
                verdict.access_token,
            )
            assert answer.expires_in == int(verdict.access_ends - self.now)
        elif isinstance(answer, Refuse):
            assert answer.reason == verdict.outcome
        else:
            assert verdict.outcome == ("good" if isinstance(answer, Access) else "ended")
        if isinstance(answer, Issue | Refuse):
            events = EVENTS.get(verdict.outcome, []) + ["token_shared_suspected"] * verdict.suspected
            assert [event.name for event in answer.events] == events
        assert shown(record if work.store is None else work.store) == seen(verdict.after)

    def store(self, work: UnderWay) -> bool:
        """Compare and swap. False if somebody else has stored since the request was read."""
        stage = work.stage
        if work.store is None:
            return True
        if stage.at.body != work.read.body:
            return False
        stage.at = Version(encode(work.store, stage.at.body), work.verdict.after, stage.at)
        if work.kind == "revoke" and work.request.token.startswith("oat_"):
            stage.revoked_access.add(work.request.token)
        self.judge_stored(work)
        if isinstance(work.answer, Issue):
            refresh_token, access_token = work.verdict.refresh_token, work.verdict.access_token
            stage.keys_used.add(stage.family.origin[refresh_token][1])
            if work.answer.outcome in ("rotated", "rolled_forward"):
                stage.retired_at[work.request.token] = work.now
            if refresh_token not in stage.refresh_tokens:
                stage.refresh_tokens.append(refresh_token)
            if access_token not in stage.access_tokens:
                stage.access_tokens.append(access_token)
        return True

    def answer(self, work: UnderWay) -> None:
        """The answer arrives, and its process keeps the pair."""
        process = work.process
        if process is None or not isinstance(work.answer, Issue):
            return
        if process.stage is self.lonely and process.refresh_token != work.request.token:
            # It has its pair from a retry by now, and waits for this answer no longer.
            return
        process.refresh_token = work.verdict.refresh_token
        process.access_token = work.verdict.access_token
