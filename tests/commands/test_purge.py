"""`oauth-refresh purge`."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from oauth_refresh.backends import open_backend
from oauth_refresh.cli import main


@pytest.fixture
def registry(tmp_path: Path) -> str:
    url = f"sqlite://{tmp_path / 'oauth.db'}"
    backend = open_backend(url)
    backend.swap(b"g-dead", None, b"x", time.time() - 10)
    backend.swap(b"g-alive", None, b"x", time.time() + 1000)
    backend.close()
    return url


def test_purge_removes_what_has_expired_and_says_how_much(registry: str) -> None:
    shown = CliRunner().invoke(main, ["purge", "--registry", registry])
    assert (shown.exit_code, shown.output) == (0, "1 expired records removed\n")
    assert list(open_backend(registry).keys()) == [b"g-alive"]


def test_purge_takes_the_registry_of_the_environment(registry: str) -> None:
    shown = CliRunner(env={"OAUTH_REGISTRY": registry}).invoke(main, ["purge"])
    assert (shown.exit_code, shown.output) == (0, "1 expired records removed\n")


def test_purge_says_what_is_wrong_with_a_registry_it_cannot_open(tmp_path: Path) -> None:
    (tmp_path / "oauth.db").write_text("this is text\n" * 100)
    shown = CliRunner().invoke(main, ["purge", "--registry", f"sqlite://{tmp_path}/oauth.db"])
    assert shown.exit_code == 1
    assert "file is not a database" in shown.output
    shown = CliRunner().invoke(main, ["purge", "--registry", "nosuch:"])
    assert shown.exit_code == 1
    assert "OAUTH_REGISTRY" in shown.output
