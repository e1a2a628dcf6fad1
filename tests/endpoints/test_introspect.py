"""POST /oauth/introspect: who may learn what about an access token."""

from __future__ import annotations

from typing import Any

import pytest

from ..driving import ORIGIN, REDIRECT, Answer, InProcess, Registered, basic
from .test_token import NAMELESS, SILENT_CLIENT, UNKNOWN_CLIENT, told

CLIENTS = {
    "all": {"client_secret": "secret of all", "grant_types": [], "introspect": True},
    "api": {"client_secret": "secret of api", "grant_types": [], "introspect": ["/api"]},
    "nosy": {"client_secret": "secret of nosy", "redirect_uris": [REDIRECT]},
}
ALL = Registered("all", "secret of all", auth="client_secret_basic")
API = Registered("api", "secret of api", auth="client_secret_post")
NOSY = Registered("nosy", "secret of nosy", auth="client_secret_basic")
INACTIVE = b'{"active":false}'


@pytest.fixture
def server() -> InProcess:
    return InProcess(clients=CLIENTS)


def introspect(server: InProcess, client: Registered, token: str, **fields: str) -> Answer:
    sent, headers = client.credentials({"token": token, **fields})
    return server.post("/oauth/introspect", sent, headers)


def active(server: InProcess, client: Registered, token: str) -> bool:
    answer = introspect(server, client, token)
    assert answer.status == 200
    return bool(answer.json["active"]) or answer.body != INACTIVE


@pytest.mark.requirement("INTRO-02")
@pytest.mark.requirement("HTTP-01")
@pytest.mark.requirement("CORS-02")
def test_a_resource_server_learns_what_the_guard_would_know(server: InProcess, client: Registered) -> None:
    tokens = server.tokens(client, scope="notes:read")
    answer = introspect(server, ALL, tokens["access_token"])
    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert answer.json == {
        "active": True,
        "token_type": "Bearer",
        "iss": ORIGIN,
        "aud": ORIGIN,
        "scope": "notes:read",
        "client_id": client.client_id,
        "sub": "alice",
        "exp": int(server.clock()) + 86400,
    }


@pytest.mark.requirement("INTRO-02")
def test_several_resources_are_a_list(server: InProcess, client: Registered) -> None:
    issued = server.registry.create("", [], client_id="x", resources=[f"{ORIGIN}/mcp", f"{ORIGIN}/api"])
    members = introspect(server, ALL, issued.access_token).json
    assert members["aud"] == [f"{ORIGIN}/api", f"{ORIGIN}/mcp"]
    assert "scope" not in members


@pytest.mark.requirement("CC-04")
@pytest.mark.requirement("AT-04")
def test_a_client_does_not_pass_for_a_user() -> None:
    server = InProcess(clients=CLIENTS)
    issued = server.registry.create("", [], client_id="alice")
    assert introspect(server, ALL, issued.access_token).json["sub"] == "client:alice"
    page = server.browser().consent_page(server.authorize_url(server.register()), "client:alice")
    assert page.form("username"), "such a user is never signed in"


def test_of_an_imported_token_nobody_may_be_known(server: InProcess) -> None:
    members = introspect(server, ALL, server.registry.create("", []).access_token).json
    assert not {"sub", "client_id"} & set(members)


@pytest.mark.requirement("INTRO-03")
@pytest.mark.requirement("RS-10")
def test_whatever_is_no_good_access_token_is_inactive_and_nothing_else(
    server: InProcess, client: Registered
) -> None:
    code = server.code(client)
    tokens, revoked = server.tokens(client), server.tokens(client)
    server.revoke(client, revoked["refresh_token"])
    noise = ("x", "é", "oat_" + "A" * 64, tokens["access_token"][:-1], tokens["access_token"] * 2)
    for text in (*noise, code, tokens["refresh_token"], revoked["access_token"]):
        for hint in ("access_token", "refresh_token", "x"):
            assert introspect(server, ALL, text, token_type_hint=hint).body == INACTIVE
    assert active(server, ALL, tokens["access_token"])
    assert server.redeem(client, code).status == 200
    server.clock.forward(86400)
    assert not active(server, ALL, tokens["access_token"])


