"""An MCP server behind the middleware: who called, which requests it answers, and where it never waits."""

from __future__ import annotations

import json
import os
import signal
from contextlib import asynccontextmanager
from io import BytesIO
from threading import Thread
from threading import enumerate as living
from typing import Any

import pytest
from mcp.server.mcpserver import Context, MCPServer
from werkzeug.test import Client, TestResponse

from oauth_refresh import OAuthMiddleware
from oauth_refresh.mcp import BODY_BYTES_MAX, McpApplication, caller

ACCEPT = "application/json, text/event-stream"
MODERN = "2026-07-28"


def server_with_tools(**how: Any) -> MCPServer[Any]:
    server = MCPServer("Test", log_level="WARNING", **how)

    @server.tool()
    def who(context: Context) -> str:
        """Who calls."""
        return caller(context).subject

    @server.tool()
    def echo(text: str) -> str:
        """The same text."""
        return text

    return server


class Asking:
    """An MCP client of a few lines, in front of an application in this process."""

    def __init__(self, **how: Any) -> None:
        self.application = McpApplication(server_with_tools(), **how)
        issuer = {"issuer": how["issuer"]} if "issuer" in how else {}
        self.middleware = OAuthMiddleware(
            self.application,
            protect={"/mcp": ""},
            registry="memory:",
            environ={},
            secret_key="long enough to sign with",
            password_check=lambda name, password: name,
            **issuer,
        )
        self.base = how.get("issuer", "http://localhost")
        self.token = self.middleware.registry.create("alice", []).access_token

    def request(self, method: str, path: str = "/mcp", **how: Any) -> TestResponse:
        headers = {"Authorization": f"Bearer {self.token}", "Accept": ACCEPT, **how.pop("headers", {})}
        return Client(self.middleware).open(path, self.base, method=method, headers=headers, **how)

    def ask(self, method: str, params: Any = None, path: str = "/mcp", **headers: str) -> TestResponse:
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}}
        return self.request("POST", path, json=message, headers=headers)

    def call(self, tool: str, path: str = "/mcp", headers: Any = None, **arguments: Any) -> TestResponse:
        return self.ask("tools/call", {"name": tool, "arguments": arguments}, path, **(headers or {}))


@pytest.fixture(scope="module")
def asking() -> Asking:
    return Asking()


def said(answer: TestResponse) -> Any:
    assert (answer.status_code, answer.mimetype) == (200, "application/json"), answer.text
    return json.loads(answer.text)["result"]["structuredContent"]["result"]


def test_a_tool_knows_whose_token_called_it(asking: Asking) -> None:
    assert said(asking.call("who")) == "alice"
    bob = asking.middleware.registry.create("bob", []).access_token
    assert said(asking.call("who", headers={"Authorization": f"Bearer {bob}"})) == "bob"
    assert said(asking.call("who")) == "alice"


def test_without_a_token_the_server_is_never_reached(asking: Asking) -> None:
    refused = asking.call("who", headers={"Authorization": ""})
    assert refused.status_code == 401
    assert "resource_metadata=" in refused.headers["WWW-Authenticate"]


def test_a_tool_refuses_where_nobody_checked_a_token() -> None:
    bare = McpApplication(server_with_tools())
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "who", "arguments": {}}}
    answer = Client(bare).post("/mcp", json=message, headers={"Accept": ACCEPT})
    assert json.loads(answer.text)["result"]["isError"] is True


@pytest.mark.requirement("MCP-07")
@pytest.mark.parametrize("version", ["2025-03-26", "2025-06-18", "2025-11-25"])
def test_every_revision_with_a_handshake_is_served(asking: Asking, version: str) -> None:
    client = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}
    begun = json.loads(asking.ask("initialize", client).text)
    assert begun["result"]["protocolVersion"] == version
    assert said(asking.call("who", headers={"MCP-Protocol-Version": version})) == "alice"


@pytest.mark.requirement("MCP-07")
def test_the_revision_without_a_handshake_is_served_too(asking: Asking) -> None:
    answer = modern(asking, "tools/call", name="who", arguments={})
    assert said(answer) == "alice"


def modern(asking: Asking, method: str, **params: Any) -> TestResponse:
    meta = {"protocolVersion": MODERN, "clientCapabilities": {}}
    told = {"_meta": {f"io.modelcontextprotocol/{name}": value for name, value in meta.items()}, **params}
    named = {"Mcp-Name": params["name"]} if "name" in params else {}
    return asking.ask(method, told, **{"MCP-Protocol-Version": MODERN, "Mcp-Method": method, **named})


