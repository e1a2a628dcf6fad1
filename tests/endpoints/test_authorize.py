"""GET /oauth/authorize: may this client act for this user?"""

from __future__ import annotations

import base64
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest

from oauth_refresh.pages import Pages

from ..driving import CHALLENGE, ORIGIN, REDIRECT, Answer, Browser, InProcess, Registered

CLIENTS = {
    "web": {"client_secret": "s", "redirect_uris": ["https://web.example/cb"], "client_name": "Web"},
    "public": {"redirect_uris": ["https://public.example/cb"]},
    "robot": {"client_secret": "s", "grant_types": []},
}
WEB = Registered("web", "s", "https://web.example/cb", "client_secret_basic")


@pytest.fixture
def server() -> InProcess:
    return InProcess(clients=CLIENTS)


def stays(answer: Answer) -> str:
    """The text of a local error: a page, without a way to the address that was asked for."""
    assert answer.status == 400
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "Location" not in answer.headers
    assert "href" not in answer.text
    return answer.text


# --- the way through ------------------------------------------------------------------------------


@pytest.mark.requirement("BCP-18")
@pytest.mark.requirement("BCP-22")
@pytest.mark.requirement("MCP-06")
@pytest.mark.requirement("RESP-01")
@pytest.mark.requirement("RESP-04")
@pytest.mark.requirement("RESP-07")
@pytest.mark.requirement("RESP-08")
@pytest.mark.requirement("HTTP-05")
@pytest.mark.requirement("CONF-02")
def test_whoever_allows_it_is_sent_back_with_a_code(server: InProcess, client: Registered) -> None:
    answer = server.browser().decide(server.authorize_url(client, state="xyz"))
    assert (answer.status, answer.body) == (303, b"")
    assert answer.location.startswith(REDIRECT + "?code=oac_")
    assert list(answer.parameters) == ["code", "state", "iss"]
    assert answer.parameters["state"] == "xyz"
    assert answer.parameters["iss"] == ORIGIN
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert server.redeem(client, answer.parameters["code"]).status == 200


@pytest.mark.requirement("UI-07")
@pytest.mark.requirement("RESP-03")
def test_whoever_denies_it_is_sent_back_without_one(server: InProcess, client: Registered) -> None:
    answer = server.browser().decide(server.authorize_url(client, state="xyz"), "deny")
    assert answer.status == 303
    assert answer.parameters == {
        "error": "access_denied",
        "error_description": "the user did not allow it",
        "state": "xyz",
        "iss": ORIGIN,
    }


@pytest.mark.requirement("GEN-22")
@pytest.mark.requirement("RESP-06")
@pytest.mark.requirement("GEN-24")
def test_the_code_tells_nothing(server: InProcess, client: Registered, alice: Browser) -> None:
    first, second = (server.code(client, alice, scope="notes:read") for _ in range(2))
    raw = base64.urlsafe_b64decode(first[4:])
    assert (len(first), len(raw)) == (68, 48)
    assert first != second
    assert raw[:16] != raw[16:32]
    for known in (CHALLENGE.encode(), base64.urlsafe_b64decode(CHALLENGE + "="), b"alice", b"notes"):
        assert known not in raw


@pytest.mark.requirement("RESP-01")
def test_a_request_without_a_state_gets_none_back(server: InProcess, client: Registered) -> None:
    for state in (None, ""):
        answer = server.browser().decide(server.authorize_url(client, state=state))
        assert list(answer.parameters) == ["code", "iss"]


STATES = [
    "ey%2Fl%2B%3D",
    "a+b c",
    "%",
    "%%20",
    "a/b=c&d?e#f",
    "\"'<>\\`{|}^",
    "~!@$*()[];:,.-_",
    "https%3A%2F%2Fapp.example%2F%3Fa%3Db",
    "/+=%" * 1024,
    "x" * 4096,
]


@pytest.mark.requirement("AUTHZ-08")
@pytest.mark.parametrize("state", STATES, ids=lambda state: state[:12])
def test_the_state_comes_back_as_it_was(server: InProcess, client: Registered, state: str) -> None:
    url = server.authorize_url(client, state=state)
    assert server.browser().decide(url).parameters["state"] == state
    assert server.browser().decide(url, "deny").parameters["state"] == state
    wrong = server.authorize_url(client, state=state, response_mode="fragment")
    assert server.browser().decide(wrong).parameters["state"] == state


