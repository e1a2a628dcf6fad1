"""Which deployment does a command work on, and what does the operator see when it cannot?

A command marked `@on_deployment` gets a `Deployment`: the one that a host of these commands (Flask's) put
into click's context, else the one that the environment, `--config` and `--registry` describe.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import click

from ..errors import OAuthRefreshError
from ..events import log
from ..last_resort import is_set_up

if TYPE_CHECKING:
    from ..backends.base import Backend
    from ..clients import Client
    from ..registry import TokenRegistry
    from ..server import Server
    from ..settings import Settings

P = ParamSpec("P")
R = TypeVar("R")


class Deployment:
    """Settings, registry and server of one deployment, each made when it is first asked for.

    `server` is handed in by a host that has one already; `registry` and `config` are the command's options,
    `named` are settings that it says by itself.
    """

    def __init__(
        self,
        server: Server | None = None,
        *,
        registry: str | None = None,
        config: str | None = None,
        named: Mapping[str, Any] | None = None,
    ) -> None:
        self._server = server
        # Who names a registry means that one alone, also while the deployment moves between two.
        alone = {"registry": registry, "registry_fallback": None}
        self._named = named or ({} if registry is None else alone)
        self._config = config
        self._has_warned = False

    @property
    def program(self) -> str:
        """What the operator calls these commands here."""
        return "oauth-refresh" if self._server is None else "flask oauth"

    @cached_property
    def settings(self) -> Settings:
        """The settings, checked as a whole, but for the users. Raises `ConfigurationError`."""
        if self._server is not None:
            return self._server.settings
        from ..setting_loading import load_settings

        _find_modules_like_a_server()
        return load_settings(keywords=self._named, config_file=self._config, for_server=False)

    @property
    def is_unconfigured(self) -> bool:
        """Whether nobody has set anything: most likely these are not the settings of any server."""
        return self._server is None and set(self.settings.origins.values()) == {"default"}

    @property
    def users_file(self) -> str | None:
        """The users file, which need not be there yet: its first user is about to make it."""
        if self._server is not None:
            return self._server.settings.users_file
        from ..setting_loading import look_up

        found: str | None = look_up("users_file", config_file=self._config)
        return found

    @cached_property
    def server(self) -> Server:
        from ..server import Server

        if self._server is not None:
            return self._server
        made = Server(self.settings)
        _warn_of_another_account(made.backend.beside)
        return made

    @property
    def registry(self) -> TokenRegistry:
        """The grants of a registry that is there already. One that a mistyped path would make is refused."""
        self.require_registry()
        return self.server.registry

    def known_scopes(self, text: str) -> tuple[str, ...]:
        """The scopes in `text`, separated by spaces, which this deployment has to know."""
        from ..scopes import parse_scope

        scopes, known = parse_scope(text), self.settings.known_scopes
        for name in scopes:
            if name not in known:
                allowed = ", ".join(known) or self._no_scopes
                raise click.ClickException(f"there is no scope {name!r}; known are {allowed}")
        return scopes

    def known_client(self, client_id: str) -> Client:
        """The client of this id, which this deployment has to know."""
        found = self.server.clients.get(client_id)
        if found is None:
            told = f"there is no client {client_id!r}: {self.program} client list shows all"
            raise click.ClickException(told)
        return found

    @property
    def _no_scopes(self) -> str:
        if self._server is not None:
            return "none: set OAUTH_SCOPES"
        return "none: set OAUTH_SCOPES, or use `flask oauth` if a Flask application has them"

    @property
    def lacks_registry(self) -> str:
        """Why there is no registry that commands could look into; empty if there is one."""
        backend = getattr(self.server.backend, "old", self.server.backend)
        if not backend.shared and self._server is None:
            return (
                "the registry is memory:, which is the server's own: what is done here would end with this "
                "command; set OAUTH_REGISTRY to one that both can reach"
            )
        if backend.beside is None or os.path.exists(backend.beside):
            return ""
        advice = (
            "run this in the server's folder and with its settings, or name the registry with --registry; "
            "a Flask application keeps it in its instance folder: use `flask oauth` there; "
            "and if a new one is to be here, make it with `oauth-refresh init`"
        )
        if self._server is not None:
            advice = "flask oauth init makes it, and so does the application when it first needs it"
        return f"there is no registry at {backend.beside}: {advice}"

    def require_registry(self, *, to_fill: bool = False) -> None:
        """Refuse to go on without a registry, but `to_fill` one that an application has the place for."""
        lack = self.lacks_registry
        if lack and not (to_fill and self._server is not None):
            raise click.ClickException(lack)
        if not self.backend.shared and not self._has_warned:
            self._has_warned = True
            _warn("the registry is memory:, which each process has for itself: a running server has another")

    @property
    def backend(self) -> Backend:
        """The store alone, there already or not, for commands that need no OAuth."""
        return self.server.backend


def _find_modules_like_a_server() -> None:
    """Settings may name the application's callables, which gunicorn finds from its working directory."""
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())


def _warn_of_another_account(registry: str | None) -> None:
    """What root makes beside a registry, such as a drawn secret, its server could not read."""
    try:
        owner = None if registry is None else os.stat(registry).st_uid
    except OSError:
        return
    # Windows knows no user ids.
    if owner is not None and hasattr(os, "geteuid") and owner != os.geteuid():
        _warn(
            f"{registry} belongs to another account (user id {owner}): run this as that one, "
            "so that the server can use the files that this makes"
        )


def _warn(text: str) -> None:
    click.secho(f"warning: {text}", fg="yellow", err=True)


def with_plain_errors(command: Callable[P, R]) -> Callable[P, R]:
    """What goes wrong is told in its own words, not as a traceback, and the exit code is 1."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        _keep_log_off_the_terminal()
        try:
            return command(*args, **kwargs)
        except BrokenPipeError:
            # Whoever reads has seen enough, as `head` has.
            raise
        except (OAuthRefreshError, OSError) as error:
            raise click.ClickException(str(error)) from error

    return run


def on_deployment(command: Callable[..., R]) -> Callable[..., R]:
    """Give the command `--registry` and `--config`, and the deployment as its first argument."""

    @click.option("--registry", metavar="URL", help="Another registry than that of OAUTH_REGISTRY.")
    @click.option("--config", metavar="FILE", help="A settings file, instead of that of OAUTH_CONFIG_FILE.")
    @with_plain_errors
    @wraps(command)
    def run(*args: Any, registry: str | None = None, config: str | None = None, **kwargs: Any) -> R:
        found = click.get_current_context().find_object(Deployment)
        if found is None or registry is not None or config is not None:
            found = Deployment(registry=registry, config=config)
        return command(found, *args, **kwargs)

    return run


def _keep_log_off_the_terminal() -> None:
    """Where nobody set up logging, show errors alone: a command says itself what it has done."""
    if not is_set_up():
        handler = logging.StreamHandler()
        handler.setLevel(logging.ERROR)
        log.addHandler(handler)
