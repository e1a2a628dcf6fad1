"""The middleware as a filter of an `.ini` file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from paste.deploy import loadapp
from werkzeug.test import Client
from werkzeug.wrappers import Response

from oauth_refresh import ConfigurationError, OAuthMiddleware

INI = """
[app:legacy]
paste.app_factory = tests.test_paste:app_factory

[filter:oauth]
use = egg:oauth-refresh
protect = /reports=reports:read
scopes = reports:read=Read your reports
registry = sqlite:oauth.db
users_file = %(here)s/users.txt
{more}

[pipeline:main]
pipeline = oauth legacy
"""


def app_factory(global_conf: dict[str, str], **local_conf: str) -> Any:
    """An application as an `.ini` file makes one. It knows nothing of tokens."""
    return Response.force_type(Response("the reports"))


def loaded(folder: Path, more: str = "") -> OAuthMiddleware:
    (folder / "users.txt").touch()
    (folder / "deployment.ini").write_text(INI.format(more=more))
    app: OAuthMiddleware = loadapp(f"config:{folder}/deployment.ini")
    return app


def test_an_ini_file_puts_it_in_front_of_an_application(tmp_path: Path) -> None:
    app = loaded(tmp_path)
    client = Client(app)
    assert client.get("/").text == "the reports"
    refused = client.get("/reports")
    assert (refused.status_code, 'scope="reports:read"' in refused.headers["WWW-Authenticate"]) == (401, True)
    token = app.registry.create("ada", ["reports:read"]).access_token
    assert client.get("/reports", headers={"Authorization": f"Bearer {token}"}).text == "the reports"
    assert (tmp_path / "oauth.db").exists()


def test_the_environment_goes_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAUTH_ACCESS_TOKEN_TTL", "5m")
    assert loaded(tmp_path, "access_token_ttl = 15m").settings.access_token_ttl == 300


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as refused:
        loaded(tmp_path, "acces_token_ttl = 15m\ncode_ttl = never")
    assert "did you mean access_token_ttl?" in str(refused.value)
    assert "OAUTH_CODE_TTL" in str(refused.value)


def test_gunicorn_is_told_of_a_mistake_in_a_few_words(tmp_path: Path) -> None:
    (tmp_path / "users.txt").touch()
    (tmp_path / "deployment.ini").write_text(INI.format(more="protekt = /x"))
    command = [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0", "--paste", "deployment.ini"]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    ended = subprocess.run(
        command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 3
    assert "oauth_refresh cannot start:\nprotekt (program default): there is no such setting" in ended.stderr
    assert "Traceback" not in ended.stderr
