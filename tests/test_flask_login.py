"""An application's own login in one argument: a key of its session, Flask-Login, or a callable."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, redirect, request, session
from flask_login import LoginManager, UserMixin, login_user
from flask_sqlalchemy import SQLAlchemy

from oauth_refresh import ConfigurationError, OAuthRefresh, current_token
from oauth_refresh.users import UsersFile, add_user
from tests.backends import postgres
from tests.test_flask import application, driven, whole_flow


class Member(UserMixin):  # type: ignore[misc]
    """A user of the application, as Flask-Login wants it."""

    def __init__(self, name: str) -> None:
        self.id = name


def with_flask_login(view: str | None = "sign_in") -> Flask:
    app = Flask("app")
    app.config.update(SECRET_KEY="a server secret of enough bytes", OAUTH_REGISTRY="memory:")
    manager = LoginManager(app)
    manager.user_loader(Member)
    manager.login_view = view

    @app.route("/sign-in", methods=["GET", "POST"])
    def sign_in() -> Any:
        if request.method == "POST":
            login_user(Member(request.form["user"]))
            return redirect(request.args["next"], 303)
        return "a login page of its own"

    @app.get("/api/me")
    def me() -> dict[str, Any]:
        return {"subject": current_token.subject, "level": current_token.properties.get("level")}

    return app


def test_a_key_of_the_session_is_all_it_takes() -> None:
    app = application()
    OAuthRefresh(app, login="user", login_url="/login", protect={"/api": "notes:read"})
    server = driven(app)
    tokens = whole_flow(server, server.browser(), server.register())
    assert server.api(tokens["access_token"], "/api/me").json["subject"] == "alice"


@pytest.mark.parametrize("view", ["sign_in", "/sign-in"])
def test_flask_login_brings_its_user_and_its_login_page(view: str) -> None:
    app = with_flask_login(view)
    OAuthRefresh(app, login="flask-login", protect={"/api": ""})
    server = driven(app)
    tokens = whole_flow(server, server.browser(), server.register())
    assert server.api(tokens["access_token"], "/api/me").json["subject"] == "alice"


def test_a_callable_is_asked_as_before() -> None:
    app = application()
    OAuthRefresh(app, login=lambda: session.get("user"), login_url="/login", protect={"/api": ""})
    server = driven(app)
    assert whole_flow(server, server.browser(), server.register())["access_token"]


def test_a_callable_that_looks_at_the_form_of_a_request_does_not_take_ours() -> None:
    app = application()
    seen = []

    def who() -> Any:
        seen.append((request.method, request.values.get("decision"), request.get_data()))
        return session.get("user")

    OAuthRefresh(app, login=who, login_url="/login", protect={"/api": ""})
    server = driven(app)
    assert whole_flow(server, server.browser(), server.register())["access_token"]
    assert ("POST", None, b"") in seen


def test_a_login_view_that_is_not_registered_yet_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"the login view 'auth\.sign_in' is not registered yet"):
        OAuthRefresh(with_flask_login("auth.sign_in"), login="flask-login")


def test_an_application_without_a_login_manager_is_told_so() -> None:
    with pytest.raises(ConfigurationError, match="no LoginManager yet"):
        OAuthRefresh(application(), login="flask-login")


def test_a_test_gets_a_client_with_a_token_in_one_line() -> None:
    app = with_flask_login()
    OAuthRefresh(app, login="flask-login", protect={"/api": "notes:read"})
    client = OAuthRefresh.test_client(app, "alice", "notes:read", level=3)
    assert client.get("/api/me").get_json() == {"subject": "alice", "level": 3}
    assert app.test_client().get("/api/me").status_code == 401
    assert OAuthRefresh.test_client(app, "alice", "notes:write").get("/api/me").status_code == 403


@pytest.fixture
def database() -> Iterator[str]:
    server = postgres.shared()
    server.run("DROP TABLE IF EXISTS oauth_refresh_record, oauth_refresh_schema")
    yield server.url().replace("postgresql:", "postgresql+psycopg:", 1)
    server.run("DROP TABLE IF EXISTS oauth_refresh_record, oauth_refresh_schema")


def test_the_grants_lie_in_the_database_of_flask_sqlalchemy(database: str) -> None:
    app = with_flask_login()
    app.config["SQLALCHEMY_DATABASE_URI"] = database
    db = SQLAlchemy(app)
    OAuthRefresh(app, registry=db, login="flask-login", protect={"/api": ""})
    server = driven(app)
    tokens = whole_flow(server, server.browser(), server.register())
    assert server.api(tokens["access_token"], "/api/me").status == 200
    with app.app_context():
        assert db.session.execute(db.text("SELECT count(*) FROM oauth_refresh_record")).scalar_one() > 0
        db.engine.dispose()


def test_two_applications_of_one_process_know_nothing_of_each_other() -> None:
    one, other = with_flask_login(), with_flask_login()
    extension = OAuthRefresh(login="flask-login", protect={"/api": ""})
    extension.init_app(one)
    extension.init_app(other)
    client = OAuthRefresh.test_client(one, "alice")
    stranger = other.test_client()
    stranger.environ_base["HTTP_AUTHORIZATION"] = client.environ_base["HTTP_AUTHORIZATION"]
    assert client.get("/api/me").status_code == 200
    assert stranger.get("/api/me").status_code == 401


# --- flask oauth … --------------------------------------------------------------------------------


def commands(folder: Path) -> Any:
    app = application(OAUTH_REGISTRY=f"sqlite://{folder}/oauth.db")
    OAuthRefresh(app, login="user", login_url="/login", protect={"/api": "notes:read"})
    return app.test_cli_runner()


def test_the_commands_work_on_the_application_that_flask_has_loaded(tmp_path: Path) -> None:
    runner = commands(tmp_path)
    made = runner.invoke(args=["oauth", "client", "create", "--help"])
    assert made.exit_code == 0, made.output
    made = runner.invoke(args=["oauth", "token", "create", "--help"])
    assert made.exit_code == 0, made.output
    shown = runner.invoke(args=["oauth", "settings", "--json"])
    assert shown.exit_code == 0, shown.output
    assert f"sqlite://{tmp_path}/oauth.db" in shown.output


def test_no_user_is_removed_where_the_application_has_no_registry_yet(tmp_path: Path) -> None:
    users = tmp_path / "users"
    add_user(users, "alice", "x")
    remove = ["oauth", "user", "remove", "alice", "--yes", "--file", str(users)]
    refused = commands(tmp_path).invoke(args=remove)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr.startswith(f"Error: there is no registry at {tmp_path}/oauth.db")
    assert UsersFile(users).names() == ["alice"]
    kept = commands(tmp_path).invoke(args=[*remove, "--keep-grants"])
    assert kept.output == "user alice removed, 0 grants ended\n"


def test_the_commands_are_those_of_the_program_but_the_demo(tmp_path: Path) -> None:
    listed = commands(tmp_path).invoke(args=["oauth", "--help"]).output
    for name in ("client", "explain", "grant", "purge", "token"):
        assert f"\n  {name} " in listed
    assert "demo" not in listed
