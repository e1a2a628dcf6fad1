"""`oauth-refresh client`: who may ask users for access."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..errors import OAuthError, RegistryError
from .deployment import Deployment, on_deployment
from .showing import (
    begun,
    confirm,
    counted,
    iso,
    json_option,
    moment,
    readable,
    show_fields,
    show_json,
    show_json_list,
    show_table,
    yes_option,
)

if TYPE_CHECKING:
    from ..clients import Client


@click.group()
def client() -> None:
    """Create, list, show and delete clients.

    A client is a program that asks users for access. Most register themselves; one that cannot, or that must
    have a secret, is created here. Clients of the settings (OAUTH_CLIENTS) are listed too.
    """


@client.command()
@click.argument("name")
@click.option(
    "--redirect-uri",
    "redirect_uris",
    multiple=True,
    required=True,
    metavar="URI",
    help="Where the browser is sent with the code. May be given several times.",
)
@click.option("--confidential", is_flag=True, help="Give it a secret, which is shown once.")
@click.option("--scope", metavar="SCOPES", help='All that it may ask for, such as "notes:read notes:write".')
@json_option
@on_deployment
def create(
    deployment: Deployment,
    name: str,
    redirect_uris: tuple[str, ...],
    confidential: bool,
    scope: str | None,
    as_json: bool,
) -> None:
    """Register the client called NAME, and print its client id.

    \b
    Examples:
      oauth-refresh client create "Backup" --redirect-uri https://backup.example.org/callback --confidential
      oauth-refresh client create "My script" --redirect-uri http://127.0.0.1/callback
    """
    wanted: dict[str, object] = {
        "client_name": name,
        "redirect_uris": list(redirect_uris),
        "token_endpoint_auth_method": "client_secret_basic" if confidential else "none",
        "grant_types": ["authorization_code", "refresh_token"],
        "scope": scope,
    }
    created, secret = _register(deployment, wanted)
    shown = _members(created) | ({} if secret is None else {"client_secret": secret})
    if as_json:
        show_json(shown)
        return
    show_fields({"client_id": created.client_id, "client_secret": secret})
    if secret is not None:
        click.echo("The secret is kept as a hash only: store it now, it is not shown again.", err=True)


def _register(deployment: Deployment, wanted: dict[str, object]) -> tuple[Client, str | None]:
    from ..registration import accept

    deployment.require_registry(to_fill=True)
    server = deployment.server
    deployment.known_scopes(str(wanted["scope"] or ""))
    try:
        accepted = accept(
            wanted,
            known_scopes=server.settings.known_scopes,
            private_schemes=server.settings.redirect_schemes,
        )
    except OAuthError as error:
        raise click.ClickException(error.description) from error
    created, secret = server.clients.register(
        accepted.metadata,
        redirect_uris=accepted.redirect_uris,
        auth_method=accepted.auth_method,
        grant_types=accepted.grant_types,
        response_types=accepted.response_types,
        scopes=accepted.scopes,
        # What registers itself and is never used is forgotten after a day; the operator means it.
        used=True,
        forget_at=None,
    )
    server.events.emit(
        "client_registered", {"client": created.client_id, "name": created.name, "by": "command"}
    )
    return created, secret


@client.command("list")
@json_option
@on_deployment
def list_(deployment: Deployment, as_json: bool) -> None:
    """List all clients: those of the settings first, then those in the registry."""
    deployment.require_registry()
    trouble: list[RegistryError] = []
    clients = readable(deployment.server.clients.list(), trouble)
    found = begun(clients, trouble, beside=lambda each: each.configured)
    if as_json:
        show_json_list(_members(each) for each in found)
    else:
        show_table(("CLIENT ID", "NAME", "TYPE", "FROM", "REDIRECT URI"), map(_row, found))
    for error in trouble:
        raise error


@client.command()
@click.argument("client_id")
@json_option
@on_deployment
def show(deployment: Deployment, client_id: str, as_json: bool) -> None:
    """Show one client with everything that is registered, but for its secret, which nobody knows."""
    found = _found(deployment, client_id)
    members = _members(found)
    if as_json:
        show_json(members)
        return
    show_fields(
        {key: " ".join(value) if isinstance(value, list) else value for key, value in members.items()}
    )


@client.command()
@click.argument("client_id")
@yes_option
@on_deployment
def delete(deployment: Deployment, client_id: str, yes: bool) -> None:
    """Delete a client, and end all its grants. Its users have to connect it again.

    \b
    Example:
      oauth-refresh client delete oc_3q2-7wAAAAAAAAAAAAAAAAAA
    """
    found = _found(deployment, client_id)
    if found.configured:
        raise click.ClickException(f"{client_id} is a client of the settings: take it out of OAUTH_CLIENTS")
    grants = sum(each.revoked_at is None for each in deployment.registry.list(client_id=client_id))
    confirm(f"Delete {found.name!r} and end {counted(grants, 'grant')}?", yes)
    # The client first: nobody can get a new grant between the two.
    deployment.server.clients.delete(client_id)
    ended = deployment.registry.revoke_client(client_id, "client_deleted")
    deployment.server.events.emit("client_deleted", {"client": client_id, "grants": ended})
    click.echo(f"client {client_id} deleted, {counted(ended, 'grant')} ended")


def _found(deployment: Deployment, client_id: str) -> Client:
    deployment.require_registry()
    return deployment.known_client(client_id)


def _row(found: Client) -> tuple[str, ...]:
    kind, uris = "public" if found.public else "confidential", found.redirect_uris
    return found.client_id, found.name, kind, _origin(found), uris[0] if uris else ""


def _origin(found: Client) -> str:
    if found.configured:
        return "settings"
    return moment(found.created_at) + ("" if found.used else " (never used)")


def _members(found: Client) -> dict[str, object]:
    return {
        "client_id": found.client_id,
        "client_name": found.name,
        "type": "public" if found.public else "confidential",
        "token_endpoint_auth_method": found.auth_method,
        "redirect_uris": list(found.redirect_uris),
        "grant_types": list(found.grant_types),
        "scopes": None if found.scopes is None else list(found.scopes),
        "created_at": None if found.configured else iso(found.created_at),
        "used": found.used,
        "configured": found.configured,
    }
