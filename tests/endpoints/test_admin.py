"""Who sees how things go? Operators, where the settings name them, and nobody else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from ..driving import InProcess

ADMIN = "http://localhost:8000/oauth/admin"


def test_there_is_no_dashboard_unless_somebody_may_see_it(server: InProcess) -> None:
    assert server.signed_in("alice").get(ADMIN).status == 404


def test_an_operator_signs_in_as_everybody_and_sees_it() -> None:
    server = InProcess(admins="alice, root")
    browser = server.browser()
    page = browser.get(ADMIN)
    assert "Dashboard" not in page.text
    answer = browser.sign_in(page)
    assert answer.location == ADMIN
    shown = browser.get(answer.location)
    assert "<h1>Dashboard</h1>" in shown.text
    assert "Refresh" not in shown.headers


def test_a_user_who_is_no_operator_sees_nothing() -> None:
    server = InProcess(admins="alice")
    server.register(client_name="Secret Client")
    page = server.signed_in("mallory").get(ADMIN)
    assert page.status == 403
    assert "This page is for operators" in page.text
    assert "Grants alive" not in page.text


@pytest.mark.parametrize(
    ("answer", "status"), [(True, 200), (False, 403), (None, 500), ("yes", 500), (1, 500)], ids=str
)
def test_the_check_of_the_application_says_yes_or_no_and_nothing_else(answer: object, status: int) -> None:
    asked: list[Mapping[str, Any]] = []

    def check(environ: Mapping[str, Any]) -> object:
        asked.append(environ)
        return answer

    server = InProcess(admin_check=check)
    page = server.browser().get(ADMIN, {"X-Remote-User": "root"})
    assert page.status == status
    # What anybody can send as a header is no proof of who it is.
    assert "HTTP_X_REMOTE_USER" not in asked[0]
    assert ("Grants alive" in page.text) is (status == 200)


def test_the_page_shows_the_numbers_of_a_client_and_its_name() -> None:
    server = InProcess(admins="alice")
    client = server.register(client_name="Acme <b>")
    tokens = server.tokens(client)
    server.refresh(client, tokens["refresh_token"])
    server.registry.create("bob", [])
    page = server.signed_in("alice").get(ADMIN).text
    assert "Acme &lt;b&gt;" in page
    assert "without a client" in page
    assert "<dt>Grants alive</dt><dd>2</dd>" in page
    assert "<dt>Refreshes</dt><dd>1</dd>" in page
    assert "<dt>New grants</dt><dd>2</dd>" in page
    assert "· Rotated 1</title>" in page
    assert tokens["refresh_token"] not in page


def test_it_updates_itself_only_for_whoever_asks_for_it() -> None:
    server = InProcess(admins="alice")
    alice = server.signed_in("alice")
    live = alice.get(f"{ADMIN}?span=day&live=1")
    assert live.headers["Refresh"] == "15"
    assert "Refreshes in 10 minutes each" in live.text
    assert 'href="?span=day">Stop updating' in live.text
    for odd in ("span=year", "span=hour&live=2", "span=%ff"):
        page = alice.get(f"{ADMIN}?{odd}")
        assert "Refreshes per minute" in page.text
        assert "Refresh" not in page.headers


def test_nothing_is_changed_by_a_post() -> None:
    server = InProcess(admins="alice")
    assert server.signed_in("alice").post(ADMIN, {}).status == 405
