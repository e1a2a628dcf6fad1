"""The command `oauth-refresh`. Each command stands in a file of `commands` and imports late what it needs."""

from __future__ import annotations

import click

from . import __version__
from .commands.demo import demo
from .commands.purge import purge


@click.group(name="oauth-refresh")
@click.version_option(__version__, prog_name="oauth-refresh", message="%(prog)s %(version)s")
def main() -> None:
    """An OAuth 2.1 server in front of a WSGI application that exists already."""


for command in (demo, purge):
    main.add_command(command)
