"""`flask oauth …`: the same commands, for the application that Flask's command line has loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .deployment import Deployment

if TYPE_CHECKING:
    from ..server import Server

_OF_NO_APPLICATION = frozenset({"demo"})


class UnderFlask(click.Group):
    """The group `oauth`. Its commands are imported when one is asked for, not with the application."""

    def __init__(self, server: Server) -> None:
        super().__init__("oauth", help="Manage the clients, grants and tokens of this application.")
        self._server = server

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted(self._commands())

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        return self._commands().get(name)

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        context = super().make_context(*args, **extra)
        context.obj = Deployment(self._server)
        return context

    def _commands(self) -> dict[str, click.Command]:
        from ..cli import main

        return {name: command for name, command in main.commands.items() if name not in _OF_NO_APPLICATION}
