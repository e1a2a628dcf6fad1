"""`oauth_refresh.wsgi`: an application is wrapped by the environment alone, or the mistake is named."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client

from oauth_refresh.errors import ConfigurationError

LEGACY = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"legacy"]

def create():
    return application

class Holder:
    inner = application

from werkzeug.wrappers import Request, Response

@Request.application
def decorated(request):
    return Response("legacy")

class PerRequest:
    def __init__(self, environ, start_response):
        self.answer = application(environ, start_response)

    def __iter__(self):
        return iter(self.answer)

def takes_one(request): ...

async def asgi(scope, receive, send): ...

class Asgi:
    async def __call__(self, scope, receive, send): ...

number = 7
"""

Load = Callable[..., Any]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Imports `oauth_refresh.wsgi` afresh, as a server does, with these environment variables."""
    (tmp_path / "legacyapp.py").write_text(LEGACY)
    (tmp_path / "broken.py").write_text("import not_installed_at_all\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("OAUTH_REGISTRY", "memory:")

    def load(**environ: str) -> Any:
        for key, value in environ.items():
            monkeypatch.setenv(key, value)
        for name in ("oauth_refresh.wsgi", "legacyapp", "broken"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        return importlib.import_module("oauth_refresh.wsgi").application

    return load


@pytest.mark.parametrize(
    "named",
    [
        "legacyapp:application",
        "legacyapp",
        "legacyapp:create()",
        "legacyapp:Holder.inner",
        "legacyapp:PerRequest",
        "legacyapp:decorated",
    ],
)
def test_the_named_application_answers_on_open_paths(load: Load, named: str) -> None:
    assert Client(load(OAUTH_REFRESH_APP=named)).get("/").text == "legacy"


def test_its_protected_paths_are_guarded(load: Load) -> None:
    application = load(OAUTH_REFRESH_APP="legacyapp", OAUTH_PROTECT="/api=notes:read")
    assert Client(application).get("/api/notes").status_code == 401
    assert Client(application).get("/").status_code == 200


def test_the_name_may_come_from_a_file(load: Load, tmp_path: Path) -> None:
    (tmp_path / "oauth.toml").write_text('OAUTH_REFRESH_APP = "legacyapp"\n')
    assert Client(load(OAUTH_CONFIG_FILE=str(tmp_path / "oauth.toml"))).get("/").text == "legacy"


@pytest.mark.parametrize(
    ("named", "problem"),
    [
        ("", "OAUTH_REFRESH_APP is not set"),
        ("nosuch.wsgi:application", "there is no module nosuch;"),
        ("legacyapp.deeper:application", "there is no module legacyapp.deeper;"),
        ("legacyapp:app", "legacyapp has no app; it has application"),
        ("legacyapp:number", "is of type int, which cannot be called"),
        ("legacyapp.py:application", "there is no module legacyapp.py; leave off .py: legacyapp$"),
        ("nosuch.py:application", "there is no module nosuch; start"),
        ("legacyapp:application()", r"cannot be called without arguments; leave off the \(\)"),
        ("legacyapp:number()", "cannot be called without arguments"),
        (
            "legacyapp:create",
            r"is no WSGI application: .*; if it makes the application, write legacyapp:create\(\)",
        ),
        ("legacyapp:takes_one", "does not take environ and start_response$"),
        ("legacyapp:asgi", "is an ASGI application"),
        ("legacyapp:Asgi()", "is an ASGI application"),
        ("legacyapp.py application", "does not have the form package.module:name"),
    ],
)
def test_a_name_that_leads_nowhere_is_an_error_that_says_why(load: Load, named: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        load(OAUTH_REFRESH_APP=named)


def test_gunicorn_is_told_in_a_few_words_and_does_not_try_again(tmp_path: Path) -> None:
    (tmp_path / "legacyapp.py").write_text(LEGACY)
    environ = {
        **os.environ,
        "OAUTH_REFRESH_APP": "legacyapp",
        "OAUTH_REGISTRY": "memory:",
        "OAUTH_CODE_TTL": "soon",
    }
    command = [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0", "oauth_refresh.wsgi:application"]
    ended = subprocess.run(
        command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 3
    assert ended.stderr.count("OAUTH_CODE_TTL = 'soon'") == 1
    assert "oauth_refresh cannot start:" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_what_nobody_notices_until_a_user_does_is_said_at_start(
    load: Load, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load(OAUTH_REFRESH_APP="legacyapp")
    assert [message.partition(":")[0].partition(": ")[0] for message in caplog.messages] == [
        "Nobody can sign in",
        "The registry is in the memory of each process",
        "No path is protected",
    ]
    caplog.clear()
    kept = f"sqlite://{tmp_path}/oauth.db"
    load(
        OAUTH_REFRESH_APP="legacyapp",
        OAUTH_PROTECT="/api",
        OAUTH_TRUST_REMOTE_USER="on",
        OAUTH_REGISTRY=kept,
    )
    assert caplog.messages == []


def test_what_looks_like_a_mistake_is_told_once(
    load: Load, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    load(
        OAUTH_REGISTRY=f"sqlite://{tmp_path}/oauth.db",
        OAUTH_REFRESH_APP="legacyapp",
        OAUTH_PROTECT="/api=a",
        OAUTH_TRUST_REMOTE_USER="on",
        OAUTH_SCOPES="a=Read, b=File",
        OAUTH_PROTEKT="/api",
    )
    assert [message.partition(";")[0] for message in caplog.messages] == [
        "OAUTH_PROTEKT (environment): there is no such setting",
        "OAUTH_SCOPES: the description of 'a' contains 'b'",
    ]


def test_what_the_application_lacks_is_its_own_error(load: Load) -> None:
    with pytest.raises(ModuleNotFoundError, match="not_installed_at_all"):
        load(OAUTH_REFRESH_APP="broken:application")
