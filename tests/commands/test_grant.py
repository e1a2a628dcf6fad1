"""`oauth-refresh grant`: who has access, and how it is ended."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from oauth_refresh.cases import Refuse
from oauth_refresh.server import Server

from .conftest import Run, as_json, error, ok


def alive(run: Run, *options: str) -> list[str]:
    return sorted(each["subject"] for each in as_json(run("grant", "list", "--json", *options)))


@pytest.fixture
def grants(server: Server) -> dict[str, str]:
    """One grant each of alice, bob and carol; carol's is for another client. Subject to grant id."""
    made = {
        name: server.registry.create_with_refresh(name, ["notes:read"], client_id="c")
        for name in ("alice", "bob")
    }
    made["carol"] = server.registry.create("carol", [], client_id="d", label="a\x1b[2Jlabel")
    return {name: issued.grant_id for name, issued in made.items()}


def test_grants_are_listed_as_a_table(run: Run, grants: dict[str, str]) -> None:
    heads, *rows = ok(run("grant", "list", "--subject", "alice")).splitlines()
    assert heads.split() == ["GRANT", "SUBJECT", "CLIENT", "STATE", "CREATED", "LAST", "USED", "SCOPES"]
    (row,) = rows
    assert row.split()[:4] == [grants["alice"], "alice", "c", "alive"]
    assert row.split()[-2:] == ["never", "notes:read"]


def test_grants_are_chosen_by_subject_client_and_time(run: Run, grants: dict[str, str]) -> None:
    assert alive(run) == ["alice", "bob", "carol"]
    assert alive(run, "--client", "c") == ["alice", "bob"]
    assert alive(run, "--client", "c", "--subject", "carol") == []
    assert alive(run, "--created-after", "1h") == ["alice", "bob", "carol"]
    assert alive(run, "--created-before", "1h") == []
    tomorrow = (datetime.now(timezone.utc) + timedelta(days=1)).strftime("%Y-%m-%d")
    assert alive(run, "--created-before", tomorrow) == ["alice", "bob", "carol"]
    assert alive(run, "--created-after", f"{tomorrow}T00:00Z") == []
    assert alive(run, "--idle", "1h") == []
    assert alive(run, "--idle", "0s") == ["alice", "bob", "carol"]


def test_those_that_ended_are_listed_when_asked_for(run: Run, grants: dict[str, str], server: Server) -> None:
    server.registry.revoke(grants["bob"])
    assert alive(run) == ["alice", "carol"]
    shown = as_json(run("grant", "list", "--all", "--json", "--subject", "bob"))
    assert [each["state"] for each in shown] == ["revoked"]


def test_a_grant_is_shown_without_anything_that_moves_the_cursor(run: Run, grants: dict[str, str]) -> None:
    shown = ok(run("grant", "show", grants["carol"]))
    assert "\x1b" not in shown
    assert "label              a?[2Jlabel" in shown
    assert as_json(run("grant", "show", grants["alice"], "--json"))["refresh_expires_at"] > time.strftime(
        "%Y"
    )


def test_revoking_counts_and_asks_before_it_does_anything(run: Run, grants: dict[str, str]) -> None:
    asked = run("grant", "revoke", "--client", "c", input="n\n")
    assert (asked.exit_code, asked.stderr) == (1, "End 2 grants? [y/N]: n\nAborted!\n")
    assert alive(run) == ["alice", "bob", "carol"]
    assert ok(run("grant", "revoke", "--client", "c", input="y\n")) == "2 grants ended\n"
    assert alive(run) == ["carol"]


def test_without_a_terminal_nothing_is_revoked_unless_yes_is_said(run: Run, grants: dict[str, str]) -> None:
    assert run("grant", "revoke", "--everything").exit_code == 1
    assert alive(run) == ["alice", "bob", "carol"]
    assert as_json(run("grant", "revoke", "--everything", "--yes", "--json")) == {"revoked": 3}
    assert alive(run) == []


