"""The example of an MCP server, called by the official client in the names of two users."""

from __future__ import annotations

import sys

import anyio
import pytest

from tests.flows.headless import User
from tests.flows.secret import Secret
from tests.interop.mcp_sdk_python import Connector

from .conftest import EXAMPLES, Serve

SERVE = [sys.executable, "-m", "gunicorn", "--chdir", str(EXAMPLES / "mcp_server"), "server:application"]


@pytest.mark.parametrize("workers", [("--workers", "3"), ("--workers", "2", "--threads", "4", "--preload")])
def test_its_tools_know_who_called(serve: Serve, workers: tuple[str, ...]) -> None:
    base = serve([*SERVE, "--bind", "127.0.0.1:0", *workers], r"Listening at: (http://\S+)")

    async def borrowed_by(user: User) -> object:
        async with Connector(f"{base}/mcp", user).connected() as client:
            told = await client.call_tool("borrowed_books", {})
            who = await client.call_tool("who_am_i", {})
            return who.structured_content, told.structured_content

    ada, grace = User("ada", Secret("engine")), User("grace", Secret("compiler"))
    books = ["Notes on the Analytical Engine"]
    assert anyio.run(borrowed_by, ada) == ({"result": "ada"}, {"result": books})
    books = ["A Manual of Operation", "The Education of a Computer"]
    assert anyio.run(borrowed_by, grace) == ({"result": "grace"}, {"result": books})
