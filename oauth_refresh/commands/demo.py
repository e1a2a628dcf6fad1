"""`oauth-refresh demo`: something to try."""

from __future__ import annotations

import click

from .deployment import with_plain_errors


@click.command()
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
@with_plain_errors
def demo(host: str, port: int, registry: str | None) -> None:
    """Serve a notes application behind the middleware, and print what to try.

    Every OAUTH_ environment variable counts: OAUTH_ACCESS_TOKEN_TTL=3 oauth-refresh demo shows an expiry.
    """
    from ..demo.serving import serve

    serve(host, port, registry)
