"""`oauth-refresh init`."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from oauth_refresh.backends import open_backend
from oauth_refresh.cli import main
from tests.commands.conftest import ok


def _init(url: str) -> list[str]:
    return ok(CliRunner(env={"OAUTH_REGISTRY": url}).invoke(main, ["init"])).splitlines()


@pytest.mark.parametrize(("scheme", "schema"), [("sqlite", "format 1"), ("file", "version 3")])
def test_it_makes_the_registry_and_tries_it_out(tmp_path: Path, scheme: str, schema: str) -> None:
    for _ in range(2):
        assert _init(f"{scheme}://{tmp_path}/registry") == [
            f"registry  {scheme}://{tmp_path}/registry",
            f"file      {tmp_path}/registry",
            f"schema    {schema}",
            "ready     a record was written, changed, read and removed",
        ]
    assert list(open_backend(f"{scheme}://{tmp_path}/registry").keys(b"")) == []


def test_a_registry_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    shown = CliRunner().invoke(main, ["init", "--registry", f"sqlite://{tmp_path}/none/oauth.db"])
    assert shown.exit_code == 1
    assert "there is no folder" in shown.stderr


def test_no_password_is_shown() -> None:
    shown = CliRunner().invoke(main, ["init", "--registry", "postgresql://app:sesame@127.0.0.1:1/none"])
    assert shown.exit_code == 1
    assert "sesame" not in shown.output + shown.stderr


def test_a_token_file_of_version_1_is_imported_by_whatever_command_meets_it_first(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    path.write_text('{"version":1,"tokens":{}}')
    shown = CliRunner().invoke(main, ["purge", "--registry", f"file://{path}"])
    assert (shown.exit_code, shown.stdout) == (0, "0 expired records removed\n")
    assert path.with_name("tokens.json.v1.bak").read_text() == '{"version":1,"tokens":{}}'
