"""POST /oauth/token: exchange an authorization code or a refresh token."""

from __future__ import annotations

import pytest

from ..driving import FORM, REDIRECT, VERIFIER, Answer, InProcess, Registered, basic

NOT_VALID_CODE = {
    "error": "invalid_grant",
    "error_description": "the authorization code is not valid: unknown, expired, revoked or used before",
}
NOT_VALID_TOKEN = {
    "error": "invalid_grant",
    "error_description": "the refresh token is not valid: unknown, expired, revoked or used before",
}
MALFORMED_TOKEN = {"error": "invalid_grant", "error_description": "refresh_token: not valid"}
UNKNOWN_CLIENT = {
    "error": "invalid_client",
    "error_description": "unknown client, or wrong client authentication",
}
SILENT_CLIENT = {
    "error": "invalid_client",
    "error_description": "unknown client, or one that was registered with a client_secret and sent none",
}
NAMELESS = "client authentication is missing: client_id in the body, or HTTP Basic with a secret"
OTHER_VERIFIER = "another-verifier-of-between-43-and-128-characters"


def told(answer: Answer, code: str, description: str, status: int = 400) -> None:
    expected = {"error": code, "error_description": description}
    assert (answer.status, answer.json) == (status, expected)
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Pragma"] == "no-cache"


# --- what every request has in common -------------------------------------------------------------


@pytest.mark.requirement("Q-23")
@pytest.mark.requirement("RT-02")
@pytest.mark.requirement("MCP-02")
@pytest.mark.requirement("TOK-04")
@pytest.mark.requirement("TOK-06")
@pytest.mark.requirement("TOK-13")
@pytest.mark.requirement("HTTP-01")
@pytest.mark.requirement("HTTP-02")
@pytest.mark.requirement("GEN-16")
@pytest.mark.requirement("AT-11")
@pytest.mark.requirement("AT-12")
@pytest.mark.requirement("RT-23")
def test_both_exchanges_answer_in_the_same_way(server: InProcess, client: Registered) -> None:
    first = server.redeem(client, server.code(client))
    second = server.refresh(client, first.json["refresh_token"])
    for answer in (first, second):
        assert answer.status == 200
        assert dict(answer.headers) == {
            "Content-Type": "application/json",
            "Content-Length": str(len(answer.body)),
            "Cache-Control": "no-store",
            "Pragma": "no-cache",
            "X-Content-Type-Options": "nosniff",
            "Access-Control-Allow-Origin": "*",
            "Access-Control-Expose-Headers": "WWW-Authenticate, DPoP-Nonce, Mcp-Session-Id, "
            "MCP-Protocol-Version, Retry-After",
        }
        members = answer.json
        assert members["access_token"].startswith("oat_")
        assert members["refresh_token"].startswith("ort_")
        del members["access_token"], members["refresh_token"]
        assert members == {"token_type": "Bearer", "expires_in": 86400, "scope": "notes:read notes:write"}


@pytest.mark.requirement("GEN-15")
def test_a_token_without_scopes_has_no_scope_member() -> None:
    server = InProcess(scopes={}, protect={"/api": ""})
    tokens = server.tokens()
    assert set(tokens) == {"access_token", "token_type", "expires_in", "refresh_token"}
    assert server.api(tokens["access_token"]).status == 200


@pytest.mark.requirement("TOK-02")
@pytest.mark.requirement("BCP-09")
@pytest.mark.parametrize(
    ("grant_type", "code", "description"),
    [
        (None, "invalid_request", "grant_type: missing"),
        ("", "invalid_request", "grant_type: missing"),
        ("password", "unsupported_grant_type", "grant_type: authorization_code or refresh_token"),
        ("client_credentials", "unsupported_grant_type", "grant_type: authorization_code or refresh_token"),
        ("implicit", "unsupported_grant_type", "grant_type: authorization_code or refresh_token"),
        ("Refresh_Token", "unsupported_grant_type", "grant_type: authorization_code or refresh_token"),
        ("é\n", "unsupported_grant_type", "grant_type: authorization_code or refresh_token"),
    ],
)
def test_only_two_grant_types_are_known(
    server: InProcess, client: Registered, grant_type: str | None, code: str, description: str
) -> None:
    told(server.token(client, grant_type=grant_type, username="a", password="b"), code, description)


@pytest.mark.requirement("TOK-03")
def test_a_client_uses_only_what_it_is_registered_for(server: InProcess) -> None:
    server = InProcess(clients={"c": {"redirect_uris": [REDIRECT], "grant_types": ["authorization_code"]}})
    client = Registered("c")
    tokens = server.tokens(client)
    assert "refresh_token" not in tokens
    answer = server.refresh(client, "ort_" + "A" * 91)
    told(answer, "unauthorized_client", "this client is not registered for refresh_token")
    nothing = InProcess(clients={"c": {"client_secret": "s", "grant_types": []}})
    answer = nothing.redeem(Registered("c", "s"), "oac_" + "A" * 64)
    told(answer, "unauthorized_client", "this client is not registered for authorization_code")


