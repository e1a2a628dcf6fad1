"""Which requests need a token, however their path or method is written, and which are ours to answer."""

from __future__ import annotations

import pytest
from werkzeug.test import EnvironBuilder, run_wsgi_app
from werkzeug.wrappers import Response

from oauth_refresh import OAuthMiddleware

from .driving import ORIGIN, InProcess
from .test_middleware import Seen


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def server(seen: Seen) -> InProcess:
    return InProcess(seen)


# --- preflights and methods -----------------------------------------------------------------------

PREFLIGHT = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}


@pytest.mark.requirement("WSGI-11")
@pytest.mark.requirement("CORS-03")
def test_a_preflight_reaches_the_application_without_a_token(server: InProcess, seen: Seen) -> None:
    server.extra = {"REMOTE_USER": "carol"}
    assert server.send("OPTIONS", "/api", b"", PREFLIGHT).status == 200
    assert "REMOTE_USER" not in seen.environ


@pytest.mark.requirement("WSGI-10")
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://app.example"},
        {"Access-Control-Request-Method": "POST"},
        {**PREFLIGHT, "X-HTTP-Method-Override": "DELETE"},
        {**PREFLIGHT, "X-Method-Override": "DELETE"},
        {**PREFLIGHT, "X-HTTP-Method": "DELETE"},
        {**PREFLIGHT, "Transfer-Encoding": "chunked"},
    ],
    ids=str,
)
def test_what_is_no_preflight_needs_a_token(server: InProcess, headers: dict[str, str]) -> None:
    assert server.send("OPTIONS", "/api", b"", headers).status == 401
    assert server.send("OPTIONS", "/api", b"_method=DELETE", PREFLIGHT).status == 401
    assert server.send("OPTIONS", "/api", b"", PREFLIGHT).status == 200


@pytest.mark.requirement("Q-06")
@pytest.mark.requirement("Q-07")
@pytest.mark.requirement("RS-21")
@pytest.mark.requirement("MCP-03")
@pytest.mark.requirement("WSGI-10")
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", ["/api", "/api/", "/api/no/such/view", "/mcp"])
def test_the_token_comes_before_everything_the_application_would_say(
    server: InProcess, method: str, path: str
) -> None:
    assert server.api(None, path, method).status == 401


METHOD_RULES = {"GET /notes": "public", "POST /notes": "notes:write", "GET /api": "notes:read"}


@pytest.mark.requirement("WSGI-09")
@pytest.mark.parametrize("header", ["X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"])
def test_a_method_override_needs_what_the_other_method_needs(header: str) -> None:
    server = InProcess(protect={**METHOD_RULES, "DELETE /api": "notes:write"})
    reader = server.tokens(scope="notes:read")["access_token"]
    writer = server.tokens(scope="notes:read notes:write")["access_token"]
    assert server.api(None, "/notes").status == 200
    assert server.api(None, "/notes", **{header: "POST"}).status == 401
    assert server.api(reader, "/notes", **{header: " post"}).status == 403
    assert server.api(reader, "/api", **{header: "GET"}).status == 200
    assert server.api(reader, "/api", **{header: "DELETE"}).status == 403
    assert server.api(writer, "/api", **{header: "DELETE"}).status == 200
    assert server.api(None, "/open", **{header: "DELETE"}).status == 200


@pytest.mark.requirement("WSGI-09")
@pytest.mark.parametrize(
    "path", ["/public/%2e%2e/mcp", "/public/../mcp", "//mcp", "/mcp;x", "/%6dcp", "/\\mcp", "/mcp/../public"]
)
def test_no_spelling_of_a_protected_path_is_open(path: str) -> None:
    server = InProcess(protect={"/mcp": "", "/public": "public"})
    token = server.tokens()["access_token"]
    assert server.api(None, path).status == 401
    assert server.api(token, path).status == 200
    assert server.api(None, "/public").status == 200


