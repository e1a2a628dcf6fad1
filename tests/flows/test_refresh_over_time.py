"""Refreshes that are seconds, minutes and days apart: lost answers, reuse, lifetimes, revocation."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.flows.client import OAuthClient, error, pair
from tests.flows.clocked import Clocked
from tests.flows.secret import Pair

ACCESS_TTL = 86400
REFRESH_TTL = 30 * 86400
GRACE = 60
MINUTE, HOUR = 60, 3600


@pytest.fixture
def server(tmp_path: Path) -> Clocked:
    return Clocked(tmp_path)


def rotated(client: OAuthClient, newest: Pair, times: int) -> list[Pair]:
    """`newest`, and the pairs of that many rotations after it."""
    line = [newest]
    for _ in range(times):
        line.append(pair(client.refresh(line[-1].refresh)))
    return line


def assert_dead(client: OAuthClient, line: list[Pair]) -> None:
    for each in line:
        assert error(client.call(each.access)) == (401, "invalid_token")
        assert error(client.refresh(each.refresh)) == (400, "invalid_grant")


# --- lost answers ---------------------------------------------------------------------------------


@pytest.mark.requirement("RT-10")
@pytest.mark.requirement("RT-11")
@pytest.mark.parametrize("later", [0, 1, GRACE - 1, GRACE, 10 * MINUTE, 23 * HOUR], ids=str)
def test_a_lost_answer_is_repeated_identically_also_long_after_the_grace(server: Clocked, later: int) -> None:
    client = server.client()
    first = client.connected()
    lost = pair(client.refresh(first.refresh))
    server.now += later
    again = pair(client.refresh(first.refresh))
    assert again == lost
    assert (lost.expires_in, again.expires_in) == (ACCESS_TTL, ACCESS_TTL - later)
    assert client.call(again.access).status_code == 200
    assert client.call(pair(client.refresh(again.refresh)).access).status_code == 200


def test_a_lost_answer_is_repeated_after_its_access_token_expired_with_a_new_one(server: Clocked) -> None:
    client = server.client()
    first = client.connected()
    lost = pair(client.refresh(first.refresh))
    server.now += ACCESS_TTL
    again = pair(client.refresh(first.refresh))
    assert again.refresh == lost.refresh
    assert again.access != lost.access
    assert again.expires_in == ACCESS_TTL
    assert client.call(again.access).status_code == 200
    assert error(client.call(lost.access)) == (401, "invalid_token")


def test_answers_lost_again_and_again_cost_nobody_the_session(server: Clocked) -> None:
    client = server.client()
    newest = client.connected()
    for _ in range(5):
        answers = []
        for _ in range(4):
            answers.append(pair(client.refresh(newest.refresh)))
            server.now += 5 * MINUTE
        assert len(set(answers)) == 1
        newest = answers[-1]
    assert client.call(newest.access).status_code == 200


def test_within_the_grace_the_answer_is_repeated_though_its_access_token_was_used(server: Clocked) -> None:
    client = server.client()
    first = client.connected()
    second = pair(client.refresh(first.refresh))
    assert client.call(second.access).status_code == 200
    server.now += GRACE - 0.01
    assert pair(client.refresh(first.refresh)) == second


@pytest.mark.requirement("RT-21")
def test_the_replaced_access_token_works_for_half_the_grace(server: Clocked) -> None:
    client = server.client()
    first = client.connected()
    pair(client.refresh(first.refresh))
    server.now += GRACE / 2 - 1
    assert client.call(first.access).status_code == 200
    server.now += 1
    assert error(client.call(first.access)) == (401, "invalid_token")


# --- reuse ----------------------------------------------------------------------------------------


@pytest.mark.requirement("BCP-24")
@pytest.mark.requirement("RT-07")
@pytest.mark.requirement("RT-08")
@pytest.mark.parametrize("rotations", [1, 2, 50])
def test_a_token_reused_after_that_many_rotations_kills_the_grant(
    server: Clocked, rotations: int, caplog: pytest.LogCaptureFixture
) -> None:
    client = server.client()
    line = rotated(client, client.connected(), rotations)
    assert client.call(line[-1].access).status_code == 200
    if rotations == 1:
        server.now += GRACE
    with caplog.at_level(logging.WARNING, "oauth_refresh"):
        assert error(client.refresh(line[0].refresh)) == (400, "invalid_grant")
    assert [record.getMessage().split()[0] for record in caplog.records] == ["token_reused"]
    assert server.grant(line[0].refresh).revoked_why == "token_reused"
    assert_dead(client, line)


@pytest.mark.requirement("RT-13")
def test_a_refresh_with_the_successor_ends_the_grace_for_the_token_before_it(server: Clocked) -> None:
    client = server.client()
    line = rotated(client, client.connected(), 2)
    assert error(client.refresh(line[0].refresh)) == (400, "invalid_grant")
    assert_dead(client, line)


def test_with_the_policy_refuse_a_reuse_is_refused_and_the_session_goes_on(tmp_path: Path) -> None:
    server = Clocked(tmp_path, reuse_policy="refuse")
    client = server.client()
    line = rotated(client, client.connected(), 3)
    assert error(client.refresh(line[0].refresh)) == (400, "invalid_grant")
    assert client.call(line[-1].access).status_code == 200
    assert pair(client.refresh(line[-1].refresh))


def test_with_the_policy_catch_up_an_older_token_gets_the_current_pair(tmp_path: Path) -> None:
    server = Clocked(tmp_path, reuse_policy="catch-up", catch_up_generations=4)
    client = server.client()
    line = rotated(client, client.connected(), 4)
    server.now += HOUR
    for older in line[:-1]:
        assert pair(client.refresh(older.refresh)) == line[-1]
    line += rotated(client, line[-1], 1)[1:]
    assert error(client.refresh(line[0].refresh)) == (400, "invalid_grant")
    assert_dead(client, line)


# --- lifetimes ------------------------------------------------------------------------------------


def test_a_refresh_works_after_the_access_token_has_expired(server: Clocked) -> None:
    client = server.client()
    first = client.connected()
    server.now += ACCESS_TTL
    assert error(client.call(first.access)) == (401, "invalid_token")
    server.now = server.grant(first.refresh).created_at + REFRESH_TTL - 1
    second = pair(client.refresh(first.refresh))
    assert client.call(second.access).status_code == 200


@pytest.mark.requirement("RT-18")
def test_five_rotations_leave_both_lifetimes_full(server: Clocked) -> None:
    client = server.client()
    newest = client.connected()
    for _ in range(5):
        server.now += 20 * 86400
        newest = pair(client.refresh(newest.refresh))
        grant = server.grant(newest.refresh)
        assert newest.expires_in == ACCESS_TTL
        assert grant.access is not None
        assert grant.access.expires_at == server.now + ACCESS_TTL
        assert grant.refresh_expires_at == server.now + REFRESH_TTL
    server.now += REFRESH_TTL - 0.5
    assert error(client.refresh(newest.refresh)) == (400, "invalid_grant")
    assert server.grant(newest.refresh).revoked_at is None


# --- revocation -----------------------------------------------------------------------------------


@pytest.mark.requirement("REV-06")
@pytest.mark.requirement("REV-07")
@pytest.mark.parametrize("which", [0, 1, 2], ids=["older", "previous", "current"])
def test_a_revoked_grant_has_no_grace(server: Clocked, which: int) -> None:
    client = server.client()
    line = rotated(client, client.connected(), 2)
    assert client.revoke(line[which].refresh).status_code == 200
    assert_dead(client, line)


@pytest.mark.requirement("REV-06")
def test_a_revoked_access_token_ends_alone_and_no_repeat_hands_it_out_again(server: Clocked) -> None:
    client = server.client()
    first = client.connected()
    second = pair(client.refresh(first.refresh))
    assert client.revoke(second.access).status_code == 200
    assert error(client.call(second.access)) == (401, "invalid_token")
    again = pair(client.refresh(first.refresh))
    assert again.refresh == second.refresh
    assert again.access != second.access
    assert client.call(again.access).status_code == 200
    assert error(client.call(second.access)) == (401, "invalid_token")
