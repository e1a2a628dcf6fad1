"""Refreshes that race, get lost, come late or come again, lived through HTTP."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pytest

from tests.flows.client import OAuthClient, error, pair
from tests.flows.conftest import Serve
from tests.flows.headless import User
from tests.flows.racers import Racers, racers
from tests.flows.secret import Pair, Secret
from tests.flows.servers import Gunicorn, wait_until
from tests.flows.wire import post

PROCESSES = 16
REFRESHES = 200


@pytest.fixture(scope="module")
def sixteen() -> Iterator[Racers]:
    with racers(PROCESSES) as processes:
        yield processes


@pytest.fixture(scope="module", params=["sync", "gthread"])
def server(
    request: pytest.FixtureRequest, demo: Gunicorn, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gunicorn]:
    if request.param == "sync":
        yield demo
        return
    options = ("--workers", "4", "--worker-class", "gthread", "--threads", "8")
    threaded = Gunicorn(tmp_path_factory.mktemp("gthread"), options=options)
    try:
        yield threaded.start()
    finally:
        threaded.close()


def refreshing(client: OAuthClient, token: Secret) -> dict[str, str]:
    return {"grant_type": "refresh_token", "client_id": client.client_id, "refresh_token": token.text}


# --- at once --------------------------------------------------------------------------------------


@pytest.mark.requirement("Q-20")
@pytest.mark.requirement("RT-11")
@pytest.mark.requirement("WSGI-12")
def test_sixteen_processes_that_refresh_with_one_token_all_get_the_same_pair(
    server: Gunicorn, sixteen: Racers
) -> None:
    client = OAuthClient(server.base)
    newest = client.connected()
    for _ in range(5):
        answers = sixteen.race(server.port, "/oauth/token", refreshing(client, newest.refresh))
        assert Counter(status for status, _ in answers) == {200: PROCESSES}
        pairs = {Pair(answer) for _, answer in answers}
        assert len(pairs) == 1
        assert newest not in pairs
        newest = pairs.pop()
        assert client.call(newest.access).status_code == 200
    print(f"\n5 races of {PROCESSES} processes: one pair each")


@pytest.mark.requirement("CODE-05")
@pytest.mark.requirement("CODE-06")
@pytest.mark.requirement("WSGI-12")
def test_of_sixteen_processes_that_redeem_one_code_one_succeeds_and_the_grant_ends(
    server: Gunicorn, sixteen: Racers
) -> None:
    client = OAuthClient(server.base)
    first = client.connected()
    attempt, code = client.sign_in(User())
    form = {
        "grant_type": "authorization_code",
        "client_id": client.client_id,
        "code": code.text,
        "code_verifier": attempt.verifier.text,
    }
    answers = sixteen.race(server.port, "/oauth/token", form)
    outcomes = Counter((status, answer.get("error")) for status, answer in answers)
    assert outcomes == {(200, None): 1, (400, "invalid_grant"): PROCESSES - 1}
    won = next(Pair(answer) for status, answer in answers if status == 200)
    assert error(client.call(won.access)) == (401, "invalid_token")
    assert error(client.refresh(won.refresh)) == (400, "invalid_grant")
    # It is another grant of the same client and user that ended.
    assert client.call(first.access).status_code == 200


# --- revocation -----------------------------------------------------------------------------------


def port_of(client: OAuthClient) -> int:
    return int(client.base.rpartition(":")[2])


class Refreshed(NamedTuple):
    """One answer to a refresh, and when its request began."""

    began: float
    status: int
    answer: dict[str, Any]


class Revocation:
    """Refreshes are counted, and when `after` have been answered a thread of its own revokes `token`."""

    def __init__(self, client: OAuthClient, token: Secret, after: int) -> None:
        self.refreshed: list[Refreshed] = []
        self._after, self._due = after, threading.Event()
        self._answered = float("inf")
        self._end = time.monotonic() + 60
        self._thread = threading.Thread(target=self._revoke, args=(client, token))
        self._thread.start()

    def count(self, refreshed: Refreshed) -> None:
        self.refreshed.append(refreshed)
        if len(self.refreshed) >= self._after:
            self._due.set()

    def is_over(self, began: float) -> bool:
        """Whether there were enough refreshes, the last of them after the revocation had been answered."""
        enough = len(self.refreshed) >= REFRESHES and began > self._answered
        return enough or time.monotonic() > self._end

    def assert_nothing_works(self, client: OAuthClient, given: Pair) -> None:
        """No token that was ever handed out, and none was handed out after the answer."""
        self._thread.join(60)
        outcomes = Counter((each.status, each.answer.get("error")) for each in self.refreshed)
        assert set(outcomes) == {(200, None), (400, "invalid_grant")}
        late = [each.status for each in self.refreshed if each.began > self._answered]
        assert set(late) == {400}
        pairs = {given, *(Pair(each.answer) for each in self.refreshed if each.status == 200)}
        for each in pairs:
            assert error(client.call(each.access)) == (401, "invalid_token")
            assert error(client.refresh(each.refresh)) == (400, "invalid_grant")
        print(
            f"\n{outcomes[200, None]} refreshed, {outcomes[400, 'invalid_grant']} refused, "
            f"{len(late)} of them begun after the answer, {len(pairs)} pairs dead"
        )

    def _revoke(self, client: OAuthClient, token: Secret) -> None:
        assert self._due.wait(60)
        answer = client.revoke(token)
        while answer.status_code == 503 and time.monotonic() < self._end:
            # Every try was overtaken by a refresh. Nothing is revoked then, and the client tries again.
            assert answer.json()["error"] == "temporarily_unavailable"
            answer = client.revoke(token)
        assert answer.status_code == 200
        self._answered = time.monotonic()


def one_refresh(client: OAuthClient, token: Secret) -> Refreshed:
    began = time.monotonic()
    return Refreshed(began, *post(port_of(client), "/oauth/token", refreshing(client, token)))


@pytest.mark.requirement("REV-06")
@pytest.mark.requirement("REV-07")
@pytest.mark.parametrize("seed", range(4))
def test_a_revocation_that_races_200_refreshes_of_one_token_leaves_nothing_that_works(
    server: Gunicorn, seed: int
) -> None:
    client = OAuthClient(server.base)
    given = client.connected()
    revocation = Revocation(client, given.refresh, after=random.Random(seed).randrange(1, 150))

    def keep_refreshing() -> None:
        began = 0.0
        while not revocation.is_over(began):
            refreshed = one_refresh(client, given.refresh)
            revocation.count(refreshed)
            began = refreshed.began

    with ThreadPoolExecutor(PROCESSES) as pool:
        for each in [pool.submit(keep_refreshing) for _ in range(PROCESSES)]:
            each.result()
    revocation.assert_nothing_works(client, given)


@pytest.mark.requirement("REV-06")
@pytest.mark.requirement("REV-07")
@pytest.mark.parametrize("seed", range(4))
def test_a_revocation_that_races_a_line_of_200_rotations_leaves_nothing_that_works(
    server: Gunicorn, seed: int
) -> None:
    client = OAuthClient(server.base)
    given = client.connected()
    # The first token of all revokes as well as the newest: any genuine one ends the grant.
    revocation = Revocation(client, given.refresh, after=random.Random(seed).randrange(1, 150))
    token, began = given.refresh, 0.0
    while not revocation.is_over(began):
        refreshed = one_refresh(client, token)
        revocation.count(refreshed)
        began = refreshed.began
        token = Pair(refreshed.answer).refresh if refreshed.status == 200 else token
    revocation.assert_nothing_works(client, given)


# --- real clocks ----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.requirement("TOK-12")
@pytest.mark.requirement("RT-08")
@pytest.mark.requirement("RT-10")
def test_with_short_lives_expiry_repeat_and_reuse_are_what_the_settings_say(serve: Serve) -> None:
    server = serve({"OAUTH_ACCESS_TOKEN_TTL": "4", "OAUTH_REFRESH_GRACE": "1"})
    client = OAuthClient(server.base)
    first = client.connected()
    assert first.expires_in == 4
    assert client.call(first.access).status_code == 200
    wait_until(lambda: client.call(first.access).status_code == 401, 10)

    second = pair(client.refresh(first.refresh))
    rotated = time.monotonic()
    wait_until(lambda: time.monotonic() > rotated + 1.1, 5)
    # The grace is over, and the successor was never used: the answer may have been lost.
    again = pair(client.refresh(first.refresh))
    assert again.refresh == second.refresh
    assert client.call(again.access).status_code == 200
    assert error(client.refresh(first.refresh)) == (400, "invalid_grant")
    assert error(client.call(again.access)) == (401, "invalid_token")
    assert error(client.refresh(again.refresh)) == (400, "invalid_grant")