@pytest.mark.requirement("WSGI-09")
@pytest.mark.parametrize(
    ("mount", "path"),
    [
        ("/m", "cp"),
        ("/m", "cp/tools"),
        ("/shop/m", "cp"),
        ("/mcp", ""),
        ("/mcp", "/tools"),
        ("/public", "/mcp"),
    ],
)
def test_no_mount_that_a_client_makes_up_opens_a_protected_path(mount: str, path: str) -> None:
    # gunicorn takes SCRIPT_NAME from a header of whoever it trusts, and cuts it off by letters. The validator
    # stays out of this: by the letter of WSGI a path begins with a slash.
    rules = {"/mcp": "", "/public": "public"}
    app = OAuthMiddleware(Response("in"), protect=rules, registry="memory:", environ={})
    token = app.registry.create("alice", []).access_token
    environ = {"SCRIPT_NAME": mount, "PATH_INFO": path, "HTTP_HOST": "localhost:8000"}
    for more, status in (({}, 401), ({"HTTP_AUTHORIZATION": f"Bearer {token}"}, 200)):
        answer = run_wsgi_app(app, EnvironBuilder().get_environ() | environ | more)
        assert answer[1].startswith(str(status))


@pytest.mark.requirement("RS-09")
def test_a_token_for_one_resource_is_no_good_behind_a_mount_that_names_another() -> None:
    server = InProcess(issuer="http://localhost:8000", protect={"/mcp": "", "/api": ""})
    token = server.tokens(resource=f"{ORIGIN}/mcp")["access_token"]
    server.extra = {"SCRIPT_NAME": "/api", "PATH_INFO": "/mcp"}
    assert server.api(token, "/").status == 401
    server.extra = {"SCRIPT_NAME": "/shop", "PATH_INFO": "/mcp"}
    assert server.api(token, "/").status == 200


@pytest.mark.requirement("WSGI-03")
@pytest.mark.parametrize("extra", [{"SCRIPT_NAME": "/shop"}, {}], ids=["mounted", "left to the application"])
def test_below_the_issuers_path_the_rules_hold_whoever_takes_that_path_away(extra: dict[str, str]) -> None:
    server = InProcess(issuer="http://localhost:8000/shop", protect={"/mcp": "", "/mcp/help": "public"})
    token = server.registry.create("alice", []).access_token
    for path, status in (
        ("/mcp", 401),
        ("/mcp/help", 200),
        ("/open", 200),
        ("/shopping/mcp", 200),
        ("", 200),
    ):
        server.extra = {**extra, "PATH_INFO": path if extra else "/shop" + path}
        assert (path, server.api(None, "/").status) == (path, status)
        assert server.api(token, "/").status == 200


# --- which paths are ours -------------------------------------------------------------------------


@pytest.mark.requirement("WSGI-11")
def test_endpoints_and_documents_need_no_token_where_everything_does() -> None:
    server = InProcess(protect={"/": ""})
    assert server.get("/").status == 401
    assert server.get("/.well-known/oauth-authorization-server").status == 200
    assert server.get("/.well-known/oauth-protected-resource").status == 200
    assert server.get("/oauth/login").status == 200
    assert server.api(server.tokens()["access_token"], "/").status == 200


@pytest.mark.requirement("WSGI-11")
def test_paths_below_the_prefix_never_reach_the_application(seen: Seen) -> None:
    server = InProcess(seen, protect={"/": ""})
    for path in ("/oauth/", "/oauth/x", "/oauth/../api", "/oauth/token/../../api", "/oauth//token"):
        assert server.get(path).status == 404
    assert not hasattr(seen, "environ")


def test_the_prefix_itself_and_its_neighbours_belong_to_the_application(
    server: InProcess, seen: Seen
) -> None:
    for path in ("/oauth", "/oauthx", "/authorize", "/token", "/register", "/x/oauth/token"):
        assert server.get(path).body == b"seen"


