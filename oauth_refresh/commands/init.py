"""`oauth-refresh init`: make the registry ready, and see whether it is."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import click

from .deployment import Deployment, on_deployment

if TYPE_CHECKING:
    from ..backends.base import Backend


@click.command()
@on_deployment
def init(deployment: Deployment) -> None:
    """Create the registry's tables or file, and check that it can be written and read.

    A server does the same at its first request. Here the account may be another one than the server's: one
    that may create tables. Done again, it changes nothing.
    """
    from .settings import masked_registry

    backend = getattr(deployment.backend, "new", deployment.backend)
    click.echo(f"registry  {masked_registry(deployment.settings.registry)}")
    if backend.beside is not None:
        click.echo(f"file      {backend.beside}")
    create = getattr(backend, "create", None)
    if create is not None:
        create()
    _try_out(backend)
    schema = getattr(backend, "schema", None)
    if schema is not None:
        click.echo(f"schema    {schema}")
    click.echo("ready     a record was written, changed, read and removed")


def _try_out(backend: Backend) -> None:
    key, ends = b"h" + b"init " + os.urandom(8), time.time() + 600
    if not backend.swap(key, None, b"\x01", ends):
        raise click.ClickException("the registry took no new record")
    entry = backend.get(key)
    if entry is None or not backend.swap(key, entry, b"\x02", ends):
        raise click.ClickException("the registry does not have a record that it had just taken")
    entry = backend.get(key)
    if entry is None or entry.body != b"\x02" or not backend.swap(key, entry, None):
        raise click.ClickException("the registry does not have a change that it had just taken")
