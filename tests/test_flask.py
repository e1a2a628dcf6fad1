"""The Flask extension: one line in front of an application that has its own login."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from flask import Blueprint, Flask, current_app, g, redirect, request, session
from werkzeug.wrappers import Response

from oauth_refresh import ConfigurationError, OAuthRefresh, current_token, require_scope
from oauth_refresh.flask import OAuthRefresh as Extension
from oauth_refresh.middleware import OAuthMiddleware

from .driving import ORIGIN, SCOPES, Browser, Clock, InProcess, Registered, check_password

OPEN_METADATA = f'resource_metadata="{ORIGIN}/.well-known/oauth-protected-resource"'


def application(name: str = "app", **config: Any) -> Flask:
    app = Flask(name)
    app.config.update(
        {"SECRET_KEY": "a server secret of enough bytes", "OAUTH_REGISTRY": "memory:", "OAUTH_SCOPES": SCOPES}
    )
    app.config.update(config)

    @app.route("/login", methods=["GET", "POST"])
    def login() -> Any:
        if request.method == "POST":
            session["user"] = request.form["user"]
            return redirect(request.args["next"], 303)
        return "a login page of its own"

    @app.get("/api/me")
    def me() -> dict[str, Any]:
        return {"subject": current_token.subject, "scopes": list(current_token.scopes)}

    @app.get("/open")
    def open_page() -> dict[str, Any]:
        return {"token": bool(current_token), "user": session.get("user")}

    return app


def driven(app: Flask) -> InProcess:
    middleware = app.extensions["oauth_refresh"]
    assert isinstance(middleware, OAuthMiddleware)
    return InProcess(middleware=middleware)


def session_user() -> Any:
    return session.get("user")


def test_a_view_behind_a_scope_that_does_not_exist_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    app = application()
    OAuthRefresh(app, login="user")

    @app.get("/write")
    @require_scope("notes:wirte")
    def write() -> str:
        return "written"

    for _ in range(2):
        assert app.test_client().get("/write").status_code == 401
    (told,) = [message for message in caplog.messages if "require_scope" in message]
    assert "'notes:wirte'" in told


def test_a_login_in_a_session_that_there_cannot_be_is_told(caplog: pytest.LogCaptureFixture) -> None:
    app = application(SECRET_KEY=None)
    OAuthRefresh(app, login="user", login_url="/login")
    assert any(
        "SECRET_KEY is not set, and without it there is no session" in each for each in caplog.messages
    )


def test_what_is_handed_over_by_mistake_is_named() -> None:
    app = application()
    with pytest.raises(TypeError, match="is for a Flask application, and this is str"):
        OAuthRefresh("notes")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="takes scopes as text"):
        require_scope(session_user)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="did you mean 'flask-login'"):
        OAuthRefresh(app, login="flask_login")
    with pytest.raises(RuntimeError, match="this application has no OAuthRefresh"):
        OAuthRefresh.test_client(app, "ada")
    OAuthRefresh(app, user_loader=session_user, login_url="/login", protect=lambda environ: True)
    with pytest.raises(ConfigurationError, match="the callable answered bool"):
        app.test_client().get("/open")


def whole_flow(
    server: InProcess, browser: Browser, client: Registered, user: str = "alice"
) -> dict[str, Any]:
    """Sign in to the application, allow the client, redeem the code."""
    answer = browser.get(server.authorize_url(client))
    if answer.status == 302:
        answer = browser.post(ORIGIN + answer.location, {"user": user})
        answer = browser.get(ORIGIN + answer.location)
    code = browser.submit(answer.form("decision"), decision="allow").parameters["code"]
    return dict(server.redeem(client, code).json)


# --- one line -------------------------------------------------------------------------------------


def test_one_line_puts_oauth_in_front_of_an_application_with_its_own_login() -> None:
    app = application()
    OAuthRefresh(app, protect={"/api": "notes:read"}, user_loader=session_user, login_url="/login")
    server = driven(app)
    tokens = whole_flow(server, server.browser(), server.register())
    assert server.api(None, "/api/me").status == 401
    assert server.api(tokens["access_token"], "/api/me").json == {
        "subject": "alice",
        "scopes": ["notes:read", "notes:write"],
    }
    assert server.api(None, "/open").json == {"token": False, "user": None}


def test_the_user_is_asked_for_in_the_session_of_the_browser() -> None:
    app = application()
    OAuthRefresh(app, user_loader=session_user, login_url="/login")
    server = driven(app)
    client = server.register()
    alice, bob = server.browser(), server.browser()
    first, second = whole_flow(server, alice, client), whole_flow(server, bob, client, "bob")
    subjects = [grant.subject for grant in server.registry.list(client_id=client.client_id)]
    assert sorted(subjects) == ["alice", "bob"]
    assert first["access_token"] != second["access_token"]
    assert "alice" in alice.get(server.authorize_url(client)).text


def test_the_settings_come_from_the_configuration_of_the_application() -> None:
    app = application(
        OAUTH_PROTECT={"/api": ""},
        OAUTH_USER_LOADER=session_user,
        OAUTH_LOGIN_URL="/login",
        OAUTH_ACCESS_TOKEN_TTL="15m",
        OAUTH_CLIENT_ID="the application's own",
    )
    extension = OAuthRefresh(app)
    server = driven(app)
    assert whole_flow(server, server.browser(), server.register())["expires_in"] == 900
    with app.app_context():
        assert extension.middleware.settings.access_token_ttl == 900
        assert extension.middleware.settings.server_secrets == (b"a server secret of enough bytes",)


def test_keywords_go_before_the_configuration() -> None:
    app = application(OAUTH_PREFIX="/config")
    OAuthRefresh(app, prefix="/keyword", trust_remote_user=True)
    assert driven(app).prefix == "/keyword"


user_of_the_environment = session_user


def test_a_user_loader_named_in_the_environment_finds_the_session_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OAUTH_USER_LOADER", f"{__name__}:user_of_the_environment")
    app = application()
    OAuthRefresh(app, login_url="/login")
    server = driven(app)
    assert whole_flow(server, server.browser(), server.register())["access_token"]


def test_a_user_loader_may_take_the_environ() -> None:
    app = application()

    def load(environ: dict[str, Any]) -> Any:
        assert environ["PATH_INFO"] == "/oauth/authorize"
        return session.get("user")

    OAuthRefresh(app, user_loader=load, login_url="/login")
    server = driven(app)
    assert whole_flow(server, server.browser(), server.register())["access_token"]


def test_the_other_callables_run_in_a_context_of_the_application() -> None:
    app = application(NAME_OF_THE_DATABASE="db")
    seen = []

    def password_check(username: str, password: str) -> str | None:
        seen.append(("password_check", current_app.config["NAME_OF_THE_DATABASE"]))
        return check_password(username, password)

    def subject_check(subject: str, client_id: str, scopes: Any) -> Any:
        seen.append(("subject_check", current_app.config["NAME_OF_THE_DATABASE"]))
        return scopes

    OAuthRefresh(app, password_check=password_check, subject_check=subject_check)
    server = driven(app)
    client = server.register()
    tokens = server.tokens(client)
    assert server.refresh(client, tokens["refresh_token"]).status == 200
    assert seen == [("password_check", "db"), ("subject_check", "db")]


def test_the_context_of_the_user_loader_is_torn_down() -> None:
    app = application()
    torn: list[object] = []
    app.teardown_appcontext(torn.append)

    def load() -> Any:
        g.connection = "open"
        return session.get("user")

    OAuthRefresh(app, user_loader=load, login_url="/login")
    server = driven(app)
    assert server.browser().get(server.authorize_url(server.register())).status == 302
    assert torn == [None]


# --- factories ------------------------------------------------------------------------------------


def test_one_extension_serves_several_applications() -> None:
    extension = Extension(user_loader=session_user, login_url="/login", protect={"/api": ""})
    apps = [application("one"), application("two", OAUTH_ACCESS_TOKEN_TTL="15m")]
    for app in apps:
        extension.init_app(app)
    one, two = (driven(app) for app in apps)
    tokens = [whole_flow(server, server.browser(), server.register()) for server in (one, two)]
    assert [each["expires_in"] for each in tokens] == [86400, 900]
    assert one.api(tokens[0]["access_token"], "/api/me").status == 200
    assert two.api(tokens[0]["access_token"], "/api/me").status == 401
    for app in apps:
        with app.app_context():
            assert extension.middleware is app.extensions["oauth_refresh"]


def test_the_registry_lies_in_the_instance_folder(tmp_path: Path) -> None:
    app = Flask("app", instance_path=str(tmp_path / "instance"))
    app.config["OAUTH_REGISTRY"] = "sqlite:oauth.db"
    OAuthRefresh(app, password_check=check_password, protect={"/api": ""})
    driven(app).register()
    assert (tmp_path / "instance" / "oauth.db").exists()


def test_a_second_extension_is_a_mistake() -> None:
    app = application()
    OAuthRefresh(app, trust_remote_user=True)
    with pytest.raises(RuntimeError, match="has OAuthRefresh already"):
        OAuthRefresh(app)


def test_an_application_without_the_extension_says_so() -> None:
    app = application()
    with app.app_context(), pytest.raises(RuntimeError, match="has no OAuthRefresh"):
        _ = Extension().middleware

    @app.get("/view")
    @require_scope("a")
    def view() -> str:
        return "x"

    app.testing = True
    with pytest.raises(RuntimeError, match="has no OAuthRefresh"):
        app.test_client().get("/view")


def test_mistakes_in_the_settings_are_told_at_start() -> None:
    app = application(OAUTH_ISSUER="x")
    with pytest.raises(ConfigurationError, match="OAUTH_ISSUER"):
        OAuthRefresh(app, code_tll=3)
    assert "oauth_refresh" not in app.extensions


def test_the_test_client_of_flask_goes_through_the_middleware() -> None:
    app = application()
    OAuthRefresh(app, protect={"/api": ""}, password_check=check_password)
    client = app.test_client()
    assert client.get("/api/me", base_url=ORIGIN).status_code == 401
    issued = app.extensions["oauth_refresh"].registry.create("robot", ["notes:read"])
    headers = {"Authorization": f"Bearer {issued.access_token}"}
    assert client.get("/api/me", base_url=ORIGIN, headers=headers).json == {
        "subject": "robot",
        "scopes": ["notes:read"],
    }


# --- scopes of a view -----------------------------------------------------------------------------


def with_views() -> tuple[InProcess, Flask]:
    app = application()
    views = Blueprint("views", __name__)

    @views.get("/notes")
    @require_scope("notes:read")
    def uncovered() -> dict[str, Any]:
        return {"subject": current_token.subject, "authorization": request.headers.get("Authorization")}

    @views.delete("/api/notes")
    @require_scope("notes:write")
    def covered() -> str:
        return "gone"

    @views.get("/any")
    @require_scope("")
    def any_token() -> str:
        return "any"

    @views.get("/coroutine")  # type: ignore[type-var]
    @require_scope("notes:read")
    async def coroutine() -> str:
        return "awaited"

    @views.route("/preflight", methods=["GET", "OPTIONS"], provide_automatic_options=False)
    @require_scope("notes:read")
    def preflight() -> str:
        return "preflight"

    app.register_blueprint(views)
    OAuthRefresh(app, protect={"/api": "notes:read"}, password_check=check_password, clock=Clock())
    return driven(app), app


def test_where_there_is_no_token_its_subject_cannot_be_asked_for() -> None:
    app = application()
    OAuthRefresh(app, protect={"/api": "notes:read"}, login="user")
    with app.test_request_context("/open?key=secret"):
        assert not current_token
        assert repr(current_token) == "<no access token>"
        assert not hasattr(current_token, "subject")
        with pytest.raises(AttributeError) as raised:
            str(current_token.subject)
    assert str(raised.value) == (
        "current_token.subject: GET /open was answered without an access token. "
        "Protect this path (OAUTH_PROTECT, @require_scope), or ask first: if current_token"
    )


@pytest.mark.requirement("RS-24")
def test_a_view_on_an_open_path_asks_for_a_token_and_a_scope() -> None:
    server, _ = with_views()
    client = server.register()
    reader = server.tokens(client, scope="notes:read")["access_token"]
    writer = server.tokens(client, scope="notes:write")["access_token"]
    refused = server.api(None, "/notes")
    assert refused.status == 401
    assert refused.headers["WWW-Authenticate"] == f'Bearer realm="oauth", {OPEN_METADATA}, scope="notes:read"'
    assert refused.headers["Access-Control-Allow-Origin"] == "*"
    assert server.api("noise", "/notes").json["error"] == "invalid_token"
    short = server.api(writer, "/notes")
    assert short.status == 403
    assert 'error="insufficient_scope"' in short.headers["WWW-Authenticate"]
    assert 'scope="notes:read notes:write"' in short.headers["WWW-Authenticate"]
    assert server.api(reader, "/notes").json == {"subject": "alice", "authorization": None}


@pytest.mark.requirement("RS-24")
@pytest.mark.requirement("RS-25")
def test_a_view_on_a_protected_path_asks_for_more() -> None:
    server, _ = with_views()
    client = server.register()
    reader = server.tokens(client, scope="notes:read")["access_token"]
    both = server.tokens(client)["access_token"]
    assert server.api(None, "/api/notes", "DELETE").status == 401
    short = server.api(reader, "/api/notes", "DELETE")
    assert short.status == 403
    metadata = OPEN_METADATA[:-1] + '/api"'
    assert short.headers["WWW-Authenticate"] == (
        'Bearer realm="oauth", error="insufficient_scope", '
        f'error_description="the access token lacks notes:write", {metadata}, scope="notes:read notes:write"'
    )
    assert server.api(both, "/api/notes", "DELETE").text == "gone"


@pytest.mark.requirement("RS-09")
def test_a_token_for_another_resource_opens_no_view() -> None:
    server, _ = with_views()
    token = server.tokens(resource=ORIGIN + "/api")["access_token"]
    assert server.api(token, "/notes").status == 401
    assert server.api(token, "/api/me").status == 200


def test_an_empty_scope_means_any_token() -> None:
    server, _ = with_views()
    token = server.tokens(scope="notes:write")["access_token"]
    assert server.api(None, "/any").status == 401
    assert server.api(token, "/any").text == "any"


def test_a_view_may_be_a_coroutine_function() -> None:
    server, app = with_views()
    # What Flask does with asgiref.
    app.async_to_sync = lambda view: lambda *args, **kwargs: asyncio.run(view(*args, **kwargs))  # type: ignore[method-assign,assignment]
    assert server.api(None, "/coroutine").status == 401
    assert server.api(server.tokens()["access_token"], "/coroutine").text == "awaited"


def test_a_preflight_to_a_view_that_answers_it_itself_needs_a_token() -> None:
    server, _ = with_views()
    asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "GET"}
    assert server.send("OPTIONS", "/preflight", b"", asked).status == 401
    assert server.send("OPTIONS", "/notes", b"", asked).status == 200


def test_a_view_that_asks_for_no_scope_names_is_a_mistake() -> None:
    with pytest.raises(Exception, match="scope contains a character"):
        require_scope('a"b')


def test_a_view_keeps_its_name() -> None:
    @require_scope("a")
    def a_view() -> Response:
        """What it does."""
        return Response()

    assert (a_view.__name__, a_view.__doc__) == ("a_view", "What it does.")
