"""A registry that cannot answer: 503 and a way out in the log, never a lost credential or an open door."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from oauth_refresh import ConfigurationError
from oauth_refresh.demo import create_app
from tests.flows import faults
from tests.flows.client import OAuthClient, error, pair
from tests.flows.clocked import Clocked
from tests.flows.conftest import Serve
from tests.flows.headless import TIMEOUT, User
from tests.flows.outage import assert_the_rest_is_untouched, assert_unavailable, assert_writes_are_refused
from tests.flows.secret import Secret
from tests.flows.servers import Gunicorn, environment


class Story:
    """A client with a pair in use, and a browser that is signed in, before the trouble begins."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "oauth.db"
        self.server = Clocked(folder, registry=f"sqlite://{self.path}?timeout=0.1")
        self.client = self.server.client()
        self.user = User(browser=self.client.connect())
        self.held = pair(self.client.refresh(self.client.connected(self.user).refresh))
        assert self.client.call(self.held.access).status_code == 200

    def closed(self) -> Path:
        """The file, which is opened anew at the next request, as by a process that has just started."""
        self.server.backend.close()
        return self.path

    def assert_goes_on(self) -> None:
        """Nothing was lost: the pair from before the trouble works, and so does everything else."""
        renewed = pair(self.client.refresh(self.held.refresh))
        assert self.client.call(renewed.access).status_code == 200
        assert self.client.connected(self.user)
        assert self.client.register().status_code == 201


Fault = Callable[[Story], AbstractContextManager[None]]

EXCLUSIVE = ("PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE")

# The fault, and what the log tells the operator to do about it.
NOTHING_WORKS: dict[str, tuple[Fault, str]] = {
    "locked": (lambda story: faults.locked(story.closed(), *EXCLUSIVE), "look for a backup"),
    "no database any more": (lambda story: faults.overwritten(story.closed(), 0), "restore a backup"),
    "damaged": (lambda story: faults.overwritten(story.closed(), 2048), "restore a backup"),
    "emptied": (lambda story: faults.emptied(story.closed()), "put it back"),
    "gone": (lambda story: faults.moved_away(story.closed()), "put it back"),
    "unreadable": (lambda story: faults.modes(story.closed(), mode=0), "check owner and mode"),
    "read-only with its folder": (lambda story: faults.modes(story.closed()), "check owner and mode"),
}

WRITES_FAIL: dict[str, tuple[Fault, str]] = {
    "locked for writing": (lambda story: faults.locked(story.path, "BEGIN IMMEDIATE"), "look for a backup"),
    "read-only": (lambda story: faults.modes(story.closed(), folder=0o755), "check owner and mode"),
    "no room": (lambda story: faults.no_room(story.path, [os.getpid()]), "limits of file size"),
}


@pytest.fixture
def story(tmp_path: Path) -> Story:
    folder = tmp_path / "registry"
    folder.mkdir()
    return Story(folder)


def assert_told(caplog: pytest.LogCaptureFixture, path: Path, advice: str) -> None:
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert told
    assert all(f"registry {path}: " in line and advice in line for line in told), told
    assert not any(record.exc_info for record in caplog.records)


@pytest.mark.requirement("HTTP-14")
@pytest.mark.requirement("REV-08")
@pytest.mark.parametrize(("fault", "advice"), NOTHING_WORKS.values(), ids=NOTHING_WORKS.keys())
def test_a_registry_that_cannot_be_read_is_503_until_it_is_mended(
    story: Story, fault: Fault, advice: str, caplog: pytest.LogCaptureFixture
) -> None:
    client, held = story.client, story.held

    def assert_closed() -> None:
        assert_writes_are_refused(client, held)
        assert_unavailable(client.call(held.access))
        assert_unavailable(client.call(Secret("oat_" + "A" * 64)))
        assert_unavailable(client.redeem(Secret("oac_" + "A" * 64), Secret("v" * 64)))
        page = story.user.browser.get(client.begin().url)
        assert (page.status_code, page.headers["Content-Type"]) == (503, "text/html; charset=utf-8")
        assert int(page.headers["Retry-After"]) > 0
        assert_the_rest_is_untouched(client)

    with fault(story):
        faults.as_ordinary_owner(assert_closed)
    assert_told(caplog, story.path, advice)
    story.assert_goes_on()


