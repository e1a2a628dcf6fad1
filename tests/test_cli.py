"""The command line as a whole."""

from __future__ import annotations

from click.testing import CliRunner

from oauth_refresh.cli import main


def test_every_command_explains_itself() -> None:
    for command in main.commands:
        shown = CliRunner().invoke(main, [command, "--help"])
        assert shown.exit_code == 0
        assert f"Usage: oauth-refresh {command}" in shown.output
