"""When does the authorization endpoint show a page, and which? Logins, prompts, and clients one can trust."""

from __future__ import annotations

from typing import Any

import pytest

from ..driving import REDIRECT, Browser, InProcess, Registered
from .test_authorize import CLIENTS, WEB


@pytest.fixture
def server() -> InProcess:
    return InProcess(clients=CLIENTS)


# --- nobody is sent to a stranger -----------------------------------------------------------------


@pytest.mark.requirement("AUTHZ-14")
@pytest.mark.requirement("BCP-02")
def test_a_browser_without_a_login_is_not_bounced_to_whoever_registered(
    server: InProcess, client: Registered
) -> None:
    browser = server.browser()
    wrong = server.authorize_url(client, scope="admin")
    page = browser.get(wrong)
    assert page.status == 200
    assert "Location" not in page.headers
    back = browser.get(browser.sign_in(page).location)
    assert back.parameters["error"] == "invalid_scope"


@pytest.mark.requirement("AUTHZ-14")
def test_a_client_of_the_operator_hears_its_mistakes_at_once(server: InProcess) -> None:
    for asking in (WEB, Registered("public", None, "https://public.example/cb")):
        answer = server.browser().get(server.authorize_url(asking, scope="admin"))
        assert answer.parameters["error"] == "invalid_scope"


@pytest.mark.requirement("AUTHZ-12")
@pytest.mark.requirement("AUTHZ-14")
@pytest.mark.parametrize("fields", [{}, {"scope": "admin"}])
def test_without_a_page_a_stranger_is_a_link_away(
    server: InProcess, client: Registered, fields: dict[str, str]
) -> None:
    page = server.browser().get(server.authorize_url(client, prompt="none", **fields))
    assert page.status == 400
    assert "Location" not in page.headers
    assert page.forms == []
    assert f'href="{REDIRECT}?error=' in page.text
    assert "127.0.0.1" in page.text


# --- prompt ---------------------------------------------------------------------------------------


@pytest.mark.requirement("AUTHZ-12")
def test_prompt_none_shows_no_page(server: InProcess, client: Registered, alice: Browser) -> None:
    answer = server.browser().get(server.authorize_url(WEB, prompt="none"))
    assert answer.parameters["error"] == "login_required"
    for asking in (client, WEB):
        answer = alice.get(server.authorize_url(asking, prompt="none"))
        assert answer.parameters["error"] == "consent_required"


@pytest.mark.requirement("AUTHZ-12")
@pytest.mark.parametrize("prompt", ["login", "consent login", "login login"])
def test_prompt_login_asks_for_the_password_once_more(
    server: InProcess, client: Registered, alice: Browser, prompt: str
) -> None:
    page = alice.get(server.authorize_url(client, prompt=prompt))
    answer = alice.sign_in(page)
    assert answer.status == 303
    page = alice.get(answer.location)
    assert alice.submit(page.form("decision"), decision="allow").parameters["state"] == "s"


@pytest.mark.requirement("AUTHZ-12")
@pytest.mark.parametrize("prompt", ["consent", "select_account", "create", "x", " "])
def test_other_prompts_lead_to_the_consent_page(
    server: InProcess, client: Registered, alice: Browser, prompt: str
) -> None:
    page = alice.get(server.authorize_url(client, prompt=prompt))
    assert "decision" in page.form("decision").names


@pytest.mark.requirement("AUTHZ-12")
def test_prompt_login_is_ignored_where_nobody_can_be_asked() -> None:
    server = InProcess(trust_remote_user=True, password_check=None, extra={"REMOTE_USER": "carol"})
    client = server.register()
    assert server.browser().decide(server.authorize_url(client, prompt="login")).parameters["code"]


# --- clients that the operator vouches for --------------------------------------------------------

TRUSTED = {
    "web": {"client_secret": "s", "redirect_uris": ["https://web.example/cb"], "trusted": True},
    "spa": {"redirect_uris": ["https://spa.example/cb"], "trusted": True},
    "cli": {"redirect_uris": ["http://127.0.0.1/cb"], "trusted": True},
    "app": {"redirect_uris": ["com.example.app:/cb"], "trusted": True},
}


def trusted(name: str) -> tuple[InProcess, Browser, Registered]:
    server = InProcess(clients=TRUSTED)
    browser = server.signed_in("alice")
    uris: Any = TRUSTED[name]["redirect_uris"]
    return server, browser, Registered(name, None, uris[0])


@pytest.mark.requirement("UI-02")
@pytest.mark.parametrize("name", ["web", "spa"])
def test_a_trusted_client_that_can_prove_itself_needs_no_consent(name: str) -> None:
    server, browser, client = trusted(name)
    answer = browser.get(server.authorize_url(client))
    assert (answer.status, list(answer.parameters)) == (303, ["code", "state", "iss"])
    assert browser.get(server.authorize_url(client, prompt="none")).parameters["code"]
    assert server.browser().get(server.authorize_url(client)).forms[0].names >= {"username"}


@pytest.mark.requirement("UI-01")
@pytest.mark.parametrize("name", ["cli", "app"])
def test_a_client_that_anybody_can_claim_to_be_always_asks(name: str) -> None:
    server, browser, client = trusted(name)
    for _ in range(2):
        page = browser.get(server.authorize_url(client))
        assert page.status == 200
        answer = browser.submit(page.form("decision"), decision="allow")
        assert "code=" in answer.location


@pytest.mark.requirement("UI-01")
def test_a_registered_client_always_asks(server: InProcess, client: Registered, alice: Browser) -> None:
    for _ in range(2):
        page = alice.get(server.authorize_url(client))
        assert page.status == 200
        alice.submit(page.form("decision"), decision="allow")


@pytest.mark.requirement("AUTHZ-12")
@pytest.mark.requirement("AUTHZ-19")
@pytest.mark.parametrize(
    ("method", "prompt", "headers"),
    [
        ("GET", "consent", {}),
        ("HEAD", None, {}),
        ("GET", None, {"Sec-Purpose": "prefetch;prerender"}),
        ("GET", None, {"Purpose": "prefetch"}),
        ("GET", None, {"X-Moz": "prefetch"}),
    ],
)
def test_a_trusted_client_gets_no_code_by_a_guess_or_where_it_asks_for_the_page(
    method: str, prompt: str | None, headers: dict[str, str]
) -> None:
    server, browser, client = trusted("web")
    answer = browser.send(method, server.authorize_url(client, prompt=prompt), b"", headers)
    assert answer.status == 200
    assert list(server.registry.list()) == []


@pytest.mark.parametrize("scheme", ["https", "HTTPS", "Https"])
def test_a_web_site_is_no_app_however_its_scheme_is_written(scheme: str) -> None:
    server = InProcess()
    client = server.register(redirect_uris=[f"{scheme}://app.example/cb"])
    page = server.browser().consent_page(server.authorize_url(client))
    assert "Then takes you to" in page.text
    assert "opens an app on this device" not in page.text
