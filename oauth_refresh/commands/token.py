"""`oauth-refresh token`: tokens for scripts and services, made without a browser."""

from __future__ import annotations

import click

from .deployment import Deployment, on_deployment
from .showing import counted, json_option, read_duration, show_json


@click.group()
def token() -> None:
    """Make tokens for scripts and services."""


@token.command()
@click.option("--subject", required=True, metavar="USER", help="The user for whom the token speaks.")
@click.option(
    "--scope",
    "scopes_given",
    multiple=True,
    metavar="SCOPES",
    help='What it is good for, such as "notes:read". May be given several times.',
)
@click.option("--client", "client_id", metavar="ID", help="The client that will use it.")
@click.option(
    "--resource",
    "resources",
    multiple=True,
    metavar="URL",
    help="Only for this protected resource. May be given several times.",
)
@click.option(
    "--ttl",
    metavar="DURATION",
    callback=read_duration,
    help="How long the access token is good for, such as 90d.",
)
@click.option("--refresh", is_flag=True, help="Make a refresh token, too: for programs that can renew.")
@click.option("--label", metavar="TEXT", help="What lists of grants will call it.")
@json_option
@on_deployment
def create(
    deployment: Deployment,
    subject: str,
    scopes_given: tuple[str, ...],
    client_id: str | None,
    resources: tuple[str, ...],
    ttl: float | None,
    refresh: bool,
    label: str | None,
    as_json: bool,
) -> None:
    """Make a token and print it. It is shown once: the registry keeps its hash alone.

    The token alone goes to standard output, so that a script can take it. With --refresh both tokens are
    printed, one per line; --json names them.

    \b
    Examples:
      oauth-refresh token create --subject backup --scope notes:read --ttl 90d --label "nightly backup"
      TOKEN=$(oauth-refresh token create --subject ci --ttl 1h)
    """
    deployment.require_registry(to_fill=True)
    _judge_subject(subject)
    scopes = deployment.known_scopes(" ".join(scopes_given))
    if client_id is not None:
        deployment.known_client(client_id)
    registry = deployment.server.registry
    make = registry.create_with_refresh if refresh else registry.create
    try:
        issued = make(subject, scopes, client_id=client_id, resources=resources, ttl=ttl, label=label)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    told = {
        "access_token": issued.access_token,
        "token_type": "Bearer",
        "expires_in": issued.expires_in,
        "scope": " ".join(issued.scopes),
        "grant": issued.grant_id,
    }
    if as_json:
        show_json(told if issued.refresh_token is None else {**told, "refresh_token": issued.refresh_token})
        return
    click.echo(issued.access_token)
    if issued.refresh_token is not None:
        click.echo(issued.refresh_token)
    lasts = counted(issued.expires_in, "second")
    click.echo(f"grant {issued.grant_id}: the access token is good for {lasts}", err=True)
    if not scopes and deployment.settings.known_scopes:
        click.echo("it has no scope: paths that need one refuse it (--scope)", err=True)


def _judge_subject(subject: str) -> None:
    from ..identity import CLIENT_SUBJECT

    if not subject.strip() or not subject.isprintable():
        raise click.ClickException("--subject: the name of a user is needed, of one line")
    if subject.startswith(CLIENT_SUBJECT):
        raise click.ClickException(f"--subject: names that begin with {CLIENT_SUBJECT} are those of clients")
