"""A real browser, and real servers on loopback for it to visit."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright
from werkzeug.serving import WSGIRequestHandler, make_server

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]

Serve = Callable[..., str]


class QuietHandler(WSGIRequestHandler):
    def log(self, *_: object) -> None:
        """Nothing: what the server says would drown what the test says."""


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    # Not for the session: while it lives, no test in this thread could run an event loop of its own.
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    assert path, "these tests need Chromium on the PATH"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    """Starts a WSGI application on a free port, `serve(application)`, and returns its origin."""
    servers = []

    def start(application: Any, *, https: bool = False) -> str:
        server = make_server(
            "127.0.0.1",
            0,
            application,
            threaded=True,
            request_handler=QuietHandler,
            ssl_context="adhoc" if https else None,
        )
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        servers.append((server, thread))
        return f"{'https' if https else 'http'}://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()
