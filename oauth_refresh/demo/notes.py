"""The application that the demo wraps: a small Flask notes service that knows nothing of OAuth.

It reads the identity that the middleware left in the WSGI environ and trusts it.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from flask import Flask, Response, jsonify, render_template, request
from jinja2 import ChoiceLoader, PackageLoader

NOTE_CHARACTERS_MAX = 1000
NOTES_PER_USER_MAX = 100

_TABLE = """
CREATE TABLE IF NOT EXISTS notes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    subject TEXT NOT NULL,
    text TEXT NOT NULL
)
"""
_KEEP_NEWEST = """
DELETE FROM notes WHERE subject = :subject AND id NOT IN (
    SELECT id FROM notes WHERE subject = :subject ORDER BY id DESC LIMIT :keep
)
"""


class Notebook:
    """Every user's notes in one SQLite file, shared by all worker processes.

    A connection is opened per call: nothing is carried across a fork.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def of(self, subject: str) -> list[dict[str, Any]]:
        """This user's notes, oldest first, each with `id` and `text`."""
        with self._open() as database:
            rows = database.execute("SELECT id, text FROM notes WHERE subject = ? ORDER BY id", (subject,))
            return [{"id": number, "text": text} for number, text in rows]

    def add(self, subject: str, text: str) -> dict[str, Any]:
        """Keep a note and return it. Beyond `NOTES_PER_USER_MAX` the user's oldest is forgotten."""
        with self._open() as database:
            added = database.execute("INSERT INTO notes (subject, text) VALUES (?, ?)", (subject, text))
            database.execute(_KEEP_NEWEST, {"subject": subject, "keep": NOTES_PER_USER_MAX})
            return {"id": added.lastrowid, "text": text}

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=10)) as database, database:
            database.execute(_TABLE)
            yield database


def create_notes(notebook: Notebook) -> Flask:
    """The notes application over HTTP, keeping its notes in `notebook`."""
    app = Flask(__name__, static_folder=None)
    # The middleware's own pages lend the demo their style sheet.
    app.jinja_loader = ChoiceLoader([PackageLoader("oauth_refresh.demo"), PackageLoader("oauth_refresh")])

    @app.get("/")
    def index() -> str:
        return render_template("index.html", base=request.host_url.rstrip("/"))

    @app.get("/callback")
    def callback() -> Response:
        return _as_client()

    @app.get("/api/notes")
    def list_notes() -> Response:
        return jsonify(notes=notebook.of(_subject()))

    @app.post("/api/notes")
    def add_note() -> tuple[Response, int]:
        text = _note_text()
        if not text or len(text) > NOTE_CHARACTERS_MAX:
            return jsonify(error=f"text must be 1 to {NOTE_CHARACTERS_MAX} characters"), 400
        return jsonify(notebook.add(_subject(), text)), 201

    # A rule without methods answers every method, also those that no standard names.
    for path_shown in ("/api/echo", "/api/echo/<path:rest>"):
        app.url_map.add(app.url_rule_class(path_shown, endpoint="echo"))
    app.endpoint("echo")(_echo)
    app.after_request(_protect_page)
    return app


def _subject() -> str:
    return str(request.environ["oauth_refresh.token"].subject)


def _note_text() -> str:
    sent = request.get_json(silent=True)
    text = sent.get("text") if isinstance(sent, dict) else request.form.get("text")
    return text.strip() if isinstance(text, str) else ""


def _echo(rest: str = "") -> Response:
    """The request as it was seen here, and who the middleware says it is from."""
    token = request.environ.get("oauth_refresh.token")
    return jsonify(
        method=request.method,
        path=request.path,
        subject=token and token.subject,
        client_id=token and token.client_id,
        scopes=sorted(token.scopes) if token else [],
        REMOTE_USER=request.environ.get("REMOTE_USER"),
        AUTH_TYPE=request.environ.get("AUTH_TYPE"),
        headers=dict(request.headers.items()),
    )


def _as_client() -> Response:
    """The page that a client has at its redirect URI: it shows the code to whoever follows the walk."""
    code = request.args.get("code", "")
    # Only what is a code for sure is offered for pasting into a shell.
    shown = code if re.fullmatch(r"[A-Za-z0-9_-]{1,200}", code) else ""
    error = request.args.get("error", "")[:100]
    response = Response(render_template("callback.html", code=shown, error=error))
    response.headers["Cache-Control"] = "no-store"
    return response


def _protect_page(response: Response) -> Response:
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "no-referrer")
    response.headers.setdefault(
        "Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
    )
    return response
