"""An MCP server, made with the official `mcp` package, as the WSGI application behind the middleware.

    server = MCPServer("Notes")
    application = OAuthMiddleware(McpApplication(server), protect={"/mcp": "mcp:tools"}, ...)

It needs `mcp` and `a2wsgi`: `pip install 'oauth-refresh[mcp]'`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from io import BytesIO
from threading import Lock, Thread
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from a2wsgi import ASGIMiddleware
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.transport_security import TransportSecuritySettings

from . import cors
from .guard import TOKEN_KEY
from .identity import Identity

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

START_SECONDS = 30.0
BODY_BYTES_MAX = 4 * 1024 * 1024
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class McpApplication:
    """A WSGI application that answers at `path` with the tools, resources and prompts of `server`.

    Every request stands by itself and is answered in one piece of JSON, so any worker of any host may answer
    any request, and none holds a thread longer than its tool runs. `issuer` is the middleware's, where one is
    configured; `cors_origins` are the web origins whose pages may call, "*" meaning all (OAUTH_CORS_ORIGINS).

    It does not look at tokens: put the middleware in front. `caller(context)` tells a tool who called.
    """

    def __init__(
        self,
        server: MCPServer[Any],
        *,
        path: str = "/mcp",
        issuer: str | None = None,
        cors_origins: Sequence[str] = ("*",),
    ) -> None:
        self._server = server
        self._path = path
        self._security = _security(issuer, cors_origins)
        self._origins = tuple(cors_origins)
        self._lock = Lock()
        self._running: tuple[int, WSGIApplication] = (0, _not_running)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("PATH_INFO", "").rstrip("/") != self._path:
            return _answer(start_response, "404 Not Found", [])
        if cors.is_preflight(environ):
            return _answer(
                start_response, "204 No Content", cors.preflight(environ, self._origins, ("POST",))
            )
        headers = cors.actual(environ, self._origins)
        if environ["REQUEST_METHOD"] != "POST":
            # A GET would be a stream without an end, which holds a worker for as long as the client likes.
            return _answer(start_response, "405 Method Not Allowed", [("Allow", "POST"), *headers])

        def start_with_cors(status: str, told: list[tuple[str, str]], *more: Any) -> Any:
            return start_response(status, [*told, *headers], *more)

        # Read to its end here: an answer left half read, as when a client hangs up, would stay in the loop.
        answer = self._application()(self._for_server(environ), cast("StartResponse", start_with_cors))
        return [b"".join(answer)]

    def _for_server(self, environ: WSGIEnvironment) -> WSGIEnvironment:
        # With a slash at its end the server would answer a redirect, at which clients give up.
        told = {**environ, "PATH_INFO": self._path}
        if "*" in self._origins:
            told.pop("HTTP_ORIGIN", None)
        if _takes_json(environ.get("HTTP_ACCEPT", "")):
            # Who accepts a stream gets one for `subscriptions/listen`, also from a server that answers JSON.
            told["HTTP_ACCEPT"] = "application/json"
        if not environ.get("CONTENT_LENGTH") and environ.get("wsgi.input_terminated"):
            # A body that came in chunks: the adapter reads only what it was told the length of.
            body = environ["wsgi.input"].read(BODY_BYTES_MAX + 1)
            told.update({"CONTENT_LENGTH": str(len(body)), "wsgi.input": BytesIO(body)})
        return told

    def _application(self) -> WSGIApplication:
        """The server in this process, begun at its first request.

        Before that nothing may run: a thread does not survive the fork by which a server like gunicorn makes
        its workers, so a loop begun at import would leave each of their requests waiting for ever.
        """
        pid, application = self._running
        if pid == os.getpid():
            return application
        with self._lock:
            pid, application = self._running
            if pid != os.getpid():
                application = self._begin()
                self._running = (os.getpid(), application)
        return application

    def _begin(self) -> WSGIApplication:
        app = self._server.streamable_http_app(
            streamable_http_path=self._path,
            stateless_http=True,
            json_response=True,
            transport_security=self._security,
            max_request_body_size=BODY_BYTES_MAX,
        )
        loop = asyncio.new_event_loop()
        Thread(target=_run, args=(loop,), name="mcp", daemon=True).start()
        begun: Future[None] = Future()

        async def live() -> None:
            # Entered and left in one task, as the task group in it demands; left when the process ends.
            try:
                async with app.router.lifespan_context(app):
                    begun.set_result(None)
                    await asyncio.Event().wait()
            except Exception as error:
                if begun.done():
                    raise
                begun.set_exception(error)

        self._life = asyncio.run_coroutine_threadsafe(live(), loop)
        try:
            begun.result(START_SECONDS)
        except BaseException:
            loop.call_soon_threadsafe(loop.stop)
            raise
        return cast("WSGIApplication", ASGIMiddleware(cast("Any", app), loop=loop))


def caller(context: Context[Any, Any]) -> Identity:
    """Who calls this tool, resource or prompt: what the access token of the request speaks for.

    `LookupError` where no middleware looked at the request.
    """
    request = context.request_context.request
    environ = request.scope.get("wsgi_environ", {}) if request is not None else {}
    identity = environ.get(TOKEN_KEY)
    if not isinstance(identity, Identity):
        raise LookupError("no access token was checked: is the MCP server's path protected (OAUTH_PROTECT)?")
    return identity


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
    finally:
        loop.close()


def _security(issuer: str | None, origins: Sequence[str]) -> TransportSecuritySettings:
    """Hosts and origins that the server answers.

    The token is what keeps strangers out, also those who come by DNS rebinding. Loopback hosts are always
    right: a proxy on this machine that does not pass `Host` on names them.
    """
    hosts = [host for name in _LOOPBACK for host in (name, f"{name}:*")]
    own = [f"http://{host}" for host in hosts]
    if issuer is not None:
        parts = urlsplit(issuer)
        hosts.append(parts.netloc)
        own = [f"{parts.scheme}://{parts.netloc}"]
    return TransportSecuritySettings(allowed_hosts=hosts, allowed_origins=[*own, *origins])


def _takes_json(accept: str) -> bool:
    kinds = {kind.partition(";")[0].strip().lower() for kind in accept.split(",")}
    return not kinds.isdisjoint({"application/json", "application/*", "*/*"})


def _answer(start_response: StartResponse, status: str, headers: list[tuple[str, str]]) -> Iterable[bytes]:
    start_response(status, [("Content-Length", "0"), *headers] if status[0] != "2" else headers)
    return [b""]


def _not_running(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    raise RuntimeError("the MCP server was not begun")
