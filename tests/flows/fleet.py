"""Clients that rotate without pause, and keep the token that they hold until there is an answer to it."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

from tests.flows.client import OAuthClient, generation_of, grant_id, pair
from tests.flows.headless import User
from tests.flows.secret import Pair
from tests.flows.servers import Gunicorn, wait_until
from tests.flows.wire import NoAnswer, post

PATIENCE = 30.0
"""Seconds for which a client tries again what was not answered, or with 503. Then its session is lost."""

SIGN_INS_AT_ONCE = 8


class Rotating:
    """One session. `lost` is why it ended, None while it lives; `waited` its longest wait, in seconds."""

    def __init__(self, client: OAuthClient, newest: Pair) -> None:
        self.client = client
        self.newest = newest
        self.rotations = 0
        self.waited = 0.0
        self.lost: str | None = None

    @property
    def grant(self) -> str:
        return grant_id(self.newest.refresh)

    @property
    def acknowledged(self) -> int:
        """The newest generation that this client was given."""
        return generation_of(self.newest.refresh)

    def rotate(self, port: int) -> None:
        began = time.monotonic()
        while (answer := self._ask(port)) is None and self.lost is None:
            if time.monotonic() - began > PATIENCE:
                self.lost = f"no answer in {PATIENCE:.0f} seconds"
            time.sleep(random.uniform(0.05, 0.25))
        if answer is not None:
            self.newest = answer
            self.rotations += 1
            self.waited = max(self.waited, time.monotonic() - began)

    def _ask(self, port: int) -> Pair | None:
        token, client_id = self.newest.refresh.text, self.client.client_id
        form = {"grant_type": "refresh_token", "client_id": client_id, "refresh_token": token}
        try:
            status, answer = post(port, "/oauth/token", form)
        except NoAnswer:
            return None
        if status == 200:
            return Pair(answer)
        if (status, answer.get("error")) != (503, "temporarily_unavailable"):
            self.lost = f"{status} {answer.get('error')}"
        return None


class Fleet:
    """So many sessions, each signed in by a browser; inside the `with` block all of them rotate."""

    def __init__(self, server: Gunicorn, size: int) -> None:
        self.server = server
        # They share a registration, as the copies of an installed program do.
        first = OAuthClient(server.base)
        assert first.register().status_code == 201

        def signed_in(users: list[User]) -> Rotating:
            client = OAuthClient(server.base)
            client.client_id, client.server = first.client_id, first.server
            user = users.pop()
            newest = client.connected(user)
            users.append(user)
            return Rotating(client, newest)

        users = [User() for _ in range(SIGN_INS_AT_ONCE)]
        with ThreadPoolExecutor(SIGN_INS_AT_ONCE) as pool:
            self.sessions = list(pool.map(signed_in, [users] * size))
        self._over = threading.Event()
        self._pool = ThreadPoolExecutor(size)

    def __enter__(self) -> Fleet:
        self._running = [self._pool.submit(self._run, session) for session in self.sessions]
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        self._over.set()
        self._pool.shutdown()
        if kind is None:
            for each in self._running:
                each.result()

    @property
    def rotations(self) -> int:
        return sum(session.rotations for session in self.sessions)

    @property
    def lost(self) -> set[str]:
        """The grants whose session is lost."""
        return {session.grant for session in self.sessions if session.lost is not None}

    def go_on(self, times: int) -> None:
        """Until every session has rotated so many times from now on, or is lost."""
        goals = [session.rotations + times for session in self.sessions]

        def reached() -> bool:
            both = zip(self.sessions, goals, strict=True)
            return all(session.lost is not None or session.rotations >= goal for session, goal in both)

        wait_until(reached, 4 * PATIENCE)

    def assert_well(self) -> None:
        """What every session that is not lost holds is good: its access token lets in, and it renews."""
        for session in self.sessions:
            if session.lost is None:
                renewed = pair(session.client.refresh(session.newest.refresh))
                assert session.client.call(renewed.access).status_code == 200

    def _run(self, session: Rotating) -> None:
        while not self._over.is_set() and session.lost is None:
            session.rotate(self.server.port)
