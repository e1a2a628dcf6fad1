"""HTTP without a network: a `requests` session whose every request is a call of a WSGI application."""

from __future__ import annotations

from collections.abc import Mapping
from email.message import Message
from io import BytesIO
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPHeaderDict, HTTPResponse
from werkzeug.test import EnvironBuilder, run_wsgi_app

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def session_with(app: WSGIApplication, **environ: Any) -> requests.Session:
    """A session that reaches `app` under every http address; `environ` is added to each request's."""
    session = requests.Session()
    session.trust_env = False
    session.mount("http://", _Calls(app, environ))
    return session


class _Calls(HTTPAdapter):
    def __init__(self, app: WSGIApplication, environ: Mapping[str, Any]) -> None:
        super().__init__()
        self._app = app
        self._environ = environ

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        origin, _slash, rest = str(request.url).removeprefix("http://").partition("/")
        body: Any = request.body or b""
        builder = EnvironBuilder(
            path=f"/{rest}",
            base_url=f"http://{origin}/",
            method=request.method or "GET",
            headers=list(request.headers.items()),
            data=body.encode() if isinstance(body, str) else body,
        )
        environ = {**builder.get_environ(), "REMOTE_ADDR": "127.0.0.1", **self._environ}
        chunks, status, headers = run_wsgi_app(self._app, environ, buffered=True)
        return self.build_response(request, _as_received(status, list(headers), b"".join(chunks)))


def _as_received(status: str, headers: list[tuple[str, str]], body: bytes) -> HTTPResponse:
    # requests takes cookies from the message that http.client parsed, so there has to be one.
    message = Message()
    for name, value in headers:
        message[name] = value
    code, _, reason = status.partition(" ")
    return HTTPResponse(
        BytesIO(body),
        HTTPHeaderDict(headers),
        int(code),
        reason=reason,
        preload_content=False,
        original_response=_Parsed(message),  # type: ignore[arg-type]
    )


class _Parsed:
    def __init__(self, message: Message) -> None:
        self.msg = message

    def isclosed(self) -> bool:
        return True

    def close(self) -> None:
        """There is nothing to close, and requests asks for it."""