@pytest.mark.requirement("AUTHZ-08")
def test_a_state_that_was_hardly_encoded_survives_a_login(server: InProcess, client: Registered) -> None:
    state = "/:@!$'()*,;?" * 600
    query = server.authorize_query(client, state=None) + "&state=" + quote(state, safe="/:@!$'()*,;?")
    answer = server.browser().decide(f"{server.base}/oauth/authorize?{query}")
    assert answer.parameters["state"] == state


@pytest.mark.requirement("BCP-27")
@pytest.mark.requirement("RESP-09")
@pytest.mark.requirement("RESP-02")
@pytest.mark.requirement("RESP-07")
@pytest.mark.parametrize(
    ("uri", "start"),
    [
        ("https://app.example/cb?x=1&y=%2F", "https://app.example/cb?x=1&y=%2F&code="),
        ("https://app.example/cb?", "https://app.example/cb?code="),
        ("https://app.example", "https://app.example?code="),
        ("http://[::1]:4711/cb", "http://[::1]:4711/cb?code="),
        (
            "cursor://anysphere.cursor-mcp/oauth/callback",
            "cursor://anysphere.cursor-mcp/oauth/callback?code=",
        ),
        ("com.example.app:/cb", "com.example.app:/cb?code="),
    ],
)
def test_the_redirect_uri_is_kept_byte_for_byte(server: InProcess, uri: str, start: str) -> None:
    client = server.register(redirect_uris=[uri])
    answer = server.browser().decide(server.authorize_url(client))
    assert answer.location.startswith(start)
    assert answer.location.isascii()
    assert "#" not in answer.location
    code = parse_qs(urlsplit(answer.location).query)["code"][0]
    assert server.redeem(client, code).status == 200


@pytest.mark.requirement("Q-08")
@pytest.mark.requirement("AUTHZ-04")
@pytest.mark.requirement("CODE-11")
@pytest.mark.requirement("GEN-09")
def test_the_least_that_can_be_asked(server: InProcess, client: Registered) -> None:
    for least in ({"redirect_uri": None, "state": None}, {"redirect_uri": "", "scope": "", "resource": ""}):
        code = server.code(client, None, **least)
        answer = server.redeem(client, code, redirect_uri=None)
        assert answer.json["scope"] == "notes:read notes:write"
        assert server.api(answer.json["access_token"]).status == 200


@pytest.mark.requirement("REDIR-05")
@pytest.mark.requirement("REDIR-06")
@pytest.mark.requirement("REDIR-15")
def test_the_port_of_a_loopback_client_is_the_one_it_listens_at(server: InProcess) -> None:
    client = server.register(redirect_uris=["http://127.0.0.1:3000/cb", "http://localhost/cb"])
    for uri in ("http://127.0.0.1:51004/cb", "http://localhost:51004/cb"):
        answer = server.browser().decide(server.authorize_url(client, redirect_uri=uri))
        assert answer.location.startswith(uri + "?")
        code = answer.parameters["code"]
        other = uri.replace("51004", "51005")
        assert server.redeem(client, code, redirect_uri=other).json["error"] == "invalid_grant"
        assert server.redeem(client, code, redirect_uri=uri).status == 200


@pytest.mark.requirement("Q-31")
@pytest.mark.requirement("HTTP-04")
@pytest.mark.requirement("AUTHZ-19")
def test_looking_at_a_request_does_nothing(server: InProcess, client: Registered, alice: Browser) -> None:
    url = server.authorize_url(client)
    for method in ("GET", "HEAD", "GET"):
        assert alice.send(method, url, b"", {"Sec-Purpose": "prefetch"}).status == 200
    assert list(server.registry.list()) == []


# --- mistakes that stay here ----------------------------------------------------------------------


@pytest.mark.requirement("AUTHZ-02")
@pytest.mark.requirement("AUTHZ-03")
@pytest.mark.requirement("GEN-07")
@pytest.mark.requirement("UI-15")
@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"client_id": None}, "client_id: missing"),
        ({"client_id": ""}, "client_id: missing"),
        ({"client_id": "oc_nobody"}, "client_id: this client is not registered here, or no longer"),
        ({"client_id": "<script>"}, "client_id: this client is not registered here, or no longer"),
        (
            {"redirect_uri": "https://evil.example/"},
            "redirect_uri: not one of those that the client registered",
        ),
        (
            {"redirect_uri": "javascript:alert(1)"},
            "redirect_uri: not one of those that the client registered",
        ),
        ({"redirect_uri": REDIRECT + "#"}, "redirect_uri: not one of those that the client registered"),
        ({"redirect_uri": REDIRECT + "/../x"}, "redirect_uri: not one of those that the client registered"),
    ],
)
def test_a_bad_client_or_address_is_told_to_the_user_alone(
    server: InProcess, client: Registered, alice: Browser, fields: dict[str, str | None], told: str
) -> None:
    for browser in (server.browser(), alice):
        text = stays(browser.get(server.authorize_url(client, **fields)))
        assert told in text
        assert "evil.example" not in text
        assert "<script" not in text
    assert server.browser().decide(server.authorize_url(client)).status == 303


