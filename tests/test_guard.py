"""A token goes in, an identity or a challenge comes out."""

from __future__ import annotations

import re
from typing import Any

import pytest

from oauth_refresh.backends.memory import MemoryBackend
from oauth_refresh.errors import RegistryError
from oauth_refresh.guard import Guard
from oauth_refresh.identity import Identity
from oauth_refresh.paths import Requirement

from .driving import ORIGIN, PROTECT, InProcess, basic

METADATA = f'resource_metadata="{ORIGIN}/.well-known/oauth-protected-resource'
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "WWW-Authenticate, DPoP-Nonce, Mcp-Session-Id, MCP-Protocol-Version, "
    "Retry-After",
}
MIXED_UP = {
    "error": "invalid_token",
    "error_description": "this is a refresh token: it goes to the token endpoint, "
    "the access token comes here",
}
INVALID = {"error": "invalid_token", "error_description": "the access token is expired, revoked or unknown"}
MALFORMED = {
    "error": "invalid_token",
    "error_description": "this is no access token of this server (oat_...), or not the whole of one",
}


def other_resource(audience: str, needed: str = "/api") -> dict[str, str]:
    text = f"the access token was issued for another resource: for {audience}, not for {ORIGIN}{needed}"
    return {"error": "invalid_token", "error_description": text}


@pytest.fixture
def server() -> InProcess:
    return InProcess()


@pytest.fixture
def token(server: InProcess) -> str:
    return str(server.tokens()["access_token"])


def parameters(challenge: str) -> dict[str, str]:
    """The parameters of one Bearer challenge, read strictly."""
    scheme, _, rest = challenge.partition(" ")
    assert scheme == "Bearer"
    pairs = re.findall(r'([a-z_]+)="([^"\\]*)"(?:, |\Z)', rest)
    assert ", ".join(f'{name}="{value}"' for name, value in pairs) == rest
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


# --- no credentials -------------------------------------------------------------------------------


@pytest.mark.requirement("Q-32")
@pytest.mark.requirement("Q-34")
@pytest.mark.requirement("RS-19")
@pytest.mark.requirement("MCP-04")
@pytest.mark.requirement("RS-11")
@pytest.mark.requirement("RS-12")
@pytest.mark.requirement("RS-16")
@pytest.mark.requirement("RS-20")
@pytest.mark.requirement("CORS-07")
def test_without_credentials_the_challenge_names_no_error(server: InProcess) -> None:
    answer = server.api(None)
    text = "an access token is needed, in the header Authorization: Bearer TOKEN"
    body = b'{"error":"unauthorized","error_description":"%s"}' % text.encode()
    assert (answer.status, answer.body) == (401, body)
    assert dict(answer.headers) == {
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "WWW-Authenticate": f'Bearer realm="oauth", {METADATA}/api"',
        **CORS,
    }


@pytest.mark.requirement("RS-17")
@pytest.mark.requirement("RS-16")
@pytest.mark.parametrize(
    ("method", "path", "prefix", "scope"),
    [
        ("GET", "/api", "/api", None),
        ("GET", "/api/notes", "/api/notes", "notes:read"),
        ("HEAD", "/api/notes/7", "/api/notes", "notes:read"),
        ("POST", "/api/notes", "/api/notes", "notes:write"),
        ("DELETE", "/api/notes", "/api/notes", "notes:read notes:write"),
        ("POST", "/mcp", "/mcp", None),
    ],
)
def test_the_challenge_points_at_the_deepest_resource_and_names_its_scopes(
    server: InProcess, method: str, path: str, prefix: str, scope: str | None
) -> None:
    told = parameters(server.api(None, path, method).headers["WWW-Authenticate"])
    expected = {
        "realm": "oauth",
        "resource_metadata": f"{ORIGIN}/.well-known/oauth-protected-resource{prefix}",
    }
    assert told == (expected if scope is None else {**expected, "scope": scope})


@pytest.mark.requirement("Q-10")
@pytest.mark.requirement("PRM-04")
def test_the_challenged_document_is_that_of_the_resource(server: InProcess) -> None:
    url = parameters(server.api(None, "/mcp").headers["WWW-Authenticate"])["resource_metadata"]
    assert server.browser().get(url).json["resource"] == ORIGIN + "/mcp"