def test_no_request_becomes_a_stream_that_would_hold_a_worker(asking: Asking) -> None:
    for method in ("GET", "DELETE", "PUT"):
        refused = asking.request(method)
        assert (refused.status_code, refused.headers["Allow"]) == (405, "POST")
    answers: list[TestResponse] = []
    listening = Thread(
        target=lambda: answers.append(modern(asking, "subscriptions/listen", notifications={})), daemon=True
    )
    listening.start()
    listening.join(20)
    assert [answer.status_code for answer in answers] == [406]
    assert said(asking.call("who")) == "alice"


@pytest.mark.requirement("MCP-07")
def test_a_slash_at_the_end_is_not_answered_with_a_redirect(asking: Asking) -> None:
    assert said(asking.call("who", "/mcp/")) == "alice"
    assert asking.call("who", "/mcp/more").status_code == 404


@pytest.mark.requirement("WSGI-10")
def test_it_answers_where_it_is_mounted(asking: Asking) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "who", "arguments": {}}}
    headers = {"Authorization": f"Bearer {asking.token}", "Accept": ACCEPT}
    mounted = {"SCRIPT_NAME": "/mounted", "PATH_INFO": "/mcp"}
    answer = Client(asking.middleware).post("/mcp", json=message, headers=headers, environ_overrides=mounted)
    assert said(answer) == "alice"


def test_a_body_in_chunks_is_read_where_the_server_says_that_it_ends(asking: Asking) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "who", "arguments": {}}}
    body = json.dumps(message).encode()
    for given, status in ((body, 200), (b" " * (BODY_BYTES_MAX + 1), 413)):
        chunked = {"wsgi.input": BytesIO(given), "wsgi.input_terminated": True, "CONTENT_LENGTH": ""}
        answer = asking.request("POST", environ_overrides=chunked, content_type="application/json")
        assert answer.status_code == status


@pytest.mark.requirement("CORS-03")
@pytest.mark.requirement("CORS-07")
def test_a_page_of_another_origin_may_call_where_every_origin_may(asking: Asking) -> None:
    origin = {"Origin": "https://inspector.example"}
    preflight = asking.request(
        "OPTIONS",
        headers={
            **origin,
            "Authorization": "",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type,mcp-protocol-version",
        },
    )
    assert preflight.status_code == 204
    assert preflight.headers["Access-Control-Allow-Origin"] == "*"
    assert "mcp-protocol-version" in preflight.headers["Access-Control-Allow-Headers"]
    answer = asking.call("who", headers=origin)
    assert said(answer) == "alice"
    assert answer.headers.getlist("Access-Control-Allow-Origin") == ["*"]


@pytest.mark.requirement("MCP-09")
def test_with_a_list_of_origins_others_are_refused() -> None:
    asking = Asking(issuer="https://tools.example.com", cors_origins=["https://inspector.example"])
    for origin, status in (
        ("https://inspector.example", 200),
        ("https://tools.example.com", 200),
        ("https://evil.example", 403),
        ("http://tools.example.com", 403),
    ):
        assert asking.call("who", headers={"Origin": origin}).status_code == status


@pytest.mark.parametrize(
    ("host", "status"),
    [("tools.example.com", 200), ("127.0.0.1:8000", 200), ("localhost", 200), ("evil.example", 421)],
)
def test_the_public_host_is_answered_and_that_of_a_proxy_on_this_machine(host: str, status: int) -> None:
    asking = Asking(issuer="https://tools.example.com")
    assert asking.call("who", headers={"Host": host}).status_code == status


def test_a_server_that_cannot_begin_fails_each_request_and_is_tried_again() -> None:
    tries: list[int] = []

    @asynccontextmanager
    async def lifespan(_: Any) -> Any:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("the database is away")
        yield {}

    application = McpApplication(server_with_tools(lifespan=lifespan))
    message = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": "echo", "arguments": {"text": "x"}},
    }
    before = set(living())
    with pytest.raises(OSError, match="the database is away"):
        Client(application).post("/mcp", json=message, headers={"Accept": ACCEPT})
    for thread in set(living()) - before:
        thread.join(20)
    assert set(living()) <= before
    assert said(Client(application).post("/mcp", json=message, headers={"Accept": ACCEPT})) == "x"


def test_a_process_that_was_forked_after_the_first_request_begins_its_own(asking: Asking) -> None:
    assert said(asking.call("who")) == "alice"
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover
        # A request that waits for the parent's thread would wait for ever: then this is the end.
        signal.alarm(20)
        try:
            os.write(write, asking.call("who").text.encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as answers:
        assert b'"alice"' in answers.read()
    os.waitpid(child, 0)
