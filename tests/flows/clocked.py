"""The middleware in this process, with a clock that the test moves: for all that takes minutes or days."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from oauth_refresh import OAuthMiddleware
from oauth_refresh.records import Grant
from tests.flows.client import OAuthClient, grant_id
from tests.flows.headless import PASSWORDS
from tests.flows.in_process import session_with
from tests.flows.secret import Secret

BASE = "http://localhost:8000"

SETTINGS: dict[str, Any] = {
    "protect": {"/api": "", "GET /api/notes": "notes:read", "POST /api/notes": "notes:write"},
    "scopes": {"notes:read": "Read your notes", "notes:write": "Add notes"},
    "default_scopes": ("notes:read",),
}


class Clocked:
    """`now` is the time of the server, in seconds since 1970; keywords are settings."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.now = 1_800_000_000.0
        ours = {"registry": f"sqlite://{folder}/oauth.db", "password_check": knows}
        given: dict[str, Any] = {**ours, **SETTINGS, **settings}
        self.middleware = OAuthMiddleware(
            notes,
            environ={},
            clock=lambda: self.now,
            **given,
        )
        self.backend = self.middleware.server.backend

    def client(self, **how: Any) -> OAuthClient:
        return OAuthClient(BASE, lambda: session_with(self.middleware), **how)

    def grant(self, token: Secret) -> Grant:
        """The grant of a code or token, as it is stored now."""
        grant = self.middleware.registry.get(grant_id(token))
        assert grant is not None
        return grant

    def record(self, token: Secret) -> bytes:
        """The same, byte for byte."""
        entry = self.backend.get(b"g" + bytes.fromhex(grant_id(token)))
        assert entry is not None
        return entry.body


def notes(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """An application from before anybody thought of tokens: it asks the server who the user is."""
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"REMOTE_USER": environ.get("REMOTE_USER"), "notes": []}).encode()]


def knows(name: str, password: str) -> bool:
    """Whether this is the password of alice or bob."""
    return name in PASSWORDS and PASSWORDS[name].text == password
