"""What reaches the application behind, and what does not."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.util import FileWrapper
from wsgiref.validate import validator

import pytest
from werkzeug.test import create_environ, run_wsgi_app

from oauth_refresh import ConfigurationError, OAuthMiddleware

from .driving import ORIGIN, PROTECT, SCOPES, InProcess, check_password

Environ = dict[str, Any]


def bare(app: Any, **settings: Any) -> OAuthMiddleware:
    """The middleware alone, held to nothing, in front of an application that is no good citizen."""
    return OAuthMiddleware(app, environ={}, **{"registry": "memory:", "protect": {"/api": ""}, **settings})


class Unreadable:
    """A request body that nobody may touch."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"the body was touched: {name}")


class Seen:
    """An application that keeps the environ of its last request."""

    environ: Environ

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        self.environ = environ
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"seen"]


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def server(seen: Seen) -> InProcess:
    return InProcess(seen)


# --- passed through untouched ---------------------------------------------------------------------


@pytest.mark.requirement("WSGI-05")
def test_a_stream_reaches_the_client_item_by_item() -> None:
    made = []

    def app(environ: Environ, start_response: Callable[..., Any]) -> Iterator[bytes]:
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        for number in range(3):
            made.append(number)
            yield b"data: %d\n\n" % number

    server = InProcess(app)
    items = server.wsgi(server.environ("GET", ORIGIN + "/open"), lambda *_: lambda _: None)
    iterator = iter(items)
    assert next(iterator) == b"data: 0\n\n"
    assert made == [0]
    assert list(iterator) == [b"data: 1\n\n", b"data: 2\n\n"]
    items.close()


@pytest.mark.requirement("WSGI-05")
def test_the_iterable_of_the_application_is_handed_over_as_it_is() -> None:
    chunks = [b"a", b"b"]

    def app(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [])
        return chunks

    middleware = bare(app)
    environ = InProcess().environ("GET", ORIGIN + "/open")
    assert middleware(environ, lambda *_: lambda _: None) is chunks


@pytest.mark.requirement("WSGI-05")
def test_a_file_wrapper_stays_the_one_of_the_server(tmp_path: Any) -> None:
    place = tmp_path / "file"
    place.write_bytes(b"content")

    def app(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [])
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"](place.open("rb"))
        return wrapped

    environ = {**InProcess().environ("GET", ORIGIN + "/open"), "wsgi.file_wrapper": FileWrapper}
    answer = bare(app)(environ, lambda *_: lambda _: None)
    assert isinstance(answer, FileWrapper)
    assert b"".join(answer) == b"content"
    answer.close()


@pytest.mark.requirement("WSGI-05")
def test_the_write_callable_works() -> None:
    def app(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])(b"written, ")
        return [b"returned"]

    assert InProcess(app).get("/open").body == b"written, returned"


@pytest.mark.requirement("WSGI-05")
def test_the_application_may_change_its_mind_with_exc_info() -> None:
    def app(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        try:
            raise LookupError
        except LookupError:
            start_response("404 Not Found", [("Content-Type", "text/plain")], sys.exc_info())
        return [b"gone"]

    answer = InProcess(app).get("/open")
    assert (answer.status, answer.body) == (404, b"gone")


@pytest.mark.requirement("WSGI-05")
@pytest.mark.parametrize("path", ["/open", "/api"])
def test_close_is_called_once(path: str) -> None:
    closed = []

    class Body:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"x"])

        def close(self) -> None:
            closed.append(path)

    def app(environ: Environ, start_response: Callable[..., Any]) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return Body()

    server = InProcess(app)
    assert server.api(server.tokens()["access_token"], path).status == 200
    assert closed == [path]


