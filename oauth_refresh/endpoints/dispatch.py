"""Which endpoint answers a request, and what every answer of theirs has in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

from werkzeug.wrappers import Request, Response

from .. import cors
from ..addresses import NOT_CONFIGURED, Addresses, tell_not_configured
from ..errors import OAuthError, RegistryError
from ..responses import ANSWER_HEADERS, Answer, error_response, json_response, prefers_json
from ..server import Server
from ..values import Value
from ..wording import say
from .admin import admin
from .authorize import authorize
from .grants import grants
from .introspect import introspect
from .login import login, logout
from .register import register
from .registered import METHODS, manage
from .returns import fault
from .revoke import revoke
from .token import token_endpoint
from .well_known import is_well_known, well_known

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from ..metrics import Metrics


class LateRequest(Request):
    """Werkzeug's request, built when somebody looks at more of it than the environ."""

    def __init__(self, environ: WSGIEnvironment) -> None:
        self.environ = environ

    def __getattr__(self, name: str) -> Any:
        if "method" in vars(self):  # it is built, and has no such attribute
            raise AttributeError(name)
        super().__init__(self.environ)
        return getattr(self, name)


class Endpoint(Value, frozen=True, gc=False):
    """One endpoint. A `page` is read by people: its errors are HTML, but to programs that prefer JSON. What
    is not `shared` has no CORS headers: no script of another origin has any business there."""

    answer: Callable[[Server, WSGIEnvironment, Addresses], Response | Answer]
    methods: tuple[str, ...]
    page: bool = False
    shared: bool = True


def _of_request(
    answer: Callable[[Server, Request, Addresses], Response],
) -> Callable[[Server, WSGIEnvironment, Addresses], Response]:
    """An endpoint that looks at more of a request than its environ."""
    return lambda server, environ, addresses: answer(server, LateRequest(environ), addresses)


