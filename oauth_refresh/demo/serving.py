"""`oauth-refresh demo`: the demo on a threaded production server, with the lines to try it."""

from __future__ import annotations

import contextlib
import errno
import signal
from collections.abc import Mapping
from typing import Any, NoReturn

import click

from ..errors import ConfigurationError
from ..setting_addresses import is_loopback_host
from . import Demo, create_app
from .walk import lines_to_try

THREADS = 8


def serve(host: str, port: int, registry: str | None, environ: Mapping[str, str] | None = None) -> None:
    """Serve the demo until Ctrl-C or SIGTERM, after printing what to try. Port 0 takes any free port.

    `ConfigurationError` where the address cannot be used, with the way out in its text.
    """
    create_server = _waitress()
    app = create_app(registry, environ)
    if app.published_users and not is_loopback_host(host):
        raise ConfigurationError(
            f"--host {host}: the demo's users have published passwords, so it is for loopback addresses only "
            "(127.0.0.1, ::1, localhost); to be reached from elsewhere set OAUTH_USERS_FILE and OAUTH_ISSUER"
        )
    try:
        server = create_server(app, host=host, port=port, threads=THREADS, ident="oauth-refresh demo")
    except (OSError, ValueError) as error:
        raise ConfigurationError(_why_not(host, port, error)) from error
    signal.signal(signal.SIGTERM, _stop)
    # The server's loop ends by itself at Ctrl-C; before the loop it is ours to take.
    with contextlib.suppress(KeyboardInterrupt, SystemExit):
        click.echo(lines_to_try(app.settings, _base(app, host, server)))
        server.run()
    click.echo("\nThe demo has stopped.")


def _waitress() -> Any:
    try:
        from waitress.server import create_server
    except ImportError as error:
        raise ConfigurationError(
            "the demo is served by waitress, which is not installed: pip install 'oauth-refresh[demo]'"
        ) from error
    return create_server


def _why_not(host: str, port: int, error: OSError | ValueError) -> str:
    reason = getattr(error, "errno", None)
    if reason == errno.EADDRINUSE:
        return f"port {port} is in use: try oauth-refresh demo --port {port + 1 if port < 65535 else 0}"
    if reason == errno.EACCES:
        return f"port {port} is not allowed for this user: try oauth-refresh demo --port 8000"
    return f"cannot listen on {host} port {port}: {error}"


def _base(app: Demo, host: str, server: Any) -> str:
    if app.settings.issuer:
        return app.settings.issuer.rstrip("/")
    # Waitress answers with one server for one address, and with a group where a name has several.
    listening = getattr(server, "effective_listen", None) or [(host, server.effective_port)]
    port = int(listening[0][1])
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}"


def _stop(*_: object) -> NoReturn:
    raise SystemExit(0)
