"""`oauth-refresh purge`: remove what has expired."""

from __future__ import annotations

import time

import click

from .deployment import Deployment, on_deployment


@click.command()
@on_deployment
def purge(deployment: Deployment) -> None:
    """Remove from the registry what has expired, and say how much it was.

    A running server does so by itself once per OAUTH_HOUSEKEEPING_INTERVAL.
    """
    deployment.require_registry()
    removed = deployment.backend.purge(time.time())
    click.echo(f"{removed} expired records removed")
