"""POST /oauth/register: a client introduces itself."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from ..driving import ORIGIN, REDIRECT, Answer, InProcess, Registered
from .test_token import told

LEAST = {"redirect_uris": [REDIRECT]}
NOT_JSON = "the content type must be application/json"
NOT_AN_OBJECT = "the body must be one JSON object"


def register(server: InProcess, **members: Any) -> Answer:
    return server.post_json("/oauth/register", {**LEAST, **members})


@pytest.mark.requirement("Q-13")
@pytest.mark.requirement("DCR-01")
@pytest.mark.requirement("DCR-02")
@pytest.mark.requirement("DCR-04")
@pytest.mark.requirement("DCR-21")
@pytest.mark.requirement("HTTP-01")
@pytest.mark.requirement("HTTP-02")
@pytest.mark.requirement("GEN-16")
def test_the_least_that_can_be_sent(server: InProcess) -> None:
    answer = register(server)
    assert answer.status == 201
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Pragma"] == "no-cache"
    got = answer.json
    client_id, secret = got.pop("client_id"), got.pop("client_secret")
    assert (client_id[:3], secret[:4]) == ("oc_", "ocs_")
    assert got.pop("registration_access_token")[:4] == "ocm_"
    assert got.pop("registration_client_uri") == f"{ORIGIN}/oauth/register/{client_id}"
    assert got == {
        "client_id_issued_at": int(server.clock()),
        "client_secret_expires_at": 0,
        "redirect_uris": [REDIRECT],
        "token_endpoint_auth_method": "client_secret_basic",
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
    }
    web = Registered(client_id, secret, auth="client_secret_basic")
    tokens = server.redeem(web, server.code(web)).json
    # A departure from RFC 7591 section 2: clients that forget the member would lose their connection.
    assert server.refresh(web, tokens["refresh_token"]).status == 200


@pytest.mark.requirement("RT-01")
def test_a_client_that_names_its_grant_types_gets_no_more(server: InProcess) -> None:
    client = server.register(grant_types=["authorization_code"])
    assert "refresh_token" not in server.tokens(client)


@pytest.mark.requirement("Q-14")
@pytest.mark.requirement("DCR-01")
@pytest.mark.requirement("DCR-05")
@pytest.mark.requirement("DCR-15")
@pytest.mark.requirement("REDIR-12")
def test_all_that_was_registered_is_echoed(server: InProcess) -> None:
    sent = {
        "redirect_uris": [REDIRECT, "cursor://anysphere.cursor-mcp/oauth/callback"],
        "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "scope": "notes:read",
        "client_name": "Sondé ☂",
        "client_name#de": "Sonde",
        "client_uri": "https://app.example/",
        "contacts": ["me@app.example"],
        "software_id": "x",
        "application_type": "native",
    }
    got = register(server, **sent).json
    assert got.pop("client_id").startswith("oc_")
    assert got.pop("client_id_issued_at") == int(server.clock())
    assert got == sent


@pytest.mark.requirement("BCP-12")
@pytest.mark.requirement("Q-33")
@pytest.mark.requirement("CC-05")
@pytest.mark.requirement("DCR-03")
@pytest.mark.requirement("DCR-12")
@pytest.mark.requirement("GEN-15")
def test_no_member_is_chosen_by_the_client_null_or_empty(server: InProcess) -> None:
    answer = register(
        server,
        client_id="mine",
        client_secret="mine",
        client_secret_expires_at=1,
        client_name=None,
        client_uri="",
        logo_uri="javascript:alert(1)",
        scope="admin",
        contacts=[],
        foo=1,
    )
    got = answer.json
    assert got["client_id"] != "mine"
    assert got["client_secret"] != "mine"
    assert not [value for value in got.values() if value is None or value in ("", [], {})]
    assert not {"client_name", "client_uri", "logo_uri", "scope", "contacts", "foo"} & set(got)


@pytest.mark.requirement("DCR-10")
@pytest.mark.requirement("SCOPE-05")
def test_a_client_may_ask_for_what_it_registered_and_without_for_all(server: InProcess) -> None:
    def scope(registered: str | None) -> str:
        return str(server.tokens(server.register(scope=registered), scope="notes:read notes:write")["scope"])

    assert scope(None) == "notes:read notes:write"
    assert scope("admin") == "notes:read notes:write"
    assert scope("notes:write admin") == "notes:write"


@pytest.mark.parametrize(
    ("content_type", "body", "code", "description"),
    [
        ("application/x-www-form-urlencoded", "redirect_uris=x", "invalid_client_metadata", NOT_JSON),
        ("text/plain", json.dumps(LEAST), "invalid_client_metadata", NOT_JSON),
        ("application/json", "", "invalid_client_metadata", NOT_AN_OBJECT),
        ("application/json", "{", "invalid_client_metadata", NOT_AN_OBJECT),
        ("application/json", "[]", "invalid_client_metadata", NOT_AN_OBJECT),
        ("application/json", '"x"', "invalid_client_metadata", NOT_AN_OBJECT),
        ("application/json", "null", "invalid_client_metadata", NOT_AN_OBJECT),
        ("application/json", json.dumps(LEAST) * 2, "invalid_client_metadata", NOT_AN_OBJECT),
        ("application/json", '{"a":' * 501 + "1" + "}" * 501, "invalid_client_metadata", NOT_AN_OBJECT),
        ("application/json", '{"a":' + "[" * 500 + "]" * 500 + "}", "invalid_client_metadata", NOT_AN_OBJECT),
        ("application/json", '{"client_name":"\\ud800"}', "invalid_client_metadata", NOT_AN_OBJECT),
        ("application/json", '{"a":NaN}', "invalid_client_metadata", NOT_AN_OBJECT),
        (
            "application/json",
            "{}",
            "invalid_redirect_uri",
            "redirect_uris: a list of at least one URI is needed",
        ),
    ],
)
@pytest.mark.requirement("DCR-01")
@pytest.mark.requirement("DCR-06")
@pytest.mark.requirement("DCR-08")
def test_the_body_is_one_json_object(
    server: InProcess, content_type: str, body: str, code: str, description: str
) -> None:
    answer = server.send("POST", "/oauth/register", body.encode(), {"Content-Type": content_type})
    told(answer, code, description)
    assert register(server).status == 201


@pytest.mark.requirement("DCR-01")
@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON"])
def test_the_content_type_may_have_parameters(server: InProcess, content_type: str) -> None:
    answer = server.send(
        "POST", "/oauth/register", json.dumps(LEAST).encode(), {"Content-Type": content_type}
    )
    assert answer.status == 201


def test_a_registration_may_nest_what_nobody_reads(server: InProcess) -> None:
    nested: Any = "x"
    for _ in range(498):
        nested = [nested]
    assert register(server, foo=nested).status == 201
    assert register(server, foo=[nested]).json["error"] == "invalid_client_metadata"


@pytest.mark.requirement("GEN-04")
def test_text_that_is_not_utf_8_is_refused(server: InProcess) -> None:
    sent = {"Content-Type": "application/json"}
    answer = server.send("POST", "/oauth/register", b'{"client_name":"\xff"}', sent)
    told(answer, "invalid_client_metadata", NOT_AN_OBJECT)


@pytest.mark.requirement("HTTP-12")
def test_a_body_that_is_too_large_is_refused(server: InProcess) -> None:
    answer = register(server, client_name="x" * 10**6)
    told(answer, "invalid_request", "the body is larger than 65536 bytes", 413)


@pytest.mark.requirement("DCR-06")
@pytest.mark.requirement("DCR-08")
@pytest.mark.requirement("GEN-14")
@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"redirect_uris": []}, "invalid_redirect_uri"),
        ({"redirect_uris": ["http://app.example/"]}, "invalid_redirect_uri"),
        ({"response_types": ["token"]}, "invalid_client_metadata"),
        ({"grant_types": ["client_credentials"]}, "invalid_client_metadata"),
        ({"client_name": 7}, "invalid_client_metadata"),
        ({'client_name#"\r\nx': 7}, "invalid_client_metadata"),
    ],
)
def test_a_defect_is_told_in_the_characters_of_the_standard(
    server: InProcess, members: dict[str, Any], code: str
) -> None:
    answer = register(server, **members)
    assert (answer.status, answer.json["error"]) == (400, code)
    description = answer.json["error_description"]
    assert description.isascii()
    assert description.isprintable()
    assert '"' not in description
    assert list(server.registry.backend.keys(b"c")) == []


@pytest.mark.requirement("OPS-05")
@pytest.mark.requirement("GEN-21")
def test_a_registration_is_one_line_of_the_log(server: InProcess, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    got = register(server, client_name="a\r\nforged line\x1b[2J").json
    (line,) = caplog.messages
    assert line == f"client_registered client='{got['client_id']}' name='a\\r\\nforged line\\x1b[2J'"


# --- again ---------------------------------------------------------------------------------------


@pytest.mark.requirement("DCR-19")
def test_a_public_client_that_says_the_same_again_is_the_same_client(server: InProcess) -> None:
    said = {"client_name": "Probe", "token_endpoint_auth_method": "none", "scope": "notes:read notes:write"}
    first = register(server, **said)
    kept = dict(_records(server))
    server.clock.forward(3600)
    turned = {**dict(reversed(said.items())), "scope": "notes:write notes:read", "foo": 1}
    again = register(server, **turned)
    assert (again.status, again.json) == (201, first.json)
    assert dict(_records(server)) == kept


@pytest.mark.requirement("DCR-19")
@pytest.mark.parametrize(
    "other",
    [
        {"client_name": "Another"},
        {"client_name#de": "Sonde"},
        {"redirect_uris": [REDIRECT, "https://app.example/cb"]},
        {"scope": "notes:read"},
        {"grant_types": ["authorization_code"]},
    ],
    ids=lambda members: next(iter(members)),
)
def test_whoever_says_something_else_is_another_client(server: InProcess, other: dict[str, Any]) -> None:
    said = {"client_name": "Probe", "token_endpoint_auth_method": "none"}
    assert (
        register(server, **said).json["client_id"] != register(server, **{**said, **other}).json["client_id"]
    )


@pytest.mark.requirement("DCR-19")
def test_what_has_a_secret_is_always_another_client(server: InProcess) -> None:
    ids = {register(server, token_endpoint_auth_method="client_secret_post").json["client_id"] for _ in "ab"}
    assert len(ids) == 2


@pytest.mark.requirement("DCR-19")
def test_a_client_id_tells_nothing_to_another_server(server: InProcess) -> None:
    other = InProcess(secret_key="another server secret of enough bytes")
    said = {"token_endpoint_auth_method": "none"}
    assert register(server, **said).json["client_id"] != register(other, **said).json["client_id"]


@pytest.mark.requirement("DCR-18")
@pytest.mark.requirement("DCR-19")
def test_a_registration_that_is_sent_again_is_kept_for_another_day(server: InProcess) -> None:
    client_id = register(server, token_endpoint_auth_method="none").json["client_id"]
    for _ in range(3):
        server.clock.forward(80000)
        assert register(server, token_endpoint_auth_method="none").json["client_id"] == client_id
    server.registry.cleanup()
    server.clock.forward(80000)
    assert server.registry.cleanup() == 0
    assert server.tokens(Registered(client_id))["access_token"]


@pytest.mark.requirement("DCR-17")
@pytest.mark.requirement("OPS-01")
def test_hosted_clients_behind_one_address_register_as_often_as_they_like() -> None:
    server = InProcess(trusted_proxies=["10.0.0.1"])
    server.extra = {"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": "203.0.113.7"}
    for _ in range(150):
        assert register(server, token_endpoint_auth_method="none").status == 201
    assert register(server).status == 201


def _records(server: InProcess) -> list[tuple[bytes, Any]]:
    return [(key, server.registry.backend.get(key)) for key in server.registry.backend.keys(b"c")]


# --- too many -------------------------------------------------------------------------------------


@pytest.mark.requirement("DCR-17")
@pytest.mark.requirement("OPS-02")
@pytest.mark.requirement("HTTP-13")
def test_a_flood_is_stopped_for_a_while(server: InProcess) -> None:
    for _ in range(1000):
        assert register(server).status == 201
    answer = register(server)
    told(answer, "temporarily_unavailable", "too many registrations just now", 429)
    assert answer.headers["Retry-After"] == "900"
    assert len(list(server.registry.backend.keys(b"c"))) == 1000
    server.clock.forward(900)
    assert register(server).status == 201


@pytest.mark.requirement("Q-13")
@pytest.mark.requirement("DCR-17")
@pytest.mark.requirement("OPS-01")
def test_a_flood_from_one_address_stops_nobody_else() -> None:
    server = InProcess(trusted_proxies=["10.0.0.1"])
    server.extra = {"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": "203.0.113.7"}
    for _ in range(100):
        assert register(server).status == 201
    assert register(server).status == 429
    server.extra["HTTP_X_FORWARDED_FOR"] = "198.51.100.1, 203.0.113.7"
    assert register(server).status == 429
    server.extra["HTTP_X_FORWARDED_FOR"] = "203.0.113.8"
    assert register(server).status == 201


@pytest.mark.requirement("DCR-17")
@pytest.mark.requirement("OPS-01")
def test_a_flood_from_one_network_of_ipv6_stops_nobody_else() -> None:
    server = InProcess(trusted_proxies=["10.0.0.1"], extra={"REMOTE_ADDR": "10.0.0.1"})
    answers = []
    for number in range(101):
        server.extra["HTTP_X_FORWARDED_FOR"] = f"2001:db8:0:1::{number:x}"
        answers.append(register(server).status)
    assert answers == [201] * 100 + [429]
    server.extra["HTTP_X_FORWARDED_FOR"] = "2001:db8:0:2::1"
    assert register(server).status == 201


@pytest.mark.requirement("DCR-17")
def test_bad_requests_do_not_count(server: InProcess) -> None:
    for _ in range(1001):
        assert register(server, redirect_uris=[]).status == 400
    assert register(server).status == 201


@pytest.mark.requirement("MCP-08")
def test_private_schemes_can_be_forbidden() -> None:
    server = InProcess(allow_private_schemes=False)
    for uri in ("cursor://anysphere.cursor-mcp/oauth/callback", "com.example.app:/cb"):
        answer = register(server, redirect_uris=[REDIRECT, uri])
        assert (answer.status, answer.json["error"]) == (400, "invalid_redirect_uri")
    assert register(server, redirect_uris=[REDIRECT]).status == 201
