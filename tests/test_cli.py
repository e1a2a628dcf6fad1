"""The command line as a whole."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from oauth_refresh.cli import main


def commands(group: click.Group, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)


ALL = dict(commands(main))


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_every_command_explains_itself(path: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(main, [*path, "--help"])
    assert shown.exit_code == 0
    assert f"Usage: oauth-refresh {' '.join(path)}" in shown.output
    # An option without a word of help, and a docstring that was never written.
    options = [option for option in ALL[path].params if isinstance(option, click.Option)]
    assert all(option.help for option in options)
    assert ALL[path].help


@pytest.mark.parametrize("path", [path for path in ALL if path[-1] in ("list", "show")], ids=" ".join)
def test_whatever_lists_can_do_so_for_programs(path: tuple[str, ...]) -> None:
    assert "as_json" in {option.name for option in ALL[path].params}


def test_a_mistake_is_told_in_one_line_without_a_traceback() -> None:
    shown = CliRunner(env={"OAUTH_REGISTRY": "nosuch:"}).invoke(main, ["grant", "list"])
    assert shown.exit_code == 1
    assert shown.stderr.startswith("Error: OAUTH_REGISTRY")
    assert len(shown.stderr.splitlines()) == 1