@pytest.mark.requirement("BCP-17")
@pytest.mark.requirement("RS-06")
@pytest.mark.requirement("RS-02")
@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/api", {"Authorization": basic("alice", "x")}),
        ("/api", {"Authorization": "Digest a=b"}),
        ("/api", {"Authorization": "Bearerx {token}"}),
        ("/api", {"Authorization": "{token}"}),
        ("/api", {"Authorization": ""}),
        ("/api", {"Cookie": "access_token={token}"}),
        ("/api", {"Proxy-Authorization": "Bearer {token}"}),
        ("/api?access_token={token}", {}),
    ],
    ids=["basic", "digest", "no space", "no scheme", "empty", "cookie", "proxy", "query"],
)
def test_anything_but_a_bearer_header_counts_as_no_credentials(
    server: InProcess, token: str, path: str, headers: dict[str, str]
) -> None:
    sent = {name: value.format(token=token) for name, value in headers.items()}
    answer = server.get(path.format(token=token), sent)
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"] == server.api(None).headers["WWW-Authenticate"]
    assert server.api(token).status == 200


@pytest.mark.requirement("RS-03")
def test_a_token_in_the_body_is_not_looked_for(server: InProcess, token: str) -> None:
    assert server.post("/api", {"access_token": token}).status == 401


@pytest.mark.requirement("RS-22")
def test_a_browser_gets_no_login_page_instead(server: InProcess) -> None:
    assert server.get("/api", {"Accept": "text/html"}).status == 401


# --- reading the credentials ----------------------------------------------------------------------


@pytest.mark.requirement("RS-01")
@pytest.mark.parametrize("scheme", ["Bearer ", "bEaReR ", "BEARER   ", "bearer "])
def test_the_scheme_is_read_in_any_case_and_with_any_number_of_spaces(
    server: InProcess, token: str, scheme: str
) -> None:
    assert server.get("/api", {"Authorization": scheme + token}).status == 200


@pytest.mark.requirement("RS-05")
@pytest.mark.requirement("RS-13")
@pytest.mark.parametrize(
    "value",
    ["Bearer", "Bearer ", "Bearer x", "Bearer é", 'Bearer a"b', "Bearer {token}=", "Bearer {token} x"],
)
def test_a_malformed_token_is_an_invalid_one(server: InProcess, token: str, value: str) -> None:
    answer = server.get("/api", {"Authorization": value.format(token=token)})
    assert (answer.status, answer.json) == (401, MALFORMED)
    assert parameters(answer.headers["WWW-Authenticate"]) == {
        "realm": "oauth",
        **MALFORMED,
        "resource_metadata": f"{ORIGIN}/.well-known/oauth-protected-resource/api",
    }


@pytest.mark.requirement("RS-04")
@pytest.mark.requirement("WSGI-13")
@pytest.mark.parametrize("value", ["Bearer {token}, Bearer {token}", "Bearer {token},Basic eDp5", "Bearer ,"])
def test_two_credentials_are_a_malformed_request(server: InProcess, token: str, value: str) -> None:
    answer = server.get("/api", {"Authorization": value.format(token=token)})
    told = {"error": "invalid_request", "error_description": "more than one credential"}
    assert (answer.status, answer.json) == (400, told)
    assert parameters(answer.headers["WWW-Authenticate"])["error"] == "invalid_request"
    assert server.api(token).status == 200


@pytest.mark.requirement("BCP-08")
@pytest.mark.requirement("RS-07")
def test_every_request_needs_its_token(server: InProcess, token: str) -> None:
    browser = server.browser()
    headers = {"Authorization": f"Bearer {token}", "Mcp-Session-Id": "1"}
    assert browser.get(ORIGIN + "/mcp", headers).status == 200
    assert browser.get(ORIGIN + "/mcp", {"Mcp-Session-Id": "1"}).status == 401


# --- judging the token ----------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["ort_" + "A" * 91, "ort_x"])
def test_a_refresh_token_is_told_where_it_belongs(server: InProcess, token: str) -> None:
    answer = server.api(token)
    assert answer.status == 401
    assert answer.json == MIXED_UP
    assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="oauth", error="invalid_token"')


