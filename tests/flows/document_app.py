"""The demo, for gunicorn, that finds the test's document host where the Internet would be."""

from __future__ import annotations

import os
import socket
import ssl
from typing import Any

from oauth_refresh.demo import create_app
from oauth_refresh.fetching import Fetcher
from tests.document_host import PUBLIC


def create() -> Any:
    """As `oauth_refresh.demo:create_app()`. The resolver, the route and the trusted CA are the test's."""
    port = int(os.environ["DOCUMENT_HOST_PORT"])
    demo = create_app()
    demo._answer.server.documents.fetch = Fetcher(
        resolve=lambda host, _: [PUBLIC],
        connect=lambda address, _, seconds: socket.create_connection(("127.0.0.1", port), seconds),
        context=ssl.create_default_context(cafile=os.environ["DOCUMENT_HOST_CA"]),
    )
    return demo
