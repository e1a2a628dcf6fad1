"""`oauth-refresh doctor`: what is wrong with a deployment, and how it is mended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from ..errors import ConfigurationError
from .deployment import Deployment, on_deployment
from .showing import json_option, plain, show_json

if TYPE_CHECKING:
    from ..doctor import Finding

COLOURS = {"ok": "green", "warning": "yellow", "error": "red"}


@click.command()
@click.argument("url", required=False)
@click.option("--outside", is_flag=True, help="Look at the URL alone, from a host that is not the server's.")
@json_option
@on_deployment
def doctor(deployment: Deployment, url: str | None, outside: bool, as_json: bool) -> None:
    """Look at a deployment from inside and from outside, and say how to mend what is wrong.

    Inside are the settings, the secret, the registry and the files of this host. URL is the public address
    of the server (by default OAUTH_ISSUER): its documents, its endpoints and its protected paths are asked
    for as a client does. With both at hand a grant of the doctor's own is renewed there and taken out again,
    which shows whether the server that clients reach has this registry, this secret, this time, in every
    worker.

    The exit code is 1 if there is an error.

    \b
    Examples:
      oauth-refresh doctor
      oauth-refresh doctor https://notes.example.org
      oauth-refresh doctor --outside https://notes.example.org --json
    """
    if outside and url is None:
        raise click.UsageError("--outside needs the URL to look at")
    if url is not None and not url.startswith(("http://", "https://")):
        raise click.UsageError(f"{url!r} is no URL: it begins with https://")
    findings = list(_outside(url) if outside and url else _everything(deployment, url))
    if as_json:
        show_json([each._asdict() for each in findings])
    else:
        _tell(findings)
    if any(each.severity == "error" for each in findings):
        click.get_current_context().exit(1)


def _outside(url: str) -> Iterator[Finding]:
    from ..doctor import outside

    yield from outside.examine(url, None).findings


def _everything(deployment: Deployment, url: str | None) -> Iterator[Finding]:
    from ..doctor import error, inside, ok, one_process, outside, together

    try:
        server = deployment.server
    except ConfigurationError as mistakes:
        for problem in mistakes.problems:
            yield error("settings", problem, "Correct this setting: no server starts with it.")
        if url is not None:
            yield from _outside(url)
        return
    if url is not None and deployment.is_unconfigured:
        yield ok(
            "settings",
            "There are none here, so the server is looked at from outside alone. One that is configured in "
            "Python knows its own: `flask oauth doctor`, for a Flask application.",
        )
        yield from _outside(url)
        return
    inner = list(inside.examine(server))
    yield from inner
    url = url or server.settings.issuer
    if url is None:
        if not server.backend.shared:
            yield from one_process.examine(server, None)
        text = "Not looked at from outside: name the URL for that, as in doctor https://notes.example.org"
        yield ok("outside", text)
        return
    prefixes = None if callable(server.settings.protect) else server.prefixes
    seen = outside.examine(url, prefixes)
    yield from seen.findings
    if not server.backend.shared:
        yield from one_process.examine(server, seen.token_endpoint)
        return
    broken = any(each.severity == "error" and each.about == "registry" for each in inner)
    if seen.token_endpoint is None or broken:
        return
    if inside.is_to_be_made(server.backend):
        # The server has just needed its registry. One that is made by a look would not be it.
        yield error(
            "same registry",
            f"The server that clients reach uses a registry, and there is none at {server.backend.beside}: "
            "it has another one, or memory:, where each worker has its own.",
            "Run this in the server's folder and with its settings (for a Flask application, "
            "`flask oauth doctor`), or give server and commands the same OAUTH_REGISTRY with its whole path.",
        )
        return
    yield from together.examine(server, seen.token_endpoint)


def _tell(findings: list[Finding]) -> None:
    for each in findings:
        click.secho(f"{each.severity:<8}", fg=COLOURS[each.severity], nl=False)
        click.echo(f"{each.about}: {plain(each.text)}")
        if each.fix:
            click.echo(f"        -> {plain(each.fix)}")
    errors = sum(each.severity == "error" for each in findings)
    warnings = sum(each.severity == "warning" for each in findings)
    click.secho(f"\n{_counted(errors, 'error')}, {_counted(warnings, 'warning')}", bold=True)


def _counted(number: int, name: str) -> str:
    return f"{number} {name}" if number == 1 else f"{number} {name}s"