@pytest.mark.requirement("RS-10")
def test_other_kinds_of_tokens_are_no_access_tokens(server: InProcess) -> None:
    client = server.register()
    code = server.code(client)
    tokens = server.redeem(client, server.code(client)).json
    genuine = tokens["access_token"]
    others = [code, tokens["refresh_token"], "oat_" + tokens["refresh_token"][4:], "ort_" + genuine[4:]]
    for other in others:
        answer = server.api(other)
        told = MIXED_UP if other.startswith("ort_") else MALFORMED
        assert (answer.status, answer.json) == (401, told)
    assert server.api(genuine).status == 200


@pytest.mark.requirement("WSGI-14")
@pytest.mark.requirement("RS-08")
@pytest.mark.requirement("RS-13")
@pytest.mark.requirement("TOK-12")
def test_a_token_is_good_until_the_second_that_expires_in_promised(server: InProcess) -> None:
    tokens = server.tokens()
    server.clock.forward(tokens["expires_in"] - 1)
    assert server.api(tokens["access_token"]).status == 200
    server.clock.forward(1)
    answer = server.api(tokens["access_token"])
    assert (answer.status, answer.json) == (401, INVALID)


@pytest.mark.requirement("RS-08")
@pytest.mark.requirement("REV-07")
def test_a_revoked_token_is_refused_at_once(server: InProcess, token: str) -> None:
    assert server.api(token).status == 200
    server.registry.revoke_subject("alice")
    assert server.api(token).json == INVALID


@pytest.mark.requirement("RS-08")
def test_a_token_of_another_server_is_unknown(server: InProcess, token: str) -> None:
    assert InProcess().api(token).json == INVALID
    assert server.api(token).status == 200


@pytest.mark.requirement("BCP-08")
@pytest.mark.requirement("MCP-04")
@pytest.mark.requirement("RS-09")
def test_a_token_for_one_resource_is_no_good_at_another(server: InProcess) -> None:
    token = server.tokens(resource=ORIGIN + "/mcp")["access_token"]
    answer = server.api(token, "/api")
    assert (answer.status, answer.json) == (401, other_resource(ORIGIN + "/mcp"))
    assert [server.api(token, path).status for path in ("/mcp", "/mcp/x", "/open")] == [200, 200, 200]


@pytest.mark.requirement("RS-08")
@pytest.mark.parametrize(
    ("resource", "open_paths"),
    [
        (ORIGIN, ["/api", "/api/notes", "/mcp"]),
        (ORIGIN + "/", ["/api", "/api/notes", "/mcp"]),
        (ORIGIN + "/api", ["/api", "/api/notes"]),
        (ORIGIN + "/api/notes", ["/api/notes"]),
        (None, ["/api", "/api/notes", "/mcp"]),
    ],
)
def test_an_audience_covers_what_lies_below_it(
    server: InProcess, resource: str | None, open_paths: list[str]
) -> None:
    token = server.tokens(resource=resource)["access_token"]
    answers = {path: server.api(token, path).status for path in ("/api", "/api/notes", "/mcp")}
    assert [path for path, status in answers.items() if status == 200] == open_paths


def test_a_token_that_the_application_minted_itself_is_good_everywhere(server: InProcess) -> None:
    issued = server.registry.create("bob", ["notes:read"], properties={"plan": "gold"})
    assert server.api(issued.access_token, "/api/notes").json["subject"] == "bob"


def test_a_token_of_another_audience_is_not_blamed_on_the_host_it_is_used_at(server: InProcess) -> None:
    mine = server.registry.create("bob", [], resources=[ORIGIN + "/mcp"]).access_token
    neighbour = server.registry.create("bob", [], resources=["http://127.0.0.1:80001/api"]).access_token
    assert server.api(mine).json == other_resource(ORIGIN + "/mcp")
    assert server.api(neighbour).json == other_resource("http://127.0.0.1:80001/api")


