"""`oauth-refresh user`: the users file."""

from __future__ import annotations

from pathlib import Path

import pytest

from oauth_refresh.errors import RegistryError
from oauth_refresh.registry import TokenRegistry
from oauth_refresh.server import Server
from oauth_refresh.users import UsersFile

from .conftest import Run, as_json, error, ok


def test_the_first_user_makes_the_file_that_the_settings_name(run: Run, tmp_path: Path) -> None:
    (tmp_path / "users").unlink()
    asked = run("user", "add", "alice", input="secret\nsecret\n")
    assert ok(asked) == "user alice added\n"
    assert "secret" not in asked.output
    assert UsersFile(tmp_path / "users").check("alice", "secret") == "alice"
    assert (
        ok(run("user", "add", "alice", "--password-stdin", input="other\n"))
        == "user alice has a new password\n"
    )
    assert UsersFile(tmp_path / "users").check("alice", "other") == "alice"
    assert as_json(run("user", "list", "--json")) == ["alice"]


def test_two_passwords_that_differ_add_nobody(run: Run, tmp_path: Path) -> None:
    run("user", "add", "alice", input="one\ntwo\n")
    assert ok(run("user", "list")) == ""
    assert (
        error(run("user", "add", "alice", "--password-stdin", input="\n")) == "Error: the password is empty"
    )


def test_another_file_can_be_named(run: Run, tmp_path: Path) -> None:
    ok(run("user", "add", "bob", "--password-stdin", "--file", f"{tmp_path}/others", input="x\n"))
    assert ok(run("user", "list", "--file", f"{tmp_path}/others")) == "bob\n"
    assert ok(run("user", "list")) == ""


def test_removing_a_user_ends_what_programs_may_do_in_that_name(run: Run, server: Server) -> None:
    for name in ("alice", "bob"):
        run("user", "add", name, "--password-stdin", input="x\n")
    issued = server.registry.create_with_refresh("alice", [])
    asked = run("user", "remove", "alice", input="n\n")
    assert asked.stderr.startswith("Remove the user 'alice' and end 1 grant? [y/N]")
    assert ok(run("user", "remove", "alice", "-y")) == "user alice removed, 1 grant ended\n"
    assert ok(run("user", "list")) == "bob\n"
    ended = server.registry.get(issued.grant_id)
    assert ended is not None
    assert ended.revoked_why == "user_removed"
    assert "there is no user 'alice'" in error(run("user", "remove", "alice", "-y"))


@pytest.mark.parametrize("fails_at", [1, 2])
def test_a_registry_that_fails_leaves_something_to_be_done_again(
    run: Run, server: Server, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    run("user", "add", "alice", "--password-stdin", input="x\n")
    issued = server.registry.create_with_refresh("alice", [])
    revoke, calls = TokenRegistry.revoke_subject, []

    def failing(self: TokenRegistry, subject: str, why: str = "") -> int:
        calls.append(subject)
        if len(calls) == fails_at:
            raise RegistryError("the database is locked")
        return revoke(self, subject, why)

    monkeypatch.setattr(TokenRegistry, "revoke_subject", failing)
    told = error(run("user", "remove", "alice", "-y"))
    assert "the database is locked" in told
    if fails_at == 1:
        assert ok(run("user", "list")) == "alice\n"
        assert ok(run("user", "remove", "alice", "-y")) == "user alice removed, 1 grant ended\n"
    else:
        assert told.startswith("Error: user alice removed, 1 grant ended. ")
        assert told.endswith("grant revoke --subject alice")
    assert ok(run("user", "list")) == ""
    ended = server.registry.get(issued.grant_id)
    assert ended is not None
    assert ended.revoked_why == "user_removed"


def test_for_a_file_with_mistakes_nothing_is_asked_and_nothing_ended(
    run: Run, server: Server, tmp_path: Path
) -> None:
    run("user", "add", "alice", "--password-stdin", input="x\n")
    issued = server.registry.create("alice", [])
    with (tmp_path / "users").open("a") as users:
        users.write("bob:hunter2\n")
    for command in (["add", "alice"], ["remove", "alice", "-y"]):
        told = error(run("user", *command, input="y\ny\n"))
        assert told.startswith(f"Error: users file {tmp_path}/users, line 3: no hash by werkzeug.security")
    assert hasattr(server.registry.check(issued.access_token), "subject")
    assert ok(run("user", "list")) == "alice\n"


def test_grants_can_be_left_alone(run: Run, server: Server) -> None:
    run("user", "add", "alice", "--password-stdin", input="x\n")
    issued = server.registry.create("alice", [])
    assert ok(run("user", "remove", "alice", "-y", "--keep-grants")) == "user alice removed, 0 grants ended\n"
    assert hasattr(server.registry.check(issued.access_token), "subject")


def test_without_a_registry_nobody_is_removed_unless_the_grants_are_to_stay(
    run: Run, tmp_path: Path, server: Server
) -> None:
    run("user", "add", "alice", "--password-stdin", input="x\n")
    issued = server.registry.create("alice", [])
    for registry in (f"sqlite://{tmp_path}/oauht.db", "memory:"):
        refused = error(run("user", "remove", "alice", "--yes", "--registry", registry))
        assert refused == error(run("grant", "list", "--registry", registry))
        assert ok(run("user", "list")) == "alice\n"
    nowhere = f"sqlite://{tmp_path}/oauht.db"
    kept = ok(run("user", "remove", "alice", "--yes", "--keep-grants", "--registry", nowhere))
    assert kept == "user alice removed, 0 grants ended\n"
    assert not (tmp_path / "oauht.db").exists()
    assert hasattr(server.registry.check(issued.access_token), "subject")


def test_without_a_users_file_it_says_what_to_set(run: Run, environ: dict[str, str]) -> None:
    environ["OAUTH_USERS_FILE"] = ""
    assert error(run("user", "list")).startswith("Error: there is no users file: set OAUTH_USERS_FILE")


def test_whoever_is_about_to_be_given_another_password_is_named_first(run: Run) -> None:
    assert run("user", "add", "alice", input="x\nx\n").stderr.startswith("Password of alice:")
    again = run("user", "add", "alice", input="y\ny\n")
    assert again.stderr.startswith("alice is there already. New password:")
    assert ok(again) == "user alice has a new password\n"
