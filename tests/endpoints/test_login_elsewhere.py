"""The way to a login of the application's own, and back."""

from __future__ import annotations

import html
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from ..driving import ORIGIN, Answer, InProcess, Registered


def application_login(**settings: Any) -> tuple[InProcess, list[str | None]]:
    who: list[str | None] = [None]
    chosen = {"password_check": None, "login_url": "/login", **settings}
    return InProcess(user_loader=lambda environ: who[0], **chosen), who


def sent_to(server: InProcess, url: str) -> tuple[str, str]:
    """Where a browser is sent to sign in, and the value of `next`."""
    answer = server.browser().get(url)
    assert answer.status == 302
    where, _, query = answer.location.partition("?next=")
    assert answer.location.count("next=") == 1
    back, _, sent = parse_qs("next=" + query)["next"][0].rpartition("after_login=")
    assert sent == str(int(server.clock()))
    return where, back[:-1]


def test_the_login_of_the_application_gets_a_way_back() -> None:
    server, who = application_login()
    client = server.register()
    query = server.authorize_query(client, state="a b/%+=&x")
    assert sent_to(server, f"{ORIGIN}/oauth/authorize?{query}") == ("/login", f"/oauth/authorize?{query}")
    who[0] = "carol"
    browser = server.browser()
    answer = browser.decide(f"{ORIGIN}/oauth/authorize?{query}")
    assert answer.parameters["state"] == "a b/%+=&x"


@pytest.mark.requirement("AUTHZ-12")
def test_prompt_login_goes_there_once() -> None:
    server, who = application_login()
    client = server.register()
    who[0] = "carol"
    url = server.authorize_url(client, prompt="login consent")
    where, back = sent_to(server, url)
    assert where == "/login"
    assert "prompt=consent" in back
    assert server.browser().get(ORIGIN + back).status == 200


@pytest.mark.parametrize(
    ("settings", "mount", "base", "where", "back"),
    [
        ({}, "/app", ORIGIN + "/app", "/app/login", "/app/oauth/authorize?"),
        ({"issuer": "https://as.example/t1"}, "/t1", None, "/t1/login", "/t1/oauth/authorize?"),
        ({"issuer": "https://as.example/t1"}, "", "https://as.example", "/t1/login", "/t1/oauth/authorize?"),
        (
            {"issuer": "https://as.example"},
            "/inner",
            "https://as.example/inner",
            "/login",
            "/oauth/authorize?",
        ),
        (
            {"login_url": "https://sso.example/in?app=1"},
            "",
            None,
            "https://sso.example/in?app=1&next=",
            "/oauth/authorize?",
        ),
        ({"root_aliases": True}, "", None, "/login", "/authorize?"),
    ],
    ids=["mounted", "issuer and mount", "taken off", "inner mount", "elsewhere", "alias"],
)
def test_the_way_there_and_back_is_the_public_one(
    settings: dict[str, Any], mount: str, base: str | None, where: str, back: str
) -> None:
    server, _ = application_login(mount=mount, **settings)
    origin = base or server.base
    path = back.partition("?")[0].removeprefix("/t1").removeprefix("/app")
    client = registered(server)
    answer = server.browser().get(f"{origin}{path}?{server.authorize_query(client)}")
    assert answer.status == 302
    assert answer.location.startswith(where)
    assert parse_qs(urlsplit(answer.location).query)["next"][0].startswith(back + "response_type=code")


def registered(server: InProcess) -> Registered:
    """A client that is registered wherever the endpoints are."""
    members: dict[str, Any] = {"redirect_uris": ("http://127.0.0.1:4711/callback",), "auth_method": "none"}
    client, _ = server.middleware.server.clients.register({}, **members)
    return Registered(client.client_id)


@pytest.mark.requirement("HTTP-17")
@pytest.mark.requirement("WSGI-01")
def test_the_way_back_is_a_path_whatever_the_request_says() -> None:
    server, _ = application_login(issuer="https://as.example")
    client = server.register()
    spoofed = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "Referer": "https://evil.example/"}
    url = server.authorize_url(client) + "&next=https://evil.example/&x=//evil.example"
    answer = server.browser().get(url, spoofed)
    parts = urlsplit(answer.location)
    assert (parts.scheme, parts.netloc, parts.path) == ("", "", "/login")
    (back,) = parse_qs(parts.query)["next"]
    assert back.startswith("/oauth/authorize?response_type=code&")


def test_a_server_that_does_not_know_where_its_users_sign_in_says_so() -> None:
    server, _ = application_login(login_url=None)
    page = server.browser().get(server.authorize_url(server.register()))
    assert page.status == 403
    assert "OAUTH_LOGIN_URL" in page.text


@pytest.mark.parametrize("login_url", [None, "/login"])
def test_a_server_where_nobody_can_sign_in_sends_no_user_round_in_circles(login_url: str | None) -> None:
    server = InProcess(password_check=None, login_url=login_url)
    page = server.browser().get(server.authorize_url(server.register()))
    assert page.status == 500
    assert "Nobody can sign in here yet" in page.text


def the_way_back(answer: Answer) -> str:
    return parse_qs(urlsplit(answer.location).query)["next"][0]


@pytest.mark.parametrize("page", ["/oauth/authorize", "/oauth/grants"])
def test_a_login_that_the_user_loader_does_not_see_sends_nobody_round_in_circles(
    page: str, caplog: pytest.LogCaptureFixture
) -> None:
    server, who = application_login()
    browser = server.browser()
    query = server.authorize_query(server.register()) if page == "/oauth/authorize" else ""
    first = browser.get(f"{ORIGIN}{page}?{query}")
    assert first.status == 302
    server.clock.forward(30)
    caplog.clear()
    stopped = browser.get(ORIGIN + the_way_back(first))
    assert stopped.status == 403
    assert "this server still does not know you" in stopped.text
    assert [message.partition(" ")[0] for message in caplog.messages] == ["login_not_seen"]
    assert "login_url='/login'" in caplog.text
    # The page has a way to the login, whose way back does not grow, and one that has come to be seen goes on.
    (again,) = re.findall(r'href="(/login[^"]*)"', stopped.text)
    back = parse_qs(urlsplit(html.unescape(again)).query)["next"][0]
    assert back.count("after_login=") == 1
    who[0] = "carol"
    assert browser.get(ORIGIN + back).status == 200


def test_who_comes_back_late_or_by_hand_is_sent_to_the_login(caplog: pytest.LogCaptureFixture) -> None:
    server, _ = application_login()
    url = server.authorize_url(server.register())
    back = ORIGIN + the_way_back(server.browser().get(url))
    server.clock.forward(601)
    for late in (back, f"{url}&after_login=", f"{url}&after_login=x", f"{url}&after_login=99999999999"):
        assert server.browser().get(late).status == 302
    assert "login_not_seen" not in caplog.text


def test_whoever_asks_for_another_login_is_not_taken_for_unseen() -> None:
    server, who = application_login()
    who[0] = "carol"
    url = server.authorize_url(server.register(), prompt="login") + f"&after_login={int(server.clock())}"
    assert server.browser().get(url).status == 302
