"""Each kind of client as it is in the wild, replayed on the wire: it connects, and it stays connected."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from tests.flows.replays import Replay
from tests.flows.secret import Pair
from tests.flows.servers import Gunicorn

WRONG_PROBES = [
    "/mcp/.well-known/openid-configuration",
    "/.well-known/oauth-authorization-server/mcp",
    "/.well-known/openid-configuration/mcp",
    "/.well-known/oauth-protected-resource/nothing",
    "/.well-known/oauth-authorization-server/nothing",
]


Publish = Callable[[str, dict[str, Any]], str]


@pytest.fixture(scope="module")
def publish() -> Iterator[Publish]:
    """`publish(name, document)` is the URL of a client's metadata document, which names that URL itself."""
    documents: dict[str, bytes] = {}

    class Documents(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = documents[self.path]
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nobody reads a log here."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Documents) as server:
        Thread(target=server.serve_forever, daemon=True).start()

        def put(name: str, document: dict[str, Any]) -> str:
            url = f"http://127.0.0.1:{server.server_port}/{name}.json"
            documents[f"/{name}.json"] = json.dumps({"client_id": url, **document}).encode()
            return url

        yield put
        server.shutdown()


@pytest.fixture(scope="module")
def publishing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    """The demo, which reads documents from this machine as well."""
    settings = {"OAUTH_CLIENT_ID_METADATA_LOOPBACK": "true"}
    with closing(Gunicorn(tmp_path_factory.mktemp("publishing"), settings)) as server:
        yield server.start()


def stays_connected(client: Replay, pair: Pair, **more: str) -> Pair:
    """Three refreshes, each followed by a call."""
    assert client.calls(pair.access)
    for _ in range(3):
        pair = client.refresh(pair.refresh, **more)
        assert client.calls(pair.access)
    return pair


# --- claude.ai --------------------------------------------------------------------------------------


@pytest.mark.requirement("Q-10")
@pytest.mark.requirement("Q-13")
@pytest.mark.requirement("Q-23")
@pytest.mark.requirement("Q-41")
@pytest.mark.requirement("Q-43")
def test_claude_ai_connects_again_and_again_from_two_nodes(demo: Gunicorn) -> None:
    callback = "https://claude.ai/api/mcp/auth_callback"
    for _ in range(2):
        client = Replay(demo.base, {"User-Agent": "Claude-User"})
        told = client.challenge(client.contact())
        assert told["resource_metadata"] == f"{demo.base}/.well-known/oauth-protected-resource/mcp"
        document = client.probe(told["resource_metadata"]).json()
        assert document["resource"] == client.mcp
        assert "offline_access" not in document["scopes_supported"]
        server = client.probe("/.well-known/oauth-authorization-server").json()
        assert "offline_access" in server["scopes_supported"]
        client.register([callback], client_name="Claude", scope="claudeai")
        pair = client.connect(callback, resource=client.mcp, scope="claudeai mcp:tools offline_access")
        last = stays_connected(client, pair, resource=client.mcp)
        with ThreadPoolExecutor(2) as nodes:
            pairs = list(nodes.map(client.refresh, [last.refresh] * 2))
        assert pairs[0] == pairs[1]
        assert client.calls(pairs[0].access)


@pytest.mark.requirement("Q-03")
@pytest.mark.requirement("MCP-01")
def test_a_client_of_the_first_revision_drops_the_path_and_uses_the_fixed_places(demo: Gunicorn) -> None:
    client = Replay(demo.base)
    assert client.contact().status_code == 401
    server = client.probe("/.well-known/oauth-authorization-server").json()
    assert server["issuer"] == demo.base
    client.authorize_at = f"{demo.base}/authorize"
    client.token_at = f"{demo.base}/token"
    client.register_at = f"{demo.base}/register"
    client.register(["https://claude.ai/api/mcp/auth_callback"])
    stays_connected(client, client.connect("https://claude.ai/api/mcp/auth_callback", scope="mcp:tools"))


# --- Claude Code ------------------------------------------------------------------------------------


@pytest.mark.requirement("Q-02")
@pytest.mark.requirement("Q-04")
@pytest.mark.requirement("Q-05")
def test_claude_code_probes_wrong_places_and_hears_a_json_404_from_each(demo: Gunicorn) -> None:
    client = Replay(demo.base, {"User-Agent": "claude-code/2.0 (cli)", "MCP-Protocol-Version": "2025-06-18"})
    for place in WRONG_PROBES:
        answer = client.probe(place)
        assert answer.status_code == 404
        assert "error" in answer.json()
    for right in ("/.well-known/oauth-protected-resource/mcp", "/.well-known/openid-configuration"):
        assert client.probe(right).status_code == 200


@pytest.mark.requirement("Q-17")
@pytest.mark.requirement("Q-18")
@pytest.mark.requirement("Q-20")
def test_claude_code_listens_at_another_port_each_time_and_refreshes_in_many_processes(
    demo: Gunicorn,
) -> None:
    client = Replay(demo.base, {"User-Agent": "claude-code/2.0 (cli)"})
    client.register(["http://localhost:54545/callback"], client_name="Claude Code (notes)")
    pair = client.connect("http://localhost:3118/callback", resource=client.mcp, scope="mcp:tools")
    processes = [Replay(demo.base) for _ in range(6)]
    for process in processes:
        process.client = client.client
    for _ in range(3):
        with ThreadPoolExecutor(len(processes)) as pool:
            pairs = list(pool.map(lambda process, held=pair: process.refresh(held.refresh), processes))
            assert set(pairs) == {pairs[0]}
            pair = pairs[0]
            assert all(pool.map(lambda process, held=pair: process.calls(held.access), processes))
    # Another host is another address: the page says so, and nobody is sent there.
    refused = client.session.get(client.address("http://127.0.0.1:3118/callback", "s"), allow_redirects=False)
    assert (refused.status_code, "Location" in refused.headers) == (400, False)


@pytest.mark.requirement("Q-15")
@pytest.mark.requirement("Q-17")
@pytest.mark.requirement("CIMD-14")
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_claude_code_shows_a_document_without_ports_and_comes_back_at_any(
    publishing: Gunicorn, publish: Publish, host: str
) -> None:
    client = Replay(publishing.base, {"User-Agent": "claude-code/2.0 (cli)"})
    server = client.probe("/.well-known/oauth-authorization-server").json()
    assert server["client_id_metadata_document_supported"] is True
    assert "none" in server["token_endpoint_auth_methods_supported"]
    document = {
        "client_name": "Claude Code",
        "redirect_uris": ["http://localhost/callback", "http://127.0.0.1/callback"],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    }
    client.client = {"client_id": publish(f"claude-code-{host}", document)}
    for port in (3118, 58135):
        pair = client.connect(f"http://{host}:{port}/callback", resource=client.mcp, scope="mcp:tools")
        last = stays_connected(client, pair, resource=client.mcp)
    with ThreadPoolExecutor(6) as processes:
        pairs = list(processes.map(client.refresh, [last.refresh] * 6))
    assert set(pairs) == {pairs[0]}
    assert client.calls(pairs[0].access)


# --- ChatGPT ----------------------------------------------------------------------------------------


@pytest.mark.requirement("Q-38")
@pytest.mark.requirement("Q-06")
def test_chatgpt_finds_the_documents_address_in_its_first_401_whatever_it_sends(demo: Gunicorn) -> None:
    client = Replay(demo.base, {"User-Agent": "openai-mcp/1.0.0"})
    for method in ("GET", "POST", "DELETE", "HEAD", "PUT", "OPTIONS"):
        told = client.challenge(client.contact(method))
        assert told == {
            "resource_metadata": f"{demo.base}/.well-known/oauth-protected-resource/mcp",
            "scope": "mcp:tools",
        }
    stale = client.session.post(client.mcp, headers={"Authorization": "Bearer oat_stale"})
    assert client.challenge(stale)["resource_metadata"].endswith("/.well-known/oauth-protected-resource/mcp")


@pytest.mark.requirement("Q-26")
def test_chatgpt_connects_by_an_address_of_each_connector_and_by_its_old_one(demo: Gunicorn) -> None:
    own = "https://chatgpt.com/connector/oauth/AbC-123_x"
    old = "https://chatgpt.com/connector_platform_oauth_redirect"
    client = Replay(demo.base, {"User-Agent": "openai-mcp/1.0.0"})
    for document in ("oauth-authorization-server", "openid-configuration"):
        server = client.probe(f"/.well-known/{document}").json()
        endpoints = [url for name, url in server.items() if name.endswith("_endpoint")]
        assert not [url for url in endpoints if "//" in url.removeprefix("http://")]
    client.register([own, old], client_name="ChatGPT")
    for callback in (own, old):
        pair = client.connect(callback, resource=client.mcp, scope="mcp:tools")
        stays_connected(client, pair, resource=client.mcp)


@pytest.mark.requirement("Q-26")
@pytest.mark.requirement("CIMD-13")
def test_chatgpt_prefers_to_sign_and_does_without_where_its_document_lists_none(
    publishing: Gunicorn, publish: Publish
) -> None:
    callback = "https://chatgpt.com/connector/oauth/AbC-123_x"
    document = {
        "client_name": "ChatGPT",
        "redirect_uris": [callback],
        "grant_types": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_method": "private_key_jwt",
        "token_endpoint_auth_methods_supported": ["private_key_jwt", "none"],
        "token_endpoint_auth_signing_alg": "RS256",
        "jwks_uri": "https://chatgpt.com/oauth/AbC-123_x/jwks.json",
    }
    client = Replay(publishing.base, {"User-Agent": "openai-mcp/1.0.0"})
    client.client = {"client_id": publish("chatgpt", document)}
    pair = client.connect(callback, resource=client.mcp, scope="mcp:tools")
    stays_connected(client, pair, resource=client.mcp)


# --- Cursor -----------------------------------------------------------------------------------------


@pytest.mark.requirement("Q-16")
@pytest.mark.requirement("Q-33")
@pytest.mark.requirement("Q-35")
def test_cursor_registers_three_addresses_at_once_and_comes_back_at_any_of_them(demo: Gunicorn) -> None:
    redirects = [
        "cursor://anysphere.cursor-mcp/oauth/callback",
        "https://www.cursor.com/agents/mcp/oauth/callback",
        "http://localhost:8787/callback",
    ]
    client = Replay(demo.base)
    told = client.register(redirects, client_name="Cursor", application_type="web")
    assert told["redirect_uris"] == redirects
    for callback in redirects:
        last = stays_connected(client, client.connect(callback, resource=client.mcp))
    gone = client.token(grant_type="refresh_token", refresh_token=last.refresh.text[:-4] + "AAAA")
    assert (gone.status_code, gone.json()["error"]) == (400, "invalid_grant")
    assert client.calls(last.access)


# --- VS Code ----------------------------------------------------------------------------------------


@pytest.mark.requirement("Q-19")
@pytest.mark.requirement("Q-42")
@pytest.mark.parametrize("listening", ["http://127.0.0.1:33418/", "http://127.0.0.1:51000/"])
def test_vs_code_comes_back_at_any_port_with_its_state_as_it_was(demo: Gunicorn, listening: str) -> None:
    client = Replay(demo.base)
    client.register(
        [
            "http://127.0.0.1/",
            "http://127.0.0.1:33418/",
            "http://127.0.0.1:33418",
            "https://vscode.dev/redirect",
            "https://insiders.vscode.dev/redirect",
        ],
        client_name="Visual Studio Code",
        client_uri="https://code.visualstudio.com",
        grant_types=[
            "authorization_code",
            "refresh_token",
            "urn:ietf:params:oauth:grant-type:device_code",
        ],
        application_type="native",
    )
    state = "vscode://dynamicauthprovider/127.0.0.1?nonce=a%2Fb%3D&windowId=1"
    code = client.sign_in(listening, state, resource=client.mcp, scope="mcp:tools")
    stays_connected(client, client.exchange(code, resource=client.mcp), resource=client.mcp)


# --- Codex ------------------------------------------------------------------------------------------


@pytest.mark.requirement("Q-08")
@pytest.mark.requirement("Q-14")
@pytest.mark.requirement("Q-22")
@pytest.mark.requirement("Q-24")
def test_codex_names_no_resource_asks_for_every_scope_and_sends_an_empty_secret(demo: Gunicorn) -> None:
    client = Replay(demo.base)
    told = client.register(["http://127.0.0.1:1455/callback"], client_name="Codex")
    assert (told["token_endpoint_auth_method"], "client_secret" in told) == ("none", False)
    every = " ".join(client.probe("/.well-known/oauth-authorization-server").json()["scopes_supported"])
    for scope in ({"scope": every}, {}):
        code = client.sign_in("http://127.0.0.1:40123/callback", **scope)
        pair = client.exchange(code, client_secret="", **scope)
        stays_connected(client, pair, client_secret="")


@pytest.mark.requirement("Q-08")
@pytest.mark.requirement("Q-25")
@pytest.mark.requirement("Q-27")
def test_a_resource_that_comes_and_goes_costs_no_token(demo: Gunicorn) -> None:
    client = Replay(demo.base)
    client.register(["http://127.0.0.1:1455/callback"])
    pair = client.connect("http://127.0.0.1:1455/callback", scope="mcp:tools")
    # Issued for the whole server, renewed for the endpoint, and for the whole server again.
    for more in ({"resource": client.mcp}, {}, {"resource": f"{demo.base}/"}, {"resource": demo.base}):
        pair = client.refresh(pair.refresh, **more)
        assert client.calls(pair.access)
    refused = client.token(
        grant_type="refresh_token", refresh_token=pair.refresh.text, resource="https://other.example/mcp"
    )
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_target")
    stays_connected(client, pair)


# --- Gemini CLI -------------------------------------------------------------------------------------


@pytest.mark.requirement("Q-39")
@pytest.mark.requirement("Q-10")
def test_gemini_cli_reads_both_documents_and_has_one_fixed_address(demo: Gunicorn) -> None:
    client = Replay(demo.base)
    resource = client.probe("/.well-known/oauth-protected-resource/mcp").json()
    assert (resource["resource"], resource["authorization_servers"]) == (client.mcp, [demo.base])
    documents = [
        client.probe(f"/.well-known/{name}").json()
        for name in ("oauth-authorization-server", "openid-configuration")
    ]
    assert documents[0] == documents[1]
    client.register(["http://localhost:7777/oauth/callback"], client_name="Gemini CLI MCP Client")
    scopes = {"scope": " ".join(resource["scopes_supported"]), "resource": client.mcp}
    stays_connected(client, client.connect("http://localhost:7777/oauth/callback", **scopes))


# --- Inspector --------------------------------------------------------------------------------------


@pytest.mark.requirement("Q-34")
@pytest.mark.requirement("Q-40")
def test_the_inspector_asks_for_leave_before_every_probe_and_reads_every_refusal(demo: Gunicorn) -> None:
    client = Replay(demo.base, {"Origin": "http://localhost:6274", "MCP-Protocol-Version": "2025-11-25"})
    for place in (*WRONG_PROBES, "/.well-known/oauth-protected-resource/mcp", "/oauth/token", "/mcp"):
        asks_for_leave(client, place)
    for place in WRONG_PROBES:
        assert client.probe(place).headers["Access-Control-Allow-Origin"] == "*"
    refused = client.contact()
    assert "WWW-Authenticate" in refused.headers["Access-Control-Expose-Headers"]
    assert refused.headers["Access-Control-Allow-Origin"] == "*"

    callbacks = ["http://localhost:6274/oauth/callback", "http://127.0.0.1:6276/oauth/callback"]
    client.register(callbacks, client_name="MCP Inspector")
    for callback in callbacks:
        stays_connected(client, client.connect(callback, resource=client.mcp))


def asks_for_leave(client: Replay, place: str) -> None:
    answer = client.session.options(
        client.base + place,
        headers={
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization, content-type, mcp-protocol-version",
        },
        allow_redirects=False,
    )
    assert answer.status_code in (200, 204), place
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "mcp-protocol-version" in answer.headers["Access-Control-Allow-Headers"].lower()


# --- all of them ------------------------------------------------------------------------------------


@pytest.mark.requirement("Q-07")
@pytest.mark.requirement("Q-09")
def test_a_slash_at_the_end_of_the_url_leads_nowhere_else(demo: Gunicorn) -> None:
    client = Replay(demo.base)
    for method in ("GET", "POST"):
        assert client.contact(method, "/mcp/").status_code == 401
    client.register(["http://127.0.0.1:1455/callback"])
    # URL types write an empty path with a slash.
    pair = client.connect("http://127.0.0.1:1455/callback", resource=f"{demo.base}/")
    assert client.calls(pair.access, "/mcp")
    assert client.calls(pair.access, "/mcp/")


@pytest.mark.requirement("Q-14")
@pytest.mark.parametrize("registered", ["client_secret_basic", "client_secret_post"])
def test_a_secret_may_come_by_the_other_way_than_was_registered(demo: Gunicorn, registered: str) -> None:
    client = Replay(demo.base)
    secret = client.register(["http://127.0.0.1:1455/callback"], token_endpoint_auth_method=registered)
    code = client.sign_in("http://127.0.0.1:1455/callback", scope="mcp:tools")
    in_body: Any = {"client_secret": secret["client_secret"]}
    stays_connected(client, client.exchange(code, **in_body), **in_body)


@pytest.mark.requirement("Q-29")
def test_a_client_that_steps_up_is_told_the_scopes_that_it_has_as_well(demo: Gunicorn) -> None:
    client = Replay(demo.base)
    client.register(["http://127.0.0.1:1455/callback"])
    pair = client.connect("http://127.0.0.1:1455/callback", scope="notes:read", resource=demo.base)
    refused = client.session.post(client.mcp, headers={"Authorization": f"Bearer {pair.access.text}"})
    assert refused.status_code == 403
    assert 'scope="mcp:tools notes:read"' in refused.headers["WWW-Authenticate"]
    wider = client.connect("http://127.0.0.1:1455/callback", scope="notes:read mcp:tools")
    assert client.calls(wider.access)
