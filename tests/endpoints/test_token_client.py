"""POST /oauth/token with client_credentials: a client that speaks for itself."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest

from oauth_refresh.events import Events

from ..driving import ORIGIN, REDIRECT, Answer, InProcess, Registered
from .test_token import SILENT_CLIENT, UNKNOWN_CLIENT, told

JOB = Registered("job", "secret of job", auth="client_secret_basic")
PLAIN = Registered("plain", "secret of plain", auth="client_secret_post")
CLIENTS: dict[str, dict[str, Any]] = {
    "job": {
        "client_secret": JOB.secret,
        "grant_types": ["client_credentials"],
        "scope": "notes:read",
        "access_token_ttl": 900,
        "introspect": True,
    },
    "plain": {"client_secret": PLAIN.secret, "grant_types": ["client_credentials"]},
    "web": {"client_secret": "secret of web", "redirect_uris": [REDIRECT]},
    "cli": {"redirect_uris": [REDIRECT]},
}


@pytest.fixture
def server() -> InProcess:
    return InProcess(clients=CLIENTS, default_scopes=["notes:read"])


def ask(server: InProcess, client: Registered = JOB, **fields: str | None) -> Answer:
    return server.token(client, grant_type="client_credentials", **fields)


@pytest.mark.requirement("CC-01")
@pytest.mark.requirement("CC-02")
@pytest.mark.requirement("TOK-04")
@pytest.mark.requirement("HTTP-01")
def test_a_client_gets_an_access_token_for_itself_alone(server: InProcess) -> None:
    answer = ask(server)
    assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
    members = answer.json
    assert members.pop("access_token").startswith("oat_")
    assert members == {"token_type": "Bearer", "expires_in": 900, "scope": "notes:read"}


@pytest.mark.requirement("CC-04")
def test_the_application_sees_a_token_and_no_user(server: InProcess) -> None:
    server.extra = {"REMOTE_USER": "root"}
    token = ask(server).json["access_token"]
    seen = server.api(token, "/api/notes").json
    assert seen == {
        "path": "/api/notes",
        "subject": "",
        "scopes": ["notes:read"],
        "remote_user": None,
        "authorization": None,
    }
    server.clock.forward(900)
    assert server.api(token, "/api/notes").status == 401


@pytest.mark.requirement("CC-04")
@pytest.mark.requirement("INTRO-02")
def test_introspection_shows_the_client_as_its_own_subject(server: InProcess) -> None:
    sent, headers = JOB.credentials({"token": ask(server).json["access_token"]})
    members = server.post("/oauth/introspect", sent, headers).json
    assert (members["client_id"], members["sub"]) == ("job", "client:job")


@pytest.mark.requirement("CC-03")
def test_scopes_are_those_registered_and_nothing_is_dropped_in_silence(server: InProcess) -> None:
    assert ask(server, scope="notes:read offline_access").json["scope"] == "notes:read"
    for beyond in ("notes:write", "notes:read notes:write", "notes:read unknown"):
        told(ask(server, scope=beyond), "invalid_scope", "scope: not all of it is available to this client")
    assert ask(server, PLAIN).json["scope"] == "notes:read"
    told(
        ask(server, PLAIN, scope="notes:write"),
        "invalid_scope",
        "scope: not all of it is available to this client",
    )
    told(ask(server, scope='a"b'), "invalid_scope", "scope contains a character that is not allowed")


@pytest.mark.requirement("CC-03")
@pytest.mark.requirement("RES-01")
def test_a_token_is_for_the_resource_asked_for(server: InProcess) -> None:
    token = ask(server, resource=f"{ORIGIN}/mcp").json["access_token"]
    assert server.api(token, "/mcp").status == 200
    assert server.api(token, "/api").status == 401
    foreign = ask(server, resource="https://other.example")
    ours = f"{ORIGIN}, {ORIGIN}/api, {ORIGIN}/api/notes, {ORIGIN}/mcp"
    told(foreign, "invalid_target", f"resource is not one of this server's: {ours}")


@pytest.mark.requirement("CC-01")
@pytest.mark.requirement("TOK-03")
@pytest.mark.parametrize(
    "client",
    [Registered("web", "secret of web", auth="client_secret_basic"), Registered("cli")],
    ids=["confidential", "public"],
)
def test_only_clients_with_this_grant_type_get_any(server: InProcess, client: Registered) -> None:
    told(ask(server, client), "unauthorized_client", "this client is not registered for client_credentials")
    assert server.tokens(client)["access_token"]


@pytest.mark.requirement("CC-01")
def test_without_its_secret_a_client_gets_nothing(server: InProcess) -> None:
    for wrong in (Registered("job"), JOB._replace(secret="wrong"), Registered("nobody", "x")):
        answer = ask(server, wrong)
        assert (answer.status, answer.json) == (401, UNKNOWN_CLIENT if wrong.secret else SILENT_CLIENT)
    assert list(server.registry.list()) == []


@pytest.mark.requirement("CC-07")
@pytest.mark.requirement("DCR-09")
def test_a_client_that_registers_itself_never_gets_this_grant_type(server: InProcess) -> None:
    for method in ("none", "client_secret_basic"):
        client = server.register(
            token_endpoint_auth_method=method, grant_types=["authorization_code", "client_credentials"]
        )
        told(
            ask(server, client), "unauthorized_client", "this client is not registered for client_credentials"
        )
    alone = server.post_json(
        "/oauth/register", {"redirect_uris": [REDIRECT], "grant_types": ["client_credentials"]}
    )
    told(alone, "invalid_client_metadata", "grant_types: must contain authorization_code")


@pytest.mark.requirement("CC-06")
def test_the_grant_type_is_announced_where_some_client_has_it(server: InProcess) -> None:
    def announced(server: InProcess) -> Any:
        return server.get("/.well-known/oauth-authorization-server").json["grant_types_supported"]

    assert announced(server) == ["authorization_code", "refresh_token", "client_credentials"]
    assert announced(InProcess()) == ["authorization_code", "refresh_token"]
    told(server.token(JOB, grant_type="password"), "unsupported_grant_type",
         "grant_type: authorization_code, refresh_token or client_credentials")  # fmt: skip


def test_a_client_ends_its_token_and_the_operator_all_of_them(server: InProcess) -> None:
    first, second = (ask(server).json["access_token"] for _ in range(2))
    assert server.revoke(JOB, first).status == 200
    assert [server.api(token).status for token in (first, second)] == [401, 200]
    assert server.registry.revoke_client("job") == 2
    assert server.api(second).status == 401


@pytest.mark.requirement("OPS-05")
def test_each_token_is_one_event_with_an_outcome(server: InProcess) -> None:
    heard: list[tuple[str, Any]] = []
    events: Events = server.registry.events
    events.listen(lambda name, fields: heard.append((name, (fields["client"], fields.get("outcome")))))
    ask(server)
    assert heard == [("client_token_issued", ("job", "issued"))]


@pytest.mark.requirement("CAUTH-22")
@pytest.mark.parametrize("member", ["client_secret", "client_secret_hash"])
def test_one_secret_replaces_another_without_downtime(member: str) -> None:
    def serve(*secrets: str) -> InProcess:
        given = [sha256(text.encode()).hexdigest() if member.endswith("hash") else text for text in secrets]
        return InProcess(clients={"job": {member: given, "grant_types": ["client_credentials"]}})

    def statuses(server: InProcess) -> list[int]:
        return [ask(server, JOB._replace(secret=secret)).status for secret in ("old", "new", "other", "")]

    assert statuses(serve("old")) == [200, 401, 401, 401]
    assert statuses(serve("new", "old")) == [200, 200, 401, 401]
    assert statuses(serve("new")) == [401, 200, 401, 401]
