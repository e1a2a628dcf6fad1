"""Which endpoint answers, and what every answer has in common: methods, CORS, trouble, and logs."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest

from oauth_refresh.backends.memory import MemoryBackend
from oauth_refresh.endpoints import dispatch
from oauth_refresh.errors import RegistryError

from ..driving import VERIFIER, Browser, InProcess, basic

EXPOSED = "WWW-Authenticate, DPoP-Nonce, Mcp-Session-Id, MCP-Protocol-Version, Retry-After"
API = ["token", "revoke", "register"]
PAGES = ["authorize", "login", "logout"]
PREFLIGHT = {
    "Origin": "https://app.example",
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "content-type",
}


def cors_headers(headers: Any) -> list[str]:
    return [name for name in headers.keys() if name.startswith("Access-Control")]  # noqa: SIM118


# --- methods --------------------------------------------------------------------------------------


@pytest.mark.requirement("HTTP-03")
@pytest.mark.requirement("TOK-01")
@pytest.mark.requirement("DCR-22")
@pytest.mark.parametrize("endpoint", API)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "TRACE"])
def test_api_endpoints_take_posts_only(server: InProcess, endpoint: str, method: str) -> None:
    answer = server.send(method, f"/oauth/{endpoint}")
    assert (answer.status, answer.headers["Allow"]) == (405, "POST, OPTIONS")
    assert answer.headers["Cache-Control"] == "no-store"
    if method != "HEAD":
        told = "the method must be POST"
        assert answer.json == {"error": "invalid_request", "error_description": told}


@pytest.mark.requirement("AUTHZ-01")
@pytest.mark.requirement("HTTP-03")
@pytest.mark.parametrize(
    ("endpoint", "method", "allowed"),
    [
        ("authorize", "PUT", "GET, HEAD, POST, OPTIONS"),
        ("authorize", "DELETE", "GET, HEAD, POST, OPTIONS"),
        ("login", "PUT", "GET, HEAD, POST, OPTIONS"),
        ("logout", "GET", "POST, OPTIONS"),
    ],
)
def test_pages_refuse_other_methods_too(server: InProcess, endpoint: str, method: str, allowed: str) -> None:
    answer = server.send(method, f"/oauth/{endpoint}")
    assert (answer.status, answer.headers["Allow"]) == (405, allowed)


@pytest.mark.requirement("HTTP-04")
def test_options_name_the_methods(server: InProcess) -> None:
    for endpoint in (*API, "logout"):
        answer = server.send("OPTIONS", f"/oauth/{endpoint}")
        assert (answer.status, answer.headers["Allow"], answer.body) == (204, "POST, OPTIONS", b"")
    assert server.send("OPTIONS", "/oauth/login").headers["Allow"] == "GET, HEAD, POST, OPTIONS"


@pytest.mark.requirement("Q-05")
@pytest.mark.requirement("HTTP-15")
def test_what_is_not_there_is_a_json_404(server: InProcess) -> None:
    for path in ("/oauth/", "/oauth/device", "/oauth/token/", "/oauth/TOKEN", "/oauth/token%00"):
        answer = server.get(path)
        told = {"error": "not_found", "error_description": "no such endpoint"}
        assert (answer.status, answer.json) == (404, told)


@pytest.mark.requirement("DISC-15")
def test_registration_can_be_off(server: InProcess) -> None:
    closed = InProcess(registration="off", root_aliases=True)
    answer = closed.post_json("/oauth/register", {})
    assert (answer.status, answer.json["error"]) == (404, "not_found")
    assert closed.post("/register", {}).json["path"] == "/register"
    assert "registration_endpoint" not in closed.get("/.well-known/oauth-authorization-server").json


# --- across origins -------------------------------------------------------------------------------


@pytest.mark.requirement("BCP-14")
@pytest.mark.requirement("CORS-01")
@pytest.mark.requirement("CORS-03")
@pytest.mark.requirement("CORS-06")
@pytest.mark.requirement("REV-09")
@pytest.mark.parametrize("endpoint", API)
def test_api_endpoints_answer_preflights(server: InProcess, endpoint: str) -> None:
    answer = server.send("OPTIONS", f"/oauth/{endpoint}", b"", PREFLIGHT)
    assert (answer.status, answer.body) == (204, b"")
    assert dict(answer.headers) == {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Methods": "POST, OPTIONS",
        "Access-Control-Allow-Headers": "content-type",
        "Access-Control-Max-Age": "3600",
        "Access-Control-Expose-Headers": EXPOSED,
    }


@pytest.mark.requirement("CORS-07")
@pytest.mark.parametrize("endpoint", [*API, "none"])
def test_every_answer_of_the_api_can_be_read_across_origins(server: InProcess, endpoint: str) -> None:
    for method in ("POST", "GET"):
        answer = server.send(method, f"/oauth/{endpoint}", b"", {"Origin": "https://app.example"})
        assert answer.status >= 400
        assert answer.headers.getlist("Access-Control-Allow-Origin") == ["*"]
        assert answer.headers.getlist("Access-Control-Expose-Headers") == [EXPOSED]


@pytest.mark.requirement("CORS-04")
@pytest.mark.requirement("CORS-07")
def test_with_a_list_of_origins_only_those_can_read() -> None:
    server = InProcess(cors_origins=["https://app.example"])
    answer = server.post("/oauth/token", {}, {"Origin": "https://app.example"})
    assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert answer.headers.getlist("Vary") == ["Origin"]
    foreign = server.send("OPTIONS", "/oauth/token", b"", {**PREFLIGHT, "Origin": "https://evil.example"})
    assert (foreign.status, cors_headers(foreign.headers)) == (204, [])
    assert foreign.headers.getlist("Vary") == ["Origin"]


@pytest.mark.requirement("BCP-14")
@pytest.mark.requirement("CORS-02")
@pytest.mark.requirement("AUTHZ-15")
@pytest.mark.parametrize("endpoint", PAGES)
def test_pages_are_closed_to_other_origins(server: InProcess, endpoint: str) -> None:
    for method, headers in (("OPTIONS", PREFLIGHT), ("GET", PREFLIGHT), ("POST", PREFLIGHT)):
        answer = server.send(method, f"/oauth/{endpoint}", b"", headers)
        assert cors_headers(answer.headers) == []


# --- what every page and answer carries -----------------------------------------------------------


@pytest.mark.requirement("BCP-15")
@pytest.mark.requirement("BCP-25")
@pytest.mark.requirement("HTTP-06")
@pytest.mark.requirement("HTTP-08")
@pytest.mark.requirement("HTTP-09")
@pytest.mark.requirement("HTTP-10")
def test_every_page_has_its_guards(server: InProcess, alice: Browser) -> None:
    client = server.register()
    browser, lost = server.browser(), server.browser()
    lost.get(server.base + "/oauth/login")
    pages = [
        server.get("/oauth/authorize"),
        browser.get(server.authorize_url(client)),
        browser.consent_page(server.authorize_url(client)),
        browser.get(server.base + "/oauth/login"),
        alice.post(server.base + "/oauth/logout", {}),
        lost.post(server.base + "/oauth/login", {}),
        server.post("/oauth/logout", {}),
        server.post("/oauth/authorize", {}),
        server.get(f"/oauth/authorize?{server.authorize_query(client, prompt='none')}"),
    ]
    for page in pages:
        assert page.headers["Content-Type"] == "text/html; charset=utf-8"
        assert page.headers["X-Frame-Options"] == "DENY"
        assert page.headers["Referrer-Policy"] == "no-referrer"
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert page.headers["Cache-Control"] == "no-store"
        policy = page.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "frame-ancestors 'none'" in policy
        assert not re.search(r'(?:src|href)="(?!http://(?:127\.0\.0\.1:4711|localhost:8000)/)', page.text)


@pytest.mark.requirement("HTTP-19")
def test_https_pages_ask_to_stay_https() -> None:
    assert "Strict-Transport-Security" in InProcess(issuer="https://as.example").get("/oauth/login").headers
    assert "Strict-Transport-Security" not in InProcess().get("/oauth/login").headers


# --- trouble --------------------------------------------------------------------------------------


class Broken(MemoryBackend):
    """A registry that fails when told to, in the way it is told to."""

    trouble: Exception | None = None

    def get(self, key: bytes) -> Any:
        if self.trouble is not None:
            raise self.trouble
        return super().get(key)


@pytest.fixture
def backend() -> Broken:
    return Broken()


@pytest.mark.requirement("Q-11")
@pytest.mark.requirement("HTTP-14")
@pytest.mark.requirement("REV-08")
@pytest.mark.requirement("RT-14")
def test_a_registry_that_is_down_is_503_for_every_endpoint(
    backend: Broken, caplog: pytest.LogCaptureFixture
) -> None:
    server = InProcess(registry=backend)
    client = server.register()
    tokens = server.tokens(client)
    backend.trouble = RegistryError("no route to host: start the database", retry_after=9)
    told = {"error": "temporarily_unavailable", "error_description": "try again in a moment"}
    for answer in (
        server.refresh(client, tokens["refresh_token"]),
        server.redeem(client, "oac_x"),
        server.revoke(client, tokens["refresh_token"]),
        server.post_json("/oauth/register", {"redirect_uris": ["https://app.example/cb"]}),
    ):
        assert (answer.status, answer.json, answer.headers["Retry-After"]) == (503, told, "9")
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
    page = server.get(f"/oauth/authorize?{server.authorize_query(client)}")
    assert (page.status, page.headers["Retry-After"]) == (503, "9")
    assert page.headers["Content-Type"].startswith("text/html")
    fetched = server.get(f"/oauth/authorize?{server.authorize_query(client)}", {"Accept": "application/json"})
    assert (fetched.status, fetched.json, fetched.headers["Retry-After"]) == (503, told, "9")
    assert caplog.messages == ["registry_unavailable reason='no route to host: start the database' count=1"]
    backend.trouble = None
    assert server.refresh(client, tokens["refresh_token"]).status == 200


@pytest.mark.requirement("OPS-09")
def test_metadata_is_served_without_the_registry(backend: Broken) -> None:
    server = InProcess(registry=backend)
    backend.trouble = RegistryError("down")
    for name in ("oauth-authorization-server", "openid-configuration", "oauth-protected-resource/mcp"):
        assert server.get(f"/.well-known/{name}").status == 200


@pytest.mark.requirement("UI-15")
def test_a_fault_has_a_number_and_shows_nothing_of_itself(
    backend: Broken, caplog: pytest.LogCaptureFixture
) -> None:
    server = InProcess(registry=backend)
    client = server.register()
    backend.trouble = ZeroDivisionError("an inner matter")
    answer = server.refresh(client, "ort_x")
    number = answer.json["error_description"].removeprefix("error ")
    assert (answer.status, answer.json["error"]) == (500, "server_error")
    page = server.get(f"/oauth/authorize?{server.authorize_query(client)}")
    shown = re.search(r"Reference <code>(\w{12})</code>", page.text)
    assert page.status == 500
    assert shown is not None
    fetched = server.get("/oauth/authorize?client_id=x", {"Accept": "application/json"})
    assert (fetched.status, fetched.json["error"]) == (500, "server_error")
    assert "an inner matter" not in answer.text + page.text
    assert "ZeroDivisionError" not in answer.text + page.text
    assert f"error {number} at POST '/oauth/token'" in caplog.text
    assert f"error {shown[1]} at GET '/oauth/authorize'" in caplog.text


@pytest.mark.requirement("GEN-21")
def test_a_path_cannot_break_a_line_of_the_log(
    server: InProcess, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    failing = dispatch.Endpoint(fail, ("GET",))  # type: ignore[arg-type]
    monkeypatch.setattr(server.middleware._endpoints, "_well_known", failing)
    assert server.get("/.well-known/openid-configuration/x%0d%0aforged%20line").status == 500
    (message,) = caplog.messages
    assert len(message.splitlines()) == 1


@pytest.mark.requirement("CORS-03")
def test_a_preflight_of_what_is_not_there_is_answered_too(server: InProcess) -> None:
    answer = server.send("OPTIONS", "/oauth/none", b"", PREFLIGHT)
    assert (answer.status, answer.headers["Access-Control-Allow-Methods"]) == (204, "GET, POST, OPTIONS")


# --- logs -----------------------------------------------------------------------------------------


@pytest.mark.requirement("OPS-05")
def test_a_refusal_is_one_line_with_the_reason(server: InProcess, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    client = server.register()
    code = server.code(client)
    caplog.clear()
    server.redeem(client, code, code_verifier=None)
    grant = next(server.registry.list()).id.hex()
    (line,) = caplog.messages
    assert line == (
        f"token_refused grant='{grant}' client='{client.client_id}' subject='alice' generation=0 "
        "outcome='refused' reason='verifier_missing' presented='code'"
    )
    caplog.clear()
    server.post("/oauth/token", {"grant_type": "refresh_token", "client_id": "oc_gone", "refresh_token": "x"})
    (line,) = caplog.messages
    assert line == (
        "request_refused method='POST' path='/oauth/token' error='invalid_client' "
        "reason=\"client 'oc_gone' is unknown\""
    )


@pytest.mark.requirement("WSGI-15")
@pytest.mark.requirement("GEN-12")
@pytest.mark.requirement("GEN-23")
def test_no_secret_reaches_the_log_or_the_registry(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    backend = MemoryBackend()
    server = InProcess(registry=backend)
    client = server.register(token_endpoint_auth_method="client_secret_post")
    assert client.secret is not None
    code = server.code(client)
    first = server.redeem(client, code).json
    second = server.refresh(client, first["refresh_token"]).json
    server.redeem(client, code, code_verifier="another-verifier-of-between-43-and-128-characters")
    server.token(client, grant_type="refresh_token", refresh_token=second["access_token"])
    server.token(client, grant_type="refresh_token", refresh_token=second["refresh_token"], scope="x")
    server.post("/oauth/token?client_secret=in-the-url", {"grant_type": "refresh_token"})
    server.post("/oauth/token", {"grant_type": "refresh_token"}, {"Authorization": basic("x", "in-basic")})
    server.browser().consent_page(server.authorize_url(client))
    browser = server.browser()
    browser.sign_in(browser.get(server.authorize_url(client)), "alice", "a wrong password")
    server.revoke(client, second["refresh_token"])
    secrets = [
        client.secret,
        code,
        VERIFIER,
        "another-verifier-of-between-43",
        "in-the-url",
        "in-basic",
        "a right one",
        "a wrong password",
        *(tokens[name] for tokens in (first, second) for name in ("access_token", "refresh_token")),
    ]
    stored = b"".join(entry.body for key in backend.keys(b"") if (entry := backend.get(key)))
    assert "token_rotated" in caplog.text
    for secret in secrets:
        assert secret not in caplog.text
        assert secret.encode() not in stored


# --- housekeeping ---------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/oauth/authorize", "/.well-known/oauth-authorization-server"])
def test_whoever_connects_a_client_starts_housekeeping_anew_after_the_clock_was_ahead(
    server: InProcess, path: str
) -> None:
    housekeeping, right = server.middleware.server.housekeeping, server.clock()
    server.clock.forward(10 * 365 * 86400)
    server.send("GET", path)
    assert housekeeping.due_at > right + 9 * 365 * 86400
    server.clock.now = right
    server.send("GET", path)
    assert housekeeping.due_at == right + 3600


@pytest.mark.parametrize(
    ("method", "path"),
    [
        pytest.param("POST", "/oauth/token", id="whatever is answered"),
        pytest.param("GET", "/oauth/nothing", id="what is not there"),
        pytest.param("GET", "/oauth/token", id="another method"),
    ],
)
def test_a_request_starts_housekeeping_when_it_is_due(server: InProcess, method: str, path: str) -> None:
    housekeeping = server.middleware.server.housekeeping
    server.send(method, path)
    due_at = housekeeping.due_at
    assert 0 <= due_at - server.clock() <= 3600
    server.clock.forward(due_at - server.clock() - 1)
    server.send(method, path)
    assert housekeeping.due_at == due_at
    server.clock.forward(2)
    server.send(method, path)
    assert housekeeping.due_at == server.clock() + 3600
