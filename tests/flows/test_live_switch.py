"""From an old token file over SQLite and PostgreSQL to a Valkey cluster, while clients rotate.

Two hosts share the registry and are restarted one after the other, so that at each step one of them still
writes to the registry that the other one leaves. No server secret is configured: the one that was drawn for
the file has to go along. `python -m tests.flows.test_live_switch SECONDS` stays longer at each step.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from http.client import HTTPConnection, HTTPException
from itertools import pairwise
from pathlib import Path

import pytest

from oauth_refresh.server import Server
from tests.backends import postgres, valkey
from tests.flows.servers import Gunicorn, environment
from tests.flows.wire import NoAnswer, post
from tests.settings_loading import load

CLIENTS = 50
PATIENCE = 30.0
SECONDS_PER_STEP = 0.5

_SETTINGS = {
    "OAUTH_REFRESH_APP": "werkzeug.testapp:test_app",
    "OAUTH_ISSUER": "http://127.0.0.1:8000",
    "OAUTH_PROTECT": "/api=a",
    "OAUTH_TRUST_REMOTE_USER": "yes",
}


class Session:
    """One session of the old token file. `lost` says why it ended, None while it lives."""

    def __init__(self, number: int) -> None:
        self.access = sha256(f"access {number}".encode()).hexdigest()
        self.refresh = sha256(f"refresh {number}".encode()).hexdigest()
        self.number = number
        self.rotations = 0
        self.refused = 0
        self.lost: str | None = None

    def entry(self) -> dict[str, object]:
        """As it stands in the file."""
        return {
            "id": f"t{self.number}",
            "hash": sha256(self.access.encode()).hexdigest(),
            "agent_name": f"user{self.number}",
            "allowed_tools": ["*"],
            "expires_at": "2099-01-01T00:00:00.123456789Z",
            "refresh_token_hash": sha256(self.refresh.encode()).hexdigest(),
        }

    def rotate(self, ports: Sequence[int]) -> None:
        """Ask any host for the next pair, again and again as long as there is no answer."""
        form = {"grant_type": "refresh_token", "refresh_token": self.refresh}
        answer = self._patiently(ports, "/oauth/token", form)
        if answer is not None:
            self.access, self.refresh = str(answer["access_token"]), str(answer["refresh_token"])
            self.rotations += 1

    def call(self, port: int) -> None:
        """The access token works at any host: but for a host that cannot know yet."""
        connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        try:
            connection.request("GET", "/api", headers={"Authorization": f"Bearer {self.access}"})
            status = connection.getresponse().status
        except (OSError, HTTPException):
            return
        finally:
            connection.close()
        if status not in (200, 503):
            self.lost = f"the access token is refused with {status}"

    def _patiently(self, ports: Sequence[int], path: str, form: dict[str, str]) -> dict[str, object] | None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                status, answer = post(random.choice(ports), path, form)
            except NoAnswer:
                continue
            if status == 200:
                return answer
            if status != 503:
                self.lost = f"{status} {answer.get('error')}"
                return None
            self.refused += 1
            time.sleep(random.uniform(0.02, 0.1))
        self.lost = f"no answer in {PATIENCE:.0f} seconds"
        return None


class Hosts:
    """Two servers with one registry."""

    def __init__(self, folder: Path, registry: str) -> None:
        self._folder = folder
        self._servers: list[Gunicorn] = []
        for number in range(2):
            place = folder / f"host{number}"
            place.mkdir()
            options = ("--workers", "1", "--threads", "16", "--worker-class", "gthread")
            server = Gunicorn(place, app="oauth_refresh.wsgi:application", options=options)
            self._servers.append(server)
            self._restart(server, {"OAUTH_REGISTRY": registry})
        self.ports = [server.port for server in self._servers]

    def roll(self, registry: str, fallback: str | None) -> None:
        """Restart one after the other with these settings."""
        settings = {"OAUTH_REGISTRY": registry}
        if fallback is not None:
            settings["OAUTH_REGISTRY_FALLBACK"] = fallback
        for server in self._servers:
            self._restart(server, settings)
            time.sleep(SECONDS_PER_STEP)

    def _restart(self, server: Gunicorn, settings: dict[str, str]) -> None:
        server.stop()
        server.set_environment({**_SETTINGS, **settings})
        server.start()

    def migrate(self, source: str, target: str) -> str:
        command = [sys.executable, "-m", "oauth_refresh", "migrate", "--live", source, target]
        done = subprocess.run(
            command, cwd=self._folder, env=environment(self._folder, {}), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def log(self) -> str:
        return "\n".join(server.log() for server in self._servers)

    def close(self) -> None:
        for server in self._servers:
            server.close()


@contextmanager
def rotating(sessions: Sequence[Session], ports: Sequence[int]) -> Iterator[None]:
    """All of them rotate without pause inside the block."""
    over = threading.Event()

    def go_on(session: Session) -> None:
        while not over.is_set() and session.lost is None:
            session.rotate(ports)
            session.call(random.choice(ports))

    threads = [threading.Thread(target=go_on, args=(session,)) for session in sessions]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def switch(folder: Path, clients: int = CLIENTS) -> tuple[list[Session], list[str]]:
    """Live through it: the sessions, and what was found wrong at the end."""
    sessions = [Session(number) for number in range(clients)]
    leaving = [Session(clients + number) for number in range(3)]
    path = folder / "tokens.json"
    path.write_text(
        json.dumps(
            {"version": 2, "tokens": {f"t{each.number}": each.entry() for each in (*sessions, *leaving)}}
        )
    )
    with valkey.cluster(folder) as servers:
        way = [
            f"file://{path}?timeout=30",
            f"sqlite://{folder}/oauth.db",
            postgres.shared().url(prefix=f"switch_{random.randrange(10**9)}"),
            f"{servers.url}?prefix=switch:",
        ]
        hosts = Hosts(folder, way[0])
        try:
            with rotating(sessions, hosts.ports):
                for (source, target), left in zip(pairwise(way), leaving, strict=True):
                    hosts.roll(target, source)
                    assert _server(target, source).registry.revoke_subject(f"user{left.number}") == 1
                    hosts.migrate(source, target)
                hosts.roll(way[-1], None)
            return sessions, list(_wrong(sessions, leaving, hosts, way[-1]))
        finally:
            hosts.close()


def _server(registry: str, fallback: str | None = None) -> Server:
    """As a command of the operator has it."""
    named = {"registry": registry, "registry_fallback": fallback}
    return Server(load(keywords=named, environ=_SETTINGS))


def _wrong(sessions: list[Session], leaving: list[Session], hosts: Hosts, last: str) -> Iterator[str]:
    """What is not as it should be, in the last registry alone."""
    generations = {grant.subject: grant.generation for grant in _server(last).registry.list()}
    for session in sessions:
        if session.lost is None and generations[f"user{session.number}"] != session.rotations:
            yield f"session {session.number} was answered {session.rotations} rotations and has others"
        session.rotate(hosts.ports)
    for session in leaving:
        session.rotate(hosts.ports)
        if session.lost != "400 invalid_grant":
            yield f"a session that was revoked on the way is {session.lost or 'alive'}"
    if "Traceback" in hosts.log():
        yield "a host has logged a traceback"


@pytest.mark.slow
def test_no_session_is_lost_on_the_way_from_a_file_to_a_cluster(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    sessions, wrong = switch(tmp_path)
    assert ([session.lost for session in sessions if session.lost is not None], wrong) == ([], [])
    assert min(session.rotations for session in sessions) > 8


def main() -> None:
    global SECONDS_PER_STEP
    SECONDS_PER_STEP = float(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        sessions, wrong = switch(Path(folder))
    lost = [session.lost for session in sessions if session.lost is not None]
    rotations = sum(session.rotations for session in sessions)
    refused = sum(session.refused for session in sessions)
    sys.stdout.write(f"{len(lost)} of {len(sessions)} lost; {rotations} rotations, {refused} times 503\n")
    sys.stdout.write("".join(f"{line}\n" for line in (*lost, *wrong)))


if __name__ == "__main__":
    main()
