"""POST /oauth/token with grant_type=authorization_code: what a code is worth, and to whom."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from oauth_refresh.backends.base import Entry
from oauth_refresh.backends.memory import MemoryBackend
from oauth_refresh.errors import RegistryError

from ..driving import ORIGIN, REDIRECT, VERIFIER, InProcess, Registered
from .test_token import NOT_VALID_CODE, NOT_VALID_TOKEN, told

OTHER_VERIFIER = "another-verifier-of-between-43-and-128-characters"


@pytest.mark.requirement("CODE-01")
@pytest.mark.requirement("GEN-13")
@pytest.mark.parametrize(
    ("code", "error", "description"),
    [
        (None, "invalid_request", "code: missing"),
        ("", "invalid_request", "code: missing"),
        ("x", "invalid_grant", "code: not valid"),
        ("oac_" + "A" * 63, "invalid_grant", "code: not valid"),
        ("oac_" + "A" * 64, *NOT_VALID_CODE.values()),
        ("ort_" + "A" * 91, "invalid_grant", "code: this is a refresh token"),
        ("\u00fc", "invalid_request", "code: only printable ASCII characters are allowed"),
        ("a\nb", "invalid_request", "code: only printable ASCII characters are allowed"),
    ],
)
def test_what_is_no_code_of_ours_is_refused(
    server: InProcess, client: Registered, code: str | None, error: str, description: str
) -> None:
    told(
        server.token(client, grant_type="authorization_code", code=code, code_verifier=VERIFIER),
        error,
        description,
    )


WRONG: dict[str, tuple[dict[str, str | None], str, str]] = {
    "no verifier": ({"code_verifier": None}, "invalid_request", "code_verifier: missing"),
    "wrong verifier": (
        {"code_verifier": OTHER_VERIFIER},
        "invalid_grant",
        "code_verifier: does not match the code_challenge",
    ),
    "short verifier": (
        {"code_verifier": VERIFIER[:42]},
        "invalid_grant",
        "code_verifier: does not match the code_challenge",
    ),
    "other redirect": (
        {"redirect_uri": REDIRECT + "/"},
        "invalid_grant",
        "redirect_uri: not the one of the authorization request",
    ),
    "other port": (
        {"redirect_uri": REDIRECT.replace("4711", "4712")},
        "invalid_grant",
        "redirect_uri: not the one of the authorization request",
    ),
    "wider scope": ({"scope": "notes:read notes:write"}, "invalid_scope", "scope: more than was granted"),
    "bad scope": ({"scope": 'a"b'}, "invalid_scope", "scope contains a character that is not allowed"),
    "foreign resource": (
        {"resource": "https://other.example/"},
        "invalid_target",
        f"resource is not one of this server's: {ORIGIN}, {ORIGIN}/api, {ORIGIN}/api/notes, {ORIGIN}/mcp",
    ),
    "other resource": ({"resource": ORIGIN + "/mcp"}, "invalid_target", "resource: not among those granted"),
}


@pytest.mark.requirement("RESP-05")
@pytest.mark.requirement("BCP-19")
@pytest.mark.requirement("CODE-03")
@pytest.mark.requirement("CODE-08")
@pytest.mark.requirement("CODE-09")
@pytest.mark.requirement("PKCE-06")
@pytest.mark.requirement("PKCE-07")
@pytest.mark.requirement("PKCE-08")
@pytest.mark.requirement("REDIR-15")
@pytest.mark.requirement("TOK-09")
@pytest.mark.requirement("RES-07")
@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_request_consumes_no_code(server: InProcess, client: Registered, what: str) -> None:
    change, error, description = WRONG[what]
    code = server.code(client, None, scope="notes:read", resource=ORIGIN + "/api")
    for _ in range(3):
        told(server.redeem(client, code, **change), error, description)
    assert server.redeem(client, code).status == 200


@pytest.mark.requirement("RESP-05")
@pytest.mark.requirement("CODE-01")
@pytest.mark.requirement("CODE-02")
@pytest.mark.requirement("BCP-19")
def test_a_code_belongs_to_its_client(server: InProcess, client: Registered, web: Registered) -> None:
    code = server.code(client)
    for other in (web, server.register()):
        answer = server.redeem(other, code)
        assert (answer.status, answer.json) == (400, NOT_VALID_CODE)
    assert server.redeem(client, code).status == 200


@pytest.mark.requirement("RESP-05")
def test_a_code_lives_a_minute(server: InProcess, client: Registered) -> None:
    early, late = (server.code(client) for _ in range(2))
    server.clock.forward(59)
    assert server.redeem(client, early).status == 200
    server.clock.forward(1)
    answer = server.redeem(client, late)
    assert (answer.status, answer.json) == (400, NOT_VALID_CODE)


@pytest.mark.requirement("CODE-04")
def test_the_redirect_uri_may_be_left_out(server: InProcess, client: Registered) -> None:
    for redirect_uri in (None, ""):
        assert server.redeem(client, server.code(client), redirect_uri=redirect_uri).status == 200


@pytest.mark.requirement("CODE-06")
@pytest.mark.requirement("BCP-16")
def test_a_code_that_comes_again_ends_the_grant(server: InProcess, client: Registered) -> None:
    kept = server.tokens(client)
    code = server.code(client)
    tokens = server.redeem(client, code).json
    answer = server.redeem(client, code)
    assert (answer.status, answer.json) == (400, NOT_VALID_CODE)
    assert server.api(tokens["access_token"]).status == 401
    assert server.refresh(client, tokens["refresh_token"]).json == NOT_VALID_TOKEN
    assert server.api(kept["access_token"]).status == 200


@pytest.mark.requirement("CODE-07")
def test_a_code_that_comes_again_in_a_wrong_request_ends_nothing(
    server: InProcess, client: Registered, web: Registered
) -> None:
    code = server.code(client)
    tokens = server.redeem(client, code).json
    answers = [
        server.redeem(client, code, code_verifier=OTHER_VERIFIER),
        server.redeem(client, code, code_verifier=None),
        server.redeem(client, code, redirect_uri="https://other.example/"),
        server.redeem(web, code),
    ]
    assert [answer.status for answer in answers] == [400] * 4
    assert server.api(tokens["access_token"]).status == 200


@pytest.mark.requirement("CODE-05")
@pytest.mark.requirement("WSGI-12")
def test_of_many_redemptions_at_once_one_succeeds_at_most(server: InProcess, client: Registered) -> None:
    code = server.code(client)
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: server.redeem(client, code), range(10)))
    assert sorted(answer.status for answer in answers)[:2] == [200, 400]
    (winner,) = [answer.json for answer in answers if answer.status == 200]
    assert server.api(winner["access_token"]).status == 401


@pytest.mark.requirement("Q-24")
@pytest.mark.requirement("CODE-10")
@pytest.mark.requirement("SCOPE-04")
@pytest.mark.parametrize(
    "scope", ["notes:read", "notes:write notes:read", "notes:read offline_access", "openid profile"]
)
def test_a_scope_in_the_code_exchange_narrows_nothing(
    server: InProcess, client: Registered, scope: str
) -> None:
    answer = server.redeem(client, server.code(client), scope=scope)
    assert (answer.status, answer.json["scope"]) == (200, "notes:read notes:write")
    assert server.api(answer.json["access_token"], "/api/notes", "POST").status == 200


@pytest.mark.requirement("CODE-09")
@pytest.mark.requirement("CODE-10")
@pytest.mark.parametrize("scope", ["notes:read notes:write", "notes:write", "notes:read admin", "admin"])
def test_a_wider_scope_in_the_code_exchange_is_refused(
    server: InProcess, client: Registered, scope: str
) -> None:
    code = server.code(client, None, scope="notes:read")
    told(server.redeem(client, code, scope=scope), "invalid_scope", "scope: more than was granted")
    assert server.redeem(client, code).json["scope"] == "notes:read"


class Stubborn(MemoryBackend):
    """A registry that keeps no change of a client."""

    def swap(self, key: bytes, old: Entry | None, *rest: Any, **more: Any) -> bool:
        if key[:1] == b"c" and old is not None:
            raise RegistryError("the disk is full")
        return super().swap(key, old, *rest, **more)


@pytest.mark.requirement("TOK-10")
def test_tokens_that_are_stored_are_handed_out_whatever_fails_after_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = InProcess(registry=Stubborn())
    client = server.register()
    assert server.redeem(client, server.code(client)).status == 200
    assert caplog.messages == ["the use of a registration could not be recorded: the disk is full"]


@pytest.mark.requirement("TOK-05")
@pytest.mark.requirement("SCOPE-03")
def test_the_scope_is_what_was_granted(server: InProcess, client: Registered) -> None:
    assert server.tokens(client, scope="notes:read admin openid")["scope"] == "notes:read"


@pytest.mark.requirement("RES-07")
@pytest.mark.requirement("RES-04")
def test_a_code_may_be_redeemed_for_a_part_of_the_resources(server: InProcess, client: Registered) -> None:
    answer = server.redeem(client, server.code(client), resource=ORIGIN + "/mcp")
    token = answer.json["access_token"]
    assert [server.api(token, path).status for path in ("/mcp", "/api")] == [200, 401]
    rest = server.refresh(client, answer.json["refresh_token"], resource=ORIGIN + "/api").json["access_token"]
    assert [server.api(rest, path).status for path in ("/mcp", "/api")] == [401, 200]
