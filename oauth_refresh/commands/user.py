"""`oauth-refresh user`: the users file of the built-in login page."""

from __future__ import annotations

import os
import sys

import click

from ..errors import ConfigurationError, RegistryError
from .deployment import Deployment, on_deployment
from .showing import confirm, counted, json_option, show_json, yes_option

file_option = click.option("--file", metavar="PATH", help="Another file than that of OAUTH_USERS_FILE.")


@click.group()
def user() -> None:
    """Add, list and remove users of the built-in login page.

    They stand in the file that OAUTH_USERS_FILE names. A running server sees a change at the next login.
    """


@user.command()
@click.argument("name")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input, for scripts.")
@file_option
@on_deployment
def add(deployment: Deployment, name: str, password_stdin: bool, file: str | None) -> None:
    """Add the user NAME, or give that user another password. The password is asked for.

    \b
    Examples:
      oauth-refresh user add alice
      pass show notes/bob | oauth-refresh user add bob --password-stdin
    """
    from ..users import add_user

    path = _path(deployment, file)
    password = _from_stdin() if password_stdin else _asked(name, path)
    is_new = add_user(path, name, password)
    click.echo(f"user {name} added" if is_new else f"user {name} has a new password")


def _from_stdin() -> str:
    return sys.stdin.readline().rstrip("\r\n")


def _asked(name: str, path: str) -> str:
    is_there = os.path.exists(path) and name in _names_to_change(path)
    question = f"{name} is there already. New password" if is_there else f"Password of {name}"
    asked: str = click.prompt(question, hide_input=True, confirmation_prompt=True, err=True)
    return asked


@user.command("list")
@file_option
@json_option
@on_deployment
def list_(deployment: Deployment, file: str | None, as_json: bool) -> None:
    """List the names of all users."""
    from ..users import UsersFile

    names = UsersFile(_path(deployment, file)).names()
    if as_json:
        show_json(names)
        return
    for name in names:
        click.echo(name)


@user.command()
@click.argument("name")
@click.option("--keep-grants", is_flag=True, help="Leave the programs connected that the user has allowed.")
@file_option
@yes_option
@on_deployment
def remove(deployment: Deployment, name: str, keep_grants: bool, file: str | None, yes: bool) -> None:
    """Remove the user NAME, and end what programs may do in that name.

    Without a registry nobody is removed: the programs would go on. With --keep-grants none is needed.

    \b
    Example:
      oauth-refresh user remove alice
    """
    from ..users import remove_user

    path = _path(deployment, file)
    if name not in _names_to_change(path):
        raise click.ClickException(f"there is no user {name!r} in {path}")
    # In a wrong folder the programs would go on in the name of a user who is taken for removed.
    registry = None if keep_grants else deployment.registry
    alive = 0 if registry is None else sum(each.revoked_at is None for each in registry.list(subject=name))
    confirm(f"Remove the user {name!r} and end {counted(alive, 'grant')}?", yes)
    # First, for a registry that fails must leave a command that can be given again.
    ended = 0 if registry is None else registry.revoke_subject(name, "user_removed")
    remove_user(path, name)
    if registry is not None:
        # The user may have allowed one more meanwhile.
        try:
            ended += registry.revoke_subject(name, "user_removed")
        except RegistryError as error:
            raise click.ClickException(
                f"user {name} removed, {counted(ended, 'grant')} ended. Whether one was made meanwhile "
                f"is unknown ({error}): {deployment.program} grant revoke --subject {name}"
            ) from error
    click.echo(f"user {name} removed, {counted(ended, 'grant')} ended")


def _path(deployment: Deployment, file: str | None) -> str:
    path = file or deployment.users_file
    if path is None:
        raise click.ClickException("there is no users file: set OAUTH_USERS_FILE, or name one with --file")
    return path


def _names_to_change(path: str) -> list[str]:
    """The users of this file. One with mistakes is not changed, so nothing is asked or ended for it."""
    from ..users import users_in

    names, mistakes = users_in(path)
    if mistakes:
        raise ConfigurationError(mistakes)
    return names
