"""A token file of the ancestor behind the middleware: nobody who had a token notices the change."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from werkzeug.test import Client, TestResponse

from oauth_refresh import OAuthMiddleware
from oauth_refresh.backends.json_file import JSONFileBackend

HOST = "http://localhost"
NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z


def raw(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


def digest(name: str) -> str:
    return hashlib.sha256(raw(name).encode()).hexdigest()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.json"
    token = {
        "id": "t1",
        "hash": digest("access"),
        "agent_name": "builder",
        "allowed_tools": ["*"],
        "created_at": "2026-12-01T00:00:00.123456789Z",
        "expires_at": "2027-01-15T09:00:00Z",
        "refresh_token_hash": digest("refresh"),
        "refresh_expires_at": "2027-02-01T00:00:00+01:00",
    }
    path.write_text(json.dumps({"version": 2, "tokens": {"t1": token}}))
    return path


def wrapped(path: Path) -> Client:
    def application(environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ["REMOTE_USER"].encode()]

    middleware = OAuthMiddleware(
        application, protect={"/api": "a"}, registry=f"file://{path}", environ={}, clock=lambda: NOW
    )
    return Client(middleware)


def call(client: Client, token: str) -> tuple[int, str]:
    answer = client.get("/api", base_url=HOST, headers={"Authorization": f"Bearer {token}"})
    return answer.status_code, answer.text if answer.status_code == 200 else ""


def pair(answer: TestResponse) -> dict[str, str]:
    assert answer.status_code == 200
    found = answer.get_json()
    assert isinstance(found, dict)
    return found


def test_every_live_token_works_and_the_first_rotation_moves_the_grant_on(path: Path) -> None:
    original = path.read_bytes()
    client = wrapped(path)
    assert call(client, raw("access")) == (200, "builder")
    form = {"grant_type": "refresh_token", "refresh_token": raw("refresh")}
    first = pair(client.post("/oauth/token", base_url=HOST, data=form))
    assert call(client, first["access_token"]) == (200, "builder")
    assert pair(client.post("/oauth/token", base_url=HOST, data=form)) == first
    form["refresh_token"] = first["refresh_token"]
    assert client.post("/oauth/token", base_url=HOST, data=form).status_code == 200
    assert path.with_name("tokens.json.v2.bak").read_bytes() == original


def test_a_file_that_cannot_be_read_is_left_alone_and_says_why(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = path.read_text().replace("2027-01-15T09:00:00Z", "tomorrow")
    path.write_text(broken)
    client = wrapped(path)
    assert call(client, raw("access"))[0] == 503
    assert "token t1: expires_at must be a time as in RFC 3339" in caplog.text
    assert path.read_text() == broken
    path.write_text(broken.replace("tomorrow", "2027-01-15T09:00:00Z"))
    assert call(client, raw("access")) == (200, "builder")


def test_the_old_tokens_are_nowhere_in_the_new_file(path: Path) -> None:
    client = wrapped(path)
    assert call(client, raw("access"))[0] == 200
    assert raw("access") not in path.read_text()
    assert list(JSONFileBackend(str(path)).keys(b"o"))
