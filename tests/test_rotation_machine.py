"""Clients, thieves, hosts and clocks that act in any order, and what holds whatever they do.

Every answer of the rules is compared with `rotation_model`, where they stand a second time. The invariants of
the design, I1 to I10, are asserted by name in `rotation_invariants`. To run it for longer, give the number of
examples (of up to 50 steps each) for every policy: `python -m tests.test_rotation_machine 2000`.
"""

from __future__ import annotations

import sys

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule, run_state_machine_as_test

from oauth_refresh.cases import Policy, Refuse

from . import derivation
from .line import CLIENT, OTHER_CLIENT, SCOPES
from .rotation_invariants import JudgedMachine
from .rotation_model import Request
from .rotation_stage import ACCESS_TTL, GRACE, REFRESH_TTL, Process

COMMON = settings(
    max_examples=100, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)

BACKWARDS = (-5.0, -0.5)
SMALL_STEPS = (0.5, 1.0, 1.0, 5.0, 5.0, 20.0)
AROUND_HALF_GRACE = (29.0, 29.5, 30.0)
AROUND_GRACE = (59.0, 59.5, 60.0, 61.0)
AROUND_EXPIRIES = (299.5, 300.0, 400.5, 1199.5)
STEPS_OF_TIME = (*BACKWARDS, *SMALL_STEPS, *AROUND_HALF_GRACE, *AROUND_GRACE, *AROUND_EXPIRIES)

pick = st.integers(0, 10**6)
some_host = st.integers(0, 1)
sometimes_an_access_token = st.sampled_from(["refresh", "refresh", "use"])
forgeries = st.sampled_from(["knows secret", "knows registry", "flip", "move"])
changes_of_secret = st.sampled_from(["add", "add", "promote", "promote", "alone", "forget", "copy"])
some_scopes = st.sampled_from([None, None, None, SCOPES, SCOPES[:1]])


