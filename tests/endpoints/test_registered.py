"""/oauth/register/ID: a client looks after its own registration. And who may register at all."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest

from ..driving import ORIGIN, REDIRECT, Answer, InProcess, Registered
from .test_register import register
from .test_token import UNKNOWN_CLIENT, told

LEAST: dict[str, Any] = {"redirect_uris": [REDIRECT]}
INVITATION = "a token of the operator's"


@pytest.fixture
def got(server: InProcess) -> dict[str, Any]:
    """What a client with a secret was answered when it registered."""
    return dict(register(server, client_name="Probe", client_uri="https://app.example/").json)


def managed(
    server: InProcess, got: dict[str, Any], method: str = "GET", token: str | None = None, **members: Any
) -> Answer:
    path = got["registration_client_uri"].removeprefix(ORIGIN)
    headers = {"Authorization": f"Bearer {token or got['registration_access_token']}"}
    if method == "PUT":
        return server.put_json(path, members, headers)
    return server.send(method, path, b"", headers)


def client_of(got: dict[str, Any]) -> Registered:
    return Registered(got["client_id"], got["client_secret"], auth="client_secret_basic")


@pytest.mark.requirement("DCRM-01")
@pytest.mark.requirement("DCRM-03")
@pytest.mark.requirement("CORS-02")
def test_a_client_reads_what_it_is_registered_with(server: InProcess, got: dict[str, Any]) -> None:
    answer = managed(server, got)
    assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
    assert "Access-Control-Allow-Origin" not in answer.headers
    not_told_again = {"client_secret", "client_secret_expires_at"}
    assert answer.json == {name: value for name, value in got.items() if name not in not_told_again}


@pytest.mark.requirement("DCRM-04")
@pytest.mark.requirement("OPS-05")
def test_a_change_names_all_members_and_takes_out_the_others(
    server: InProcess, got: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    moved = "https://app.example/cb"
    sent = {"client_id": got["client_id"], "client_secret": got["client_secret"], "redirect_uris": [moved]}
    answer = managed(server, got, "PUT", **sent, token_endpoint_auth_method="client_secret_post")
    assert answer.status == 200
    assert answer.json == {
        "client_id": got["client_id"],
        "client_id_issued_at": got["client_id_issued_at"],
        "redirect_uris": [moved],
        "token_endpoint_auth_method": "client_secret_post",
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "registration_client_uri": got["registration_client_uri"],
        "registration_access_token": got["registration_access_token"],
    }
    assert managed(server, got).json == answer.json
    assert [line.partition(" ")[0] for line in caplog.messages] == ["client_changed"]
    assert server.tokens(client_of(got)._replace(redirect_uri=moved))["access_token"]
    assert server.browser().get(server.authorize_url(client_of(got))).status == 400


@pytest.mark.requirement("DCRM-04")
@pytest.mark.requirement("DCRM-05")
@pytest.mark.parametrize(
    ("members", "code", "description"),
    [
        ({"client_id": None}, "invalid_client_metadata", "client_id: must be that of this client"),
        ({"client_id": "oc_other"}, "invalid_client_metadata", "client_id: must be that of this client"),
        (
            {"client_secret_expires_at": 0},
            "invalid_client_metadata",
            "client_secret_expires_at: must not be sent",
        ),
        ({"client_id_issued_at": 1}, "invalid_client_metadata", "client_id_issued_at: must not be sent"),
        (
            {"registration_access_token": "x"},
            "invalid_client_metadata",
            "registration_access_token: must not be sent",
        ),
        (
            {"client_secret": "mine"},
            "invalid_client_metadata",
            "client_secret: not the current one, and none that is chosen is accepted",
        ),
        (
            {"client_secret": 1},
            "invalid_client_metadata",
            "client_secret: not the current one, and none that is chosen is accepted",
        ),
        (
            {"token_endpoint_auth_method": "none"},
            "invalid_client_metadata",
            "token_endpoint_auth_method: a client with a secret keeps it",
        ),
        (
            {"redirect_uris": []},
            "invalid_redirect_uri",
            "redirect_uris: a list of at least one URI is needed",
        ),
    ],
)  # fmt: skip
def test_a_change_that_is_not_allowed_changes_nothing(
    server: InProcess, got: dict[str, Any], members: dict[str, Any], code: str, description: str
) -> None:
    before = managed(server, got).json
    told(
        managed(server, got, "PUT", **{**LEAST, "client_id": got["client_id"], **members}), code, description
    )
    assert managed(server, got).json == before


@pytest.mark.requirement("DCRM-05")
def test_a_change_gives_no_more_than_a_registration(server: InProcess, got: dict[str, Any]) -> None:
    wider: dict[str, Any] = {
        "grant_types": ["authorization_code", "client_credentials"],
        "trusted": True,
        "introspect": True,
    }
    answer = managed(server, got, "PUT", **LEAST, client_id=got["client_id"], **wider)
    assert answer.json["grant_types"] == ["authorization_code"]
    assert not {"trusted", "introspect"} & set(answer.json)


@pytest.mark.requirement("DCRM-06")
@pytest.mark.requirement("DCRM-07")
@pytest.mark.requirement("RT-19")
def test_a_client_that_deletes_itself_takes_its_grants_with_it(
    server: InProcess, got: dict[str, Any]
) -> None:
    client, other = client_of(got), server.register()
    tokens, kept = server.tokens(client), server.tokens(other)
    answer = managed(server, got, "DELETE")
    assert (answer.status, answer.body) == (204, b"")
    assert server.api(tokens["access_token"]).status == 401
    refused = server.refresh(client, tokens["refresh_token"])
    assert (refused.status, refused.json) == (401, UNKNOWN_CLIENT)
    assert managed(server, got).status == 401
    assert server.refresh(other, kept["refresh_token"]).status == 200


@pytest.mark.requirement("DCRM-02")
@pytest.mark.requirement("DCRM-07")
@pytest.mark.requirement("DCRM-08")
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_nobody_else_reads_or_changes_a_registration(
    server: InProcess, got: dict[str, Any], method: str
) -> None:
    another = register(server).json["registration_access_token"]
    access = server.tokens(client_of(got))["access_token"]
    wrong = 'Bearer realm="oauth", error="invalid_token"'
    for token in ("x", another, access, got["client_secret"]):
        answer = managed(server, got, method, token, **LEAST, client_id=got["client_id"])
        told(answer, "invalid_token", "the token is not that of this client", 401)
        assert answer.headers["WWW-Authenticate"] == wrong
    path = got["registration_client_uri"].removeprefix(ORIGIN)
    for header in ({}, {"Authorization": "Bearer "}, {"Authorization": "Basic eDp5"}):
        answer = server.send(method, path, b"", header)
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="oauth"')
    gone = {**got, "registration_client_uri": f"{ORIGIN}/oauth/register/oc_nobody"}
    assert managed(server, gone, method).status == 401
    assert managed(server, got).json["client_name"] == "Probe"


def test_a_public_client_belongs_to_all_who_register_alike(server: InProcess) -> None:
    first, second = (register(server, token_endpoint_auth_method="none").json for _ in range(2))
    assert first == second
    assert not {"registration_client_uri", "registration_access_token"} & set(first)
    gone = {"registration_client_uri": f"{ORIGIN}/oauth/register/{first['client_id']}"}
    for token in ("x", "\0"):
        assert managed(server, gone, "DELETE", token).status == 401
    assert server.tokens(Registered(first["client_id"]))["access_token"]


@pytest.mark.requirement("DCRM-06")
@pytest.mark.requirement("DCR-22")
def test_other_methods_are_not_for_it(server: InProcess, got: dict[str, Any]) -> None:
    answer = managed(server, got, "POST")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD, PUT, DELETE, OPTIONS")
    assert server.get("/oauth/register").status == 405


@pytest.mark.requirement("DCRM-08")
def test_the_token_is_kept_as_a_hash_alone(server: InProcess, got: dict[str, Any]) -> None:
    token = got["registration_access_token"].encode()
    (key,) = server.registry.backend.keys(b"c")
    kept = server.registry.backend.get(key)
    assert kept is not None
    assert token not in kept.body
    assert sha256(token).digest() in kept.body


# --- by invitation --------------------------------------------------------------------------------


@pytest.fixture
def closed() -> InProcess:
    return InProcess(registration="token", registration_tokens=[sha256(INVITATION.encode()).hexdigest()])


def invited(server: InProcess, token: str, **members: Any) -> Answer:
    return server.post_json("/oauth/register", {**LEAST, **members}, {"Authorization": f"Bearer {token}"})


@pytest.mark.requirement("DCR-14")
def test_only_those_with_a_token_of_the_operators_register(closed: InProcess) -> None:
    missing = register(closed)
    told(missing, "invalid_token", "a bearer token is needed", 401)
    assert missing.headers["WWW-Authenticate"] == 'Bearer realm="oauth"'
    wrong = invited(closed, "another")
    told(wrong, "invalid_token", "registration is for those with a token of the operator's", 401)
    assert wrong.headers["WWW-Authenticate"] == 'Bearer realm="oauth", error="invalid_token"'
    assert list(closed.registry.backend.keys(b"c")) == []
    assert [invited(closed, INVITATION).status for _ in range(2)] == [201, 201]
    assert "registration_endpoint" in closed.get("/.well-known/oauth-authorization-server").json


@pytest.mark.requirement("DCR-14")
@pytest.mark.requirement("CAUTH-13")
@pytest.mark.requirement("HTTP-13")
def test_tokens_cannot_be_guessed_at_will_and_the_right_one_always_passes(closed: InProcess) -> None:
    for number in range(100):
        assert invited(closed, f"guess {number}").status == 401
    answer = invited(closed, "one more")
    told(answer, "temporarily_unavailable", "too many wrong tokens", 429)
    assert invited(closed, INVITATION).status == 201


def test_where_registration_is_off_there_is_nothing_to_look_after() -> None:
    server = InProcess(registration="off")
    for path in ("/oauth/register", "/oauth/register/oc_x"):
        assert server.post_json(path, LEAST).status == 404
