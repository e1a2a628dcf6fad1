"""The official Python client of MCP, with a headless user at its browser, and its tokens in our sight."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

from anyio import to_thread
from mcp.client import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl

from tests.flows.headless import User
from tests.flows.secret import Secret

REDIRECT_URI = "http://127.0.0.1:8765/callback"


class Store:
    """Where the client keeps what must outlive it: several connections may share one."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None
        self.seen: list[Secret] = []

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens
        self.seen.append(Secret(tokens.refresh_token or ""))

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


class Connector:
    """Connects to the MCP server at `url` in the name of `user`. `visits` counts the trips to a browser."""

    def __init__(self, url: str, user: User, store: Store | None = None, **metadata: Any) -> None:
        self._url, self._user = url, user
        self.store = Store() if store is None else store
        self.visits = 0
        self._landed = ""
        self.provider = OAuthClientProvider(
            url,
            OAuthClientMetadata(
                client_name="The official client",
                redirect_uris=[AnyUrl(REDIRECT_URI)],
                grant_types=["authorization_code", "refresh_token"],
                **metadata,
            ),
            self.store,
            redirect_handler=self._visit,
            callback_handler=self._come_back,
        )

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Client]:
        async with (
            create_mcp_http_client(auth=self.provider) as http,
            Client(streamable_http_client(self._url, http_client=http)) as client,
        ):
            yield client

    def expire(self) -> None:
        """Let the client believe that its access token has expired."""
        self.provider.context.token_expiry_time = 1.0

    async def _visit(self, url: str) -> None:
        self.visits += 1
        self._landed = await to_thread.run_sync(self._user.visit, url, REDIRECT_URI)

    async def _come_back(self) -> AuthorizationCodeResult:
        told = {name: values[0] for name, values in parse_qs(urlsplit(self._landed).query).items()}
        return AuthorizationCodeResult(code=told["code"], state=told["state"], iss=told["iss"])
