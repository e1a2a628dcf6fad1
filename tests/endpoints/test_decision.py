"""POST /oauth/authorize: the user's decision, and everybody who would like to make it instead."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ..driving import ORIGIN, REDIRECT, Answer, Browser, Form, InProcess, Registered, check_password


def consent(server: InProcess, browser: Browser, client: Registered, **fields: str) -> Form:
    return browser.get(server.authorize_url(client, **fields)).form("decision")


def out_of_date(answer: Answer) -> bool:
    return (
        answer.status == 403
        and "This page is out of date" in answer.text
        and "Location" not in answer.headers
    )


def grants(server: InProcess) -> int:
    return len(list(server.registry.list()))


# --- whose form is it? ----------------------------------------------------------------------------


@pytest.mark.requirement("UI-05")
@pytest.mark.requirement("BCP-20")
@pytest.mark.parametrize("decision", ["allow", "deny"])
def test_a_form_is_worth_nothing_in_another_browser(
    server: InProcess, client: Registered, alice: Browser, decision: str
) -> None:
    form = consent(server, alice, client)
    others = {
        "no cookie": server.browser(),
        "not signed in": server.browser(),
        "same user": server.signed_in("alice"),
        "other user": server.signed_in("mallory"),
    }
    others["not signed in"].get(server.base + "/oauth/login")
    for browser in others.values():
        assert out_of_date(browser.submit(form, decision=decision))
    assert grants(server) == 0
    assert alice.submit(form, decision="allow").parameters["code"]


@pytest.mark.requirement("UI-05")
@pytest.mark.requirement("UI-11")
def test_a_form_is_worth_nothing_after_another_login_in_the_same_browser(
    server: InProcess, client: Registered, alice: Browser
) -> None:
    form = consent(server, alice, client)
    login = server.authorize_url(client, prompt="login")
    for username in ("mallory", "alice"):
        alice.sign_in(alice.get(login), username)
        assert out_of_date(alice.submit(form, decision="allow"))
    assert grants(server) == 0


@pytest.mark.requirement("UI-05")
def test_a_form_is_worth_nothing_after_logging_out(
    server: InProcess, client: Registered, alice: Browser
) -> None:
    page = alice.get(server.authorize_url(client))
    switch, form = page.form("continue"), page.form("decision")
    assert alice.submit(switch).status == 303
    assert out_of_date(alice.submit(form, decision="allow"))


@pytest.mark.requirement("UI-05")
def test_an_attacker_cannot_plant_the_form_of_his_own_request(
    server: InProcess, client: Registered, alice: Browser
) -> None:
    evil = server.register(redirect_uris=["https://evil.example/cb"])
    planted = consent(server, server.signed_in("mallory"), evil)
    mine = consent(server, alice, client)
    assert out_of_date(alice.submit(planted, decision="allow"))
    mixed = Form(mine.action, {**mine.hidden, **planted.hidden}, mine.names)
    assert out_of_date(alice.submit(mixed, decision="allow"))
    assert alice.submit(mine, decision="allow").location.startswith(REDIRECT)


@pytest.mark.requirement("AUTHZ-17")
@pytest.mark.requirement("UI-05")
@pytest.mark.parametrize(
    "change", [str.upper, lambda text: text[:-1], lambda text: "x" + text, lambda text: ""]
)
def test_a_form_that_was_changed_is_worth_nothing(
    server: InProcess, client: Registered, alice: Browser, change: Any
) -> None:
    form = consent(server, alice, client)
    changed = {"request": change(form.hidden["request"])}
    assert out_of_date(alice.submit(Form(form.action, changed, set()), decision="allow"))
    assert alice.submit(form, decision="allow").parameters["code"]


@pytest.mark.requirement("AUTHZ-17")
def test_fields_that_the_form_does_not_have_change_nothing(
    server: InProcess, client: Registered, alice: Browser
) -> None:
    form = consent(server, alice, client, scope="notes:read")
    more = {
        "scope": "notes:read notes:write",
        "redirect_uri": "https://evil.example/",
        "client_id": "other",
        "code_challenge": "x" * 43,
        "state": "other",
        "subject": "admin",
    }
    answer = alice.submit(form, decision="allow", **more)
    assert answer.location.startswith(REDIRECT)
    assert answer.parameters["state"] == "s"
    tokens = server.redeem(client, answer.parameters["code"]).json
    assert tokens["scope"] == "notes:read"
    assert server.api(tokens["access_token"]).json["subject"] == "alice"


@pytest.mark.requirement("UI-05")
def test_forms_of_one_kind_are_not_forms_of_another(
    server: InProcess, client: Registered, alice: Browser
) -> None:
    page = alice.get(server.authorize_url(client))
    logout, decision = page.form("continue"), page.form("decision")
    as_decision = Form(decision.action, {"request": logout.hidden["continue"]}, set())
    assert out_of_date(alice.submit(as_decision, decision="allow"))
    as_logout = Form(logout.action, {"continue": decision.hidden["request"]}, set())
    assert alice.submit(as_logout).status == 403
    assert alice.submit(decision, decision="allow").parameters["code"]


@pytest.mark.requirement("AUTHZ-01")
@pytest.mark.requirement("UI-05")
def test_an_authorization_request_by_post_issues_nothing(
    server: InProcess, client: Registered, alice: Browser
) -> None:
    fields = dict(pair.split("=") for pair in server.authorize_query(client).split("&"))
    assert out_of_date(alice.post(server.base + "/oauth/authorize", {**fields, "decision": "allow"}))
    assert grants(server) == 0


@pytest.mark.requirement("GEN-06")
@pytest.mark.parametrize("name", ["request", "decision"])
def test_a_field_that_comes_twice_is_refused(
    server: InProcess, client: Registered, alice: Browser, name: str
) -> None:
    form = consent(server, alice, client)
    fields = {**form.hidden, "decision": "deny"}
    twice = "&".join(f"{key}={value}" for key, value in [*fields.items(), (name, "allow")])
    answer = alice.send(
        "POST", form.action, twice.encode(), {"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert answer.status == 400
    assert grants(server) == 0


@pytest.mark.requirement("OPS-07")
def test_a_form_of_one_issuer_is_worth_nothing_at_another(
    server: InProcess, client: Registered, alice: Browser
) -> None:
    form = consent(server, alice, client)
    elsewhere = Form("http://127.0.0.1:8000/oauth/authorize", form.hidden, set())
    assert out_of_date(alice.submit(elsewhere, decision="allow"))


# --- in time --------------------------------------------------------------------------------------


@pytest.mark.requirement("AUTHZ-18")
def test_a_page_can_be_answered_for_ten_minutes(
    server: InProcess, client: Registered, alice: Browser
) -> None:
    form = consent(server, alice, client)
    server.clock.forward(599)
    assert alice.submit(form, decision="allow").parameters["code"]
    server.clock.forward(1)
    assert out_of_date(alice.submit(form, decision="allow"))


@pytest.mark.requirement("AUTHZ-18")
def test_a_login_that_ran_out_meanwhile_ends_the_page(
    server: InProcess, client: Registered, alice: Browser
) -> None:
    server.clock.forward(3599)
    page = alice.get(server.authorize_url(client))
    server.clock.forward(300)
    assert alice.submit(page.form("decision"), decision="allow").parameters["code"]
    server.clock.forward(12 * 3600)
    assert out_of_date(alice.submit(page.form("decision"), decision="allow"))


def test_a_client_that_is_gone_meanwhile_is_told_to_the_user(
    server: InProcess, client: Registered, alice: Browser
) -> None:
    form = consent(server, alice, client)
    backend = server.registry.backend
    key = b"c" + client.client_id.encode()
    backend.swap(key, backend.get(key), None)
    answer = alice.submit(form, decision="allow")
    assert answer.status == 400
    assert "no longer registered" in answer.text
    assert grants(server) == 0


# --- once and again -------------------------------------------------------------------------------


@pytest.mark.requirement("Q-31")
@pytest.mark.requirement("UI-06")
@pytest.mark.requirement("AUTHZ-19")
def test_the_first_of_two_renderings_still_works(
    server: InProcess, client: Registered, alice: Browser
) -> None:
    first, second = (consent(server, alice, client) for _ in range(2))
    codes = [alice.submit(form, decision="allow").parameters["code"] for form in (first, second)]
    assert [server.redeem(client, code).status for code in codes] == [200, 200]


@pytest.mark.requirement("Q-31")
@pytest.mark.requirement("UI-06")
def test_a_form_that_is_sent_twice_gets_one_code(
    server: InProcess, client: Registered, alice: Browser
) -> None:
    form = consent(server, alice, client)
    answers = [alice.submit(form, decision="allow") for _ in range(2)]
    assert answers[0] == answers[1]
    assert grants(server) == 1
    assert server.redeem(client, answers[0].parameters["code"]).status == 200
    # Also after the code was redeemed: no second one, no error that hides the first.
    assert alice.submit(form, decision="allow") == answers[0]
    assert grants(server) == 1


@pytest.mark.requirement("UI-06")
@pytest.mark.requirement("WSGI-12")
def test_a_form_that_is_sent_many_times_at_once_gets_one_code(
    server: InProcess, client: Registered, alice: Browser
) -> None:
    form = consent(server, alice, client)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: alice.submit(form, decision="allow").location, range(8)))
    assert len(set(answers)) == 1
    assert grants(server) == 1


@pytest.mark.requirement("UI-06")
@pytest.mark.requirement("UI-07")
def test_whoever_thinks_better_of_it_takes_back_what_was_allowed(
    server: InProcess, client: Registered, alice: Browser
) -> None:
    form = consent(server, alice, client)
    kept = server.tokens(client)
    code = alice.submit(form, decision="allow").parameters["code"]
    tokens = server.redeem(client, code).json
    assert alice.submit(form, decision="deny").parameters["error"] == "access_denied"
    assert server.api(tokens["access_token"]).status == 401
    assert server.refresh(client, tokens["refresh_token"]).json["error"] == "invalid_grant"
    again = alice.submit(form, decision="allow").parameters["code"]
    assert server.redeem(client, again).json["error"] == "invalid_grant"
    assert server.api(kept["access_token"]).status == 200


@pytest.mark.requirement("UI-07")
def test_a_denial_stores_nothing(server: InProcess, client: Registered, alice: Browser) -> None:
    form = consent(server, alice, client)
    for decision in ("deny", "", "Allow", "x"):
        assert alice.submit(form, decision=decision).parameters["error"] == "access_denied"
    assert grants(server) == 0
    assert alice.submit(form, decision="allow").parameters["code"]


# --- what the page says ---------------------------------------------------------------------------


@pytest.mark.requirement("UI-03")
@pytest.mark.requirement("UI-04")
@pytest.mark.requirement("RES-10")
@pytest.mark.requirement("HTTP-07")
def test_the_page_says_who_asks_for_what_and_where_it_leads(
    server: InProcess, client: Registered, alice: Browser
) -> None:
    page = alice.get(server.authorize_url(client, scope="notes:write", resource=ORIGIN + "/api"))
    for shown in ("Probe", "Nobody has checked it", "alice", "Change your notes", ORIGIN + "/api"):
        assert shown in page.text
    assert "Read your notes" not in page.text
    assert "<bdi>127.0.0.1:" in page.text
    assert "Any program on this computer could be asking" in page.text
    policy = page.headers["Content-Security-Policy"]
    assert "form-action 'self' http://127.0.0.1:4711" in policy


@pytest.mark.requirement("HTTP-07")
@pytest.mark.parametrize(
    ("uri", "source"),
    [
        ("https://app.example/cb", "https://app.example"),
        ("cursor://host/cb", "cursor:"),
        ("com.example.app:/cb", "com.example.app:"),
        ("http://[::1]:4711/cb", "http:"),
    ],
)
def test_the_form_may_lead_to_the_redirect_uri(
    server: InProcess, alice: Browser, uri: str, source: str
) -> None:
    url = server.authorize_url(server.register(redirect_uris=[uri]))
    for page in (server.browser().get(url), alice.get(url)):
        policy = page.headers["Content-Security-Policy"]
        assert f"form-action 'self' {source}" in policy


@pytest.mark.requirement("UI-08")
@pytest.mark.requirement("GEN-21")
@pytest.mark.parametrize(
    "name",
    [
        "<img src=x onerror=alert(1)>",
        '"><script>',
        "a\u202eb\u2066c",
        "x\r\nSet-Cookie: a=b",
        "\0",
    ],
)
def test_a_hostile_name_is_only_text(server: InProcess, alice: Browser, name: str) -> None:
    client = server.register(client_name=name)
    for browser in (server.browser(), alice):
        page = browser.get(
            server.authorize_url(client, state=name if name.isascii() and name.isprintable() else "s")
        )
        assert page.status == 200
        assert name not in page.text
        assert "<img" not in page.text
        assert "<script" not in page.text
        assert "a=b" not in page.headers.get("Set-Cookie", "")


@pytest.mark.requirement("UI-12")
def test_no_page_needs_a_script(server: InProcess, client: Registered, alice: Browser) -> None:
    page = alice.get(server.authorize_url(client))
    assert "<script" not in page.text
    assert "script-src" not in page.headers["Content-Security-Policy"]


def test_another_account_can_be_chosen(server: InProcess, client: Registered, alice: Browser) -> None:
    page = alice.get(server.authorize_url(client, state="xyz"))
    answer = alice.submit(page.form("continue"))
    assert answer.status == 303
    login = alice.get(answer.location)
    back = alice.sign_in(login, "bob")
    page = alice.get(back.location)
    assert "bob" in page.text
    answer = alice.submit(page.form("decision"), decision="allow")
    assert answer.parameters["state"] == "xyz"
    tokens = server.redeem(client, answer.parameters["code"]).json
    assert server.api(tokens["access_token"]).json["subject"] == "bob"


def test_a_user_of_the_application_cannot_be_changed_here() -> None:
    for check in (None, check_password):
        server = InProcess(user_loader=lambda environ: "carol", password_check=check, login_url="/login")
        page = server.browser().get(server.authorize_url(server.register()))
        assert [form.names for form in page.forms] == [{"request", "decision"}]


@pytest.mark.requirement("UI-05")
def test_with_the_login_of_the_application_the_form_is_bound_to_its_user() -> None:
    who: list[str | None] = ["carol"]
    server = InProcess(user_loader=lambda environ: who[0], password_check=None, login_url="/login")
    client = server.register()
    browser = server.browser()
    form = consent(server, browser, client)
    assert out_of_date(server.browser().submit(form, decision="allow"))
    for user in ("mallory", None):
        who[0] = user
        assert out_of_date(browser.submit(form, decision="allow"))
    who[0] = "carol"
    assert browser.submit(form, decision="allow").parameters["code"]


def test_the_cookie_of_the_page_carries_no_more_than_a_name(server: InProcess, client: Registered) -> None:
    answer = server.browser().get(server.authorize_url(client))
    (cookie,) = answer.headers.getlist("Set-Cookie")
    assert cookie.startswith("oauth_refresh=")
    assert cookie.endswith("; HttpOnly; Path=/; SameSite=Lax")
    secure = InProcess(issuer="https://as.example")
    (cookie,) = secure.get("/oauth/login").headers.getlist("Set-Cookie")
    assert cookie.startswith("__Host-oauth_refresh=")
    assert cookie.endswith("; Secure; HttpOnly; Path=/; SameSite=Lax")


# --- a challenge that comes back ------------------------------------------------------------------


@pytest.fixture
def wary() -> InProcess:
    return InProcess(unique_challenges=True)


@pytest.mark.requirement("PKCE-10")
@pytest.mark.requirement("BCP-04")
def test_a_challenge_serves_one_authorization_of_a_client_where_that_is_asked_for(wary: InProcess) -> None:
    client, alice = wary.register(), wary.signed_in("alice")
    form = consent(wary, alice, client)
    code = alice.submit(form, decision="allow").parameters["code"]
    again = alice.submit(consent(wary, alice, client), decision="allow").parameters
    assert (again["error"], "code" in again) == ("invalid_request", False)
    # The same form once more is no second authorization, and the first one is as good as before.
    assert alice.submit(form, decision="allow").parameters["code"] == code
    assert wary.redeem(client, code).status == 200


def test_a_challenge_may_come_back_from_another_client_and_after_a_day(wary: InProcess) -> None:
    client, other, alice = wary.register(), wary.register(client_name="Another"), wary.signed_in("alice")
    for asking in (client, other):
        code = alice.submit(consent(wary, alice, asking), decision="allow").parameters["code"]
        assert wary.redeem(asking, code).status == 200
    wary.clock.now += 86_400
    alice = wary.signed_in("alice")
    assert alice.submit(consent(wary, alice, client), decision="allow").parameters["code"]


def test_a_challenge_may_come_back_by_default(server: InProcess, client: Registered, alice: Browser) -> None:
    for _ in range(2):
        assert alice.submit(consent(server, alice, client), decision="allow").parameters["code"]
