"""The applications under test, driven as a WSGI server drives them, without the server."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from oauth_refresh import OAuthMiddleware
from oauth_refresh.backends.base import Backend

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

SECRET_KEY = "a server secret for measurements only"
_ENVIRON = {
    "SCRIPT_NAME": "",
    "QUERY_STRING": "",
    "SERVER_NAME": "127.0.0.1",
    "SERVER_PORT": "8000",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "HTTP_HOST": "127.0.0.1:8000",
    "HTTP_USER_AGENT": "benchmark",
    "HTTP_ACCEPT": "*/*",
    "REMOTE_ADDR": "127.0.0.1",
    "wsgi.url_scheme": "http",
    "wsgi.version": (1, 0),
    "wsgi.multithread": True,
    "wsgi.multiprocess": True,
    "wsgi.run_once": False,
}


def constant(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """The application behind: it answers the same to everybody."""
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
    return [b"ok"]


def middleware(url: str | Backend) -> OAuthMiddleware:
    """Ours, as a user would set it up: a protected path, an issuer, a secret of its own."""
    return OAuthMiddleware(
        constant,
        environ={},
        registry=url,
        issuer="http://127.0.0.1:8000",
        secret_key=SECRET_KEY,
        protect={"/api": "notes:read"},
        scopes={"notes:read": "Read", "notes:write": "Write"},
        password_check=lambda name, password: name,
        clients={"reference": {"redirect_uris": ["http://127.0.0.1/callback"]}},
    )


REGISTERED = {
    "client_name": "Reference",
    "redirect_uris": ["http://127.0.0.1/callback"],
    "token_endpoint_auth_method": "none",
    "grant_types": ["authorization_code", "refresh_token"],
}


def register(app: WSGIApplication) -> str:
    """The id of a public client that has registered itself, as MCP clients do."""
    status, answer = ask(app, "/oauth/register", msgspec.json.encode(REGISTERED), "application/json")
    assert status.startswith("201"), (status, answer)
    return str(answer["client_id"])


def reader(app: WSGIApplication, token: str | None, path: str = "/api/notes") -> Callable[[], str]:
    """An operation: one GET, with a fresh environ, that returns the status."""
    base: dict[str, Any] = {**_ENVIRON, "REQUEST_METHOD": "GET", "PATH_INFO": path}
    if token is not None:
        base["HTTP_AUTHORIZATION"] = f"Bearer {token}"
    found = [""]

    def start_response(status: str, headers: object, exc_info: object = None) -> Any:
        found[0] = status

    def operation() -> str:
        environ = base.copy()
        environ["wsgi.input"] = None
        for _ in app(environ, start_response):
            pass
        return found[0]

    return operation


class Rotator:
    """An operation: one POST of the newest refresh token, whose answer it keeps."""

    def __init__(self, app: WSGIApplication, refresh_token: str, client_id: str) -> None:
        self.app = app
        self.refresh_token = refresh_token
        self.access_token = ""
        self._client_id = client_id

    def __call__(self) -> str:
        form = f"grant_type=refresh_token&refresh_token={self.refresh_token}&client_id={self._client_id}"
        status, answer = ask(self.app, "/oauth/token", form.encode(), "application/x-www-form-urlencoded")
        self.refresh_token = answer["refresh_token"]
        self.access_token = answer["access_token"]
        return status


_decode = msgspec.json.Decoder().decode


def ask(app: WSGIApplication, path: str, body: bytes, content_type: str) -> tuple[str, Any]:
    environ: dict[str, Any] = {
        **_ENVIRON,
        "REQUEST_METHOD": "POST",
        "PATH_INFO": path,
        "CONTENT_TYPE": content_type,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": None,
    }
    found = [""]

    def start_response(status: str, headers: object, exc_info: object = None) -> Any:
        found[0] = status

    answer = app(environ, start_response)
    try:
        return found[0], _decode(b"".join(answer))
    finally:
        close = getattr(answer, "close", None)
        if close is not None:
            close()