class Endpoints:
    """All endpoints of one server, for the paths that `owns` says are ours."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._clock, self._housekeeping = server.clock, server.housekeeping
        prefix = server.settings.prefix
        pages = {"/authorize": authorize, "/login": login, "/grants": grants}
        found = {
            prefix + path: Endpoint(_of_request(answer), ("GET", "HEAD", "POST"), page=True, shared=False)
            for path, answer in pages.items()
        }
        if server.has_dashboard:
            found[prefix + "/admin"] = Endpoint(_of_request(admin), ("GET", "HEAD"), page=True)
        found[prefix + "/logout"] = Endpoint(_of_request(logout), ("POST",), page=True, shared=False)
        found[prefix + "/token"] = Endpoint(token_endpoint(server), ("POST",))
        found[prefix + "/revoke"] = Endpoint(revoke, ("POST",))
        found[prefix + "/introspect"] = Endpoint(introspect, ("POST",), shared=False)
        if server.settings.metrics:
            from .metrics import metrics

            found[prefix + "/metrics"] = Endpoint(_of_request(metrics), ("GET", "HEAD"), shared=False)
        self._registered: Endpoint | None = None
        if server.settings.registration != "off":
            found[prefix + "/register"] = Endpoint(_of_request(register), ("POST",))
            self._registered = Endpoint(_of_request(manage), METHODS, shared=False)
        if server.settings.root_aliases:
            aliases = [name for name in ("/authorize", "/token", "/register") if prefix + name in found]
            found.update({name: found[prefix + name] for name in aliases})
        self._found = found
        self._below = prefix + "/"
        self._clients = prefix + "/register/"
        self._well_known = Endpoint(_of_request(well_known), ("GET", "HEAD"))
        # Where every origin may read an answer, the headers that say so are always the same.
        origins = server.settings.cors_origins
        self._cors = cors.actual({}, origins) if "*" in origins else None

    def owns(self, path: str) -> bool:
        """Whether this path (as in PATH_INFO) is answered here. Asked at every request."""
        return (
            path in self._found
            or path.startswith(self._below)
            or ("/.well-known/o" in path and is_well_known(path))
        )

    def application(self, method: str, path: str) -> WSGIApplication:
        """What answers requests of this method for this path, with all that can be settled before they come.

        To be kept by whoever asks: a renewal takes 2 % longer where each one looks all of that up.
        """
        endpoint = self._found.get(path) or self._found_below(path)
        serve: WSGIApplication = partial(self._serve_nothing, endpoint)
        if endpoint is not None and method in endpoint.methods:
            serve = self._serving(endpoint)
        metrics = self._server.metrics
        return serve if metrics is None else partial(_serve_and_count, metrics, self._name(path), serve)

    def _serving(self, endpoint: Endpoint) -> WSGIApplication:
        server, answer, failed, cors_headers = self._server, endpoint.answer, self._failed, self._cors_headers
        homeless = self._homeless
        clock, housekeeping = server.clock, server.housekeeping
        configured, addresses_of = server.addresses.configured, server.addresses.of
        to_anyone = self._cors if endpoint.shared else ()
        headers = None if to_anyone is None else (*ANSWER_HEADERS, *to_anyone)

        def serve(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            response: Response | Answer
            try:
                addresses = configured or addresses_of(environ)
                response = homeless(environ) if addresses is None else answer(server, environ, addresses)
            except Exception as error:
                response = failed(endpoint, environ, error)
            if clock() >= housekeeping.due_at:
                housekeeping.look_after()
            if isinstance(response, bytes):
                mine = headers or (*ANSWER_HEADERS, *cors_headers(environ))
                start_response("200 OK", [*mine, ("Content-Length", str(len(response)))])
                return [response]
            more = cors_headers(environ) if to_anyone is None else to_anyone
            return _sent(response, more, environ, start_response)

        return serve

    def _homeless(self, environ: WSGIEnvironment) -> Response:
        tell_not_configured(self._server.events, environ)
        return json_response({"error": "server_error", "error_description": NOT_CONFIGURED}, 500)

    def _serve_nothing(
        self, endpoint: Endpoint | None, environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        """There is no such endpoint, or not for this method."""
        response = self._unanswered(endpoint, environ)
        if self._clock() >= self._housekeeping.due_at:
            self._housekeeping.look_after()
        is_shared = endpoint is None or endpoint.shared
        return _sent(response, self._cors_headers(environ) if is_shared else (), environ, start_response)

    def _name(self, path: str) -> str:
        """What the numbers call this endpoint: one of few names, whatever a stranger asks for."""
        if path in self._found:
            return path.rpartition("/")[2]
        return "well-known" if is_well_known(path) else "unknown"

    def _found_below(self, path: str) -> Endpoint | None:
        """The endpoint of a path that is not the same for everybody."""
        if is_well_known(path):
            return self._well_known
        return self._registered if path.startswith(self._clients) else None

    def _cors_headers(self, environ: WSGIEnvironment) -> list[tuple[str, str]]:
        return self._cors or cors.actual(environ, self._server.settings.cors_origins)

    def _unanswered(self, endpoint: Endpoint | None, environ: WSGIEnvironment) -> Response:
        if endpoint is None:
            if cors.is_preflight(environ):
                return self._preflight(environ, ("GET", "POST"))
            return json_response({"error": "not_found", "error_description": "no such endpoint"}, 404)
        is_options = environ["REQUEST_METHOD"] == "OPTIONS"
        return self._options(endpoint, environ) if is_options else _not_allowed(endpoint)

    def _failed(self, endpoint: Endpoint, environ: WSGIEnvironment, error: Exception) -> Response:
        """Called while the exception is handled."""
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        as_page = endpoint.page and not prefers_json(LateRequest(environ))
        if isinstance(error, OAuthError):
            self._tell(method, path, error)
            return self._page(environ, error) if as_page else error_response(error)
        if isinstance(error, RegistryError):
            self._server.events.emit_sparingly("registry_unavailable", {"reason": str(error)}, "", 10)
            return self._unavailable(environ, error, as_page)
        return self._broken(environ, fault(method, path), as_page)

    def _tell(self, method: str, path: str, error: OAuthError) -> None:
        if not error.told:
            fields = {"method": method, "path": path, "error": error.code, "reason": str(error)}
            self._server.events.emit("request_refused", fields)

    def _options(self, endpoint: Endpoint, environ: WSGIEnvironment) -> Response:
        if not endpoint.shared or not cors.is_preflight(environ):
            return _empty([("Allow", ", ".join((*endpoint.methods, "OPTIONS")))])
        return self._preflight(environ, endpoint.methods)

    def _preflight(self, environ: WSGIEnvironment, methods: tuple[str, ...]) -> Response:
        origins = self._server.settings.cors_origins
        headers = cors.preflight(environ, origins, (*methods, "OPTIONS"))
        names = {name for name, _ in cors.actual(environ, origins)}
        return _empty([header for header in headers if header[0] not in names])

    def _page(self, environ: WSGIEnvironment, error: OAuthError) -> Response:
        return self._server.pages_for(LateRequest(environ)).error(
            say("This request cannot be answered"),
            say("It has a mistake, or the page that it came from is too old."),
            advice=say("Go back to the application and connect it again."),
            detail=error.description,
            status=error.status,
        )

    def _unavailable(self, environ: WSGIEnvironment, error: RegistryError, as_page: bool) -> Response:
        if as_page:
            response = self._server.pages_for(LateRequest(environ)).error(
                say("Temporarily unavailable"),
                say("The server cannot reach its registry just now."),
                advice=say("Nothing is lost. Wait a moment and load this page again."),
                status=503,
            )
        else:
            told = {"error": "temporarily_unavailable", "error_description": "try again in a moment"}
            response = json_response(told, 503)
        response.headers["Retry-After"] = str(error.retry_after)
        return response

    def _broken(self, environ: WSGIEnvironment, number: str, as_page: bool) -> Response:
        if not as_page:
            return json_response({"error": "server_error", "error_description": f"error {number}"}, 500)
        return self._server.pages_for(LateRequest(environ)).error(
            say("Something went wrong here"),
            say("This is not your fault."),
            advice=say("Try again. If it happens again, tell the operator the number below."),
            status=500,
            correlation_id=number,
        )


def _serve_and_count(
    metrics: Metrics,
    name: str,
    serve: WSGIApplication,
    environ: WSGIEnvironment,
    start_response: StartResponse,
) -> Iterable[bytes]:
    began, answered = perf_counter(), [0]

    def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
        answered[0] = int(status[:3])
        return start_response(status, headers, *more)

    body = serve(environ, start)
    metrics.answered(name, answered[0], perf_counter() - began)
    return body


def _sent(
    response: Response,
    more: Iterable[tuple[str, str]],
    environ: WSGIEnvironment,
    start_response: StartResponse,
) -> Iterable[bytes]:
    for name, value in more:
        response.headers.add(name, value)
    return response(environ, start_response)


def _empty(headers: list[tuple[str, str]]) -> Response:
    response = Response(status=204, headers=headers)
    # A type of nothing is against WSGI.
    del response.headers["Content-Type"]
    return response


def _not_allowed(endpoint: Endpoint) -> Response:
    allowed = ", ".join((*endpoint.methods, "OPTIONS"))
    told = {
        "error": "invalid_request",
        "error_description": f"the method must be {' or '.join(endpoint.methods)}",
    }
    return json_response(told, 405, [("Allow", allowed)])
