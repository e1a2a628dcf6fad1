"""A deployment in a folder of its own, and its command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from oauth_refresh.cli import main
from oauth_refresh.server import Server

from ..settings_loading import load

Run = Callable[..., Result]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The settings of the deployment, as its server and its commands find them."""
    return {
        "OAUTH_REGISTRY": f"sqlite://{tmp_path}/oauth.db",
        "OAUTH_SECRET_KEY": "a server secret of enough bytes",
        "OAUTH_SCOPES": "notes:read=Read your notes; notes:write=Change them",
        "OAUTH_USERS_FILE": str(tmp_path / "users"),
        "OAUTH_EVENT_LOG": str(tmp_path / "events.jsonl"),
    }


@pytest.fixture
def run(environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`run("grant", "list", input="y")`: one command of the deployment's."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "users").touch()

    def invoke(*arguments: str, input: str | None = None) -> Result:  # noqa: A002 - click's word for it
        return CliRunner(env=environ).invoke(main, arguments, input=input)

    return invoke


@pytest.fixture
def server(environ: dict[str, str], tmp_path: Path) -> Server:
    (tmp_path / "users").touch()
    server = Server(load(environ=environ))
    server.registry.cleanup()
    return server


def ok(result: Result) -> str:
    """The standard output of a command that went well."""
    assert result.exit_code == 0, result.output
    return result.stdout


def as_json(result: Result) -> Any:
    return json.loads(ok(result))


def error(result: Result) -> str:
    """What a command that failed said, in its one line."""
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line