class RotationMachine(JudgedMachine):
    """One grant belongs to a lone process; another to a fleet, with thieves, revocations and failovers."""

    @initialize(
        ends_after=st.sampled_from([None, None, 900.0]),
        roll_forward=st.sampled_from([True, True, True, False]),
        beside_data=st.sampled_from([False, False, False, True]),
        fleet=st.integers(1, 3),
    )
    def begin_with(self, ends_after: float | None, roll_forward: bool, beside_data: bool, fleet: int):
        self.set_up(ends_after, roll_forward, beside_data, fleet)

    # --- what clients do ----------------------------------------------------------------------------

    def _process(self, number: int) -> Process:
        everybody = [*self.lonely.processes, *self.fleet.processes]
        return everybody[number % len(everybody)]

    @rule(number=pick, host=some_host, scopes=some_scopes, arrives=st.booleans())
    def refresh(self, number: int, host: int, scopes: tuple[str, ...] | None, arrives: bool):
        """At once, with an answer that arrives or is lost."""
        process = self._process(number)
        request = Request(process.refresh_token, scopes=scopes)
        self.do(process.stage, "refresh", request, self.hosts[host], process, arrives=arrives)

    @rule(number=pick, host=some_host, rotations=st.integers(1, 5), used=st.booleans())
    def rotate_several_times(self, number: int, host: int, rotations: int, used: bool):
        process = self._process(number)
        for _ in range(rotations):
            request = Request(process.refresh_token)
            self.do(process.stage, "refresh", request, self.hosts[host], process)
            if used:
                self.do(process.stage, "use", Request(process.access_token), self.hosts[host], process)

    @rule(
        number=pick,
        host=some_host,
        later=st.sampled_from((*AROUND_HALF_GRACE, *AROUND_GRACE, *AROUND_GRACE, *AROUND_EXPIRIES)),
        used=st.booleans(),
        times=st.integers(1, 4),
    )
    def lose_an_answer_and_come_back(self, number: int, host: int, later: float, used: bool, times: int):
        process = self._process(number)
        for _ in range(times):
            request = Request(process.refresh_token)
            lost = self.do(process.stage, "refresh", request, self.hosts[host], process, arrives=False)
            if used and lost.verdict.access_token:
                # By another process of the fleet; by the lone one, whose answer came too late to be kept.
                self.do(process.stage, "use", Request(lost.verdict.access_token), self.hosts[host], process)
            self.now += later
            self.do(process.stage, "refresh", request, self.hosts[host], process)

    @rule(number=pick, host=some_host)
    def use_the_access_token(self, number: int, host: int):
        process = self._process(number)
        self.do(process.stage, "use", Request(process.access_token), self.hosts[host], process)

    @rule(number=pick, host=some_host, scopes=some_scopes, kind=sometimes_an_access_token)
    def begin(self, number: int, host: int, scopes: tuple[str, ...] | None, kind: str):
        """Read and decide now, store and answer later: others come in between."""
        process = self._process(number)
        token = process.access_token if kind == "use" else process.refresh_token
        request = Request(token, scopes=scopes)
        self.under_way.append(self.decide(process.stage, kind, request, self.hosts[host], process))

    @precondition(lambda self: self.under_way)
    @rule(number=pick, fate=st.sampled_from(["answered", "answered", "lost", "crashed before storing"]))
    def finish(self, number: int, fate: str):
        work = self.under_way.pop(number % len(self.under_way))
        if fate == "crashed before storing":
            return
        if self.store(work):
            if fate == "answered":
                self.answer(work)
            return
        again = self.decide(work.stage, work.kind, work.request, work.host, work.process)
        if work.kind != "use" or not isinstance(again.answer, Refuse):
            self.under_way.append(again)

    @rule(number=pick)
    def take_over_what_another_process_holds(self, number: int):
        process = self._process(number)
        other = process.stage.processes[number % len(process.stage.processes)]
        process.refresh_token, process.access_token = other.refresh_token, other.access_token

    @rule(host=some_host, scopes=some_scopes, wrong=st.sampled_from(["", "", "client", "verifier"]))
    def redeem_a_second_time(self, host: int, scopes: tuple[str, ...] | None, wrong: str):
        """Or sign in anew where a grant has ended."""
        if self.lonely.processes[0].overtaken or not self.lonely.alive(self.now):
            self.lonely = self.sign_in(1, self.hosts[host])
        if self.fleet.at.ghost.dead or not self.fleet.alive(self.now):
            self.fleet = self.sign_in(len(self.fleet.processes), self.hosts[host])
            return
        client_id = OTHER_CLIENT if wrong == "client" else CLIENT
        request = Request(self.fleet.family.code, client_id, scopes, right_verifier=wrong != "verifier")
        self.do(self.fleet, "redeem", request, self.hosts[host])

    # --- what thieves, owners and failovers do -------------------------------------------------------

    @rule(number=pick, host=some_host, wrong=st.integers(0, 9))
    def present_any_refresh_token(self, number: int, host: int, wrong: int):
        """A thief, or a process restored from a backup, with any of the last tokens that were issued."""
        token = self.fleet.refresh_tokens[-1 - number % min(len(self.fleet.refresh_tokens), 7)]
        client_id = {0: OTHER_CLIENT, 1: None}.get(wrong, CLIENT)
        scopes = (*SCOPES, "admin") if wrong == 2 else None
        self.do(self.fleet, "refresh", Request(token, client_id, scopes), self.hosts[host])

    @rule(number=pick, host=some_host)
    def present_any_access_token(self, number: int, host: int):
        token = self.fleet.access_tokens[-1 - number % len(self.fleet.access_tokens)]
        self.do(self.fleet, "use", Request(token), self.hosts[host])

    @rule(number=pick, host=some_host, kind=st.sampled_from(["access", "access", "access", "refresh"]))
    def revoke(self, number: int, host: int, kind: str):
        tokens = self.fleet.access_tokens if kind == "access" else self.fleet.refresh_tokens
        client_id = OTHER_CLIENT if number % 7 == 0 else CLIENT
        token = tokens[-1 - number % min(len(tokens), 4)]
        self.do(self.fleet, "revoke", Request(token, client_id), self.hosts[host])

    @precondition(lambda self: self.fleet.at.before is not None)
    @rule(writes=st.integers(1, 8), host=some_host, new_secret=st.sampled_from([False, False, True]))
    def roll_back(self, writes: int, host: int, new_secret: bool):
        """A failover loses the last writes, or a backup is restored; perhaps with a change of secret."""
        newest = self.fleet.at.ghost.current
        for _ in range(writes):
            if self.fleet.at.before is not None:
                self.fleet.at = self.fleet.at.before
        self.fleet.rolled_back = True
        self.i9_the_newest_token_still_works(self.fleet, newest, self.hosts[host])
        if new_secret:
            key = self.draw_key()
            self.hosts = [each._replace(keys=(key, *each.keys[:3])) for each in self.hosts]

    @rule(number=pick, host=some_host, how=forgeries)
    def forge(self, number: int, host: int, how: str):
        stage = self.fleet
        line = stage.family.line(self.hosts[host].keys[0])
        token = stage.refresh_tokens[-1]
        generation = max(0, stage.at.ghost.generation + number % 5 - 3)
        secret = derivation.secret_of(token)
        if how == "knows secret":
            forged = derivation.refresh_text(line._replace(seed=bytes(32)), generation, secret)
        elif how == "knows registry":
            forged = derivation.refresh_text(line._replace(server_secret=b"unknown"), generation, secret)
        elif how == "flip":
            raw = bytearray(derivation.spelled(token))
            raw[16 + number % 52] ^= 1 << number % 8
            forged = derivation.spell("ort_", bytes(raw))
        else:
            foreign = derivation.refresh_text(self.lonely.family.line(line.server_secret), generation, secret)
            forged = derivation.spell("ort_", line.grant_id + derivation.spelled(foreign)[16:])
        self.i6_what_was_not_issued_changes_nothing(stage, forged, self.hosts[host])

    # --- time and secrets ----------------------------------------------------------------------------

    @rule(seconds=st.sampled_from(STEPS_OF_TIME))
    def let_time_pass(self, seconds: float):
        """Or set the clock back a little."""
        self.now += seconds

    @rule(host=some_host, how=changes_of_secret)
    def change_secrets(self, host: int, how: str):
        keys = self.hosts[host].keys
        if how == "add":
            # The first step of a rolling change, as the manual has it: a fallback everywhere.
            key = self.draw_key()
            self.hosts = [each._replace(keys=(*each.keys[:3], key)) for each in self.hosts]
        elif how == "promote":
            self.hosts[host] = self.hosts[host]._replace(keys=(keys[-1], *keys[:-1]))
        elif how == "copy":
            self.hosts[host] = self.hosts[1 - host]
        else:
            # Against the manual: for a while the hosts know different secrets.
            old = keys[:3] if how == "alone" else ()
            self.hosts[host] = self.hosts[host]._replace(keys=(self.draw_key(), *old))

    # --- at rest -------------------------------------------------------------------------------------

    @invariant()
    def i2(self):
        self.i2_lost_answers_end_with_a_pair_that_works()

    @invariant()
    def i7(self):
        self.i7_what_was_revoked_stays_revoked(self.fleet)

    @rule(host=some_host)
    def i1(self, host: int):
        self.i1_all_that_would_be_accepted_lies_on_one_chain(self.fleet, self.hosts[host])


