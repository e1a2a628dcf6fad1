"""Can people do what they came for? Every page of a running server, used by hand in a real browser."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests
from playwright.sync_api import Browser, Page
from werkzeug.wrappers import Request, Response

from oauth_refresh import OAuthMiddleware
from tests.browser.axe import violations
from tests.browser.conftest import Serve

pytestmark = pytest.mark.browser

PASSWORD = "a right one"
VERIFIER = "v" * 43
CHALLENGE = urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()


class Site(NamedTuple):
    """A server, and a client of it at its own address."""

    middleware: OAuthMiddleware
    origin: str
    client: str
    client_id: str

    @property
    def authorize(self) -> str:
        query = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": f"{self.client}/cb",
            "scope": "notes:read",
            "state": "s",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
        }
        return f"{self.origin}/oauth/authorize?{urlencode(query)}"

    def connect(self, subject: str) -> str:
        """A grant of this user, without a browser: its access token."""
        return self.middleware.registry.create_with_refresh(
            subject, ["notes:read"], client_id=self.client_id
        ).access_token


@pytest.fixture
def site(serve: Serve) -> Site:
    middleware = OAuthMiddleware(
        Response("the application"),
        environ={},
        registry="memory:",
        protect={"/api": ""},
        scopes={"notes:read": "Read your notes"},
        password_check=lambda name, password: password == PASSWORD,
        service_name="Example Notes",
        admins="olga",
    )
    client = serve(Request.application(lambda request: Response("at the client")))
    origin = serve(middleware)
    metadata = {
        "client_name": "Reader",
        "redirect_uris": [f"{client}/cb"],
        "token_endpoint_auth_method": "none",
    }
    registered = requests.post(f"{origin}/oauth/register", json=metadata, timeout=10).json()
    return Site(middleware, origin, client, registered["client_id"])


@pytest.fixture(params=["light", "dark"])
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    # Scripts are on, for axe-core; the policy of the pages is too.
    context = browser.new_context(color_scheme=request.param, viewport={"width": 390, "height": 844})
    yield context.new_page()
    context.close()


@pytest.fixture
def plain_page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(java_script_enabled=False, locale="de-DE")
    yield context.new_page()
    context.close()


def sign_in(page: Page, name: str = "alice", password: str = PASSWORD) -> None:
    page.get_by_label("User name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def stands(page: Page, heading: str) -> None:
    """The page with this heading is there, and axe-core finds nothing wrong with it."""
    assert page.get_by_role("heading", level=1).inner_text() == heading
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    assert violations(page) == []


def test_a_client_is_allowed_in(page: Page, site: Site) -> None:
    page.goto(site.authorize)
    stands(page, "Sign in")
    sign_in(page)
    stands(page, "Reader asks for access to your account")
    page.get_by_role("button", name="Allow").click()
    assert page.inner_text("body") == "at the client"
    answer = parse_qs(urlsplit(page.url).query)
    assert (answer["state"], answer["code"][0][:4]) == (["s"], "oac_")


def test_a_client_is_turned_away(page: Page, site: Site) -> None:
    page.goto(site.authorize)
    sign_in(page)
    page.get_by_role("button", name="Deny").click()
    assert page.inner_text("body") == "at the client"
    assert parse_qs(urlsplit(page.url).query)["error"] == ["access_denied"]
    assert list(site.middleware.registry.list()) == []


def test_a_guesser_is_told_so_and_locked_out(page: Page, site: Site) -> None:
    page.goto(f"{site.origin}/oauth/login")
    sign_in(page, password="wrong")
    assert page.get_by_role("alert").inner_text() == "That user name and password do not fit together."
    stands(page, "Sign in")
    for _ in range(10):
        page.get_by_label("Password").fill("wrong")
        page.get_by_role("button", name="Sign in").click()
    assert "too many attempts" in page.get_by_role("alert").inner_text()
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    assert "too many attempts" in page.get_by_role("alert").inner_text()
    stands(page, "Sign in")


@pytest.mark.requirement("UI-09")
def test_a_user_ends_what_has_access(page: Page, site: Site) -> None:
    tokens = [site.connect("alice"), site.connect("alice"), site.connect("bob")]
    page.goto(f"{site.origin}/oauth/grants")
    sign_in(page)
    stands(page, "Connected applications")
    assert page.get_by_text("Connections: 2").is_visible()
    page.get_by_role("button", name="End access").click()
    assert page.get_by_role("status").inner_text() == "Reader no longer has access to your account."
    stands(page, "Connected applications")
    check = site.middleware.registry.check
    assert [hasattr(check(token), "subject") for token in tokens] == [False, False, True]


def test_a_user_signs_out_and_the_way_back_is_closed(page: Page, site: Site) -> None:
    page.goto(f"{site.origin}/oauth/login")
    sign_in(page)
    stands(page, "You are signed in")
    page.get_by_role("link", name="Connected applications").click()
    page.get_by_role("button", name="Sign out").click()
    stands(page, "You are signed out")
    page.goto(f"{site.origin}/oauth/grants")
    assert page.get_by_role("heading", level=1).inner_text() == "Sign in"


def test_an_operator_sees_the_dashboard_and_a_user_does_not(page: Page, site: Site) -> None:
    site.connect("alice")
    page.goto(f"{site.origin}/oauth/admin")
    sign_in(page)
    stands(page, "This page is for operators")
    page.context.clear_cookies()
    page.goto(f"{site.origin}/oauth/admin")
    sign_in(page, "olga")
    stands(page, "Dashboard")
    assert page.get_by_role("row", name="Reader").is_visible()
    page.get_by_role("link", name="24 hours").click()
    stands(page, "Dashboard")
    assert page.get_by_role("link", name="24 hours").get_attribute("aria-current") == "true"


def test_a_mistake_is_told_in_plain_words(page: Page, site: Site) -> None:
    page.goto(site.authorize.replace("client_id=", "client_id=x"))
    stands(page, "This application cannot be connected")


@pytest.mark.requirement("UI-12")
def test_the_whole_way_works_in_german_and_without_scripts(plain_page: Page, site: Site) -> None:
    page = plain_page
    page.goto(site.authorize)
    page.get_by_label("Benutzername").fill("alice")
    page.get_by_label("Passwort").fill(PASSWORD)
    page.get_by_role("button", name="Anmelden").click()
    assert page.get_by_role("heading", level=1).inner_text() == "Reader bittet um Zugriff auf Ihr Konto"
    page.get_by_role("button", name="Erlauben").click()
    assert page.inner_text("body") == "at the client"
    site.connect("alice")
    page.goto(f"{site.origin}/oauth/grants")
    page.get_by_role("button", name="Zugriff beenden").click()
    assert page.get_by_role("status").inner_text() == "Reader hat keinen Zugriff mehr auf Ihr Konto."
