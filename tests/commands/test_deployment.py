"""What every command has in common: the deployment that it works on, and what the operator sees."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from flask import Flask

from oauth_refresh.cli import main
from oauth_refresh.commands.deployment import Deployment, on_deployment
from oauth_refresh.flask import OAuthRefresh
from oauth_refresh.server import Server

from .conftest import Run, as_json, ok


def test_a_host_of_the_commands_hands_in_its_own_server(server: Server) -> None:
    server.registry.create("alice", [])
    shown = CliRunner(env={"OAUTH_REGISTRY": "nosuch:"}).invoke(
        main, ["grant", "list", "--json"], obj=Deployment(server)
    )
    assert [each["subject"] for each in as_json(shown)] == ["alice"]


def test_another_registry_is_another_registry_under_any_host(server: Server, tmp_path: Path) -> None:
    refused = CliRunner().invoke(
        main, ["grant", "list", "--registry", f"sqlite://{tmp_path}/other.db"], obj=Deployment(server)
    )
    assert "there is no registry at" in refused.stderr


@pytest.mark.parametrize("text", ["alice:hunter2\n", None], ids=["mistakes alone", "not there"])
def test_a_users_file_is_no_matter_of_commands_that_sign_nobody_in(
    run: Run, server: Server, tmp_path: Path, text: str | None
) -> None:
    grant_id = server.registry.create("alice", []).grant_id
    (tmp_path / "users").unlink()
    if text is not None:
        (tmp_path / "users").write_text(text)
    assert ok(run("grant", "revoke", grant_id, "--yes")) == "1 grant ended\n"
    assert ok(run("client", "list", "--json")) == "[]\n"
    for command in (["purge"], ["settings"], ["init"], ["explain", grant_id]):
        assert run(*command).exit_code == 0, command


def test_callables_of_the_settings_are_found_from_the_working_directory(
    run: Run, environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "callables_of_a_test.py").write_text("def load(environ): return None\n")
    environ["OAUTH_USER_LOADER"] = "callables_of_a_test:load"
    (shown,) = as_json(run("settings", "OAUTH_USER_LOADER", "--json"))
    assert shown["value"] == "callables_of_a_test:load"


def test_whoever_works_on_the_registry_of_another_account_is_warned(
    run: Run, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.registry.create("alice", [])
    assert run("grant", "list").stderr == ""
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    shown = run("grant", "list", "--json")
    assert "belongs to another account" in shown.stderr
    assert len(as_json(shown)) == 1


def test_a_reader_that_has_seen_enough_hears_no_complaint(environ: dict[str, str], server: Server) -> None:
    for number in range(300):
        server.registry.create(f"user {number}", [])
    command = f"{sys.executable} -m oauth_refresh grant list --json | head -n 1"
    done = subprocess.run(
        ["bash", "-c", command], env={**os.environ, **environ}, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith('[{"grant": ')
    assert done.stderr == ""


def test_an_error_of_the_system_is_told_in_one_line() -> None:
    @click.command()
    @on_deployment
    def fail(deployment: Deployment) -> None:
        """Fail."""
        raise PermissionError(13, "Permission denied", "/var/lib/app/oauth.db")

    told = CliRunner().invoke(fail)
    assert (told.exit_code, told.stderr) == (
        1,
        "Error: [Errno 13] Permission denied: '/var/lib/app/oauth.db'\n",
    )


def test_the_registry_of_a_command_is_that_of_the_server(run: Run, server: Server) -> None:
    server.registry.create("alice", [])
    assert "alice" in ok(run("grant", "list"))


def test_under_flask_the_help_and_the_errors_speak_of_flask(tmp_path: Path) -> None:
    app = Flask("notes", instance_path=str(tmp_path / "instance"))
    app.config.update(SECRET_KEY="a server secret for tests", OAUTH_REGISTRY=f"sqlite://{tmp_path}/none.db")
    OAuthRefresh(app, login="user")
    runner = app.test_cli_runner()
    for arguments in (["grant", "revoke"], ["token", "create"], ["explain"]):
        shown = runner.invoke(args=["oauth", *arguments, "--help"]).output
        assert f"flask oauth {' '.join(arguments)}" in shown
        assert "oauth-refresh" not in shown
    refused = runner.invoke(args=["oauth", "grant", "list"])
    assert refused.exit_code == 1
    assert "there is no registry at" in refused.output
    assert "flask oauth init makes it" in refused.output
    assert runner.invoke(args=["oauth", "init"]).exit_code == 0
    assert runner.invoke(args=["oauth", "grant", "list"]).exit_code == 0


@pytest.mark.parametrize(
    "command",
    [
        ["token", "create", "--subject", "ci"],
        ["client", "create", "Backup", "--redirect-uri", "http://127.0.0.1/callback"],
        ["purge"],
        ["grant", "list"],
    ],
)
def test_a_folder_that_nobody_named_gets_no_registry_by_the_way(
    run: Run, environ: dict[str, str], tmp_path: Path, command: list[str]
) -> None:
    del environ["OAUTH_REGISTRY"]
    refused = run(*command)
    assert refused.exit_code == 1
    assert f"there is no registry at {tmp_path}/oauth.db" in refused.stderr
    assert "use `flask oauth` there" in refused.stderr
    assert not list(tmp_path.glob("oauth.db*"))
    assert run("init").exit_code == 0
    assert run(*command).exit_code == 0


def test_a_registry_that_was_deleted_is_not_begun_anew(run: Run, tmp_path: Path) -> None:
    ok(run("user", "add", "alice", "--password-stdin", input="x\n"))
    refused = run("token", "create", "--subject", "ci", "--registry", f"sqlite://{tmp_path}/oauht.db")
    assert "there is no registry at" in refused.stderr
    assert ok(run("user", "remove", "alice", "-y", "--keep-grants")) == "user alice removed, 0 grants ended\n"
    assert not list(tmp_path.glob("*.db*"))


def test_a_registry_in_memory_is_not_for_commands(run: Run, environ: dict[str, str]) -> None:
    environ["OAUTH_REGISTRY"] = "memory:"
    for command in (["token", "create", "--subject", "ci"], ["grant", "list"], ["purge"]):
        refused = run(*command)
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert "the registry is memory:, which is the server's own" in refused.stderr


def test_a_registry_in_memory_that_flask_hands_in_is_said_to_be_another_than_the_servers() -> None:
    app = Flask("notes")
    app.config.update(OAUTH_REGISTRY="memory:", SECRET_KEY="a server secret of enough bytes")
    OAuthRefresh(app, protect={"/api": ""})
    listed = app.test_cli_runner().invoke(args=["oauth", "grant", "list", "--subject", "alice", "--json"])
    assert json.loads(listed.stdout) == []
    (line,) = listed.stderr.splitlines()
    assert line.startswith("warning: the registry is memory:, which each process has for itself")


def test_where_no_scope_is_known_the_commands_of_flask_are_named(
    run: Run, environ: dict[str, str], server: Server
) -> None:
    del environ["OAUTH_SCOPES"]
    for command in (
        ["token", "create", "--subject", "ci"],
        ["client", "create", "Backup", "--redirect-uri", "http://127.0.0.1/callback"],
    ):
        refused = run(*command, "--scope", "notes:read")
        assert "known are none: set OAUTH_SCOPES, or use `flask oauth` if a Flask" in refused.stderr
