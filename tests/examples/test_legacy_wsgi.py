"""The legacy example: an unchanged WSGI file, and environment variables."""

from __future__ import annotations

import json
import shutil

import pytest
import requests

from .conftest import EXAMPLES, RunClient, Serve


@pytest.fixture(scope="module")
def reports(serve: Serve) -> str:
    shell = shutil.which("sh") or "sh"
    command = [shell, str(EXAMPLES / "legacy_wsgi" / "serve.sh")]
    return serve(command, r"Listening at: (http://\S+)", BIND="127.0.0.1:0")


def test_open_pages_are_as_they_were(reports: str) -> None:
    answer = requests.get(reports, headers={"X-Remote-User": "ada"}, timeout=10)
    assert (answer.status_code, answer.text) == (200, "The reports office. Your reports are at /reports.\n")
    assert requests.get(f"{reports}/nothing", timeout=10).status_code == 404


def test_the_reports_need_a_token(reports: str) -> None:
    answer = requests.get(f"{reports}/reports", headers={"X-Remote-User": "ada"}, timeout=10)
    assert answer.status_code == 401
    assert 'scope="reports:read"' in answer.headers["WWW-Authenticate"]


@pytest.mark.requirement("WSGI-06")
@pytest.mark.parametrize(
    ("username", "password", "report"),
    [("ada", "engine", "Engine output, week 46"), ("grace", "compiler", "Compiler output, week 46")],
)
def test_the_unchanged_application_finds_the_user_in_remote_user(
    reports: str, run_client: RunClient, username: str, password: str, report: str
) -> None:
    ran = run_client(f"{reports}/reports", "--username", username, "--password", password)
    assert ran.returncode == 0, ran.stderr
    answers = [json.loads(line) for line in ran.stdout.splitlines() if line]
    assert answers == [{"user": username, "reports": [report]}] * 2
