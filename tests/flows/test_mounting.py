"""The whole protocol, lived once per way of mounting the middleware."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests
from flask import Flask, jsonify
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.wrappers import Response

from oauth_refresh import OAuthMiddleware, OAuthRefresh, current_token
from oauth_refresh.demo import create_app
from tests.flows.client import OAuthClient, error, pair
from tests.flows.headless import PASSWORDS, TIMEOUT, User
from tests.flows.in_process import session_with
from tests.flows.servers import Gunicorn, Waitress

LOCAL = "http://localhost:8000"

SETTINGS: dict[str, Any] = {
    "protect": {"/api": "", "GET /api/notes": "notes:read", "POST /api/notes": "notes:write"},
    "scopes": {"notes:read": "Read your notes", "notes:write": "Add notes"},
    "default_scopes": ("notes:read",),
    "environ": {},
}


NOT_HERE = Response("The host's own application, which has no such page.", 404)


class Mounted(NamedTuple):
    """One way of mounting: where the application is, how to reach it, and a path of it that is open."""

    base: str
    connect: Callable[[], requests.Session] = requests.Session
    open_path: str = "/"


def knows(name: str, password: str) -> bool:
    return name in PASSWORDS and PASSWORDS[name].text == password


def legacy(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """An application from before anybody thought of tokens: it asks the server who the user is."""
    start_response("200 OK", [("Content-Type", "application/json")])
    yield json.dumps({"REMOTE_USER": environ.get("REMOTE_USER"), "path": environ["PATH_INFO"]}).encode()


def in_process(app: Any, base: str = LOCAL) -> Mounted:
    return Mounted(base, lambda: session_with(app))


def bare(folder: Path) -> Iterator[Mounted]:
    yield in_process(create_app(f"sqlite://{folder}/oauth.db", {"OAUTH_SERVICE_NAME": "Bare"}))


def before_a_legacy_application(folder: Path) -> Iterator[Mounted]:
    registry = f"sqlite://{folder}/oauth.db"
    yield in_process(OAuthMiddleware(legacy, registry=registry, password_check=knows, **SETTINGS))


def under_a_prefix(folder: Path) -> Iterator[Mounted]:
    registry = f"sqlite://{folder}/oauth.db"
    app = OAuthMiddleware(legacy, registry=registry, password_check=knows, **SETTINGS)
    yield in_process(DispatcherMiddleware(NOT_HERE, {"/mounted": app}), f"{LOCAL}/mounted")


def under_a_configured_issuer_with_a_path(folder: Path) -> Iterator[Mounted]:
    registry = f"sqlite://{folder}/oauth.db"
    app = OAuthMiddleware(
        legacy, registry=registry, issuer=f"{LOCAL}/mounted", password_check=knows, **SETTINGS
    )
    yield in_process(DispatcherMiddleware(NOT_HERE, {"/mounted": app}), f"{LOCAL}/mounted")


def in_flask(folder: Path) -> Iterator[Mounted]:
    app = Flask(__name__, instance_path=str(folder))
    app.config.update(OAUTH_REGISTRY="sqlite:oauth.db", SECRET_KEY="kept by Flask, and long enough")

    @app.get("/")
    def index() -> str:
        return "open"

    @app.get("/api/notes")
    def notes() -> Response:
        return jsonify(REMOTE_USER=current_token.subject)

    OAuthRefresh(app, password_check=knows, **SETTINGS)
    yield in_process(app)


def behind_gunicorn(*options: str) -> Callable[[Path], Iterator[Mounted]]:
    def mount(folder: Path) -> Iterator[Mounted]:
        with closing(Gunicorn(folder, options=options)) as server:
            yield Mounted(server.start().base)

    return mount


def behind_gunicorn_under_a_prefix(folder: Path) -> Iterator[Mounted]:
    # gunicorn takes SCRIPT_NAME from the environment, and serves nothing that is not below it.
    with closing(Gunicorn(folder, {"SCRIPT_NAME": "/mounted"})) as server:
        yield Mounted(f"{server.start().base}/mounted")


def behind_waitress(folder: Path) -> Iterator[Mounted]:
    with closing(Waitress(folder)) as server:
        yield Mounted(server.base)


WAYS = {
    "bare": bare,
    "legacy": before_a_legacy_application,
    "prefix": under_a_prefix,
    "issuer-with-path": under_a_configured_issuer_with_a_path,
    "flask": in_flask,
    "gunicorn-sync": behind_gunicorn("--workers", "3"),
    "gunicorn-gthread": behind_gunicorn("--workers", "2", "--worker-class", "gthread", "--threads", "4"),
    "gunicorn-gevent": behind_gunicorn("--workers", "2", "--worker-class", "gevent"),
    "gunicorn-preload": behind_gunicorn("--workers", "3", "--preload"),
    "gunicorn-prefix": behind_gunicorn_under_a_prefix,
    "waitress": behind_waitress,
}


@pytest.fixture(params=WAYS.values(), ids=list(WAYS))
def mounted(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Mounted]:
    yield from request.param(tmp_path)


@pytest.mark.requirement("WSGI-03")
@pytest.mark.requirement("WSGI-10")
@pytest.mark.requirement("RT-08")
@pytest.mark.requirement("RS-16")
@pytest.mark.parametrize("auth_method", ["none", "client_secret_basic"])
def test_the_whole_protocol_works_wherever_the_middleware_is_mounted(
    mounted: Mounted, auth_method: str
) -> None:
    client = OAuthClient(mounted.base, mounted.connect, auth_method=auth_method)
    user = User(browser=mounted.connect())
    closed_without_a_token(client, mounted)
    document = client.discover()
    assert document["issuer"] == mounted.base
    assert document["token_endpoint"] == f"{mounted.base}/oauth/token"
    assert client.register().status_code == 201

    denied = client.come_back(user, client.begin(), decision="deny")
    assert denied["error"] == "access_denied"
    attempt, code = client.sign_in(user)
    first = pair(client.redeem(code, attempt.verifier))
    assert (first.expires_in, first.scopes) == (86400, frozenset({"notes:read"}))

    opens_what_it_was_granted_for(client, first.access)
    second = pair(client.refresh(first.refresh))
    assert pair(client.refresh(first.refresh)) == second
    third = pair(client.refresh(second.refresh))
    assert client.call(third.access).status_code == 200

    assert error(client.refresh(first.refresh)) == (400, "invalid_grant")
    assert error(client.refresh(third.refresh)) == (400, "invalid_grant")
    assert error(client.call(third.access)) == (401, "invalid_token")

    # The user is still signed in, so a new grant needs the consent page alone.
    again = client.connected(user)
    assert client.call(again.access).status_code == 200
    assert client.revoke(again.refresh).status_code == 200
    assert error(client.call(again.access)) == (401, "invalid_token")
    assert error(client.refresh(again.refresh)) == (400, "invalid_grant")


def closed_without_a_token(client: OAuthClient, mounted: Mounted) -> None:
    open_page = client.session.get(mounted.base + mounted.open_path, timeout=TIMEOUT)
    assert open_page.status_code == 200
    for method in ("GET", "POST", "PUT", "DELETE"):
        refused = client.call(None, method)
        assert refused.status_code == 401
        challenge = refused.headers["WWW-Authenticate"]
        assert f'resource_metadata="{mounted.base}/.well-known/oauth-protected-resource/api' in challenge


def opens_what_it_was_granted_for(client: OAuthClient, access: Any) -> None:
    answer = client.call(access)
    assert answer.status_code == 200
    assert answer.json().get("REMOTE_USER", "alice") == "alice"
    refused = client.call(access, "POST")
    assert error(refused) == (403, "insufficient_scope")
    assert 'scope="notes:read notes:write"' in refused.headers["WWW-Authenticate"]
