"""kill -9 at random moments while clients refresh: nobody is logged out, and no line of tokens forks."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import pytest

from oauth_refresh.backends import open_backend
from oauth_refresh.records import decode
from tests.flows.client import OAuthClient, error, generation_of, grant_id, pair
from tests.flows.conftest import Serve
from tests.flows.secret import Pair, Secret
from tests.flows.servers import Gunicorn, wait_until
from tests.flows.wire import TIMEOUT, NoAnswer, get, post

CLIENTS = 8
ROTATIONS = 1000
KILLS = 60
KILLS_IN_FLIGHT = 25
KILLS_OF_THE_WHOLE = 6
STORED_UNANSWERED = 3
SECONDS_MAX = 110.0

STORED = "answer lost, rotation stored"

Answers = dict[Secret, list[Secret]]
"""Every refresh token that was ever received, by the token that was presented for it."""


class Havoc:
    """Kills worker processes, now and then the whole server, and counts what the clients notice."""

    def __init__(self, server: Gunicorn, seed: int) -> None:
        self.server = server
        self.over = threading.Event()
        self.rotations = 0
        self.kills = 0
        self.of_the_whole = 0
        self.struck: set[int] = set()
        self.noticed: Counter[str] = Counter()
        self._registry = open_backend(f"sqlite://{server.registry}")
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._end = time.monotonic() + SECONDS_MAX

    def rotated(self) -> None:
        with self._lock:
            self.rotations += 1

    def notice(self, what: str) -> None:
        """A client met with this."""
        with self._lock:
            self.noticed[what] += 1

    def lost(self, sent: bool, token: Secret | None = None) -> None:
        """A client got no answer. If its request was out, the last kill hit it in flight.

        AssertionError if that goes on for too long.
        """
        assert time.monotonic() < self._end + TIMEOUT
        if not sent:
            return self.notice("not sent")
        with self._lock:
            self.struck.add(self.kills)
        if token is None:
            return self.notice("call lost")
        return self.notice(STORED if self._stored(token) else "request lost")

    def _stored(self, token: Secret) -> bool:
        """Whether the registry has the successor of this token already."""
        raw = bytes.fromhex(grant_id(token))
        entry = self._registry.get(b"g" + raw)
        return entry is not None and decode(entry.body, raw).generation > generation_of(token)

    def enough(self) -> bool:
        return (
            self.rotations >= ROTATIONS
            and self.kills >= KILLS
            and self.of_the_whole >= KILLS_OF_THE_WHOLE
            and len(self.struck) >= KILLS_IN_FLIGHT
            and self.noticed[STORED] >= STORED_UNANSWERED
        )

    def run(self) -> None:
        """Until there was enough of everything; then the clients finish what they are at."""
        try:
            while not self.over.is_set() and not self.enough():
                self._wait_for(self.rotations + self._random.randrange(5, 25))
                time.sleep(self._random.uniform(0, 0.02))
                self._strike()
        finally:
            self.over.set()

    def _wait_for(self, rotations: int) -> None:
        wait_until(lambda: self.rotations >= rotations or self.over.is_set(), self._end - time.monotonic())

    def _strike(self) -> None:
        if self._random.randrange(8) == 0:
            with self._lock:
                self.kills += 1
            self.of_the_whole += 1
            self.server.kill()
            self.server.launch()
            return
        alive = self.server.workers()
        if not alive:
            return
        with self._lock:
            self.kills += 1
        with suppress(ProcessLookupError):
            os.kill(self._random.choice(alive), signal.SIGKILL)


class Survivor:
    """A client that keeps the token it holds until there is an answer to it."""

    def __init__(self, client: OAuthClient, havoc: Havoc, seed: int) -> None:
        self.client = client
        self.newest = client.connected()
        self.received: Answers = {}
        self._havoc = havoc
        self._random = random.Random(seed)

    def run(self) -> None:
        try:
            while not self._havoc.over.is_set():
                self._live()
        finally:
            self._havoc.over.set()

    def _live(self) -> None:
        answer = self._refresh()
        if self._random.random() < 0.2:
            # As if the answer had been lost on its way.
            assert self._refresh() == answer
        if self._random.random() < 0.3:
            self._call(answer)
        self.newest = answer
        self._havoc.rotated()

    def _refresh(self) -> Pair:
        token = self.newest.refresh
        form = {
            "grant_type": "refresh_token",
            "client_id": self.client.client_id,
            "refresh_token": token.text,
        }
        while True:
            try:
                status, answer = post(self._havoc.server.port, "/oauth/token", form)
            except NoAnswer as trouble:
                self._havoc.lost(trouble.sent, token)
            else:
                if status == 200:
                    got = Pair(answer)
                    self.received.setdefault(token, []).append(got.refresh)
                    return got
                assert (status, answer.get("error")) == (503, "temporarily_unavailable")
                self._havoc.notice("503")
            time.sleep(self._random.uniform(0, 0.01))

    def _call(self, tokens: Pair) -> None:
        while True:
            try:
                status, answer = get(self._havoc.server.port, "/api/notes", tokens.access.text)
            except NoAnswer as trouble:
                self._havoc.lost(trouble.sent)
            else:
                assert (status, answer.get("error")) == (200, None)
                return


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.requirement("TOK-10")
@pytest.mark.requirement("RT-11")
def test_kill_9_at_random_moments_logs_nobody_out_and_forks_no_line(serve: Serve, seed: int) -> None:
    server = serve(options=("--workers", "3", "--preload"))
    havoc = Havoc(server, seed)
    clients = [Survivor(OAuthClient(server.base), havoc, number) for number in range(CLIENTS)]
    began = time.monotonic()
    with ThreadPoolExecutor(CLIENTS + 1) as pool:
        try:
            running = [pool.submit(client.run) for client in clients]
            for each in [pool.submit(havoc.run), *running]:
                each.result()
        finally:
            havoc.over.set()

    repeated = sum(len(got) > 1 for client in clients for got in client.received.values())
    print(
        f"\n{havoc.rotations} rotations of {CLIENTS} clients in {time.monotonic() - began:.1f} s; "
        f"{havoc.kills} kills, {havoc.of_the_whole} of them of the whole server, {len(havoc.struck)} with "
        f"requests in flight; {repeated} generations received more than once; noticed: {dict(havoc.noticed)}"
    )
    assert havoc.enough()
    for client in clients:
        assert all(len(set(got)) == 1 for got in client.received.values())
        assert_well(client)
    assert "Traceback" not in server.log()
    with closing(sqlite3.connect(server.registry)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def assert_well(client: Survivor) -> None:
    """The newest acknowledged pair works, and the line went on one step for each token presented."""
    newest = client.newest
    assert client.client.call(newest.access).status_code == 200
    generation = 1 + len(client.received)
    assert generation_of(newest.refresh) == generation
    renewed = pair(client.client.refresh(newest.refresh))
    assert generation_of(renewed.refresh) == generation + 1
    assert client.client.call(renewed.access).status_code == 200
    assert client.client.revoke(renewed.refresh).status_code == 200
    assert error(client.client.call(renewed.access)) == (401, "invalid_token")
