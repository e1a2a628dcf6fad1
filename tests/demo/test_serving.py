"""`oauth-refresh demo`: it starts, says what is wrong where it cannot, and ends cleanly."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

import oauth_refresh
from oauth_refresh.cli import main
from oauth_refresh.demo.walk import lines_to_try
from oauth_refresh.setting_loading import load_settings

from .conftest import STOP_SECONDS, StartDemo, command, environment


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_stopped_and_ends_cleanly(start_demo: StartDemo, stop: signal.Signals) -> None:
    demo = start_demo()
    with urllib.request.urlopen(f"{demo.base}/") as page:
        assert page.status == 200
    demo.process.send_signal(stop)
    said, _ = demo.process.communicate(timeout=STOP_SECONDS)
    assert (said.splitlines()[-1], demo.process.returncode) == ("The demo has stopped.", 0)


def test_a_port_in_use_is_an_error_that_names_another(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = subprocess.run(
            command("--port", str(port)),
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            timeout=STOP_SECONDS,
            check=False,
        )
    assert ran.returncode == 1
    assert ran.stderr == f"Error: port {port} is in use: try oauth-refresh demo --port {port + 1}\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "demo.example.com"])
def test_published_passwords_are_served_on_loopback_only(host: str) -> None:
    result = CliRunner().invoke(main, ["demo", "--host", host, "--port", "0"])
    assert result.exit_code == 1
    assert f"--host {host}: the demo's users have published passwords" in result.output


@pytest.mark.requirement("OPS-08")
@pytest.mark.usefixtures("here")
def test_mistakes_in_settings_are_told_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAUTH_ACCESS_TOKEN_TTL", "soon")
    monkeypatch.setenv("OAUTH_REFRESH_GRACE", "-1")
    result = CliRunner().invoke(main, ["demo"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: ")
    assert "OAUTH_ACCESS_TOKEN_TTL" in result.output
    assert "OAUTH_REFRESH_GRACE" in result.output


def test_without_waitress_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "waitress.server", None)
    result = CliRunner().invoke(main, ["demo"])
    assert result.exit_code == 1
    assert "pip install 'oauth-refresh[demo]'" in result.output


def test_the_command_knows_its_version() -> None:
    assert CliRunner().invoke(main, ["--version"]).output == f"oauth-refresh {oauth_refresh.__version__}\n"


def test_a_password_in_the_registry_url_is_not_printed() -> None:
    settings = replace(load_settings(environ={}), registry="postgresql://app:hunter2@db/oauth")
    assert "hunter2" not in lines_to_try(settings, "http://127.0.0.1:8000")