@pytest.mark.parametrize("resources", [['urn:a"b'], ["urn:ä"], [f"{ORIGIN}/{n:0100}" for n in range(5)]])
def test_what_may_not_stand_in_a_challenge_is_not_told(server: InProcess, resources: list[str]) -> None:
    token = server.registry.create("bob", [], resources=resources).access_token
    answer = server.api(token)
    assert answer.json["error_description"] == "the access token was issued for another resource"
    assert parameters(answer.headers["WWW-Authenticate"])["error"] == "invalid_token"


# --- scopes ---------------------------------------------------------------------------------------


@pytest.mark.requirement("Q-29")
@pytest.mark.requirement("Q-32")
@pytest.mark.requirement("RS-14")
@pytest.mark.requirement("RS-15")
@pytest.mark.requirement("RS-16")
@pytest.mark.requirement("RS-18")
def test_a_scope_too_few_is_403_with_all_that_is_needed_and_held(server: InProcess) -> None:
    narrow = server.tokens(scope="notes:read")["access_token"]
    answer = server.api(narrow, "/api/notes", "POST")
    told = {"error": "insufficient_scope", "error_description": "the access token lacks notes:write"}
    assert (answer.status, answer.json) == (403, told)
    assert answer.headers["WWW-Authenticate"] == (
        'Bearer realm="oauth", error="insufficient_scope", '
        f'error_description="the access token lacks notes:write", {METADATA}/api/notes", '
        'scope="notes:read notes:write"'
    )
    assert server.api(narrow, "/api/notes").status == 200


@pytest.mark.requirement("Q-29")
@pytest.mark.requirement("RS-18")
@pytest.mark.requirement("SCOPE-08")
def test_stepping_up_keeps_the_old_token(server: InProcess) -> None:
    client = server.register()
    narrow = server.tokens(client, scope="notes:read")["access_token"]
    challenge = server.api(narrow, "/api/notes", "POST").headers["WWW-Authenticate"]
    wide = server.tokens(client, scope=parameters(challenge)["scope"])["access_token"]
    assert server.api(wide, "/api/notes", "POST").status == 200
    assert server.api(narrow, "/api/notes").status == 200


def test_a_challenge_asks_for_no_more_than_is_needed_and_held() -> None:
    server = InProcess(protect={"/api": "a", "/b": "b"}, scopes={"a": "", "b": "", "c": ""})
    token = server.tokens(scope="b")["access_token"]
    assert parameters(server.api(token).headers["WWW-Authenticate"])["scope"] == "a b"


@pytest.mark.requirement("RS-18")
def test_a_server_may_ask_for_no_more_than_the_operation_needs() -> None:
    server = InProcess(protect={"/api": "a", "/b": "b"}, scopes={"a": "", "b": ""}, ask_for_held_scopes=False)
    answer = server.api(server.tokens(scope="b")["access_token"])
    assert (answer.status, parameters(answer.headers["WWW-Authenticate"])["scope"]) == (403, "a")


# --- what the application sees --------------------------------------------------------------------


@pytest.mark.requirement("BCP-21")
@pytest.mark.requirement("WSGI-06")
@pytest.mark.requirement("WSGI-08")
@pytest.mark.requirement("RS-28")
def test_the_application_sees_the_identity_and_not_the_token() -> None:
    seen: dict[str, Any] = {}

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.update(environ)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b""]

    server = InProcess(app)
    client = server.register()
    tokens = server.tokens(client, scope="notes:read", resource=ORIGIN + "/api")
    assert server.api(tokens["access_token"]).status == 200
    identity = seen["oauth_refresh.token"]
    grant = next(server.registry.list(client_id=client.client_id))
    assert identity == (
        "alice",
        client.client_id,
        ("notes:read",),
        (ORIGIN + "/api",),
        server.clock() + 86400,
        grant.id.hex(),
        {},
    )
    assert (seen["REMOTE_USER"], seen["AUTH_TYPE"]) == ("alice", "Bearer")
    assert not [key for key, value in seen.items() if isinstance(value, str) and "oat_" in value]
    with pytest.raises(AttributeError):
        identity.subject = "mallory"
    with pytest.raises(TypeError):
        identity.properties["x"] = 1


