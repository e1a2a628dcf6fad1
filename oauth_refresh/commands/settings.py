"""`oauth-refresh settings`: every setting, its value, and where that comes from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from ..durations import format_duration
from .deployment import Deployment, on_deployment
from .showing import json_option, plain, show_json, show_table

if TYPE_CHECKING:
    from ..settings import Declaration

MASK = "***"


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--changed", is_flag=True, help="Only those that are not at their defaults.")
@json_option
@on_deployment
def settings(deployment: Deployment, names: tuple[str, ...], changed: bool, as_json: bool) -> None:
    """Show every setting with its value and its origin. Secrets are masked.

    The origin is the layer that won: default, file, environment, config (Flask's) or keyword. What the
    settings of a server are that is configured in Python, only that server knows: see `flask oauth`.

    \b
    Examples:
      oauth-refresh settings --changed
      oauth-refresh settings OAUTH_REGISTRY OAUTH_ISSUER
      oauth-refresh settings --config /etc/notes/oauth.toml --json
    """
    from ..settings import declarations

    wanted = {name.upper().removeprefix("OAUTH_") for name in names}
    unknown = wanted - {about.name.upper() for about in declarations()}
    if unknown:
        raise click.ClickException(f"there is no setting OAUTH_{min(unknown)}")
    found = deployment.settings
    chosen = [
        (about, getattr(found, about.name), found.origins.get(about.name, "default"))
        for about in declarations()
        if (not wanted or about.name.upper() in wanted)
    ]
    rows = [
        (about.key, masked(about, value), origin)
        for about, value, origin in chosen
        if not changed or value != about.default
    ]
    if as_json:
        show_json([{"setting": key, "value": value, "origin": origin} for key, value, origin in rows])
    else:
        told = [(key, _text(key, value), origin) for key, value, origin in rows]
        show_table(("SETTING", "VALUE", "ORIGIN"), told, 60)
    for warning in found.warnings:
        click.secho(f"warning: {warning}", fg="yellow", err=True)


def masked(about: Declaration, value: Any) -> object:
    """The value as it may be shown: durations as text, and nothing of a secret but that there is one."""
    if about.name in ("registry", "registry_fallback") and value is not None:
        return masked_registry(value)
    if about.name == "clients":
        return dict.fromkeys(value, MASK)
    if about.secret:
        return MASK if value else value
    if callable(value):
        return f"{getattr(value, '__module__', '')}:{getattr(value, '__qualname__', type(value).__name__)}"
    if isinstance(value, float):
        return format_duration(value)
    return dict(value) if isinstance(value, Mapping) else value


def masked_registry(registry: object) -> str:
    """A registry as it may be shown."""
    return _without_password(registry) if isinstance(registry, str) else type(registry).__name__


def _without_password(url: str) -> str:
    """Neither the password before the host, nor one among the options."""
    hidden = re.sub(r"//.*@", f"//{MASK}@", url, flags=re.DOTALL)
    return re.sub(r"(?i)([?&][^=&]*(?:password|secret|key)[^=&]*=)[^&]*", rf"\1{MASK}", hidden)


def _text(key: str, value: object) -> str:
    """As it is written in the environment, so that it can be copied there."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        separator = ", " if key == "OAUTH_PROTECT" else "; "
        return separator.join(f"{name}={each}" for name, each in value.items()) or "-"
    if isinstance(value, (tuple, list)):
        return ", ".join(map(str, value)) or "-"
    return plain(value) or "-"