def test_grants_are_revoked_by_id_all_or_none(run: Run, grants: dict[str, str], server: Server) -> None:
    assert "a grant is named by its id" in error(run("grant", "revoke", grants["alice"], "ff", "-y"))
    assert alive(run) == ["alice", "bob", "carol"]
    assert ok(run("grant", "revoke", grants["alice"], grants["bob"], "-y")) == "2 grants ended\n"
    assert alive(run) == ["carol"]
    ended = server.registry.get(grants["alice"])
    assert ended is not None
    assert ended.revoked_why == "revoked_by_operator"


@pytest.mark.parametrize("options", [[], ["--everything", "--subject", "alice"], ["ff", "--client", "c"]])
def test_what_is_meant_must_be_said_in_one_way(run: Run, grants: dict[str, str], options: list[str]) -> None:
    assert run("grant", "revoke", "-y", *options).exit_code == 2
    assert alive(run) == ["alice", "bob", "carol"]


def test_nothing_meant_is_an_error_for_scripts_to_see(run: Run, grants: dict[str, str]) -> None:
    assert (
        error(run("grant", "revoke", "--subject", "dave", "-y"))
        == "Error: no grant that is alive is meant by this"
    )
    assert "a grant is named by its id" in error(run("grant", "show", "ff"))
    assert run("grant", "list", "--created-after", "yesterday").exit_code == 2


def test_a_mistyped_path_makes_no_empty_registry(run: Run, tmp_path: object) -> None:
    said = error(run("grant", "list", "--registry", f"sqlite://{tmp_path}/oauht.db"))
    assert said.startswith(f"Error: there is no registry at {tmp_path}/oauht.db")
    assert ok(run("user", "list")) == ""


def test_a_record_that_cannot_be_read_saves_no_other_grant(run: Run, server: Server) -> None:
    mine, others = server.registry.create("alice", []), server.registry.create("bob", [])
    key = b"g" + bytes(16)
    assert server.backend.swap(key, None, b"\x02 this is no record")
    listed = run("grant", "list")
    assert listed.exit_code == 1
    assert "alice" in listed.stdout
    assert "bob" in listed.stdout
    ended = run("grant", "revoke", "--everything", "--yes")
    assert ended.exit_code == 1
    assert "2 grants ended" in ended.stdout
    assert "1 of the grants cannot be read and were left out, as 0000000000" in ended.stderr
    for each in (mine, others):
        assert server.registry.check(each.access_token) == Refuse("revoked")


@pytest.mark.parametrize(
    "command",
    [
        "grant list",
        "grant list --json",
        "grant revoke --everything --yes",
        "client list",
        "client list --json",
    ],
)
def test_of_a_registry_that_cannot_be_read_the_error_alone_is_printed(
    run: Run, environ: dict[str, str], tmp_path: Path, command: str
) -> None:
    environ["OAUTH_CLIENTS"] = '{"probe": {"redirect_uris": ["http://127.0.0.1/"]}}'
    with closing(sqlite3.connect(tmp_path / "app.db")) as other:
        other.execute("CREATE TABLE note (text)")
    (tmp_path / "damaged.db").write_bytes(b"This is no database. " * 500)
    for name, told in (("app.db", "a database of something else"), ("damaged.db", "")):
        said = error(run(*command.split(), "--registry", f"sqlite://{tmp_path}/{name}"))
        assert said.startswith(f"Error: registry {tmp_path}/{name}: ")
        assert told in said


def test_where_no_grant_can_be_read_none_is_said_to_be_dead(run: Run, server: Server) -> None:
    assert server.backend.swap(b"g" + bytes(16), None, b"\x02 this is no record")
    for command in ("grant list", "grant list --json", "grant revoke --everything --yes"):
        assert "1 of the grants cannot be read" in error(run(*command.split()))


@pytest.mark.parametrize("command", [["grant", "revoke"], ["grant", "show"]])
def test_a_token_in_the_place_of_an_id_is_not_repeated(run: Run, server: Server, command: list[str]) -> None:
    token = server.registry.create("alice", []).access_token
    told = error(run(*command, token))
    assert "a grant is named by its id, 32 hex digits, and this is none" in told
    assert token not in told
    assert f"there is no grant {'0' * 32}" in error(run(*command, "0" * 32))
