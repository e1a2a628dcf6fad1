"""What most tests of endpoints start from: a server, two clients of it, and a browser with a user."""

from __future__ import annotations

import pytest

from ..driving import Browser, InProcess, Registered


@pytest.fixture
def server() -> InProcess:
    return InProcess()


@pytest.fixture
def client(server: InProcess) -> Registered:
    """A public client that registered itself."""
    return server.register()


@pytest.fixture
def web(server: InProcess) -> Registered:
    """A client with a secret that registered itself."""
    return server.register(token_endpoint_auth_method="client_secret_basic")


@pytest.fixture
def alice(server: InProcess) -> Browser:
    """A browser in which alice is signed in."""
    return server.signed_in("alice")
