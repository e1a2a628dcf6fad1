"""The event log: lines of JSON that many processes append to one file."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from oauth_refresh.event_log import EventLog, read_events

from .backends.children import in_a_child
from .driving import Clock, InProcess

NOW = 1_800_000_000.25


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


@pytest.fixture
def event_log(path: Path) -> EventLog:
    return EventLog(str(path), Clock(NOW))


@pytest.mark.requirement("OPS-05")
def test_an_event_is_one_line_of_json(event_log: EventLog, path: Path) -> None:
    event_log("token_rotated", {"grant": "ab", "generation": 3, "client": None, "name": "a\nb\u202ec"})
    event_log("login_failed", {})
    assert path.read_text() == (
        '{"time":"2027-01-15T08:00:00.250Z","event":"token_rotated","grant":"ab","generation":3,'
        '"client":null,"name":"a\\nb\\u202ec"}\n'
        '{"time":"2027-01-15T08:00:00.250Z","event":"login_failed"}\n'
    )
    assert os.stat(path).st_mode & 0o777 == 0o600


def test_a_file_that_was_renamed_is_made_anew(event_log: EventLog, path: Path) -> None:
    event_log("login", {"subject": "first"})
    path.rename(path.with_suffix(".1"))
    event_log("login", {"subject": "second"})
    path.unlink()
    event_log("login", {"subject": "third"})
    assert [told["subject"] for told in read_events(str(path.with_suffix(".1")))] == ["first"]
    assert [told["subject"] for told in read_events(str(path))] == ["third"]


_TO_OUTPUT = """
import logging, sys
from oauth_refresh.event_log import EventLog
logging.basicConfig(filename=sys.argv[2])
events = EventLog(sys.argv[1], lambda: 0.0)
for number in range(int(sys.argv[3])):
    events("login", {"subject": number})
"""


@pytest.mark.parametrize("output", ["/dev/stdout", "/dev/stderr", "a link"])
def test_an_output_that_is_a_socket_is_written_to(tmp_path: Path, output: str) -> None:
    """As under systemd, where it leads to the journal."""
    path = output
    if output == "a link":
        path = str(tmp_path / "link")
        os.symlink("/dev/stdout", path)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        end = theirs.fileno()
        stdout, stderr = (None, end) if output == "/dev/stderr" else (end, None)
        command = [sys.executable, "-c", _TO_OUTPUT, path, str(tmp_path / "log"), "3"]
        subprocess.run(command, check=True, timeout=60, stdout=stdout, stderr=stderr)
        theirs.close()
        with ours.makefile() as lines:
            assert [json.loads(line)["subject"] for line in lines] == [0, 1, 2]
    assert (tmp_path / "log").read_text() == ""


def test_an_output_that_nobody_reads_holds_nothing_up(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [sys.executable, "-c", _TO_OUTPUT, "/dev/stdout", str(tmp_path / "log"), "20000"]
        subprocess.run(command, check=True, timeout=60, stdout=theirs.fileno())
        assert os.get_blocking(theirs.fileno()), "the output is no longer what it was for others"
    (told,) = (tmp_path / "log").read_text().splitlines()
    assert "the event log /dev/stdout cannot be written, events are missing" in told


def test_a_file_that_cannot_be_written_is_reported_once_a_minute_and_costs_nobody_an_answer(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.mkdir()
    server = InProcess(event_log=str(path))
    tokens = server.tokens()
    assert server.api(tokens["access_token"]).status == 200
    assert len([line for line in caplog.messages if "the event log" in line]) == 1
    server.clock.forward(60)
    server.registry.create("bob", [])
    assert len([line for line in caplog.messages if "the event log" in line]) == 2
    path.rmdir()
    server.registry.create("carol", [])
    assert [told["subject"] for told in read_events(str(path))] == ["carol"]


def test_a_pipe_that_nobody_reads_holds_up_no_request(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    EventLog(str(tmp_path / "pipe"), Clock(NOW))("login", {"subject": "alice"})


def test_a_line_that_a_full_disk_cut_short_spoils_no_other(
    event_log: EventLog, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    event_log("login", {"subject": "first"})
    whole = os.write
    monkeypatch.setattr(os, "write", lambda file, line: whole(file, line[:20]))
    event_log("login", {"subject": "second"})
    monkeypatch.undo()
    event_log("login", {"subject": "third"})
    assert [told["subject"] for told in read_events(str(path))] == ["first", "third"]


def test_lines_of_many_processes_do_not_mix(path: Path) -> None:
    code = (
        "import sys, time; from oauth_refresh.event_log import EventLog\n"
        "log = EventLog(sys.argv[1], time.time)\n"
        "for number in range(300): log('login', {'by': sys.argv[2], 'number': number, 'long': 'x' * 3000})"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path), name]) for name in "abcd"]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted((line["by"], line["number"]) for line in lines) == [
        (name, number) for name in "abcd" for number in range(300)
    ]


def test_a_child_forked_while_another_thread_writes_can_write(event_log: EventLog, path: Path) -> None:
    with event_log._lock:
        in_a_child(lambda: event_log("login", {"subject": "of the child"}))
    event_log("login", {"subject": "of the parent"})
    assert [told["subject"] for told in read_events(str(path))] == ["of the child", "of the parent"]


@pytest.mark.requirement("WSGI-15")
@pytest.mark.requirement("RT-26")
def test_no_code_token_or_secret_is_in_it(path: Path) -> None:
    server = InProcess(event_log=str(path))
    client = server.register(token_endpoint_auth_method="client_secret_post")
    code = server.code(client)
    tokens = server.redeem(client, code).json
    server.redeem(client, code)
    renewed = server.refresh(client, tokens["refresh_token"])
    server.api(tokens["access_token"])
    server.refresh(client._replace(secret="wrong-secret"), tokens["refresh_token"])
    server.post("/oauth/token?client_secret=in-the-query", {"grant_type": "refresh_token"})
    written = path.read_text()
    secrets = [client.secret, code, *tokens.values(), renewed.text, "wrong-secret", "in-the-query"]
    kept = [secret for secret in secrets if isinstance(secret, str) and len(secret) > 12]
    assert len(kept) >= 6
    assert not [secret for secret in kept if secret in written]
    assert not re.search(r"o(ac|at|rt|cs)_\w", written)
