"""`create_app()`: the demo for any WSGI server, with every setting open to the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import Client

from oauth_refresh.demo import Demo, check_password, create_app
from oauth_refresh.errors import ConfigurationError


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def demo(**environ: str) -> Demo:
    return create_app(environ=environ)


def test_the_registry_lies_in_the_private_folder_so_that_all_workers_share_it(temporary: Path) -> None:
    folder = next(temporary.iterdir(), None)
    registry = demo().settings.registry
    folder = next(temporary.iterdir())
    assert registry == f"sqlite://{folder}/oauth.db"


@pytest.mark.parametrize(
    ("argument", "environ", "registry"),
    [
        ("memory:", {"OAUTH_REGISTRY": "sqlite:other.db"}, "memory:"),
        (None, {"OAUTH_REGISTRY": "memory:"}, "memory:"),
    ],
    ids=["argument", "environment"],
)
def test_another_registry_is_named_by_argument_or_environment(
    argument: str | None, environ: dict[str, str], registry: str
) -> None:
    assert create_app(argument, environ).settings.registry == registry


@pytest.mark.parametrize(
    ("key", "value", "name", "expected"),
    [
        ("OAUTH_ACCESS_TOKEN_TTL", "3", "access_token_ttl", 3.0),
        ("OAUTH_ROOT_ALIASES", "off", "root_aliases", False),
        ("OAUTH_REGISTRATION", "off", "registration", "off"),
        ("OAUTH_DEFAULT_SCOPES", "notes:write", "default_scopes", ("notes:write",)),
    ],
)
def test_the_demos_own_values_are_only_defaults(key: str, value: str, name: str, expected: Any) -> None:
    assert getattr(demo().settings, name) != expected
    assert getattr(demo(**{key: value}).settings, name) == expected


@pytest.mark.parametrize(
    ("name", "password", "subject"),
    [
        ("alice", "wonderland", "alice"),
        ("bob", "builder", "bob"),
        ("alice", "builder", None),
        ("carol", "wonderland", None),
        ("", "", None),
    ],
)
def test_alice_and_bob_sign_in_and_nobody_else(name: str, password: str, subject: str | None) -> None:
    assert check_password(name, password) == subject


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/callback", 200),
        ("GET", "/api/notes", 401),
        ("POST", "/api/notes", 401),
        ("DELETE", "/api/notes", 401),
        ("GET", "/api/echo", 401),
        ("GET", "/api/nothing", 401),
        ("GET", "/.well-known/oauth-authorization-server", 200),
        ("GET", "/.well-known/oauth-protected-resource/api/notes", 200),
    ],
)
def test_the_front_page_is_open_and_the_api_is_closed(method: str, path: str, status: int) -> None:
    client = Client(create_app("memory:", {}))
    assert client.open(path, method=method).status_code == status


@pytest.mark.parametrize("issuer", ["https://notes.example.com", "https://192.0.2.1"])
def test_published_passwords_need_a_loopback_issuer(issuer: str) -> None:
    with pytest.raises(ConfigurationError, match="the demo's users have published passwords"):
        demo(OAUTH_ISSUER=issuer)
    assert demo(OAUTH_ISSUER="http://localhost:8000").published_users


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("127.0.0.1", 200),
        ("::1", 200),
        ("::ffff:127.0.0.1", 200),
        ("", 200),
        ("192.0.2.7", 403),
        ("::ffff:192.0.2.7", 403),
    ],
)
def test_published_passwords_answer_this_machine_only(address: str, status: int) -> None:
    answer = Client(create_app("memory:", {})).get("/", environ_overrides={"REMOTE_ADDR": address})
    assert answer.status_code == status


def test_with_users_of_ones_own_the_demo_serves_anybody(temporary: Path) -> None:
    users = temporary / "users.txt"
    users.write_text("")
    app = demo(
        OAUTH_USERS_FILE=str(users), OAUTH_ISSUER="https://notes.example.com", OAUTH_REGISTRY="memory:"
    )
    assert not app.published_users
    assert Client(app).get("/", environ_overrides={"REMOTE_ADDR": "192.0.2.7"}).status_code == 200
