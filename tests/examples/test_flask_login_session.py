"""The Flask example: its own login decides, and tokens reach what they may."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import requests

from .conftest import EXAMPLES, RunClient, Serve

ADA = ("--username", "ada", "--password", "engine")
GRACE = ("--username", "grace", "--password", "compiler")


@pytest.fixture(scope="module")
def tasks(serve: Serve) -> str:
    app = str(EXAMPLES / "flask_login_session" / "app")
    command = [sys.executable, "-m", "flask", "--app", app, "run", "--port", "0"]
    return serve(command, r"Running on (http://\S+)")


def token(store: Path) -> str:
    (known,) = json.loads(store.read_text()).values()
    return str(known["access_token"])


def test_the_page_is_open_and_the_api_is_closed(tasks: str) -> None:
    assert requests.get(tasks, timeout=10).status_code == 200
    assert requests.get(f"{tasks}/api/tasks", timeout=10).status_code == 401


def test_a_client_acts_for_who_is_logged_in_to_the_application(tasks: str, run_client: RunClient) -> None:
    ran = run_client(f"{tasks}/api/tasks", *ADA)
    assert ran.returncode == 0, ran.stderr
    first, second = (json.loads(line) for line in ran.stdout.split("\n\n") if line)
    assert first == second == {"user": "ada", "tasks": ["Weave algebraic patterns"]}


def test_a_view_may_ask_for_more_than_its_path(tasks: str, run_client: RunClient, store: Path) -> None:
    run_client(f"{tasks}/api/tasks", *ADA)
    headers = {"Authorization": f"Bearer {token(store)}"}
    refused = requests.post(f"{tasks}/api/tasks", headers=headers, data={"task": "Rest"}, timeout=10)
    assert refused.status_code == 403
    assert 'error="insufficient_scope"' in refused.headers["WWW-Authenticate"]


def test_with_the_scope_the_view_is_reached(tasks: str, run_client: RunClient, store: Path) -> None:
    run_client(f"{tasks}/api/tasks", *GRACE, "--scope", "tasks:read tasks:write")
    headers = {"Authorization": f"Bearer {token(store)}"}
    added = requests.post(f"{tasks}/api/tasks", headers=headers, data={"task": "Rest"}, timeout=10)
    assert added.json() == {"user": "grace", "tasks": ["Find the moth", "Rest"]}


def test_a_wrong_password_lets_nobody_in(tasks: str, run_client: RunClient) -> None:
    ran = run_client(f"{tasks}/api/tasks", "--username", "ada", "--password", "compiler")
    assert (ran.returncode, ran.stdout) == (1, "")


@pytest.mark.parametrize("then", ["https://evil.example", "//evil.example", "/\\evil.example"])
def test_a_login_leads_to_no_other_site(tasks: str, then: str) -> None:
    with requests.Session() as browser:
        page = browser.get(f"{tasks}/login", params={"next": then}, timeout=10).text
        form = page.split('name="form" value="')[1].split('"')[0]
        filled = {"form": form, "next": then, "username": "ada", "password": "engine"}
        answer = browser.post(f"{tasks}/login", data=filled, allow_redirects=False, timeout=10)
    assert (answer.status_code, answer.headers["Location"]) == (302, "/")