@pytest.mark.requirement("RT-01")
def test_a_client_that_did_not_ask_for_refreshing_gets_no_refresh_token(server: InProcess) -> None:
    assert "refresh_token" not in server.tokens(server.register(grant_types=["authorization_code"]))


@pytest.mark.requirement("GEN-01")
@pytest.mark.requirement("GEN-02")
@pytest.mark.requirement("GEN-03")
@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        (FORM, 200),
        (FORM + ";charset=UTF-8", 200),
        ("APPLICATION/X-WWW-FORM-URLENCODED", 200),
        ("application/json", 400),
        ("multipart/form-data; boundary=x", 400),
        ("text/plain", 400),
    ],
)
def test_the_body_is_a_form(server: InProcess, client: Registered, content_type: str, status: int) -> None:
    fields = f"grant_type=refresh_token&refresh_token={server.tokens(client)['refresh_token']}"
    answer = server.post("/oauth/token", fields, {"Content-Type": content_type})
    assert answer.status == status
    if status == 400:
        told(answer, "invalid_request", f"the content type must be {FORM}")
        assert server.post("/oauth/token", fields).status == 200


@pytest.mark.requirement("GEN-04")
@pytest.mark.requirement("HTTP-12")
@pytest.mark.parametrize(
    ("body", "status", "description"),
    [
        ("x=%ff%fe", 400, "the body is not UTF-8"),
        ("%ff=x", 400, "the body is not UTF-8"),
        ("", 400, "grant_type: missing"),
        ("&&=&", 400, "grant_type: missing"),
        ("x=" + "x" * 65536, 413, "the body is larger than 65536 bytes"),
        ("&".join(["x=1"] * 201), 400, "the body has more than 200 parameters"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(
    server: InProcess, body: str, status: int, description: str
) -> None:
    told(server.post("/oauth/token", body), "invalid_request", description, status)


@pytest.mark.requirement("GEN-06")
@pytest.mark.requirement("GEN-10")
@pytest.mark.parametrize(
    "name",
    [
        "grant_type",
        "code",
        "redirect_uri",
        "code_verifier",
        "scope",
        "client_id",
        "client_secret",
        "refresh_token",
    ],
)
def test_a_known_parameter_may_occur_only_once(server: InProcess, client: Registered, name: str) -> None:
    code = server.code(client)
    fields = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": REDIRECT,
        "code_verifier": VERIFIER,
        "client_id": client.client_id,
    }
    same = fields.get(name, "")
    body = "&".join(f"{key}={value}" for key, value in [*fields.items(), (name, same), (name, "")])
    told(server.post("/oauth/token", body), "invalid_request", f"{name}: must occur only once")
    assert server.redeem(client, code).status == 200


@pytest.mark.requirement("GEN-05")
@pytest.mark.requirement("GEN-09")
def test_unknown_and_empty_parameters_change_nothing(server: InProcess, client: Registered) -> None:
    odd = {
        "foo": "bar",
        "audience": "x",
        "client_secret": "",
        "scope": "",
        "resource": "",
        "refresh_token": "",
    }
    answer = server.redeem(client, server.code(client), **odd)
    assert answer.status == 200
    odd = {"foo": "bar", "code": "", "code_verifier": "", "scope": "", "resource": "", "redirect_uri": ""}
    assert server.refresh(client, answer.json["refresh_token"], **odd).status == 200


@pytest.mark.requirement("GEN-11")
def test_the_query_does_not_count(server: InProcess, client: Registered) -> None:
    token = server.tokens(client)["refresh_token"]
    query = f"grant_type=refresh_token&refresh_token={token}&client_id={client.client_id}"
    told(server.post(f"/oauth/token?{query}", ""), "invalid_request", "grant_type: missing")
    answer = server.post(f"/oauth/token?{query}", "grant_type=refresh_token")
    told(answer, "invalid_request", "refresh_token: missing")
    assert server.post("/oauth/token?scope=admin&grant_type=x", query).status == 200


@pytest.mark.requirement("GEN-12")
def test_a_secret_in_the_url_authenticates_nobody(server: InProcess, web: Registered) -> None:
    token = server.tokens(web)["refresh_token"]
    fields = {"grant_type": "refresh_token", "refresh_token": token, "client_id": web.client_id}
    for extra in ({}, {"client_secret": web.secret or ""}):
        answer = server.post(f"/oauth/token?client_secret={web.secret}", {**fields, **extra})
        told(
            answer, "invalid_request", "client_secret: never in the URL, send it in the body or as HTTP Basic"
        )
    assert server.refresh(web, token).status == 200


# --- who asks? ------------------------------------------------------------------------------------


@pytest.mark.requirement("TOK-08")
@pytest.mark.requirement("CAUTH-08")
@pytest.mark.requirement("CAUTH-11")
@pytest.mark.requirement("CODE-07")
@pytest.mark.requirement("RT-09")
@pytest.mark.parametrize("what", ["code", "refresh_token", "nothing", "noise"])
def test_the_client_is_judged_before_its_code_or_token(server: InProcess, web: Registered, what: str) -> None:
    code, token = server.code(web), server.tokens(web)["refresh_token"]
    fields = {
        "code": {"grant_type": "authorization_code", "code": code, "code_verifier": VERIFIER},
        "refresh_token": {"grant_type": "refresh_token", "refresh_token": token},
        "nothing": {"grant_type": "refresh_token"},
        "noise": {"grant_type": "authorization_code", "code": "x", "scope": "admin"},
    }[what]
    for wrong in (
        {"client_id": web.client_id},
        {"client_id": web.client_id, "client_secret": "wrong"},
        {"client_id": "oc_nobody"},
    ):
        answer = server.post("/oauth/token", {**fields, **wrong})
        expected = UNKNOWN_CLIENT if "client_secret" in wrong else SILENT_CLIENT
        assert (answer.status, answer.json) == (401, expected)
        assert answer.headers["WWW-Authenticate"] == 'Basic realm="oauth"'
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert server.redeem(web, code).status == 200
    assert server.refresh(web, token).status == 200


@pytest.mark.requirement("BCP-10")
@pytest.mark.requirement("Q-14")
@pytest.mark.requirement("CAUTH-01")
@pytest.mark.requirement("CAUTH-02")
@pytest.mark.requirement("CAUTH-10")
@pytest.mark.parametrize("auth", ["client_secret_basic", "client_secret_post"])
def test_a_secret_is_taken_either_way(server: InProcess, web: Registered, auth: str) -> None:
    client = web._replace(auth=auth)
    tokens = server.redeem(client, server.code(client)).json
    assert server.refresh(client, tokens["refresh_token"]).status == 200


@pytest.mark.requirement("CAUTH-06")
def test_basic_with_the_same_id_in_the_body_is_fine_and_with_another_is_not(
    server: InProcess, client: Registered, web: Registered
) -> None:
    token = server.tokens(web)["refresh_token"]
    fields = {"grant_type": "refresh_token", "refresh_token": token}
    header = {"Authorization": basic(web.client_id, web.secret or "")}
    other = server.post("/oauth/token", {**fields, "client_id": client.client_id}, header)
    told(other, "invalid_request", "client_id: another one than in the Authorization header")
    both = server.post("/oauth/token", {**fields, "client_secret": web.secret or ""}, header)
    told(both, "invalid_request", "client_secret: sent both in the body and as HTTP Basic")
    assert server.post("/oauth/token", {**fields, "client_id": web.client_id}, header).status == 200


@pytest.mark.requirement("Q-14")
@pytest.mark.requirement("CAUTH-09")
def test_a_public_client_may_send_its_secret_that_is_none(server: InProcess, client: Registered) -> None:
    token = server.tokens(client)["refresh_token"]
    fields = {"grant_type": "refresh_token", "refresh_token": token}
    wrong = server.post("/oauth/token", {**fields, "client_id": client.client_id, "client_secret": "x"})
    assert (wrong.status, wrong.json) == (401, UNKNOWN_CLIENT)
    empty = {**fields, "client_id": client.client_id, "client_secret": ""}
    assert server.post("/oauth/token", empty).status == 200
    header = {"Authorization": basic(client.client_id, "")}
    assert server.post("/oauth/token", fields, header).status == 200


@pytest.mark.requirement("CAUTH-13")
@pytest.mark.requirement("CAUTH-14")
@pytest.mark.requirement("HTTP-13")
def test_guessing_a_secret_is_throttled_and_its_owner_passes(server: InProcess, web: Registered) -> None:
    token = server.tokens(web)["refresh_token"]
    wrong = web._replace(secret="wrong")
    for _ in range(99):
        assert server.refresh(wrong, token).status == 401
    answer = server.refresh(wrong, token)
    told(answer, "temporarily_unavailable", "too many failed authentications of this client", 429)
    assert answer.headers["Retry-After"] == "900"
    assert server.revoke(wrong, token).status == 429
    assert server.refresh(web, token).status == 200


@pytest.mark.requirement("CODE-02")
def test_a_code_request_that_names_no_client_is_not_authenticated(
    server: InProcess, client: Registered
) -> None:
    code = server.code(client)
    fields = {"grant_type": "authorization_code", "code": code, "code_verifier": VERIFIER}
    told(server.post("/oauth/token", fields), "invalid_client", NAMELESS, 401)
    assert server.redeem(client, code).status == 200
