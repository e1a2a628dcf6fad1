"""How a WSGI application is called here: as a server calls it, without the server.

Nothing of the package is imported: the programs of the peers, in environments of their own, use it too.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

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


def introspector(app: WSGIApplication, token: str, authorization: str) -> Callable[[], str]:
    """An operation: a resource server asks of this access token, and returns the status if it is good."""
    form = f"token={token}".encode()
    base: dict[str, Any] = {
        **_ENVIRON,
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/oauth/introspect",
        "CONTENT_TYPE": "application/x-www-form-urlencoded",
        "CONTENT_LENGTH": str(len(form)),
        "HTTP_AUTHORIZATION": authorization,
    }
    found = [""]

    def start_response(status: str, headers: object, exc_info: object = None) -> Any:
        found[0] = status

    def operation() -> str:
        environ = base.copy()
        environ["wsgi.input"] = io.BytesIO(form)
        answer = _decode(b"".join(app(environ, start_response)))
        return found[0] if answer["active"] else "inactive"

    return operation


class Rotator:
    """An operation: one POST of the newest refresh token, whose answer it keeps.

    `more` are parameters beside those that every refresh has, as they stand in the form.
    """

    def __init__(self, app: WSGIApplication, refresh_token: str, client_id: str, more: str = "") -> None:
        self.app = app
        self.refresh_token = refresh_token
        self.access_token = ""
        self.client_id = client_id
        self.more = more

    def __call__(self) -> str:
        status, answer = refresh(self.app, self.refresh_token, self.client_id, self.more)
        self.refresh_token = answer["refresh_token"]
        self.access_token = answer["access_token"]
        return status


_decode = msgspec.json.Decoder().decode


def ask(app: WSGIApplication, path: str, body: bytes, content_type: str) -> tuple[str, Any]:
    """One POST: its status, and what the JSON of the answer says."""
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


def refresh(app: WSGIApplication, refresh_token: str, client_id: str, more: str = "") -> tuple[str, Any]:
    """One POST of a refresh token."""
    form = f"grant_type=refresh_token&refresh_token={refresh_token}&client_id={client_id}{more}"
    return ask(app, "/oauth/token", form.encode(), "application/x-www-form-urlencoded")


def forged(token: str) -> str:
    """Well formed, and wrong: the last letter is another one."""
    return token[:-1] + ("A" if token[-1] != "A" else "E")
