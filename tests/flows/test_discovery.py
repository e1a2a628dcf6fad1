"""From the URL of a protected resource to an answer of it, the way that clients of each MCP revision find."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from ..driving import CHALLENGE, REDIRECT, SCOPES, VERIFIER, Browser, InProcess, basic
from ..test_guard import parameters

PRM = "oauth-protected-resource"
AS = "oauth-authorization-server"
OIDC = "openid-configuration"


class Stranger:
    """A client that knows one URL and follows what it finds. `version` is its MCP-Protocol-Version."""

    def __init__(self, server: InProcess, version: str | None = None) -> None:
        self.http = Browser(server.transport())
        self.ours = server.base + "/"
        self.headers = {} if version is None else {"MCP-Protocol-Version": version}

    def challenge(self, url: str) -> dict[str, str]:
        answer = self.http.get(url, self.headers)
        assert answer.status == 401
        return parameters(answer.headers["WWW-Authenticate"])

    def first(self, *urls: str) -> Any:
        """The first document among these. A probe that fails is a JSON 404, never a page or a redirect."""
        for url in (url for url in urls if url.startswith(self.ours)):
            answer = self.http.get(url, self.headers)
            if answer.status == 200:
                return answer.json
            assert (answer.status, answer.json["error"]) == (404, "not_found"), url
        raise AssertionError(f"none of {urls} is there")

    def server_of(self, issuer: str) -> Any:
        found = self.first(inserted(issuer, AS), inserted(issuer, OIDC), f"{issuer}/.well-known/{OIDC}")
        assert found["issuer"] == issuer
        assert "S256" in found["code_challenge_methods_supported"]
        return found

    def connect(self, found: dict[str, Any], **wishes: str) -> dict[str, Any]:
        """Register, be allowed by alice, redeem the code and renew, at the endpoints that were found."""
        client_id = self.register(found["registration_endpoint"])
        answer = self.http.decide(request_of(found, client_id, **wishes)).parameters
        assert answer["iss"] == found.get("issuer", answer["iss"])
        tokens = self.token(
            found, client_id, grant_type="authorization_code", code=answer["code"], code_verifier=VERIFIER
        )
        old = tokens["refresh_token"]
        renewed = self.token(found, client_id, grant_type="refresh_token", refresh_token=old)
        assert renewed["refresh_token"] != old
        return renewed

    def register(self, endpoint: str) -> str:
        metadata = {
            "redirect_uris": [REDIRECT],
            "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code", "refresh_token"],
            "application_type": "native",
        }
        headers = {"Content-Type": "application/json", **self.headers}
        answer = self.http.send("POST", endpoint, json.dumps(metadata).encode(), headers)
        assert answer.status == 201
        return str(answer.json["client_id"])

    def token(self, found: dict[str, Any], client_id: str, **fields: str) -> dict[str, Any]:
        answer = self.http.post(found["token_endpoint"], {"client_id": client_id, **fields}, self.headers)
        assert answer.status == 200
        return dict(answer.json)

    def call(self, url: str, tokens: dict[str, Any]) -> int:
        headers = {"Authorization": f"Bearer {tokens['access_token']}", **self.headers}
        return self.http.get(url, headers).status


def request_of(found: dict[str, Any], client_id: str, **wishes: str) -> str:
    query = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": REDIRECT,
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        **wishes,
    }
    return f"{found['authorization_endpoint']}?{urlencode(query)}"


def inserted(url: str, form: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/.well-known/{form}{parts.path}"


@pytest.fixture
def server() -> InProcess:
    return InProcess(issuer="https://as.example")


@pytest.mark.requirement("CONF-05")
@pytest.mark.requirement("MCP-01")
@pytest.mark.requirement("MCP-02")
@pytest.mark.requirement("Q-03")
def test_the_document_at_the_root_of_the_host_leads_all_the_way(server: InProcess) -> None:
    client = Stranger(server, "2025-03-26")
    tokens = client.connect(client.first("https://as.example/.well-known/oauth-authorization-server"))
    assert client.call("https://as.example/mcp", tokens) == 200


@pytest.mark.requirement("MCP-01")
@pytest.mark.requirement("DISC-25")
@pytest.mark.requirement("Q-03")
def test_fixed_paths_lead_there_without_any_document() -> None:
    client = Stranger(InProcess(issuer="https://as.example", root_aliases=True), "2025-03-26")
    fixed = {
        f"{name}_endpoint": f"https://as.example/{path}"
        for name, path in (("authorization", "authorize"), ("token", "token"), ("registration", "register"))
    }
    assert client.call("https://as.example/mcp", client.connect(fixed)) == 200


@pytest.mark.requirement("CONF-05")
@pytest.mark.requirement("MCP-04")
@pytest.mark.requirement("MCP-05")
@pytest.mark.requirement("MCP-07")
@pytest.mark.requirement("Q-10")
@pytest.mark.requirement("Q-43")
@pytest.mark.parametrize("version", [None, "2025-06-18", "2025-11-25", "2026-07-28", "2099-01-01"])
@pytest.mark.parametrize("path", ["", "/t1"], ids=["at the root", "below a path"])
def test_the_challenge_leads_all_the_way(version: str | None, path: str) -> None:
    base = "https://as.example" + path
    client = Stranger(InProcess(issuer=base, mount=path), version)
    resource = client.first(client.challenge(base + "/mcp")["resource_metadata"])
    assert resource["resource"] == base + "/mcp"
    (issuer,) = resource["authorization_servers"]
    tokens = client.connect(client.server_of(issuer), resource=resource["resource"])
    assert [client.call(base + there, tokens) for there in ("/mcp", "/mcp/x", "/api")] == [200, 200, 401]


@pytest.mark.requirement("CONF-05")
@pytest.mark.requirement("MCP-05")
@pytest.mark.requirement("Q-01")
@pytest.mark.parametrize("form", [AS, OIDC])
@pytest.mark.parametrize("place", ["https://as.example/mcp", "https://as.example"])
def test_without_a_look_at_the_challenge_probing_leads_there_too(
    server: InProcess, place: str, form: str
) -> None:
    client = Stranger(server, "2025-11-25")
    resource = client.first(inserted(place, PRM))
    found = client.first(inserted(resource["authorization_servers"][0], form))
    tokens = client.connect(found, resource=resource["resource"])
    assert client.call("https://as.example/mcp", tokens) == 200


@pytest.mark.requirement("MCP-06")
def test_a_refusal_names_its_issuer_and_resources_do_not_ask_for_offline_access() -> None:
    scopes = {**SCOPES, "offline_access": "Stay signed in"}
    client = Stranger(InProcess(issuer="https://as.example", scopes=scopes), "2026-07-28")
    found = client.server_of("https://as.example")
    assert found["authorization_response_iss_parameter_supported"] is True
    wanted = request_of(found, client.register(found["registration_endpoint"]))
    denied = client.http.decide(wanted, "deny").parameters
    assert (denied["error"], denied["iss"]) == ("access_denied", "https://as.example")
    assert "offline_access" in found["scopes_supported"]
    asked_for = client.first(inserted("https://as.example", PRM))["scopes_supported"]
    assert asked_for == ["notes:read", "notes:write"]
    assert client.challenge("https://as.example/api/notes")["scope"] == "notes:read"


@pytest.mark.requirement("RS-16")
@pytest.mark.requirement("Q-38")
def test_every_401_names_the_document_of_the_resource(server: InProcess) -> None:
    good = server.tokens(resource="https://as.example/mcp")
    revoked, expired = server.tokens()["access_token"], server.registry.create("bob", [], ttl=1).access_token
    server.registry.revoke(revoked)
    server.clock.forward(1)
    credentials = [
        "",
        basic("alice", "x"),
        "Bearer",
        "Bearer noise",
        f"Bearer {good['access_token']}",
        f"Bearer {good['refresh_token']}",
        f"Bearer {revoked}",
        f"Bearer {expired}",
    ]
    for sent in credentials:
        answer = server.get("/api", {"Authorization": sent})
        assert answer.status == 401
        named = parameters(answer.headers["WWW-Authenticate"])["resource_metadata"]
        assert named == inserted("https://as.example/api", PRM)