@pytest.mark.requirement("DISC-25")
def test_root_aliases_are_a_setting() -> None:
    server = InProcess(root_aliases=True)
    assert server.post_json("/register", {"redirect_uris": ["https://a.example/cb"]}).status == 201
    assert server.get("/authorize").status == 400
    assert server.get("/token").status == 405


@pytest.mark.parametrize("prefix", ["/auth/v1", "/o"])
def test_the_prefix_is_a_setting(prefix: str) -> None:
    server = InProcess(prefix=prefix)
    assert server.api(server.tokens()["access_token"]).status == 200
    assert server.post("/oauth/token", {}).json["path"] == "/oauth/token"


# --- the public address ---------------------------------------------------------------------------

NOT_CONFIGURED = {
    "error": "server_error",
    "error_description": "OAUTH_ISSUER is not set, so only loopback hosts are served: "
    "set it to the public https URL",
}


@pytest.mark.requirement("WSGI-01")
@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "10.0.0.1"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api"),
        ("GET", "/oauth/authorize"),
        ("POST", "/oauth/token"),
        ("POST", "/oauth/register"),
        ("GET", "/.well-known/oauth-authorization-server"),
    ],
)
def test_another_host_is_not_served_without_an_issuer(
    server: InProcess, host: str, method: str, path: str
) -> None:
    answer = server.send(method, path, b"", {"Host": host})
    assert (answer.status, answer.json) == (500, NOT_CONFIGURED)
    assert server.send("GET", "/open", b"", {"Host": host}).status == 200


@pytest.mark.parametrize("path", ["/api", "/oauth/token"])
def test_that_the_issuer_is_missing_stands_in_the_log_once_a_minute(
    server: InProcess, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    for host in ('notes.example"\x1b', "x" * 9999, "127.0.0.1"):
        server.send("POST", path, b"", {"Host": host})
    (told,) = [record for record in caplog.records if "issuer_not_set" in record.message]
    assert told.levelname == "ERROR"
    reason = NOT_CONFIGURED["error_description"]
    assert told.message == f"""issuer_not_set host='notes.example"\\x1b' reason={reason!r} count=1"""


@pytest.mark.requirement("Q-21")
@pytest.mark.requirement("WSGI-01")
def test_the_host_header_is_not_believed() -> None:
    server = InProcess(issuer="https://as.example")
    forwarded = {
        "Host": "evil.example",
        "X-Forwarded-Host": 'evil.example", error="x',
        "X-Forwarded-Proto": "http",
        "Forwarded": "host=evil.example",
    }
    document = "/.well-known/oauth-authorization-server"
    assert server.get(document, forwarded).body == server.get(document).body
    challenge = server.api(None, **forwarded).headers["WWW-Authenticate"]
    assert challenge == server.api(None).headers["WWW-Authenticate"]
    assert "evil" not in challenge


@pytest.mark.requirement("RS-09")
def test_localhost_and_127_0_0_1_are_two_issuers_and_the_refusal_says_so() -> None:
    server = InProcess()
    token = server.tokens()["access_token"]
    refused = server.send("GET", "/api", b"", {"Host": "127.0.0.1:8000", "Authorization": f"Bearer {token}"})
    assert refused.status == 401
    assert refused.json == {
        "error": "invalid_token",
        "error_description": "the access token was issued for http://localhost:8000, "
        "use that address instead of http://127.0.0.1:8000",
    }
    assert server.api(token).status == 200


LOOPBACK = ["localhost:8000", "127.0.0.1:8000", "[::1]:8000"]


@pytest.mark.requirement("RS-09")
@pytest.mark.parametrize("host", LOOPBACK)
def test_each_loopback_host_is_told_apart_from_the_others(host: str) -> None:
    server = InProcess(base=f"http://{host}")
    token = server.tokens()["access_token"]
    for other in (name for name in LOOPBACK if name != host):
        refused = server.send("GET", "/api", b"", {"Host": other, "Authorization": f"Bearer {token}"})
        assert refused.json["error_description"] == (
            f"the access token was issued for http://{host}, use that address instead of http://{other}"
        )
    assert server.api(token).status == 200