@pytest.mark.requirement("WSGI-06")
def test_a_name_beyond_ascii_is_utf_8_in_the_way_of_wsgi(server: InProcess) -> None:
    token = server.registry.create("jürgen ☂", []).access_token
    seen = server.api(token).json
    assert seen["subject"] == "jürgen ☂"
    assert seen["remote_user"].encode("latin-1").decode() == "jürgen ☂"


def test_a_token_without_a_user_sets_no_user(server: InProcess) -> None:
    server.extra = {"REMOTE_USER": "carol"}
    token = server.registry.create("", [], client_id="a robot").access_token
    assert server.api(token).json["remote_user"] is None


# --- trouble --------------------------------------------------------------------------------------


class Broken(MemoryBackend):
    """A registry that is down when told to."""

    down = False

    def get(self, key: bytes) -> Any:
        if self.down:
            raise RegistryError("no route to host: start the database", retry_after=7)
        return super().get(key)


@pytest.mark.requirement("HTTP-14")
def test_a_registry_that_is_down_is_503_and_no_open_door(caplog: pytest.LogCaptureFixture) -> None:
    backend = Broken()
    server = InProcess(registry=backend)
    token = server.tokens()["access_token"]
    backend.down = True
    answer = server.api(token, Origin="https://app.example")
    told = {
        "error": "temporarily_unavailable",
        "error_description": "the token cannot be checked now, try again",
    }
    assert (answer.status, answer.json, answer.headers["Retry-After"]) == (503, told, "7")
    assert "WWW-Authenticate" not in answer.headers
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert caplog.messages == ["registry_unavailable reason='no route to host: start the database' count=1"]
    # What needs no registry goes on.
    assert [server.api(None, path).status for path in ("/open", "/api")] == [200, 401]
    assert server.api("noise").status == 401
    backend.down = False
    assert server.api(token).status == 200


@pytest.mark.requirement("CORS-04")
@pytest.mark.requirement("CORS-07")
def test_a_refusal_can_be_read_by_the_allowed_origins_only() -> None:
    server = InProcess(cors_origins=["https://app.example"])
    mine = server.api(None, Origin="https://app.example").headers
    other = server.api(None, Origin="https://evil.example").headers
    assert (mine["Access-Control-Allow-Origin"], mine["Vary"]) == ("https://app.example", "Origin")
    assert other["Vary"] == "Origin"
    assert not [name for name in other.keys() if name.startswith("Access-Control")]  # noqa: SIM118


def test_many_kinds_of_requirements_are_not_remembered_for_ever() -> None:
    server = InProcess(protect=lambda environ: environ["QUERY_STRING"])
    for number in range(1100):
        assert server.get(f"/api?s{number}").status == 401
    gates = server.middleware.guard._gates
    assert len(gates) == 1024


def test_scopes_asked_for_later_are_judged_like_the_first(server: InProcess) -> None:
    guard, identity = server.middleware.guard, server.registry.check(server.tokens()["access_token"])
    assert isinstance(identity, Identity)
    here = server.environ("GET", ORIGIN + "/api")
    elsewhere = server.environ("GET", "http://evil.example/api")
    both = Requirement((), ("notes:read", "notes:write"))
    more = Requirement((), ("admin",))
    assert guard.missing_scope(here, both, identity) is None
    told = guard.missing_scope(here, more, identity)
    lost = guard.missing_scope(elsewhere, more, identity)
    assert told is not None
    assert lost is not None
    assert (told.status, lost.status) == ("403 Forbidden", "500 Internal Server Error")
    assert b'"server_error"' in lost.body


def test_the_user_is_put_where_applications_look_unless_told_otherwise(server: InProcess) -> None:
    guard = Guard(server.registry, server.middleware.server.addresses)
    environ = server.environ("GET", ORIGIN + "/api")
    environ["HTTP_AUTHORIZATION"] = "Bearer " + server.tokens()["access_token"]
    assert guard.admit(environ, Requirement((), ())) is None
    assert (environ["REMOTE_USER"], environ["AUTH_TYPE"]) == ("alice", "Bearer")


def test_protection_can_be_the_whole_server() -> None:
    server = InProcess(protect={"/": "", **PROTECT})
    challenge = server.get("/anything").headers["WWW-Authenticate"]
    assert challenge == f'Bearer realm="oauth", {METADATA}"'
