"""The invariants of the design, I1 to I10, each by its name."""

from __future__ import annotations

from msgspec.structs import replace

from oauth_refresh import grants
from oauth_refresh.cases import Issue, Refuse
from oauth_refresh.records import Access, Grant, decode

from . import derivation
from .line import CLIENT, SCOPES
from .rotation_model import Host, Request
from .rotation_stage import ACCESS_TTL, REFRESH_TTL, Stage, StagedMachine, UnderWay

LARGEST_BODY = 800


class JudgedMachine(StagedMachine):
    """Calls every invariant where it can be broken: at each decision, each write, or at rest."""

    def judge(self, work: UnderWay, record: Grant) -> None:
        if isinstance(work.answer, Refuse) and work.kind in ("redeem", "refresh"):
            self.i5_a_request_without_tokens_stores_nothing_but_a_revocation(work.answer, record)
        if isinstance(work.answer, Issue):
            self.i8_lifetimes_are_full(work.stage, work.answer)
        self.i3_processes_in_time_go_on(work)
        self.i3_a_fleet_catches_up(work)
        self.i4_theft_is_noticed(work)

    def judge_stored(self, work: UnderWay) -> None:
        if isinstance(work.answer, Issue):
            self.i1_one_chain(work)
        assert len(work.stage.at.body) <= LARGEST_BODY, "I10"

    # --- lines ------------------------------------------------------------------------------------

    def i1_one_chain(self, work: UnderWay) -> None:
        """What is handed out is the record's current refresh token, and there is one for each generation."""
        stage, token = work.stage, work.verdict.refresh_token
        assert derivation.digest(token) == decode(stage.at.body, stage.family.grant_id).refresh_hash
        if len(stage.keys_used | {stage.family.origin[token][1]}) == 1:
            generation = derivation.generation_of(token)
            same = [text for text in stage.refresh_tokens if derivation.generation_of(text) == generation]
            assert same in ([], [token])

    def i1_all_that_would_be_accepted_lies_on_one_chain(self, stage: Stage, host: Host) -> None:
        record = decode(stage.at.body, stage.family.grant_id)
        rotating, answers = set(), set()
        for text in stage.refresh_tokens:
            answer, _ = self.ask("refresh", record, Request(text), host)
            if isinstance(answer, Issue):
                answers.add(answer.refresh_token or "")
                if answer.outcome == "rotated":
                    rotating.add(text)
                elif answer.outcome in ("repeated", "caught_up"):
                    assert derivation.digest(answer.refresh_token or "") == record.refresh_hash
        assert len(rotating) <= 1, "a grant never has two current tokens"
        if stage.keys_used == {host.keys[0]}:
            assert len({derivation.generation_of(text) for text in answers}) == len(answers)

    # --- those who shall go on ----------------------------------------------------------------------

    def i2_lost_answers_end_with_a_pair_that_works(self) -> None:
        """The lone process: whatever got lost, what it holds still leads to a pair that works."""
        stage, process = self.lonely, self.lonely.processes[0]
        if process.overtaken or not self.terms.grace or not stage.alive(self.now):
            return
        for host in self.hosts:
            if stage.keys_used <= set(host.keys):
                self._works(stage, process.refresh_token, host)

    def _works(self, stage: Stage, refresh_token: str, host: Host) -> None:
        record = decode(stage.at.body, stage.family.grant_id)
        answer, _ = self.ask("refresh", record, Request(refresh_token), host)
        assert isinstance(answer, Issue)
        stored = answer.store or record
        used, _ = self.ask("use", stored, Request(answer.access_token), host)
        assert isinstance(used, Access)
        again, _ = self.ask("refresh", stored, Request(answer.refresh_token or ""), host)
        assert isinstance(again, Issue)
        assert again.outcome == "rotated"

    def i3_processes_in_time_go_on(self, work: UnderWay) -> None:
        """Whoever presents R(n) within the grace of its rotation, R(n+1) not rotated yet, gets the pair.

        So that it does in time, its access token is refused from half the grace on.
        """
        ghost, grace, stage, process = work.read.ghost, self.terms.grace, work.stage, work.process
        if ghost.dead or ghost.rotated_at is None or not stage.alive(self.now):
            return
        age = self.now - ghost.rotated_at
        asks = work.kind == "refresh" and work.request.token == ghost.previous and _right(work.request)
        if asks and grace and age < grace and stage.family.key_of(ghost.current) in work.host.keys:
            assert isinstance(work.answer, Issue)
        if process is None or work.kind != "use" or work.request.token != process.access_token:
            return
        if process.refresh_token == ghost.previous and grace / 2 <= age < grace:
            assert isinstance(work.answer, Refuse)

    def i3_a_fleet_catches_up(self, work: UnderWay) -> None:
        """Whoever is at most N generations behind, with a token retired in the window, its secret known."""
        ghost, terms, stage, token = work.read.ghost, self.terms, work.stage, work.request.token
        if work.kind != "refresh" or terms.reuse != "catch-up" or token not in stage.retired_at:
            return
        if ghost.dead or not _right(work.request) or not stage.alive(self.now) or stage.rolled_back:
            return
        behind = ghost.generation - derivation.generation_of(token)
        keys = stage.family.keys_between(token, ghost.current)
        known = stage.family.key_of(token) in work.host.keys and keys and {*keys} <= {work.host.keys[0]}
        in_time = self.now - stage.retired_at[token] <= terms.catch_up_window
        if behind <= terms.catch_up_generations and in_time and known:
            assert isinstance(work.answer, Issue)
            assert (
                derivation.digest(work.answer.refresh_token or "")
                == decode(work.read.body, work.stage.family.grant_id).refresh_hash
            )

    def i9_the_newest_token_still_works(self, stage: Stage, newest: str, host: Host) -> None:
        """After a rollback, the secret unchanged, the newest refresh token gives the successor it had."""
        unchanged = stage.keys_used == {host.keys[0]} and not host.beside_data
        alive = not stage.at.ghost.dead and stage.alive(self.now)
        if not (newest and unchanged and alive and self.terms.roll_forward):
            return
        for token in (newest, max(stage.refresh_tokens, key=derivation.generation_of)):
            answer, _ = self.ask(
                "refresh", decode(stage.at.body, stage.family.grant_id), Request(token), host
            )
            assert isinstance(answer, Issue)
            assert answer.refresh_token == derivation.next_refresh(stage.family.line(host.keys[0]), token)

    # --- those who shall not ------------------------------------------------------------------------

    def i4_theft_is_noticed(self, work: UnderWay) -> None:
        """An old token that can be recognised leaves the grant dead, if the history is one."""
        ghost, request, stage = work.read.ghost, work.request, work.stage
        if work.kind != "refresh" or self.terms.reuse != "revoke" or stage.rolled_back:
            return
        if ghost.dead or not _right(request) or stage.ended(self.now):
            return
        behind = ghost.generation - derivation.generation_of(request.token)
        old = behind >= 2 and stage.family.key_of(request.token) in work.host.keys
        age = self.now - (ghost.rotated_at if ghost.rotated_at is not None else self.now)
        late = request.token == ghost.previous and ghost.used and max(0.0, age) >= self.terms.grace
        if old or late:
            assert isinstance(work.answer, Refuse)
            assert work.store is not None
            assert work.store.revoked_at == self.now

    def i5_a_request_without_tokens_stores_nothing_but_a_revocation(
        self, answer: Refuse, record: Grant
    ) -> None:
        if answer.store is not None:
            assert answer.reason in ("reused", "code_reused")
            assert record.revoked_at is None
            why = answer.store.revoked_why
            assert answer.store == replace(record, revoked_at=self.now, revoked_why=why)

    def i6_what_was_not_issued_changes_nothing(self, stage: Stage, forged: str, host: Host) -> None:
        before = stage.at
        for kind in ("refresh", "revoke"):
            assert isinstance(self.do(stage, kind, Request(forged), host).answer, Refuse)
        for prefix in ("oac_", "oat_"):
            guess = derivation.spell(prefix, stage.family.grant_id + derivation.secret_of(forged))
            for kind in ("redeem", "refresh", "use", "revoke"):
                assert isinstance(self.do(stage, kind, Request(guess), host).answer, Refuse)
        assert stage.at is before

    def i7_what_was_revoked_stays_revoked(self, stage: Stage) -> None:
        """Whatever is stored later, unless a failover loses the revocation itself."""
        record = decode(stage.at.body, stage.family.grant_id)
        if stage.at.ghost.dead:
            for text in stage.refresh_tokens[-3:]:
                for host in self.hosts:
                    answer, store = self.ask("refresh", record, Request(text), host)
                    assert isinstance(answer, Refuse)
                    assert store is None
            for text in stage.access_tokens[-3:]:
                assert isinstance(grants.check_access(record, derivation.digest(text), self.now), Refuse)
        if not stage.rolled_back:
            for text in stage.revoked_access:
                assert grants.check_access(record, derivation.digest(text), self.now) == Refuse("unknown")

    def i8_lifetimes_are_full(self, stage: Stage, answer: Issue) -> None:
        ends_at, record = stage.family.ends_at, answer.store
        if ends_at is not None:
            assert self.now + answer.expires_in <= ends_at
        if answer.outcome in ("redeemed", "rotated", "rolled_forward"):
            assert record is not None
            assert record.access is not None
            end = ends_at if ends_at is not None else self.now + 1e9
            assert record.refresh_expires_at == min(self.now + REFRESH_TTL, end) > self.now
            assert record.access.expires_at == min(self.now + ACCESS_TTL, end) > self.now


def _right(request: Request) -> bool:
    return request.client_id in (None, CLIENT) and not set(request.scopes or ()) - set(SCOPES)