@pytest.mark.requirement("WSGI-05")
def test_what_the_application_raises_reaches_the_server() -> None:
    def app(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        InProcess(app).get("/open")


@pytest.mark.requirement("RS-26")
@pytest.mark.requirement("CORS-09")
def test_headers_of_the_application_are_neither_changed_nor_doubled() -> None:
    headers = [
        ("Content-Type", "text/plain"),
        ("WWW-Authenticate", 'Digest realm="its own"'),
        ("Access-Control-Allow-Origin", "https://one.example"),
        ("Cache-Control", "max-age=60"),
    ]

    def app(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("401 Unauthorized", headers)
        return [b"mine"]

    server = InProcess(app)
    token = server.tokens()["access_token"]
    for answer in (server.get("/open"), server.api(token, Origin="https://one.example")):
        assert answer.status == 401
        assert list(answer.headers) == headers


@pytest.mark.requirement("WSGI-04")
@pytest.mark.parametrize("path", ["/open", "/api"])
@pytest.mark.parametrize("length", ["104857600", "", None], ids=["100 MB", "empty", "unknown"])
def test_a_body_for_the_application_is_not_read(path: str, length: str | None, seen: Seen) -> None:
    server = InProcess(middleware=bare(seen, password_check=check_password, scopes=SCOPES))
    environ = server.environ(
        "POST", ORIGIN + path, b"", {"Content-Type": "application/x-www-form-urlencoded"}
    )
    environ["HTTP_AUTHORIZATION"] = "Bearer " + server.tokens()["access_token"]
    environ["wsgi.input"] = body = Unreadable()
    del environ["CONTENT_LENGTH"]
    if length is None:
        environ["HTTP_TRANSFER_ENCODING"] = "chunked"
    else:
        environ["CONTENT_LENGTH"] = length
    run_wsgi_app(server.middleware, environ)
    assert seen.environ["wsgi.input"] is body


@pytest.mark.requirement("WSGI-04")
def test_a_refused_upload_is_not_read() -> None:
    server = InProcess(middleware=bare(None))
    environ = {**server.environ("PUT", ORIGIN + "/api"), "CONTENT_LENGTH": "104857600"}
    environ["wsgi.input"] = Unreadable()
    _, status, _ = run_wsgi_app(server.middleware, environ)
    assert status == "401 Unauthorized"


@pytest.mark.requirement("HTTP-04")
def test_head_gets_the_headers_of_the_application_and_of_a_refusal() -> None:
    server = InProcess()
    token = server.tokens()["access_token"]
    assert server.api(token, method="HEAD").status == 200
    refused = server.api(None, method="HEAD")
    assert (refused.status, refused.body) == (401, b"")
    told = server.api(None)
    assert refused.headers["WWW-Authenticate"] == told.headers["WWW-Authenticate"]
    assert refused.headers["Content-Length"] == str(len(told.body))


# --- what is taken out ----------------------------------------------------------------------------


@pytest.mark.requirement("WSGI-07")
@pytest.mark.parametrize("path", ["/open", "/api"])
@pytest.mark.parametrize("name", ["X-Remote-User", "Remote-User", "x_remote_user", "REMOTE_USER"])
def test_identity_headers_do_not_reach_the_application(
    server: InProcess, seen: Seen, path: str, name: str
) -> None:
    token = server.tokens()["access_token"]
    environ = server.environ("GET", ORIGIN + path, b"", {"Authorization": f"Bearer {token}"})
    environ["HTTP_" + name.upper().replace("-", "_")] = "admin"
    assert server.call(environ).status == 200
    assert "admin" not in seen.environ.values()


@pytest.mark.requirement("WSGI-07")
def test_configured_identity_headers_are_the_ones_taken_out(seen: Seen) -> None:
    server = InProcess(seen, identity_headers=["X-Auth-Email"])
    server.send("GET", "/open", b"", {"X-Auth-Email": "admin", "X-Remote-User": "left"})
    assert "HTTP_X_AUTH_EMAIL" not in seen.environ
    assert seen.environ["HTTP_X_REMOTE_USER"] == "left"


@pytest.mark.requirement("WSGI-07")
def test_an_identity_that_the_guard_did_not_put_there_is_taken_out(server: InProcess, seen: Seen) -> None:
    environ = server.environ("GET", ORIGIN + "/open")
    environ["oauth_refresh.token"] = "forged"
    server.call(environ)
    assert "oauth_refresh.token" not in seen.environ


@pytest.mark.requirement("WSGI-07")
def test_a_user_of_the_server_stays_on_open_paths(server: InProcess, seen: Seen) -> None:
    server.extra = {"REMOTE_USER": "carol", "AUTH_TYPE": "Basic"}
    server.send("GET", "/open", b"", {"Authorization": "Basic Y2Fyb2w6eA=="})
    assert (seen.environ["REMOTE_USER"], seen.environ["AUTH_TYPE"]) == ("carol", "Basic")
    assert seen.environ["HTTP_AUTHORIZATION"] == "Basic Y2Fyb2w6eA=="


@pytest.mark.requirement("WSGI-07")
def test_a_user_of_the_server_is_not_believed_on_protected_paths(seen: Seen) -> None:
    server = InProcess(seen, set_remote_user=False)
    token = server.tokens()["access_token"]
    server.extra = {"REMOTE_USER": "carol", "AUTH_TYPE": "Basic"}
    assert server.api(token).status == 200
    assert not {"REMOTE_USER", "AUTH_TYPE"} & set(seen.environ)
    assert seen.environ["oauth_refresh.token"].subject == "alice"


@pytest.mark.requirement("WSGI-08")
def test_a_token_on_an_open_path_is_the_application_s_own_matter(server: InProcess, seen: Seen) -> None:
    server.api("a token of its own", "/open")
    assert seen.environ["HTTP_AUTHORIZATION"] == "Bearer a token of its own"


# --- a callable that decides ----------------------------------------------------------------------


def test_a_callable_may_decide_what_is_protected() -> None:
    def protect(environ: Environ) -> str | None:
        return {"/a": "", "/b": "notes:write", "/c": "public"}.get(environ["PATH_INFO"])

    server = InProcess(protect=protect, default_scopes=["notes:read"])
    token = server.tokens()["access_token"]
    assert [server.api(None, path).status for path in ("/a", "/b", "/c", "/d")] == [401, 401, 200, 200]
    assert [server.api(token, path).status for path in ("/a", "/b", "/c", "/d")] == [200, 403, 200, 200]


def test_a_callable_that_answers_nonsense_opens_nothing() -> None:
    server = InProcess(protect=lambda environ: 'a"b')
    with pytest.raises(ConfigurationError, match="OAUTH_PROTECT"):
        server.get("/api")


# --- building -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["user_loader", "admin_check"])
def test_a_callable_without_a_parameter_is_for_frameworks_alone(name: str) -> None:
    hook: dict[str, Any] = {name: lambda: "ada"}
    with pytest.raises(ConfigurationError, match=f"OAUTH_{name.upper()}: cannot be called .*environ"):
        OAuthMiddleware(validator(Seen()), environ={}, **hook)


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as raised:
        OAuthMiddleware(validator(Seen()), environ={}, issuer="x", acces_token_ttl=3)
    text = str(raised.value)
    assert "OAUTH_ISSUER" in text
    assert "access_token_ttl" in text.lower()


@pytest.mark.requirement("OPS-10")
def test_nobody_can_sign_in_and_no_client_is_there_by_default() -> None:
    server = InProcess(middleware=OAuthMiddleware(Seen(), environ={}, registry="memory:"))
    assert server.middleware.server.has_login_page is False
    assert list(server.middleware.server.backend.keys()) == []
    assert server.middleware.settings.clients == {}


def test_settings_come_from_every_layer(tmp_path: Any) -> None:
    place = tmp_path / "oauth.toml"
    place.write_text('service_name = "file"\nprefix = "/file"\ncode_ttl = 30\n')
    middleware = OAuthMiddleware(
        Seen(),
        {"OAUTH_PREFIX": "/config"},
        environ={"OAUTH_CODE_TTL": "40", "OAUTH_PREFIX": "/environ"},
        config_file=str(place),
        registry="memory:",
        protect=PROTECT,
    )
    settings = middleware.settings
    assert (settings.service_name, settings.prefix, settings.code_ttl) == ("file", "/config", 40.0)


def test_no_request_passes_before_the_application_was_looked_at() -> None:
    happened: list[str] = []

    def application(environ: Any, start_response: Any) -> list[bytes]:
        happened.append("passed")
        start_response("200 OK", [])
        return [b""]

    def look() -> None:
        happened.append("looked")
        if happened == ["looked"]:
            other = threading.Thread(target=ask)
            other.start()
            other.join()

    def ask() -> None:
        run_wsgi_app(wrapped, create_environ("/open"))

    wrapped = OAuthMiddleware(application, registry="memory:", at_first_request=look)
    ask()
    ask()
    assert happened == ["looked", "looked", "passed", "passed", "passed"]
