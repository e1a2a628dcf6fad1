"""The command `oauth-refresh`. Each command stands in a file of `commands` and imports what it needs late."""

from __future__ import annotations

import click

from . import __version__
from .commands.client import client
from .commands.demo import demo
from .commands.doctor import doctor
from .commands.explain import explain
from .commands.grant import grant
from .commands.init import init
from .commands.migrate import migrate
from .commands.purge import purge
from .commands.settings import settings
from .commands.token import token
from .commands.user import user


@click.group(name="oauth-refresh")
@click.version_option(__version__, prog_name="oauth-refresh", message="%(prog)s %(version)s")
def main() -> None:
    """An OAuth 2.1 server in front of a WSGI application that exists already.

    \b
    To see it run:              oauth-refresh demo
    Who has access now?         oauth-refresh grant list
    A laptop is lost:           oauth-refresh grant revoke --subject alice
    "Why was I logged out?":    oauth-refresh explain
    Something does not work:    oauth-refresh doctor

    Commands take the settings of the server from the same environment and files; --registry and --config,
    after the command, name others. `oauth-refresh COMMAND --help` has examples.
    """


for command in (client, demo, doctor, explain, grant, init, migrate, purge, settings, token, user):
    main.add_command(command)
