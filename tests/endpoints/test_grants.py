"""What has access to my account, and can I end it by one press?"""

from __future__ import annotations

import re

import pytest

from oauth_refresh import moments
from oauth_refresh.endpoints import grants
from oauth_refresh.wording import Wording, load

from ..driving import PASSWORD, Answer, Browser, InProcess, Registered

GRANTS = "http://localhost:8000/oauth/grants"


def buttons(page: Answer) -> list[tuple[str, str]]:
    return re.findall(r'type="submit" name="(client|grant)" value="([^"]+)"', page.text)


def shown(page: Answer) -> str:
    text = re.sub(r"<style.*?</style>|<[^>]+>", " ", page.text, flags=re.DOTALL)
    return " ".join(text.split())


def press(browser: Browser, page: Answer, field: str, value: str) -> Answer:
    """Press one button of the page, and follow to the page after it."""
    answer = browser.submit(page.form("page"), **{field: value})
    assert answer.status == 303, answer.text
    return browser.get(answer.location)


@pytest.mark.requirement("UI-09")
def test_one_press_ends_what_a_client_may_do(server: InProcess, client: Registered, alice: Browser) -> None:
    tokens = server.tokens(client, scope="notes:read")
    assert server.api(tokens["access_token"]).status == 200
    page = alice.get(GRANTS)
    assert "Probe" in shown(page)
    assert "Read your notes" in shown(page)
    assert "Since just now Last used just now" in shown(page)
    assert buttons(page) == [("client", client.client_id)]
    after = press(alice, page, "client", client.client_id)
    assert "Probe no longer has access to your account." in shown(after)
    assert "No application has access to your account." in shown(after)
    assert server.refresh(client, tokens["refresh_token"]).json["error"] == "invalid_grant"
    assert server.api(tokens["access_token"]).status == 401
    grant = next(server.registry.list(subject="alice"))
    assert grant.revoked_why == "user"


def test_nothing_of_another_user_is_seen_or_ended(
    server: InProcess, client: Registered, alice: Browser
) -> None:
    tokens = server.tokens(client)
    theirs = next(server.registry.list(subject="alice")).id.hex()
    mallory = server.signed_in("mallory")
    page = mallory.get(GRANTS)
    assert "Probe" not in page.text
    assert "alice" not in page.text
    # There is no button yet, but the seal of the page is hers.
    server.registry.create_with_refresh("mallory", ["notes:read"], label="own")
    page = mallory.get(GRANTS)
    for field, value in (("grant", theirs), ("client", client.client_id)):
        assert "This access had ended already." in shown(press(mallory, page, field, value))
    assert server.refresh(client, tokens["refresh_token"]).status == 200
    assert buttons(alice.get(GRANTS)) == [("client", client.client_id)]


def test_the_form_of_one_user_is_worth_nothing_in_the_browser_of_another(
    server: InProcess, client: Registered, alice: Browser
) -> None:
    tokens = server.tokens(client)
    stolen = alice.get(GRANTS).form("page")
    for browser in (server.signed_in("mallory"), server.browser(), server.signed_in("alice")):
        answer = browser.submit(stolen, client=client.client_id)
        assert answer.status == 403
        assert "This page is out of date" in answer.text
    assert alice.post(GRANTS, {"client": client.client_id}).status == 403
    assert server.refresh(client, tokens["refresh_token"]).status == 200


def test_several_grants_of_one_client_are_one_connection_with_its_parts(
    server: InProcess, client: Registered, alice: Browser
) -> None:
    first = server.tokens(client, scope="notes:read")
    server.clock.forward(1800)
    second = server.tokens(client, scope="notes:write")
    page = alice.get(GRANTS)
    assert "Connections: 2" in shown(page)
    assert [field for field, _ in buttons(page)] == ["client", "grant", "grant"]
    # The newest comes first; the second button is the first part.
    after = press(alice, page, *buttons(page)[1])
    assert "The access has ended." in shown(after)
    assert buttons(after) == [("client", client.client_id)]
    assert server.refresh(client, second["refresh_token"]).status == 400
    third = server.refresh(client, first["refresh_token"])
    assert third.status == 200
    press(alice, after, "client", client.client_id)
    assert server.refresh(client, third.json["refresh_token"]).status == 400


def test_a_code_that_waits_ends_with_the_others_of_its_client(
    server: InProcess, client: Registered, alice: Browser
) -> None:
    server.tokens(client)
    code = server.code(client)
    page = alice.get(GRANTS)
    assert len(buttons(page)) == 1
    press(alice, page, "client", client.client_id)
    assert server.redeem(client, code).json["error"] == "invalid_grant"


