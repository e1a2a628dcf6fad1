"""The command-line client against the demo: from a URL to a page, and again tomorrow."""

from __future__ import annotations

import json
import re
import stat
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from tests.flows.headless import User

from .conftest import RunClient, client_command, environment

ALICE = ("--username", "alice", "--password", "wonderland")


def stored(store: Path) -> dict[str, Any]:
    (known,) = json.loads(store.read_text()).values()
    return dict(known)


def steps(ran: subprocess.CompletedProcess[str]) -> list[str]:
    """What the client said that it did, each step by its first word."""
    return [line.removeprefix("* ").split()[0].rstrip(",:") for line in ran.stderr.splitlines()]


def test_it_finds_the_way_from_a_url_to_the_page_behind_it(demo: str, run_client: RunClient) -> None:
    ran = run_client(f"{demo}/api/notes", *ALICE)
    assert (ran.returncode, ran.stdout) == (0, '{"notes":[]}\n\n{"notes":[]}\n\n')
    assert steps(ran) == ["401", "authorization", "registered", "signed", "refreshed"]
    assert not re.search(r"o[art][ct]_", ran.stdout + ran.stderr)


def test_the_next_call_needs_no_sign_in(demo: str, run_client: RunClient) -> None:
    run_client(f"{demo}/api/notes", *ALICE)
    ran = run_client(f"{demo}/api/notes")
    assert (ran.returncode, steps(ran)) == (0, ["refreshed"])


def test_tokens_are_kept_where_only_their_owner_can_read_them(
    demo: str, run_client: RunClient, store: Path
) -> None:
    run_client(f"{demo}/api/notes", *ALICE)
    assert stat.S_IMODE(store.stat().st_mode) == 0o600
    assert [path.name for path in store.parent.iterdir()] == ["tokens.json"]


def test_an_access_token_that_is_refused_is_renewed(demo: str, run_client: RunClient, store: Path) -> None:
    run_client(f"{demo}/api/notes", *ALICE)
    everything = json.loads(store.read_text())
    everything[f"{demo}/api/notes"]["access_token"] = "worthless"
    store.write_text(json.dumps(everything))
    ran = run_client(f"{demo}/api/notes")
    assert (ran.returncode, steps(ran)) == (0, ["the", "refreshed", "refreshed"])


def test_signing_out_ends_the_grant_and_keeps_the_registration(
    demo: str, run_client: RunClient, store: Path
) -> None:
    run_client(f"{demo}/api/notes", *ALICE)
    before = stored(store)
    assert run_client(f"{demo}/api/notes", "--sign-out").returncode == 0
    headers = {"Authorization": f"Bearer {before['access_token']}"}
    assert requests.get(f"{demo}/api/notes", headers=headers, timeout=10).status_code == 401
    again = run_client(f"{demo}/api/notes", *ALICE)
    assert steps(again) == ["401", "authorization", "signed", "refreshed"]
    assert stored(store)["client_id"] == before["client_id"]


def test_more_scopes_are_had_for_the_asking(demo: str, run_client: RunClient, store: Path) -> None:
    run_client(f"{demo}/api/notes", *ALICE, "--scope", "notes:read notes:write")
    headers = {"Authorization": f"Bearer {stored(store)['access_token']}"}
    added = requests.post(f"{demo}/api/notes", headers=headers, data={"text": "tea"}, timeout=10)
    assert added.status_code == 201


def test_the_browser_comes_back_to_a_port_of_the_client(demo: str, store: Path, tmp_path: Path) -> None:
    """The test is the browser: `true` stands in for the program that would have been opened."""
    with subprocess.Popen(
        client_command(f"{demo}/api/notes", store),
        env=environment(tmp_path, BROWSER="true"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as client:
        assert client.stderr is not None
        address = next(line for line in client.stderr if "sign in at" in line).split()[-1]
        (redirect_uri,) = parse_qs(urlsplit(address).query)["redirect_uri"]
        back = User("bob").visit(address, until=f"{redirect_uri}?")
        page = requests.get(back, timeout=10)
        said, _ = client.communicate(timeout=30)
    assert (page.status_code, client.returncode, said.split()) == (200, 0, ['{"notes":[]}'] * 2)


@pytest.mark.parametrize(
    ("path", "options", "problem"),
    [
        ("/", (), "answers 200 and does not say who protects it"),
        ("/api/notes", ("--username", "alice", "--password", "looking-glass"), "nobody signed in"),
        ("/api/notes", (*ALICE, "--scope", "notes:burn"), "the server answered invalid_scope"),
    ],
    ids=["open page", "wrong password", "unknown scope"],
)
def test_what_goes_wrong_is_said_in_one_line(
    demo: str, run_client: RunClient, path: str, options: tuple[str, ...], problem: str
) -> None:
    ran = run_client(f"{demo}{path}", *options)
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1].startswith("error: ")
    assert problem in ran.stderr.splitlines()[-1]
    assert "Traceback" not in ran.stderr
