"""POST /oauth/revoke: end a token, or the whole grant."""

from __future__ import annotations

from typing import Any

import pytest

from ..driving import Answer, InProcess, Registered, basic
from .test_token import NAMELESS, SILENT_CLIENT, UNKNOWN_CLIENT, told


def ended(answer: Answer) -> bool:
    """Whether this is the one answer to every revocation: an empty object, as JSON, kept by nobody."""
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    return (answer.status, answer.body, answer.headers["Content-Type"]) == (200, b"{}", "application/json")


def alive(server: InProcess, client: Registered, tokens: dict[str, Any]) -> tuple[bool, bool]:
    """Whether the access token and the refresh token still work."""
    access = server.api(tokens["access_token"]).status == 200
    return access, server.refresh(client, tokens["refresh_token"]).status == 200


@pytest.mark.requirement("REV-05")
@pytest.mark.requirement("REV-06")
@pytest.mark.requirement("REV-07")
@pytest.mark.parametrize("hint", [None, "", "refresh_token", "access_token", "x"])
def test_a_refresh_token_ends_everything(server: InProcess, client: Registered, hint: str | None) -> None:
    tokens, kept = server.tokens(client), server.tokens(client)
    assert ended(server.revoke(client, tokens["refresh_token"], token_type_hint=hint))
    assert alive(server, client, tokens) == (False, False)
    assert alive(server, client, kept) == (True, True)


@pytest.mark.requirement("REV-05")
@pytest.mark.requirement("REV-06")
@pytest.mark.parametrize("hint", [None, "refresh_token", "access_token"])
def test_an_access_token_ends_alone(server: InProcess, client: Registered, hint: str | None) -> None:
    tokens = server.tokens(client)
    assert ended(server.revoke(client, tokens["access_token"], token_type_hint=hint))
    assert alive(server, client, tokens) == (False, True)


@pytest.mark.requirement("REV-06")
def test_an_older_refresh_token_ends_everything_too(server: InProcess, client: Registered) -> None:
    first = server.tokens(client)
    second = server.refresh(client, first["refresh_token"]).json
    third = server.refresh(client, second["refresh_token"]).json
    assert ended(server.revoke(client, first["refresh_token"]))
    assert alive(server, client, third) == (False, False)


@pytest.mark.requirement("REV-04")
def test_what_is_unknown_or_ended_is_ended(server: InProcess, client: Registered) -> None:
    tokens = server.tokens(client)
    code = server.code(client)
    for token in ("x", "é", "a\nb", "oat_" + "A" * 64, "ort_" + "A" * 91, code):
        assert ended(server.revoke(client, token))
    assert alive(server, client, tokens) == (True, True)
    assert server.redeem(client, code).status == 200
    for _ in range(2):
        assert ended(server.revoke(client, tokens["refresh_token"]))
        assert ended(server.revoke(client, tokens["access_token"]))
    server.clock.forward(10 * 365 * 86400)
    assert ended(server.revoke(client, tokens["refresh_token"]))


@pytest.mark.requirement("REV-03")
def test_a_token_of_another_client_is_not_ended(
    server: InProcess, client: Registered, web: Registered
) -> None:
    tokens = server.tokens(client)
    for asking in (web, server.register()):
        for name in ("access_token", "refresh_token"):
            answer = server.revoke(asking, tokens[name])
            told(answer, "invalid_grant", "token: issued to another client")
    assert alive(server, client, tokens) == (True, True)
    assert ended(server.revoke(client, tokens["refresh_token"]))


@pytest.mark.requirement("REV-02")
@pytest.mark.requirement("CAUTH-08")
@pytest.mark.requirement("CAUTH-11")
def test_the_client_authenticates_as_at_the_token_endpoint(server: InProcess, web: Registered) -> None:
    tokens = server.tokens(web)
    fields = {"token": tokens["refresh_token"]}
    for wrong, header, expected in (
        ({"client_id": web.client_id}, {}, SILENT_CLIENT),
        ({"client_id": web.client_id, "client_secret": "wrong"}, {}, UNKNOWN_CLIENT),
        ({"client_id": "oc_nobody"}, {}, SILENT_CLIENT),
        ({}, {"Authorization": basic(web.client_id, "wrong")}, UNKNOWN_CLIENT),
        ({}, {"Authorization": basic(web.client_id, "")}, SILENT_CLIENT),
    ):
        answer = server.post("/oauth/revoke", {**fields, **wrong}, header)
        assert (answer.status, answer.json) == (401, expected)
        assert answer.headers["WWW-Authenticate"] == 'Basic realm="oauth"'
    told(server.post("/oauth/revoke", fields), "invalid_client", NAMELESS, 401)
    assert alive(server, web, tokens) == (True, True)
    for auth in ("client_secret_basic", "client_secret_post"):
        assert ended(server.revoke(web._replace(auth=auth), tokens["refresh_token"]))


@pytest.mark.requirement("REV-01")
@pytest.mark.requirement("GEN-06")
@pytest.mark.requirement("GEN-09")
@pytest.mark.requirement("GEN-11")
@pytest.mark.requirement("GEN-12")
def test_the_request_is_a_form_with_a_token(server: InProcess, client: Registered, web: Registered) -> None:
    token = server.tokens(web)["refresh_token"]
    who = f"client_id={client.client_id}"
    for body in (who, who + "&token="):
        told(server.post("/oauth/revoke", body), "invalid_request", "token: missing")
    told(server.post(f"/oauth/revoke?token={token}", who), "invalid_request", "token: missing")
    for name in ("token", "token_type_hint", "client_id"):
        twice = f"{who}&token=x&token_type_hint=y&{name}="
        told(server.post("/oauth/revoke", twice), "invalid_request", f"{name}: must occur only once")
    in_url = server.post(
        f"/oauth/revoke?client_secret={web.secret}", {"token": token, "client_id": web.client_id}
    )
    told(in_url, "invalid_request", "client_secret: never in the URL, send it in the body or as HTTP Basic")
    as_json = server.post_json("/oauth/revoke", {"token": token})
    told(as_json, "invalid_request", "the content type must be application/x-www-form-urlencoded")
    assert server.refresh(web, token).status == 200


@pytest.mark.requirement("GEN-05")
def test_unknown_parameters_change_nothing(server: InProcess, client: Registered) -> None:
    tokens = server.tokens(client)
    assert ended(server.revoke(client, tokens["refresh_token"], foo="bar", client_secret=""))
    assert alive(server, client, tokens) == (False, False)


@pytest.mark.requirement("REV-03")
def test_a_server_may_tell_nobody_whose_token_it_is() -> None:
    server = InProcess(revoke_silently=True)
    owner, other = server.register(), server.register(client_name="Other")
    tokens = server.tokens(owner)
    for name in ("access_token", "refresh_token"):
        assert ended(server.revoke(other, tokens[name]))
    assert alive(server, owner, tokens) == (True, True)