def test_what_has_ended_or_expired_is_not_shown(
    server: InProcess, client: Registered, alice: Browser
) -> None:
    server.tokens(client)
    server.registry.revoke_subject("alice")
    assert buttons(alice.get(GRANTS)) == []
    server.tokens(client)
    assert len(buttons(alice.get(GRANTS))) == 1
    server.clock.forward(31 * 86400)
    assert buttons(server.signed_in("alice").get(GRANTS)) == []


def test_tokens_that_the_application_made_are_shown_by_their_labels(
    server: InProcess, alice: Browser
) -> None:
    issued = server.registry.create("alice", ["notes:read"], label="Backup <script>")
    nameless = server.registry.create("alice", [])
    page = alice.get(GRANTS)
    assert "Backup &lt;script&gt;" in page.text
    assert "An application without a name" in page.text
    assert sorted(buttons(page)) == sorted([("grant", issued.grant_id), ("grant", nameless.grant_id)])
    press(alice, page, "grant", issued.grant_id)
    assert server.api(issued.access_token).status == 401
    assert server.api(nameless.access_token).status == 200


def test_many_applications_come_in_pages(
    server: InProcess, alice: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(45):
        server.registry.create("alice", [], label=f"n{number}")
        server.clock.forward(1)
    first, last = alice.get(GRANTS), alice.get(f"{GRANTS}?page=3")
    assert "Page 1 of 3" in shown(first)
    assert [len(buttons(page)) for page in (first, last)] == [20, 5]
    assert "n44" in shown(first)
    assert "n0" in shown(last)
    for odd in ("0", "-1", "99999999999999999999999", "x", "%00"):
        assert alice.get(f"{GRANTS}?page={odd}").status == 200
    monkeypatch.setattr(grants, "LOOKED_AT_MAX", 10)
    limited = alice.get(GRANTS)
    assert len(buttons(limited)) == 10
    assert "There are more than are looked at here." in shown(limited)


def test_whoever_is_not_signed_in_signs_in_first_and_comes_back(server: InProcess) -> None:
    browser = server.browser()
    page = browser.get(GRANTS)
    assert (page.status, "Connected" in page.text) == (200, False)
    wrong = browser.sign_in(page, password="wrong")
    assert wrong.status == 403
    answer = browser.sign_in(wrong)
    assert (answer.status, answer.location) == (303, GRANTS)
    assert "Connected applications" in browser.get(answer.location).text


def test_a_login_page_left_open_in_another_tab_still_leads_here(server: InProcess) -> None:
    browser = server.browser()
    page = browser.get(GRANTS)
    browser.sign_in(browser.get("http://localhost:8000/oauth/login"))
    answer = browser.submit(page.form("username"), username="alice", password=PASSWORD)
    assert (answer.status, answer.location) == (303, GRANTS)


def test_the_application_knows_the_user_or_its_login_page_does() -> None:
    user: list[str | None] = [None]
    server = InProcess(password_check=None, user_loader=lambda environ: user[0], login_url="/enter")
    server.registry.create("bob", [], label="His own")
    browser = server.browser()
    answer = browser.get(GRANTS)
    assert (answer.status, answer.location) == (
        302,
        f"/enter?next=%2Foauth%2Fgrants%3Fafter_login%3D{int(server.clock())}",
    )
    user[0] = "bob"
    page = browser.get(GRANTS)
    assert "His own" in page.text
    assert "Sign out" not in page.text
    assert "The access has ended." in shown(press(browser, page, *buttons(page)[0]))


def test_a_link_cannot_claim_that_something_was_ended(server: InProcess, alice: Browser) -> None:
    server.registry.create("alice", [], label="own")
    page = alice.get(GRANTS)
    done = alice.submit(page.form("page"), grant=buttons(page)[0][1]).location
    assert 'role="status"' in alice.get(done).text
    for browser, url in ((server.signed_in("alice"), done), (alice, f"{GRANTS}?done=x")):
        assert 'role="status"' not in browser.get(url).text
    server.clock.forward(61)
    assert 'role="status"' not in alice.get(done).text


def test_the_account_page_leads_here(server: InProcess, alice: Browser) -> None:
    assert f'href="{GRANTS}"' in alice.get("http://localhost:8000/oauth/login").text


@pytest.mark.parametrize(
    ("before", "english", "german"),
    [
        (0, "just now", "gerade eben"),
        (59, "just now", "gerade eben"),
        (60, "1 min ago", "vor 1 Min."),
        (3599, "59 min ago", "vor 59 Min."),
        (3600, "1 h ago", "vor 1 Std."),
        (48 * 3600 - 1, "47 h ago", "vor 47 Std."),
        (48 * 3600, "13 January 2027", "13. Januar 2027"),
        (-5, "just now", "gerade eben"),
    ],
)
def test_a_moment_is_told_in_words(before: float, english: str, german: str) -> None:
    now = 1_800_000_000.0
    assert Wording("en")(moments.ago(now - before, now)) == english
    assert load()["de"](moments.ago(now - before, now)) == german