@pytest.mark.requirement("Q-12")
@pytest.mark.requirement("UI-15")
@pytest.mark.requirement("CONF-02")
def test_an_unknown_client_is_told_how_to_go_on(server: InProcess, client: Registered) -> None:
    text = stays(server.browser().get(server.authorize_url(client, client_id="oc_gone")))
    assert "Remove the connection in the application and add it again" in text


@pytest.mark.requirement("GEN-07")
@pytest.mark.parametrize("name", ["client_id", "redirect_uri"])
def test_a_second_client_or_address_is_told_to_the_user_alone(
    server: InProcess, client: Registered, name: str
) -> None:
    value = {"client_id": client.client_id, "redirect_uri": REDIRECT}[name]
    for second in (value, ""):
        url = server.authorize_url(client) + "&" + urlencode({name: second})
        assert f"{name}: must occur only once" in stays(server.browser().get(url))


@pytest.mark.requirement("AUTHZ-04")
def test_a_client_with_two_addresses_has_to_name_one(server: InProcess) -> None:
    client = server.register(redirect_uris=["https://a.example/", "https://b.example/"])
    text = stays(server.browser().get(server.authorize_url(client, redirect_uri=None)))
    assert "redirect_uri: missing" in text


@pytest.mark.requirement("GEN-04")
@pytest.mark.requirement("HTTP-12")
def test_a_query_that_cannot_be_read_stays_here_too(server: InProcess, client: Registered) -> None:
    url = server.authorize_url(client)
    assert "the query is not UTF-8" in stays(server.browser().get(url + "&x=%ff%fe"))
    assert server.browser().get(url + "&x=" + "x" * 16384).status == 413


@pytest.mark.requirement("GEN-11")
def test_the_body_of_a_get_does_not_count(server: InProcess, client: Registered) -> None:
    body = server.authorize_query(client).encode()
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert server.send("GET", "/oauth/authorize", body, form).status == 400


@pytest.mark.requirement("AUTHZ-02")
@pytest.mark.parametrize(
    ("accept", "is_json"),
    [
        ("application/json", True),
        ("application/json, text/plain, */*", True),
        ("text/html;q=0.5, application/json", True),
        ("text/html,application/xhtml+xml,*/*;q=0.8", False),
        ("*/*", False),
        ("", False),
        ("text/html, application/json", False),
    ],
)
def test_a_client_that_fetches_the_url_itself_reads_json(
    server: InProcess, client: Registered, accept: str, is_json: bool
) -> None:
    url = server.authorize_url(client, client_id="oc_gone")
    answer = server.browser().get(url, {"Accept": accept})
    assert answer.status == 400
    if is_json:
        told = "client_id: this client is not registered here, or no longer"
        assert answer.json == {"error": "invalid_client", "error_description": told}
    else:
        stays(answer)


# --- mistakes that the client hears ---------------------------------------------------------------


@pytest.mark.requirement("BCP-03")
@pytest.mark.requirement("BCP-05")
@pytest.mark.requirement("RESP-10")
@pytest.mark.requirement("MCP-06")
@pytest.mark.requirement("PKCE-11")
@pytest.mark.requirement("AUTHZ-05")
@pytest.mark.requirement("AUTHZ-07")
@pytest.mark.requirement("AUTHZ-09")
@pytest.mark.requirement("AUTHZ-10")
@pytest.mark.requirement("AUTHZ-11")
@pytest.mark.requirement("PKCE-01")
@pytest.mark.requirement("PKCE-02")
@pytest.mark.requirement("PKCE-03")
@pytest.mark.requirement("PKCE-04")
@pytest.mark.requirement("PKCE-05")
@pytest.mark.requirement("RES-02")
@pytest.mark.requirement("RES-03")
@pytest.mark.requirement("RESP-03")
@pytest.mark.requirement("RESP-04")
@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"response_type": None}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"response_mode": "form_post"}, "invalid_request"),
        ({"request": "a.b.c"}, "request_not_supported"),
        ({"request_uri": "urn:x"}, "request_uri_not_supported"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": CHALLENGE[:-1]}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": "S512"}, "invalid_request"),
        ({"scope": "admin"}, "invalid_scope"),
        ({"scope": 'a"b'}, "invalid_scope"),
        ({"resource": "https://other.example/"}, "invalid_target"),
        ({"resource": ORIGIN + "/mcp#x"}, "invalid_target"),
    ],
)
def test_every_other_mistake_is_told_by_redirect(
    server: InProcess, client: Registered, alice: Browser, fields: dict[str, str | None], code: str
) -> None:
    for asking in (client, WEB):
        answer = alice.get(server.authorize_url(asking, **fields))
        assert answer.status == 303
        assert answer.location.startswith(asking.redirect_uri + "?error=")
        assert set(answer.parameters) == {"error", "error_description", "state", "iss"}
        assert answer.parameters["error"] == code
        assert (answer.parameters["state"], answer.parameters["iss"]) == ("s", ORIGIN)
        assert "#" not in answer.location
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert alice.decide(server.authorize_url(asking)).parameters["code"]