class UnderRevoke(RotationMachine):
    policy = Policy(ACCESS_TTL, REFRESH_TTL, GRACE, "revoke")


class UnderRefuse(RotationMachine):
    policy = Policy(ACCESS_TTL, REFRESH_TTL, GRACE, "refuse")


class UnderCatchUp(RotationMachine):
    policy = Policy(ACCESS_TTL, REFRESH_TTL, GRACE, "catch-up")


class UnderRevokeWithoutGrace(RotationMachine):
    policy = Policy(ACCESS_TTL, REFRESH_TTL, 0.0, "revoke")


class UnderRefuseWithoutGrace(RotationMachine):
    policy = Policy(ACCESS_TTL, REFRESH_TTL, 0.0, "refuse")


MACHINES: list[type[RotationMachine]] = [
    UnderRevoke,
    UnderRefuse,
    UnderCatchUp,
    UnderRevokeWithoutGrace,
    UnderRefuseWithoutGrace,
]


@pytest.mark.slow
@pytest.mark.parametrize("machine", MACHINES)
def test_the_invariants_hold_whatever_happens_in_whatever_order(machine: type[RotationMachine]):
    run_state_machine_as_test(machine, settings=COMMON)


if __name__ == "__main__":
    examples = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    for machine in MACHINES:
        sys.stdout.write(f"{machine.__name__}: {examples} examples\n")
        sys.stdout.flush()
        run_state_machine_as_test(machine, settings=settings(COMMON, max_examples=examples))
