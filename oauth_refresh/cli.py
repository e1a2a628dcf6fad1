"""The command `oauth-refresh`. Each command imports what it needs when it is called."""

from __future__ import annotations

import click

from . import __version__
from .errors import ConfigurationError, RegistryError


@click.group(name="oauth-refresh")
@click.version_option(__version__, prog_name="oauth-refresh", message="%(prog)s %(version)s")
def main() -> None:
    """An OAuth 2.1 server in front of a WSGI application that exists already."""


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; loopback only.")
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 takes any free one.",
)
@click.option(
    "--registry",
    metavar="URL",
    help="Where grants are kept, for example memory: or sqlite:///path/oauth.db. "
    "By default SQLite in a private folder below the temporary one.",
)
def demo(host: str, port: int, registry: str | None) -> None:
    """Serve a notes application behind the middleware, and print what to try.

    Every OAUTH_ environment variable counts: OAUTH_ACCESS_TOKEN_TTL=3 oauth-refresh demo shows an expiry.
    """
    try:
        from .demo.serving import serve

        serve(host, port, registry)
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from error


@main.command()
@click.option("--registry", metavar="URL", help="Another registry than that of OAUTH_REGISTRY.")
@click.option("--config", metavar="FILE", help="A settings file, instead of that of OAUTH_CONFIG_FILE.")
def purge(registry: str | None, config: str | None) -> None:
    """Remove from the registry what has expired, and say how much it was.

    A running server does so by itself once per OAUTH_HOUSEKEEPING_INTERVAL.
    """
    import time

    from .backends import open_backend
    from .settings import load_settings

    try:
        settings = load_settings(
            keywords={} if registry is None else {"registry": registry}, config_file=config
        )
        removed = open_backend(settings.registry).purge(time.time())
    except (ConfigurationError, RegistryError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{removed} expired records removed")
