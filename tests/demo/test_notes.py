"""The notes application by itself, with an identity put into the environ as the middleware does."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from oauth_refresh.demo.notes import NOTE_CHARACTERS_MAX, NOTES_PER_USER_MAX, Notebook, create_notes


def signed_in(subject: str) -> dict[str, object]:
    token = SimpleNamespace(subject=subject, client_id="c1", scopes=frozenset({"notes:write", "notes:read"}))
    return {"oauth_refresh.token": token, "REMOTE_USER": subject, "AUTH_TYPE": "Bearer"}


@pytest.fixture
def client(tmp_path: Path) -> FlaskClient:
    return create_notes(Notebook(tmp_path / "notes.db")).test_client()


def add(client: FlaskClient, subject: str, text: str) -> TestResponse:
    return client.post("/api/notes", json={"text": text}, environ_overrides=signed_in(subject))


def notes_of(client: FlaskClient, subject: str) -> object:
    return client.get("/api/notes", environ_overrides=signed_in(subject)).get_json()


def test_a_note_is_kept_for_its_user_alone(client: FlaskClient) -> None:
    answer = add(client, "alice", "feed the cat")
    assert (answer.status_code, answer.get_json()) == (201, {"id": 1, "text": "feed the cat"})
    assert notes_of(client, "alice") == {"notes": [{"id": 1, "text": "feed the cat"}]}
    assert notes_of(client, "bob") == {"notes": []}


def test_a_note_may_come_as_a_form_as_curl_sends_it(client: FlaskClient) -> None:
    answer = client.post("/api/notes", data={"text": "hello"}, environ_overrides=signed_in("alice"))
    assert answer.get_json() == {"id": 1, "text": "hello"}


@pytest.mark.parametrize("text", ["", "  ", "x" * (NOTE_CHARACTERS_MAX + 1)], ids=["none", "blank", "long"])
def test_a_note_without_a_fitting_text_is_refused_and_the_next_is_kept(
    client: FlaskClient, text: str
) -> None:
    assert add(client, "alice", text).status_code == 400
    assert add(client, "alice", "x" * NOTE_CHARACTERS_MAX).status_code == 201


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"text": 1}', b'{"text": null}'])
def test_json_that_is_no_note_is_refused(client: FlaskClient, body: bytes) -> None:
    answer = client.post(
        "/api/notes", data=body, content_type="application/json", environ_overrides=signed_in("alice")
    )
    assert answer.status_code == 400


def test_a_user_keeps_a_bounded_number_of_notes_and_the_newest_win(tmp_path: Path) -> None:
    notebook = Notebook(tmp_path / "notes.db")
    notebook.add("bob", "mine")
    for number in range(NOTES_PER_USER_MAX + 1):
        notebook.add("alice", str(number))
    kept = [note["text"] for note in notebook.of("alice")]
    assert kept == [str(number) for number in range(1, NOTES_PER_USER_MAX + 1)]
    assert [note["text"] for note in notebook.of("bob")] == ["mine"]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"])
def test_echo_answers_every_method_with_what_the_application_saw(client: FlaskClient, method: str) -> None:
    answer = client.open(
        "/api/echo", method=method, headers={"X-Thing": "1"}, environ_overrides=signed_in("alice")
    )
    seen = answer.get_json()
    assert seen.pop("headers")["X-Thing"] == "1"
    assert seen == {
        "method": method,
        "path": "/api/echo",
        "subject": "alice",
        "client_id": "c1",
        "scopes": ["notes:read", "notes:write"],
        "REMOTE_USER": "alice",
        "AUTH_TYPE": "Bearer",
    }


def test_the_front_page_is_open_and_loads_nothing(client: FlaskClient) -> None:
    answer = client.get("/")
    assert answer.status_code == 200
    assert "curl -i http://localhost/api/notes" in answer.text
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "<script" not in answer.text
    assert "src=" not in answer.text


def test_the_callback_page_shows_the_code_as_a_line_to_paste(client: FlaskClient) -> None:
    answer = client.get("/callback?code=oac_abc-_9&state=walk")
    assert "<pre>CODE=oac_abc-_9</pre>" in answer.text
    assert answer.headers["Cache-Control"] == "no-store"


def test_the_callback_page_offers_no_shell_command_for_pasting(client: FlaskClient) -> None:
    assert "CODE=" not in client.get("/callback?code=$(reboot)").text


def test_the_callback_page_shows_a_refusal_escaped(client: FlaskClient) -> None:
    page = client.get("/callback?error=%3Cb%3Eaccess_denied").text
    assert "&lt;b&gt;access_denied" in page
    assert "<b>" not in page
