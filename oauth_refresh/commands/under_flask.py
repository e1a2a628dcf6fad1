"""`flask oauth …`: the same commands, for the application that Flask's command line has loaded."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

import click

from .deployment import Deployment

if TYPE_CHECKING:
    from ..server import Server

_OF_NO_APPLICATION = frozenset({"demo"})


def _spoken_as(command: click.Command, program: str) -> click.Command:
    """The command, whose help says how it is called here."""
    spoken = copy(command)
    spoken.help = None if command.help is None else command.help.replace("oauth-refresh ", program)
    if isinstance(spoken, click.Group):
        spoken.commands = {name: _spoken_as(each, program) for name, each in spoken.commands.items()}
    return spoken


class UnderFlask(click.Group):
    """The group `oauth`. Its commands are imported when one is asked for, not with the application."""

    def __init__(self, server: Server) -> None:
        super().__init__("oauth", help="Manage the clients, grants and tokens of this application.")
        self._server = server

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted(self._commands())

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        command = self._commands().get(name)
        return None if command is None else _spoken_as(command, "flask oauth ")

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        context = super().make_context(*args, **extra)
        context.obj = Deployment(self._server)
        return context

    def _commands(self) -> dict[str, click.Command]:
        from ..cli import main

        return {name: command for name, command in main.commands.items() if name not in _OF_NO_APPLICATION}
