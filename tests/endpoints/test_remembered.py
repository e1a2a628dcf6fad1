"""A user's leave that is remembered: for whom, for what, and for how long."""

from __future__ import annotations

from typing import Any

import pytest

from ..driving import ORIGIN, Browser, InProcess, Registered

WEB = "https://app.example/cb"
DAY = 86400


@pytest.fixture
def server() -> InProcess:
    return InProcess(remember_consent="30d")


@pytest.fixture
def web(server: InProcess) -> Registered:
    """A public client that its https redirect URI proves."""
    return server.register(redirect_uris=[WEB, "https://app.example/other"])


@pytest.fixture
def alice(server: InProcess) -> Browser:
    return server.signed_in("alice")


def allow(server: InProcess, client: Registered, alice: Browser, **fields: str | None) -> dict[str, Any]:
    page = alice.get(server.authorize_url(client, **fields))
    answer = alice.submit(page.form("decision"), decision="allow")
    return dict(server.redeem(client, answer.parameters["code"]).json)


def asked(server: InProcess, client: Registered, browser: Browser, **fields: str | None) -> bool:
    """Whether the consent page is shown, and no code is given without it."""
    answer = browser.get(server.authorize_url(client, **fields))
    if answer.status == 200:
        assert answer.form("decision")
        return True
    assert server.redeem(client, answer.parameters["code"]).status == 200
    return False


@pytest.mark.requirement("UI-02")
def test_a_user_who_has_allowed_it_is_not_asked_the_same_again(
    server: InProcess, web: Registered, alice: Browser
) -> None:
    allow(server, web, alice)
    assert not asked(server, web, alice)
    assert not asked(server, web, alice, scope="notes:read")
    assert not asked(server, web, alice, prompt="none")


@pytest.mark.requirement("UI-01")
@pytest.mark.requirement("UI-02")
@pytest.mark.parametrize(
    "fields",
    [
        {"scope": "notes:read notes:write"},
        {"resource": f"{ORIGIN}/mcp"},
        {"redirect_uri": "https://app.example/other"},
        {"prompt": "consent"},
    ],
    ids=["scope", "resource", "redirect", "prompt"],
)
def test_whatever_is_more_or_elsewhere_is_asked_for(
    server: InProcess, web: Registered, alice: Browser, fields: dict[str, str]
) -> None:
    allow(server, web, alice, scope="notes:read")
    assert asked(server, web, alice, **{"scope": "notes:read", **fields})
    assert not asked(server, web, alice, scope="notes:read")


@pytest.mark.requirement("UI-01")
@pytest.mark.parametrize("uri", ["http://127.0.0.1:4711/callback", "cursor://anysphere.cursor-mcp/callback"])
def test_a_program_that_proves_nothing_is_asked_for_each_time(
    server: InProcess, alice: Browser, uri: str
) -> None:
    client = server.register(redirect_uris=[uri])
    allow(server, client, alice)
    assert asked(server, client, alice)


@pytest.mark.requirement("UI-02")
def test_a_secret_proves_a_client_wherever_it_listens(server: InProcess, alice: Browser) -> None:
    client = server.register(token_endpoint_auth_method="client_secret_basic")
    allow(server, client, alice)
    assert not asked(server, client, alice)


def test_leave_is_that_of_one_user_for_one_client(server: InProcess, web: Registered, alice: Browser) -> None:
    allow(server, web, alice)
    assert asked(server, web, server.signed_in("bob"))
    assert asked(server, server.register(redirect_uris=[WEB]), alice)


@pytest.mark.requirement("UI-09")
def test_leave_ends_with_its_time_and_with_its_grants(
    server: InProcess, web: Registered, alice: Browser
) -> None:
    tokens = allow(server, web, alice)
    server.revoke(web, tokens["refresh_token"])
    assert asked(server, web, alice)
    allow(server, web, alice)
    assert not asked(server, web, alice)
    server.registry.revoke_subject("alice")
    assert asked(server, web, alice)
    allow(server, web, alice)
    server.clock.forward(30 * DAY)
    assert asked(server, web, server.signed_in("alice"))


@pytest.mark.requirement("UI-09")
def test_a_grant_that_has_run_out_is_no_leave() -> None:
    server = InProcess(remember_consent="30d", refresh_token_ttl="2d")
    client = server.register(redirect_uris=[WEB])
    allow(server, client, server.signed_in("alice"))
    server.clock.forward(2 * DAY - 1)
    assert not asked(server, client, server.signed_in("alice"))
    server.clock.forward(2 * DAY)
    assert asked(server, client, server.signed_in("alice"))


@pytest.mark.requirement("UI-09")
def test_a_grant_whose_only_token_was_revoked_is_no_leave(server: InProcess, alice: Browser) -> None:
    client = server.register(redirect_uris=[WEB], grant_types=["authorization_code"])
    tokens = allow(server, client, alice)
    assert "refresh_token" not in tokens
    assert not asked(server, client, alice)
    server.registry.revoke_subject("alice")
    tokens = allow(server, client, alice)
    server.revoke(client, tokens["access_token"])
    assert asked(server, client, alice)


def test_a_code_that_no_client_redeemed_is_no_leave(
    server: InProcess, web: Registered, alice: Browser
) -> None:
    page = alice.get(server.authorize_url(web))
    alice.submit(page.form("decision"), decision="allow")
    assert asked(server, web, alice)


@pytest.mark.requirement("AUTHZ-19")
def test_a_page_that_is_loaded_ahead_gives_no_code(
    server: InProcess, web: Registered, alice: Browser
) -> None:
    allow(server, web, alice)
    ahead = alice.get(server.authorize_url(web), {"Sec-Purpose": "prefetch"})
    assert (ahead.status, bool(ahead.form("decision"))) == (200, True)


@pytest.mark.requirement("UI-01")
def test_nothing_is_remembered_unless_the_operator_says_so(alice: Browser) -> None:
    server = InProcess()
    client, browser = server.register(redirect_uris=[WEB]), server.signed_in("alice")
    allow(server, client, browser)
    assert asked(server, client, browser)
