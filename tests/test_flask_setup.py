"""What is noticed of a Flask application when its first request comes."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Blueprint, Flask

from oauth_refresh import OAuthRefresh, require_scope
from oauth_refresh.flask_setup import GUARDED_VIEWS

from .test_flask import application, session_user


@pytest.mark.parametrize(
    ("config", "changed", "told"),
    [
        ({}, {"OAUTH_PROTECT": "/api"}, ["OAUTH_PROTECT"]),
        (
            {"OAUTH_CODE_TTL": 5},
            {"OAUTH_CODE_TTL": 6, "OAUTH_ACCESS_TOKEN_TTL": 60},
            ["OAUTH_ACCESS_TOKEN_TTL", "OAUTH_CODE_TTL"],
        ),
        ({}, {"SECRET_KEY": "another secret of enough bytes"}, ["SECRET_KEY"]),
        ({"SECRET_KEY": None}, {"SECRET_KEY": "a server secret of enough bytes"}, ["SECRET_KEY"]),
        ({"OAUTH_SECRET_KEY": "of its own, and enough bytes"}, {"SECRET_KEY": "x" * 32}, []),
        ({}, {"TESTING": True, "OAUTH_REGISTRY": "memory:"}, []),
    ],
)
def test_a_setting_that_comes_too_late_is_told_at_the_first_request(
    config: dict[str, Any], changed: dict[str, Any], told: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    app = application(**config)
    OAuthRefresh(app, user_loader=session_user, login_url="/login")
    app.config.update(changed)
    assert "was changed after" not in caplog.text
    for path in ("/open", "/open", "/login"):
        assert app.test_client().get(path).status_code == 200
    late = [message.split("'")[1] for message in caplog.messages if "was changed after" in message]
    assert late == told


def test_an_application_that_guards_nothing_is_told(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in list(GUARDED_VIEWS):
        monkeypatch.delitem(GUARDED_VIEWS, key)

    def told(app: Flask) -> int:
        caplog.clear()
        for _ in range(2):
            assert app.test_client().get("/open").status_code == 200
        return sum("No path is protected" in message for message in caplog.messages)

    unguarded, guarded, by_a_view = (application() for _ in range(3))
    OAuthRefresh(unguarded, user_loader=session_user, login_url="/login")
    OAuthRefresh(guarded, user_loader=session_user, login_url="/login", protect={"/api": ""})
    OAuthRefresh(by_a_view, user_loader=session_user, login_url="/login")
    assert told(unguarded) == 1
    assert told(guarded) == 0

    @by_a_view.get("/write")
    @require_scope("notes:write")
    def write() -> str:
        return "written"

    assert told(by_a_view) == 0


def test_a_view_whose_guard_stands_above_its_route_is_guarded_and_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = application()
    OAuthRefresh(app, user_loader=session_user, login_url="/login")
    blueprint = Blueprint("b", "b", url_prefix="/b")

    @require_scope("notes:write")
    @app.get("/above")
    def above() -> str:
        return "open"

    @require_scope("notes:write")
    @blueprint.get("/above")
    def above_too() -> str:
        return "open"

    @app.get("/below")
    @require_scope("notes:write")
    def below() -> str:
        return "open"

    def both() -> str:
        return "open"

    app.add_url_rule("/meant-open", "meant", both)
    app.add_url_rule("/meant-guarded", "guarded", require_scope("notes:write")(both))
    app.register_blueprint(blueprint)
    client = app.test_client()
    paths = ("/above", "/b/above", "/below", "/meant-open", "/meant-guarded")
    assert [client.get(path).status_code for path in paths] == [401, 401, 401, 200, 401]
    told = [message for message in caplog.messages if "stands above" in message]
    assert len(told) == 2
    assert ".above," in told[0]


def test_a_guard_above_before_request_holds_for_every_view(caplog: pytest.LogCaptureFixture) -> None:
    app = application()
    OAuthRefresh(app, user_loader=session_user, login_url="/login")

    @require_scope("notes:read")
    @app.before_request
    def check() -> None: ...

    assert app.test_client().get("/open").status_code == 401
    assert OAuthRefresh.test_client(app, "ada", "notes:read").get("/open").status_code == 200
    assert "stands above the decorator that registers" in caplog.text


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"protect": {"/apis": ""}}, ["no route at or below /apis; /api was meant, perhaps"]),
        ({"protect": {"/API": ""}}, ["no route at or below /API"]),
        ({"protect": {"/x": "", "/api": ""}}, ["no route at or below /x"]),
        ({"protect": {"/api": "", "/users/5/notes": "", "/files/a/b": "", "/": ""}}, []),
        ({"protect": {"/api": ""}, "login_url": "/logn"}, ["no route /logn; /login was meant, perhaps"]),
        ({"protect": {"/api": ""}, "login_url": "https://sso.example.org/"}, []),
    ],
)
def test_a_path_that_the_application_does_not_have_is_told(
    settings: dict[str, Any], told: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    app = application()
    app.add_url_rule("/users/<name>/notes", "notes", session_user)
    app.add_url_rule("/files/<path:name>", "files", session_user)
    OAuthRefresh(app, user_loader=session_user, **{"login_url": "/login", **settings})
    app.test_client().get("/login")
    found = [
        message.partition("has ")[2] for message in caplog.messages if "application has no route" in message
    ]
    assert found == told


def test_a_page_of_the_application_among_the_endpoints_is_told(caplog: pytest.LogCaptureFixture) -> None:
    app = application()
    app.add_url_rule("/oauth/callback", "callback", session_user)
    OAuthRefresh(app, user_loader=session_user, login_url="/login", protect={"/api": ""})
    assert app.test_client().get("/oauth/callback").status_code == 404
    (told,) = caplog.messages
    assert "route /oauth/callback lies below /oauth, where the endpoints are" in told


def test_the_secret_of_the_manual_is_told(caplog: pytest.LogCaptureFixture) -> None:
    app = application(SECRET_KEY="draw one with secrets.token_urlsafe")
    OAuthRefresh(app, user_loader=session_user, login_url="/login", protect={"/api": ""})
    assert "is still the one of the manual" in caplog.text
    assert "draw one" not in caplog.text


def test_an_application_around_flask_may_have_paths_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    app = application()
    inner = app.wsgi_app
    app.wsgi_app = lambda environ, start_response: inner(environ, start_response)  # type: ignore[method-assign]
    OAuthRefresh(app, user_loader=session_user, login_url="/login", protect={"/mcp": ""})
    app.test_client().get("/open")
    assert "no route" not in caplog.text


def test_a_login_page_that_needs_a_token_is_told(caplog: pytest.LogCaptureFixture) -> None:
    OAuthRefresh(application(), user_loader=session_user, login_url="/api/login", protect={"/api": ""})
    assert "OAUTH_PROTECT covers '/api/login', so that browsers" in caplog.text
    caplog.clear()
    open_login = {"/api": "", "/api/login": "public"}
    OAuthRefresh(application(), user_loader=session_user, login_url="/api/login", protect=open_login)
    assert "OAUTH_LOGIN_URL" not in caplog.text


def test_an_application_that_ignores_case_has_its_paths_in_any(caplog: pytest.LogCaptureFixture) -> None:
    app = application()
    settings: dict[str, Any] = {"user_loader": session_user, "login_url": "/login", "ignore_case": True}
    OAuthRefresh(app, protect={"/API/Me": ""}, **settings)
    app.test_client().get("/open")
    assert caplog.messages == []