@pytest.mark.requirement("HTTP-14")
@pytest.mark.requirement("REV-08")
@pytest.mark.parametrize(("fault", "advice"), WRITES_FAIL.values(), ids=WRITES_FAIL.keys())
def test_a_registry_that_can_only_be_read_serves_the_api_and_refuses_to_write(
    story: Story, fault: Fault, advice: str, caplog: pytest.LogCaptureFixture
) -> None:
    client, held = story.client, story.held

    def assert_readable() -> None:
        assert_writes_are_refused(client, held)
        assert client.call(held.access).status_code == 200
        assert error(client.call(Secret("oat_" + "A" * 64))) == (401, "invalid_token")
        assert error(client.refresh(Secret("ort_" + "A" * 91))) == (400, "invalid_grant")
        with pytest.raises(AssertionError, match="stuck at a page with status 503"):
            client.sign_in(story.user)
        assert_the_rest_is_untouched(client)

    with fault(story):
        faults.as_ordinary_owner(assert_readable)
    assert_told(caplog, story.path, advice)
    story.assert_goes_on()


@pytest.mark.requirement("HTTP-14")
def test_a_use_that_cannot_be_written_down_does_not_cost_the_answer(
    story: Story, caplog: pytest.LogCaptureFixture
) -> None:
    unused = pair(story.client.refresh(story.held.refresh))
    with faults.locked(story.path, "BEGIN IMMEDIATE"):
        assert story.client.call(unused.access).status_code == 200
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "the use of a token could not be recorded" in caplog.text
    assert not story.server.grant(unused.access).used
    assert story.client.call(unused.access).status_code == 200
    assert story.server.grant(unused.access).used


@pytest.mark.requirement("HTTP-14")
@pytest.mark.requirement("TOK-10")
def test_a_full_disk_is_503_and_leaves_no_half_written_state(serve: Serve) -> None:
    server = serve(options=("--workers", "2"))
    client = OAuthClient(server.base)
    user = User()
    held = client.connected(user)
    for _ in range(5):
        held = pair(client.refresh(held.refresh))
        assert client.call(held.access).status_code == 200
    with faults.no_room(server.registry, server.workers()):
        for _ in range(3):
            assert_writes_are_refused(client, held)
            assert client.call(held.access).status_code == 200
            with pytest.raises(AssertionError, match="stuck at a page with status 503"):
                client.sign_in(user)
            assert_the_rest_is_untouched(client)
    told = [line for line in server.log().splitlines() if line.startswith("registry_unavailable ")]
    assert told
    assert all(f"registry {server.registry}: " in line for line in told)
    assert all("limits of file size" in line or "make room" in line for line in told), told
    renewed = pair(client.refresh(held.refresh))
    assert client.call(renewed.access).status_code == 200
    assert client.call(client.connected(user).access).status_code == 200


# --- settings that make no sense ------------------------------------------------------------------

SENSELESS = {
    "OAUTH_ACCESS_TOKEN_TTL": "0",
    "OAUTH_REFRESH_TOKEN_TTL": "-5",
    "OAUTH_CODE_TTL": "soon",
    "OAUTH_REFRESH_GRACE": "-1",
    "OAUTH_REUSE_POLICY": "maybe",
    "OAUTH_CATCH_UP_GENERATIONS": "65",
    "OAUTH_ROLL_FORWARD": "perhaps",
    "OAUTH_PREFIX": "oauth",
    "OAUTH_PROTECT": "api=notes:read",
    "OAUTH_PASSWORD_CHECK": "no.such:thing",
    "OAUTH_REGISTRATION": "token",
    "OAUTH_ISSUER": "http://example.org",
    "OAUTH_REGISTRY": "somewhere",
}


def assert_lists_every_mistake(text: str) -> None:
    lines = [line.removeprefix("Error: ") for line in text.splitlines()]
    for key, value in SENSELESS.items():
        about = [line for line in lines if line.startswith(key) or f"ConfigurationError: {key}" in line]
        assert about, key
        assert all("; allowed: " in line for line in about)
        # A registry URL may hold a password.
        assert all((repr(value) in line) == (key != "OAUTH_REGISTRY") for line in about)


def test_senseless_settings_are_all_named_at_once() -> None:
    with pytest.raises(ConfigurationError) as refused:
        create_app(environ=SENSELESS)
    assert len(refused.value.problems) == len(SENSELESS)
    assert_lists_every_mistake(str(refused.value))


@pytest.mark.parametrize("options", [(), ("--preload",)], ids=["in the worker", "in the master"])
def test_gunicorn_does_not_start_with_senseless_settings(tmp_path: Path, options: tuple[str, ...]) -> None:
    server = Gunicorn(tmp_path, SENSELESS, options=("--workers", "1", *options))
    try:
        assert server.launch().wait(TIMEOUT) != 0
    finally:
        server.close()
    assert_lists_every_mistake(server.log())


def test_the_demo_command_does_not_start_with_senseless_settings(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "oauth_refresh", "demo", "--port", "0"],
        env=environment(tmp_path, SENSELESS),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (1, "")
    assert_lists_every_mistake(ended.stderr)
    assert "Traceback" not in ended.stderr
