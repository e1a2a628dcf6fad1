"""Servers for the flows: one that all tests share, and any number of a test's own."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack

import pytest

from tests.flows.servers import Gunicorn

Serve = Callable[..., Gunicorn]


@pytest.fixture(scope="session", autouse=True)
def _end_servers_when_terminated() -> Iterator[None]:
    """SIGTERM ends the tests like Ctrl-C does, so that no server outlives them."""

    def end(*_: object) -> None:
        pytest.exit("terminated", returncode=143)

    before = signal.signal(signal.SIGTERM, end)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session", autouse=True)
def _without_proxy() -> Iterator[None]:
    """Libraries ask the environment for a proxy, also on their way to this machine."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("NO_PROXY", "127.0.0.1,localhost")
        yield


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    """The demo as it is, under gunicorn with four worker processes."""
    server = Gunicorn(tmp_path_factory.mktemp("demo"), options=("--workers", "4"))
    try:
        yield server.start()
    finally:
        server.close()


@pytest.fixture
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """`serve(settings, options=...)` starts the demo with other settings; it ends with the test."""
    with ExitStack() as servers:

        def start(settings: Mapping[str, str] | None = None, **how: object) -> Gunicorn:
            server = Gunicorn(tmp_path_factory.mktemp("own"), settings, **how)  # type: ignore[arg-type]
            servers.callback(server.close)
            return server.start()

        yield start