@pytest.mark.requirement("AUTHZ-06")
def test_a_client_without_the_grant_type_is_unauthorized(alice: Browser) -> None:
    members = {"redirect_uris": ["https://r.example/"], "grant_types": ["refresh_token"]}
    server = InProcess(clients={"r": members})
    answer = server.browser().get(server.authorize_url(Registered("r", None, "https://r.example/")))
    assert answer.parameters["error"] == "unauthorized_client"


@pytest.mark.requirement("GEN-06")
@pytest.mark.requirement("GEN-08")
@pytest.mark.requirement("GEN-10")
@pytest.mark.parametrize(
    "extra", ["state=s", "state=", "scope=&scope=", "prompt=a&prompt=a", "response_type=code"]
)
def test_a_second_value_is_told_by_redirect_and_a_second_state_is_not_echoed(
    server: InProcess, client: Registered, alice: Browser, extra: str
) -> None:
    answer = alice.get(server.authorize_url(client) + "&" + extra)
    assert answer.parameters["error"] == "invalid_request"
    assert answer.parameters["error_description"].endswith(": must occur only once")
    assert ("state" in answer.parameters) is not extra.startswith("state")


@pytest.mark.requirement("GEN-13")
@pytest.mark.parametrize("state", ["ü", "a\nb", "a\r\nLocation: https://evil.example/", "x" * 8193])
def test_a_state_outside_of_the_standard_is_refused_and_not_echoed(
    server: InProcess, client: Registered, alice: Browser, state: str
) -> None:
    answer = alice.get(server.authorize_url(client, state=state))
    assert answer.parameters == {
        "error": "invalid_request",
        "error_description": "state: at most 8192 printable ASCII characters are allowed",
        "iss": ORIGIN,
    }


@pytest.mark.requirement("AUTHZ-13")
@pytest.mark.requirement("GEN-05")
def test_unknown_parameters_change_nothing(server: InProcess, client: Registered, alice: Browser) -> None:
    odd = {"foo": "bar", "nonce": "n", "display": "popup", "max_age": "0", "login_hint": "x", "audience": "y"}
    answer = alice.decide(server.authorize_url(client, **odd))
    assert server.redeem(client, answer.parameters["code"]).status == 200


@pytest.mark.requirement("AUTHZ-16")
@pytest.mark.parametrize("how", ["asking", "allowing"])
def test_a_fault_of_ours_is_told_by_redirect(
    server: InProcess,
    client: Registered,
    alice: Browser,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    how: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("an inner matter")

    url = server.authorize_url(client, state="xyz")
    page = alice.get(url)
    with monkeypatch.context() as patched:
        if how == "asking":
            patched.setattr(Pages, "consent", fail)
            answer = alice.get(url)
        else:
            patched.setattr(server.registry, "authorize", fail)
            answer = alice.submit(page.form("decision"), decision="allow")
    told = answer.parameters
    number = told.pop("error_description").removeprefix("error ")
    assert told == {"error": "server_error", "state": "xyz", "iss": ORIGIN}
    assert number in caplog.text
    assert "inner" not in answer.location
    assert alice.submit(page.form("decision"), decision="allow").parameters["code"]


def test_scopes_that_a_client_cannot_have_are_left_out_and_told(
    server: InProcess, client: Registered, alice: Browser
) -> None:
    heard: list[dict[str, object]] = []
    server.registry.events.listen(
        lambda name, fields: heard.append(dict(fields)) if name == "scopes_left_out" else None
    )
    for _ in range(2):
        page = alice.get(server.authorize_url(client, scope="notes:read notes:wirte openid"))
        assert "Read your notes" in page.text
    assert heard == [
        {"client": client.client_id, "scopes": "notes:wirte", "asked_for": "notes:read", "count": 1}
    ]
