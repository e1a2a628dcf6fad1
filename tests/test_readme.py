"""The code of the README and of the documentation runs as it is written."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from flask.testing import FlaskClient

ROOT = Path(__file__).parents[1]
DOCS = [page for page in (ROOT / "docs").rglob("*.md") if "_build" not in page.parts]
PAGES = sorted([ROOT / "README.md", *DOCS, *(ROOT / "examples").glob("*/README.md")])
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)(?:#([^)\s]+))?\)")


def blocks() -> list[Any]:
    return [
        pytest.param(code, id=f"{page.relative_to(ROOT).as_posix()}-{number}")
        for page in PAGES
        for number, code in enumerate(BLOCK.findall(page.read_text("utf-8")), 1)
    ]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for whatever the code leaves behind, in files or in the environment."""
    monkeypatch.chdir(tmp_path)
    before = dict(os.environ)
    yield tmp_path
    os.environ.clear()
    os.environ.update(before)
    sys.modules.pop("oauth_refresh.wsgi", None)


def run(code: str) -> dict[str, Any]:
    """The names that the code defines. It runs as a module: Flask asks for the folder of its own."""
    module = ModuleType("pasted")
    module.__file__ = str(Path.cwd() / "pasted.py")
    exec(compile(code, module.__file__, "exec"), vars(module))
    return vars(module)


@pytest.mark.parametrize("code", blocks())
def test_every_block_of_python_runs(code: str) -> None:
    run(code)


def readme_code() -> str:
    return str(BLOCK.findall((ROOT / "README.md").read_text("utf-8"))[0])


@pytest.fixture
def client() -> FlaskClient:
    return run(readme_code())["app"].test_client()  # type: ignore[no-any-return]


def test_the_first_block_of_the_readme_has_ten_lines() -> None:
    assert len([line for line in readme_code().splitlines() if line.strip()]) <= 10


def test_a_visitor_sees_what_the_readme_shows(client: FlaskClient) -> None:
    answer = client.get("/api/notes", base_url="http://127.0.0.1:5000")
    shown = (ROOT / "README.md").read_text("utf-8")
    assert answer.status_code == 401
    assert f"WWW-Authenticate: {answer.headers['WWW-Authenticate']}" in shown


def test_the_readmes_application_shows_notes_to_who_has_a_token(client: FlaskClient) -> None:
    registry = client.application.extensions["oauth_refresh"].registry
    token = registry.create("ada", ["notes:read"]).access_token
    answer = client.get("/api/notes", headers={"Authorization": f"Bearer {token}"})
    assert answer.get_json() == {"user": "ada", "notes": ["Buy ink"]}


def test_a_token_made_by_hand_opens_the_readmes_application(elsewhere: Path) -> None:
    (elsewhere / "notes.py").write_text(readme_code())
    shown = (ROOT / "README.md").read_text("utf-8")
    command = "oauth token create --subject ada --scope notes:read"
    assert f"TOKEN=$(flask --app FILE {command})" in shown
    made = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "notes.py", *command.split()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    app = run((elsewhere / "notes.py").read_text())["app"]
    answer = app.test_client().get("/api/notes", headers={"Authorization": f"Bearer {made.stdout.strip()}"})
    assert json.dumps(answer.get_json(), separators=(",", ":"), sort_keys=True) in shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_within_the_checkout_leads_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text("utf-8")):
        path = (page.parent / target).resolve()
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), f"{target}#{anchor}"


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_has_the_two_commands_that_do_everything() -> None:
    commands = re.findall(r"^```console\n(.+)\n```$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE)
    assert commands == [
        "python3 -m venv .venv && .venv/bin/pip install '.[demo]' && .venv/bin/oauth-refresh demo",
        "python3 -m venv .venv && .venv/bin/pip install '.[test]' && .venv/bin/python -m pytest",
    ]