@pytest.mark.requirement("INTRO-05")
def test_a_caller_sees_its_own_tokens_and_those_it_serves(server: InProcess, client: Registered) -> None:
    own = server.tokens(NOSY)["access_token"]
    everywhere = server.tokens(client)["access_token"]
    api = server.tokens(client, resource=f"{ORIGIN}/api")["access_token"]
    below = server.registry.create("a", [], resources=[f"{ORIGIN}/api/notes"]).access_token
    mcp = server.tokens(client, resource=f"{ORIGIN}/mcp")["access_token"]
    every = (own, everywhere, api, below, mcp)
    assert [active(server, ALL, token) for token in every] == [True] * 5
    assert [active(server, API, token) for token in every] == [True, True, True, True, False]
    assert [active(server, NOSY, token) for token in every] == [True, False, False, False, False]


def test_a_question_is_a_use_of_the_token_and_one_out_of_place_is_not(
    server: InProcess, client: Registered
) -> None:
    """Until its successor was used a refresh token is repeated at any time: only a use ends that."""
    first = server.tokens(client)
    second = server.refresh(client, first["refresh_token"]).json
    assert not active(server, NOSY, second["access_token"])
    server.clock.forward(61)
    assert server.refresh(client, first["refresh_token"]).json["refresh_token"] == second["refresh_token"]
    assert active(server, ALL, second["access_token"])
    told_so = server.refresh(client, first["refresh_token"])
    assert (told_so.status, told_so.json["error"]) == (400, "invalid_grant")
    assert not active(server, ALL, second["access_token"])


@pytest.mark.requirement("INTRO-01")
@pytest.mark.requirement("INTRO-04")
@pytest.mark.requirement("CAUTH-07")
def test_nobody_asks_without_a_secret(server: InProcess, client: Registered) -> None:
    token = server.tokens(client)["access_token"]
    public = introspect(server, client, token)
    told(public, "invalid_client", "introspection is for clients that authenticate", 401)
    assert public.headers["WWW-Authenticate"] == 'Basic realm="oauth"'
    nobody = server.post("/oauth/introspect", {"token": token})
    told(nobody, "invalid_client", NAMELESS, 401)
    for name, secret in (("all", "wrong"), ("all", ""), ("nobody", "secret of all")):
        header = {"Authorization": basic(name, secret)}
        answer = server.post("/oauth/introspect", {"token": token}, header)
        assert (answer.status, answer.json) == (401, UNKNOWN_CLIENT if secret else SILENT_CLIENT)
    bearer = server.post("/oauth/introspect", {"token": token}, {"Authorization": f"Bearer {token}"})
    assert bearer.status == 401
    assert active(server, ALL, token)


@pytest.mark.requirement("INTRO-04")
@pytest.mark.requirement("GEN-06")
@pytest.mark.requirement("GEN-11")
@pytest.mark.requirement("HTTP-03")
def test_the_request_is_a_form_with_a_token(server: InProcess, client: Registered) -> None:
    token = server.tokens(client)["access_token"]
    header = {"Authorization": basic("all", "secret of all")}
    told(server.post("/oauth/introspect", "", header), "invalid_request", "token: missing")
    told(server.post(f"/oauth/introspect?token={token}", "", header), "invalid_request", "token: missing")
    twice = server.post("/oauth/introspect", f"token={token}&token={token}", header)
    told(twice, "invalid_request", "token: must occur only once")
    assert server.get("/oauth/introspect", header).status == 405
    preflight = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    asked = server.send("OPTIONS", "/oauth/introspect", b"", preflight)
    assert (asked.status, asked.headers["Allow"]) == (204, "POST, OPTIONS")
    assert not [name for name, _ in asked.headers if name.startswith("Access-Control")]


@pytest.mark.requirement("INTRO-07")
def test_junk_that_strangers_send_to_a_resource_server_does_not_close_it(
    server: InProcess, client: Registered
) -> None:
    """Not limited: the junk is not the caller's, and there is nothing to guess in 256 random bits."""
    token = server.tokens(client)["access_token"]
    for number in range(300):
        assert not active(server, ALL, f"oat_{number:064}")
    assert active(server, ALL, token)


def test_what_is_asked_never_reaches_the_log(
    server: InProcess, client: Registered, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    token = server.tokens(client)["access_token"]
    answers: list[Any] = [introspect(server, who, token) for who in (ALL, NOSY, client)]
    assert [answer.status for answer in answers] == [200, 200, 401]
    assert token not in caplog.text
