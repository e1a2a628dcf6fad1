"""The official Python client of MCP: from a URL to tools, through refreshes, and past a revocation."""

from __future__ import annotations

import anyio
import pytest
import requests
from mcp.client import Client

from tests.flows.headless import TIMEOUT, User
from tests.interop.mcp_sdk_python import Connector

pytestmark = pytest.mark.slow


async def who_am_i(client: Client) -> tuple[str, list[str]]:
    told = (await client.call_tool("who_am_i", {})).structured_content
    assert told is not None
    return told["subject"], told["scopes"]


def revoke(base: str, connector: Connector) -> None:
    """As the client would, if it knew how."""
    client, tokens = connector.store.client, connector.store.tokens
    assert client is not None
    assert tokens is not None
    form = {
        "token": tokens.refresh_token,
        "client_id": client.client_id,
        "client_secret": client.client_secret,
    }
    server = requests.get(f"{base}/.well-known/oauth-authorization-server", timeout=TIMEOUT).json()
    assert requests.post(server["revocation_endpoint"], form, timeout=TIMEOUT).status_code == 200


@pytest.mark.requirement("MCP-04")
@pytest.mark.requirement("MCP-05")
@pytest.mark.requirement("Q-01")
@pytest.mark.requirement("Q-37")
@pytest.mark.parametrize("auth_method", [None, "none", "client_secret_basic", "client_secret_post"])
def test_the_client_needs_nothing_but_the_url(base: str, auth_method: str | None) -> None:
    connector = Connector(f"{base}/mcp", User(), token_endpoint_auth_method=auth_method)

    async def go() -> None:
        async with connector.connected() as client:
            assert await who_am_i(client) == ("alice", ["mcp:tools"])
            assert [tool.name for tool in (await client.list_tools()).tools] == [
                "list_notes",
                "add_note",
                "who_am_i",
            ]
            for _ in range(3):
                connector.expire()
                assert await who_am_i(client) == ("alice", ["mcp:tools"])
            assert (connector.visits, len(set(connector.store.seen))) == (1, 4)
            await anyio.to_thread.run_sync(revoke, base, connector)
            # The next call hears 401, and the client begins again at the browser.
            assert await who_am_i(client) == ("alice", ["mcp:tools"])
            assert connector.visits == 2

    anyio.run(go)


@pytest.mark.requirement("Q-20")
def test_a_client_that_starts_again_renews_what_it_stored(base: str) -> None:
    first = Connector(f"{base}/mcp", User())

    async def go(connector: Connector) -> None:
        async with connector.connected() as client:
            assert await who_am_i(client) == ("alice", ["mcp:tools"])

    anyio.run(go, first)
    for _ in range(2):
        again = Connector(f"{base}/mcp", User(), first.store)
        anyio.run(go, again)
        assert again.visits == 0
    first.expire()
    anyio.run(go, first)
    assert (first.visits, len(set(first.store.seen))) == (1, 2)
