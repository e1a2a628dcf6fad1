"""/oauth/login and /oauth/logout, and the way to a login of the application's own."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from ..driving import FORM, ORIGIN, PASSWORD, Browser, Form, InProcess, Registered

LOGIN = ORIGIN + "/oauth/login"


@pytest.fixture
def browser(server: InProcess) -> Browser:
    return server.browser()


# --- signing in -----------------------------------------------------------------------------------


@pytest.mark.requirement("BCP-22")
@pytest.mark.requirement("HTTP-05")
def test_a_login_leads_on_by_303(server: InProcess, client: Registered, browser: Browser) -> None:
    url = server.authorize_url(client)
    answer = browser.sign_in(browser.get(url))
    assert (answer.status, answer.location, answer.body) == (303, url, b"")
    assert answer.headers["Cache-Control"] == "no-store"


def test_a_login_without_a_request_ends_at_the_account(browser: Browser) -> None:
    answer = browser.sign_in(browser.get(LOGIN))
    assert answer.location == LOGIN
    page = browser.get(answer.location)
    assert "alice" in page.text
    assert browser.submit(page.form("continue")).status == 200
    assert "username" in browser.get(LOGIN).form("username").names


@pytest.mark.requirement("AUTHZ-18")
def test_a_request_survives_wrong_passwords(server: InProcess, client: Registered, browser: Browser) -> None:
    url = server.authorize_url(client, state="xyz")
    page = browser.get(url)
    for _ in range(3):
        page = browser.sign_in(page, password="wrong")
        assert page.status == 403
        assert "do not fit together" in page.text
        assert 'value="alice"' in page.text
        assert "wrong" not in page.text
    assert browser.sign_in(page).location == url


@pytest.mark.requirement("AUTHZ-18")
def test_two_tabs_may_sign_in_one_after_the_other(
    server: InProcess, client: Registered, browser: Browser
) -> None:
    one, two = (server.authorize_url(client, state=state) for state in ("one", "two"))
    first, second = browser.get(one), browser.get(two)
    assert browser.sign_in(first).location == one
    # The second form was sealed for a browser in which nobody was signed in.
    assert browser.sign_in(second, password="not looked at").location == two


@pytest.mark.requirement("HTTP-17")
def test_a_form_that_is_out_of_date_leads_nowhere_but_to_the_request_it_was_for(
    server: InProcess, client: Registered, browser: Browser
) -> None:
    url = server.authorize_url(client)
    query = urlsplit(url).query
    browser.get(LOGIN)
    page = browser.post(f"{LOGIN}?{query}", {"continue": "void", "username": "alice", "password": PASSWORD})
    assert page.status == 403
    assert browser.sign_in(page).location == url
    evil = browser.post(f"{LOGIN}?next=https://evil.example", {"continue": "void"})
    assert evil.location == LOGIN


def test_a_folder_of_templates_replaces_single_pages(tmp_path: Path) -> None:
    (tmp_path / "login.html").write_text(
        '{% extends "oauth_refresh/login.html" %}{% block foot %}Call extension 7 if in doubt.{% endblock %}'
    )
    browser = InProcess(template_folder=str(tmp_path)).browser()
    page = browser.get(LOGIN)
    assert "Call extension 7 if in doubt." in page.text
    assert "alice" in browser.get(browser.sign_in(page).location).text


@pytest.mark.requirement("UI-10")
def test_nothing_tells_which_names_there_are() -> None:
    known = {"alice": PASSWORD}
    server = InProcess(password_check=lambda name, word: known.get(name) == word)
    pages = []
    for name in ("alice", "nobody"):
        browser = server.browser()
        page = browser.sign_in(browser.get(LOGIN), name, "wrong")
        form = page.form("username")
        text = page.text.replace(name, "NAME").replace(form.hidden["continue"], "SEALED")
        nonce = page.headers["Content-Security-Policy"].partition("'nonce-")[2].partition("'")[0]
        pages.append((page.status, text.replace(nonce, "NONCE")))
    assert pages[0] == pages[1]


@pytest.mark.requirement("UI-11")
def test_the_cookie_changes_with_the_login_and_the_old_one_dies(server: InProcess, browser: Browser) -> None:
    before = cookie_of(browser.get(LOGIN))
    answer = browser.sign_in(browser.get(LOGIN))
    after = cookie_of(answer)
    assert before != after
    stolen = {"Cookie": f"oauth_refresh={before}"}
    assert "username" in server.get("/oauth/login", stolen).form("username").names
    kept = {"Cookie": f"oauth_refresh={after}"}
    assert "alice" in server.get("/oauth/login", kept).text
    browser.submit(browser.get(LOGIN).form("continue"))
    assert "alice" not in server.get("/oauth/login", kept).text


def cookie_of(answer: Any) -> str:
    (header,) = answer.headers.getlist("Set-Cookie")
    return str(header.partition("=")[2].partition(";")[0])


# --- whose form is it? ----------------------------------------------------------------------------


@pytest.mark.requirement("UI-05")
def test_nobody_is_signed_in_by_a_form_from_elsewhere(server: InProcess, browser: Browser) -> None:
    form = server.browser().get(LOGIN).form("username")
    browser.get(LOGIN)
    answer = browser.submit(form, username="mallory", password=PASSWORD)
    assert answer.status == 403
    assert "out of date" in answer.text
    assert "mallory" not in browser.get(LOGIN).text
    again = browser.sign_in(answer)
    assert again.status == 303


@pytest.mark.requirement("UI-05")
def test_an_attempt_by_a_foreign_form_does_not_even_look_at_the_password() -> None:
    asked = []
    server = InProcess(password_check=lambda name, word: asked.append(name))
    form = Form(LOGIN, {"continue": "x"}, set())
    browser = server.browser()
    assert browser.submit(form, username="alice", password="x").status == 303
    browser.get(LOGIN)
    assert browser.submit(form, username="alice", password="x").status == 403
    assert asked == []


@pytest.mark.requirement("UI-05")
def test_a_form_from_another_site_signs_nobody_out(
    server: InProcess, client: Registered, alice: Browser
) -> None:
    # Browsers send such a request without the cookie, and would take a new one from the answer.
    for query in ("", "?" + server.authorize_query(client)):
        answer = server.post(f"/oauth/login{query}", {"continue": "x", "username": "a", "password": "b"})
        assert answer.status == 303
        assert answer.location == ORIGIN + ("/oauth/authorize" + query if query else "/oauth/login")
        assert "Set-Cookie" not in answer.headers
    for path in ("/oauth/logout", "/oauth/authorize"):
        assert "Set-Cookie" not in server.post(path, {"continue": "x", "request": "x"}).headers
    assert "alice" in alice.get(LOGIN).text


@pytest.mark.requirement("GEN-06")
@pytest.mark.parametrize("name", ["continue", "username", "password"])
def test_a_field_that_comes_twice_is_refused(browser: Browser, name: str) -> None:
    form = browser.get(LOGIN).form("username")
    fields = {**form.hidden, "username": "alice", "password": PASSWORD}
    twice = urlencode([*fields.items(), (name, fields[name])])
    for path in ("login", "logout") if name == "continue" else ("login",):
        answer = browser.send("POST", f"{ORIGIN}/oauth/{path}", twice.encode(), {"Content-Type": FORM})
        assert answer.status == 400
        assert f"{name}: must occur only once" in answer.text
    assert browser.submit(form, username="alice", password=PASSWORD).status == 303


@pytest.mark.requirement("HTTP-17")
@pytest.mark.parametrize("name", ["next", "continue", "redirect", "return_to", "url", "query"])
@pytest.mark.parametrize(
    "value", ["https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:x"]
)
def test_no_parameter_says_where_to_go(browser: Browser, name: str, value: str) -> None:
    page = browser.get(f"{LOGIN}?{name}={value}")
    form = page.form("username")
    answer = browser.post(
        f"{LOGIN}?{name}={value}", {name: value, **form.hidden, "username": "alice", "password": PASSWORD}
    )
    assert answer.location == LOGIN
    assert "evil" not in page.text


@pytest.mark.requirement("HTTP-17")
def test_what_is_sealed_cannot_be_changed(server: InProcess, client: Registered, browser: Browser) -> None:
    form = browser.get(server.authorize_url(client)).form("username")
    sealed = form.hidden["continue"]
    for value in (sealed + "x", "x" + sealed, sealed[:-2], sealed.swapcase(), "", "https://evil.example/"):
        changed = Form(form.action, {"continue": value}, set())
        assert browser.submit(changed, username="alice", password=PASSWORD).status == 403
    assert browser.submit(form, username="alice", password=PASSWORD).status == 303


@pytest.mark.requirement("HTTP-17")
@pytest.mark.parametrize(
    "query",
    [
        "client=x&redirect=https://evil.example/",
        "@evil.example/",
        "\\evil",
        "%0d%0aLocation:x",
        "\"<>'",
    ],
)
def test_a_query_that_leads_on_stays_a_query_of_ours(server: InProcess, query: str) -> None:
    client = server.register()
    browser = server.browser()
    environ = server.environ("GET", server.authorize_url(client))
    environ["QUERY_STRING"] += "&x=" + query
    page = server.call(environ)
    assert page.status == 200
    browser.send = with_cookie(server, cookie_of(page))
    location = browser.sign_in(page).location
    parts = urlsplit(location)
    assert (parts.scheme, parts.netloc, parts.path) == ("http", "localhost:8000", "/oauth/authorize")
    assert parse_qs(parts.query)["client_id"] == [client.client_id]
    assert location.isascii()
    assert not set(location) & set('\r\n"<> \\')


def with_cookie(server: InProcess, cookie: str) -> Any:
    def send(method: str, url: str, body: bytes, headers: Any) -> Any:
        return server.call(
            server.environ(method, url, body, {**headers, "Cookie": f"oauth_refresh={cookie}"})
        )

    return send


@pytest.mark.requirement("UI-05")
def test_logging_out_takes_a_form_of_this_browser(server: InProcess, browser: Browser) -> None:
    browser.sign_in(browser.get(LOGIN))
    for form in (
        Form(ORIGIN + "/oauth/logout", {"continue": "x"}, set()),
        server.browser().get(LOGIN).form("username"),
    ):
        answer = browser.submit(Form(ORIGIN + "/oauth/logout", form.hidden, set()))
        assert (answer.status, "Nobody was signed out" in answer.text) == (403, True)
    assert "alice" in browser.get(LOGIN).text


# --- guessing -------------------------------------------------------------------------------------


@pytest.mark.requirement("UI-10")
@pytest.mark.requirement("HTTP-13")
def test_guessing_is_stopped_for_the_account_and_not_for_others(
    server: InProcess, browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    page = browser.get(LOGIN)
    for _ in range(10):
        page = browser.sign_in(page, password="wrong")
        assert page.status == 403
    for password in ("wrong", PASSWORD):
        page = browser.sign_in(page, password=password)
        assert (page.status, page.headers["Retry-After"]) == (429, "900")
        assert "Try again in 15 min" in page.text
    assert caplog.messages == ["login_locked username='alice' wait=900"] * 2
    other = server.browser()
    assert other.sign_in(other.get(LOGIN), "bob").status == 303
    server.clock.forward(900)
    assert browser.sign_in(page).status == 303


@pytest.mark.requirement("UI-10")
def test_a_right_password_forgets_the_wrong_ones(browser: Browser) -> None:
    for _ in range(3):
        page = browser.get(LOGIN)
        for _ in range(9):
            page = browser.sign_in(page, password="wrong")
        assert browser.sign_in(page).status == 303
        browser.submit(browser.get(LOGIN).form("continue"))


@pytest.mark.requirement("UI-10")
@pytest.mark.requirement("OPS-01")
def test_an_address_is_counted_only_where_trusted_proxies_name_it() -> None:
    proxied = {"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": "198.51.100.1, 203.0.113.7"}
    for proxies, last in ((["10.0.0.0/8"], 429), ([], 403)):
        server = InProcess(trusted_proxies=proxies, extra=proxied)
        browser = server.browser()
        page = browser.get(LOGIN)
        for number in range(100):
            page = browser.sign_in(page, f"user{number}", "wrong")
            assert page.status == 403
        # What a client writes before its own address does not make it another one.
        server.extra = {**proxied, "HTTP_X_FORWARDED_FOR": "192.0.2.1, 203.0.113.7"}
        assert browser.sign_in(page, "another", "wrong").status == last
        server.extra = {**proxied, "HTTP_X_FORWARDED_FOR": "203.0.113.8"}
        assert browser.sign_in(page, "another").status == 303


@pytest.mark.requirement("UI-10")
@pytest.mark.requirement("OPS-01")
def test_guesses_from_one_network_of_ipv6_are_counted_together() -> None:
    server = InProcess(trusted_proxies=["10.0.0.1"], extra={"REMOTE_ADDR": "10.0.0.1"})
    browser = server.browser()
    page = browser.get(LOGIN)
    statuses = []
    for number in range(101):
        server.extra["HTTP_X_FORWARDED_FOR"] = f"2001:db8:0:1::{number:x}"
        page = browser.sign_in(page, f"user{number}", "wrong")
        statuses.append(page.status)
    assert statuses == [403] * 100 + [429]
    server.extra["HTTP_X_FORWARDED_FOR"] = "2001:db8:0:2::1"
    assert browser.sign_in(page, "another").status == 303


def test_a_right_password_costs_the_address_nothing() -> None:
    server = InProcess(trusted_proxies=["10.0.0.1"])
    server.extra = {"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": "203.0.113.7"}
    for number in range(101):
        browser = server.browser()
        assert browser.sign_in(browser.get(LOGIN), f"user{number}").status == 303


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"username": "x" * 256, "password": "x"}, 400),
        ({"username": "x", "password": "x" * 1025}, 400),
        ({"username": "x" * 255, "password": "x" * 1024}, 403),
        ({}, 403),
        ({"username": "a\0b\nc", "password": "x"}, 403),
    ],
)
def test_names_and_passwords_have_an_end(browser: Browser, fields: dict[str, str], status: int) -> None:
    form = browser.get(LOGIN).form("username")
    assert browser.submit(form, **fields).status == status


@pytest.mark.requirement("OPS-05")
@pytest.mark.requirement("GEN-21")
@pytest.mark.requirement("WSGI-15")
def test_logins_are_events_without_passwords(browser: Browser, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    page = browser.sign_in(browser.get(LOGIN), "al\nice", "a secret word")
    browser.sign_in(page, "alice")
    assert caplog.messages == ["login_failed ", "login subject='alice'"]
    assert "secret word" not in caplog.text


def test_without_users_there_is_no_login_page() -> None:
    server = InProcess(password_check=None, user_loader=lambda environ: None)
    assert server.get("/oauth/login").status == 404
    assert server.post("/oauth/login", {"username": "a", "password": "b"}).status == 404
