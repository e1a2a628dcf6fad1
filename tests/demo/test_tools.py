"""The demo's notes as tools, and what a visitor without the `mcp` package is told."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client

from oauth_refresh.demo import Demo, create_app


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def access_token(app: Demo, subject: str) -> str:
    return app._answer.registry.create(subject, ["mcp:tools", "notes:read"]).access_token


def call(app: Demo, subject: str, tool: str, **arguments: Any) -> Any:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
    answer = Client(app).post(
        "/mcp",
        json={**message, "params": {"name": tool, "arguments": arguments}},
        headers={"Authorization": f"Bearer {access_token(app, subject)}", "Accept": "application/json"},
    )
    return answer.get_json()["result"]


def test_a_note_added_by_a_tool_is_the_users_and_the_same_that_the_api_shows() -> None:
    app = create_app("memory:", {})
    assert call(app, "alice", "add_note", text=" feed the cat ")["isError"] is False
    assert call(app, "alice", "list_notes")["structuredContent"] == {"result": ["feed the cat"]}
    assert call(app, "bob", "list_notes")["structuredContent"] == {"result": []}
    told = {"Authorization": f"Bearer {access_token(app, 'alice')}"}
    assert Client(app).get("/api/notes", headers=told).get_json() == {
        "notes": [{"id": 1, "text": "feed the cat"}]
    }


def test_a_tool_tells_who_called_and_says_what_is_wrong_with_a_note() -> None:
    app = create_app("memory:", {})
    identity = {"subject": "alice", "client_id": "", "scopes": ["mcp:tools", "notes:read"]}
    assert call(app, "alice", "who_am_i")["structuredContent"] == identity
    refused = call(app, "alice", "add_note", text=" ")
    assert refused["isError"] is True
    assert "1 to 1000 characters" in refused["content"][0]["text"]


@pytest.mark.parametrize("missing", ["mcp", "a2wsgi"])
def test_without_its_packages_the_demo_works_and_says_what_to_install(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("oauth_refresh.mcp", "oauth_refresh.demo.tools"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Missing(missing), *sys.meta_path])
    client = Client(create_app("memory:", {}))
    assert client.get("/").status_code == 200
    assert client.post("/mcp").status_code == 401
    app: Any = client.application
    answer = client.post("/mcp", headers={"Authorization": f"Bearer {access_token(app, 'alice')}"})
    assert (answer.status_code, answer.get_json()) == (
        501,
        {"error": "the MCP server is not installed: pip install 'oauth-refresh[demo]'"},
    )


class Missing:
    """An import of this package fails as if nobody had installed it."""

    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(self, name: str, *_: object) -> None:
        if name.partition(".")[0] == self._package:
            raise ModuleNotFoundError(f"No module named {self._package!r}", name=self._package)
