"""Who is the user of this browser? And was this form made for it?"""

from __future__ import annotations

from dataclasses import replace
from http.cookies import SimpleCookie

import pytest
from werkzeug.test import EnvironBuilder
from werkzeug.wrappers import Request, Response

from oauth_refresh.backends.memory import MemoryBackend
from oauth_refresh.errors import RegistryError
from oauth_refresh.login import IDLE_SECONDS, LOGIN_SECONDS, Browser, LoginCookies

NOW = 1_800_000_000.0
SECRET = b"a server secret of good length"
OTHER = b"another server secret, as long"
NAME = "__Host-oauth_refresh"


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def backend() -> MemoryBackend:
    return MemoryBackend()


@pytest.fixture
def cookies(backend: MemoryBackend, clock: Clock) -> LoginCookies:
    return LoginCookies([SECRET], True, backend, clock)


def set_by(response: Response, name: str = NAME) -> str | None:
    """The cookie value that a response sets, None if it sets none."""
    morsel = SimpleCookie(response.headers.get("Set-Cookie", "")).get(name)
    return None if morsel is None else morsel.value


def bringing(value: str | None, name: str = NAME) -> Request:
    headers = [] if value is None else [("Cookie", f"theme=dark; {name}={value}")]
    return Request(EnvironBuilder("/oauth/authorize", headers=headers).get_environ())


def signed_in(cookies: LoginCookies, subject: str = "alice") -> tuple[Browser, str]:
    """A browser after its login, and its cookie."""
    response = Response()
    browser = cookies.sign_in(response, cookies.read(bringing(None)), subject)
    value = set_by(response, cookies.name)
    assert value
    return browser, value


@pytest.mark.requirement("HTTP-11")
def test_the_cookie_is_kept_from_scripts_other_hosts_and_plain_http(cookies: LoginCookies) -> None:
    response = Response()
    cookies.remember(response, cookies.read(bringing(None)))
    header = response.headers["Set-Cookie"]
    assert header == f"{NAME}={set_by(response)}; Secure; HttpOnly; Path=/; SameSite=Lax"


@pytest.mark.requirement("HTTP-11")
def test_on_loopback_without_https_only_prefix_and_secure_are_dropped(
    backend: MemoryBackend, clock: Clock
) -> None:
    cookies = LoginCookies([SECRET], False, backend, clock)
    response = Response()
    cookies.remember(response, cookies.read(bringing(None)))
    value = set_by(response, "oauth_refresh")
    assert response.headers["Set-Cookie"] == f"oauth_refresh={value}; HttpOnly; Path=/; SameSite=Lax"


def test_a_path_of_its_own_needs_the_other_prefix(backend: MemoryBackend, clock: Clock) -> None:
    cookies = LoginCookies([SECRET], True, backend, clock, "/notes")
    _, value = signed_in(cookies)
    assert cookies.name == "__Secure-oauth_refresh"
    assert cookies.read(bringing(value, cookies.name)).subject == "alice"
    response = Response()
    cookies.sign_out(response, cookies.read(bringing(value, cookies.name)))
    assert "Path=/notes" in response.headers["Set-Cookie"]


def test_a_browser_without_a_cookie_is_new_and_anonymous(cookies: LoginCookies) -> None:
    one, two = cookies.read(bringing(None)), cookies.read(bringing(None))
    assert one.sid != two.sid
    assert one == Browser(one.sid)
    assert len(one.sid) == 16


def test_a_remembered_browser_comes_back_as_itself_in_every_tab(cookies: LoginCookies) -> None:
    response = Response()
    browser = cookies.read(bringing(None))
    cookies.remember(response, browser)
    value = set_by(response)
    assert cookies.read(bringing(value)) == replace(browser, seen_at=NOW)
    again = Response()
    cookies.remember(again, cookies.read(bringing(value)))
    assert set_by(again) is None


def test_a_login_is_read_back_from_a_request_or_its_environ(cookies: LoginCookies) -> None:
    browser, value = signed_in(cookies)
    assert browser == Browser(browser.sid, "alice", NOW, NOW)
    assert cookies.read(bringing(value)) == browser
    assert cookies.read(bringing(value).environ) == browser


def test_a_subject_may_be_written_in_any_letters(cookies: LoginCookies) -> None:
    _, value = signed_in(cookies, "Zoë \u4e2d\u6587; x=y")
    assert cookies.read(bringing(value)).subject == "Zoë \u4e2d\u6587; x=y"


@pytest.mark.requirement("UI-11")
def test_the_id_and_the_cookie_change_at_every_login(cookies: LoginCookies) -> None:
    first = Response()
    before = cookies.read(bringing(None))
    cookies.remember(first, before)
    second = Response()
    alice = cookies.sign_in(second, cookies.read(bringing(set_by(first))), "alice")
    third = Response()
    again = cookies.sign_in(third, cookies.read(bringing(set_by(second))), "alice")
    assert len({before.sid, alice.sid, again.sid}) == 3
    assert len({set_by(first), set_by(second), set_by(third)}) == 3
    assert cookies.read(bringing(set_by(first))).subject is None


def test_a_new_login_ends_the_one_before_in_every_copy_of_its_cookie(cookies: LoginCookies) -> None:
    browser, stolen = signed_in(cookies)
    response = Response()
    cookies.sign_in(response, browser, "bob")
    assert cookies.read(bringing(stolen)).subject is None
    assert cookies.read(bringing(set_by(response))).subject == "bob"


@pytest.mark.parametrize(
    ("since_login", "since_seen", "subject"),
    [
        (IDLE_SECONDS - 1, IDLE_SECONDS - 1, "alice"),
        (IDLE_SECONDS, IDLE_SECONDS, None),
        (LOGIN_SECONDS - 1, 5, "alice"),
        (LOGIN_SECONDS, 5, None),
        (-30, -30, "alice"),
    ],
    ids=["before-idle", "idle", "before-end", "end", "clock-behind"],
)
def test_a_login_lasts_twelve_hours_and_one_idle_hour(
    cookies: LoginCookies, clock: Clock, since_login: float, since_seen: float, subject: str | None
) -> None:
    browser, value = signed_in(cookies)
    if since_seen != since_login:
        clock.now = NOW + since_login - since_seen
        response = Response()
        cookies.remember(response, browser)
        value = set_by(response) or ""
    clock.now = NOW + since_login
    now = cookies.read(bringing(value))
    assert now.subject == subject
    assert now.authenticated_at == (NOW if subject else None)
    assert now.sid == browser.sid


@pytest.mark.parametrize(("later", "is_set"), [(60, False), (61, True)], ids=["within", "after"])
def test_a_page_view_renews_the_idle_time_once_a_minute(
    cookies: LoginCookies, clock: Clock, later: float, is_set: bool
) -> None:
    browser, value = signed_in(cookies)
    clock.now += later
    response = Response()
    cookies.remember(response, cookies.read(bringing(value)))
    renewed = set_by(response)
    assert (renewed is not None) is is_set
    if renewed:
        assert cookies.read(bringing(renewed)) == replace(browser, seen_at=NOW + later)


@pytest.mark.requirement("UI-11")
def test_signing_out_deletes_the_cookie_and_kills_a_stolen_copy(cookies: LoginCookies, clock: Clock) -> None:
    _, stolen = signed_in(cookies)
    response = Response()
    clock.now += 10
    cookies.sign_out(response, cookies.read(bringing(stolen)))
    header = response.headers["Set-Cookie"]
    assert header.startswith(f"{NAME}=; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Secure")
    thief = cookies.read(bringing(stolen))
    assert thief == Browser(thief.sid)


def test_signing_out_after_the_login_ran_out_kills_a_copy_that_was_kept_alive(
    cookies: LoginCookies, clock: Clock
) -> None:
    browser, value = signed_in(cookies)
    clock.now += IDLE_SECONDS - 1
    response = Response()
    cookies.remember(response, browser)
    stolen = set_by(response)
    clock.now += 1
    assert cookies.read(bringing(stolen)).subject == "alice"
    cookies.sign_out(Response(), cookies.read(bringing(value)))
    assert cookies.read(bringing(stolen)).subject is None


def test_the_mark_of_an_ended_login_outlives_every_copy_of_its_cookie(
    cookies: LoginCookies, backend: MemoryBackend, clock: Clock
) -> None:
    browser, _ = signed_in(cookies)
    cookies.sign_out(Response(), browser)
    cookies.sign_out(Response(), browser)
    (key,) = backend.keys(b"x")
    assert len(key) == 33
    assert browser.sid not in key
    assert backend.purge(NOW + LOGIN_SECONDS - 1) == 0
    assert backend.purge(NOW + LOGIN_SECONDS) == 1


def test_a_browser_that_never_had_a_cookie_leaves_no_record(
    cookies: LoginCookies, backend: MemoryBackend
) -> None:
    cookies.sign_out(Response(), cookies.read(bringing(None)))
    signed_in(cookies)
    assert list(backend.keys()) == []


def test_while_the_registry_is_down_nobody_counts_as_signed_in(
    cookies: LoginCookies, backend: MemoryBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object) -> None:
        raise RegistryError("down")

    browser, value = signed_in(cookies)
    monkeypatch.setattr(backend, "get", down)
    monkeypatch.setattr(backend, "swap", down)
    with pytest.raises(RegistryError):
        cookies.read(bringing(value))
    response = Response()
    with pytest.raises(RegistryError):
        cookies.sign_out(response, browser)
    with pytest.raises(RegistryError):
        cookies.sign_in(response, browser, "bob")
    assert "Set-Cookie" not in response.headers


def test_a_forged_cookie_is_no_cookie(cookies: LoginCookies, backend: MemoryBackend, clock: Clock) -> None:
    _, value = signed_in(cookies)
    _, foreign = signed_in(LoginCookies([OTHER], True, backend, clock))
    _, realm = signed_in(LoginCookies([SECRET], True, backend, clock, realm="https://b.example"))
    body, _, signature = value.rpartition(".")
    flipped = ("B" if body[0] == "A" else "A") + body[1:]
    form = cookies.seal(Browser(b"s" * 16), "login", {})
    forgeries = [
        foreign,
        realm,
        f"{flipped}.{signature}",
        body,
        f"{body}.",
        "",
        ".",
        "\xff",
        form,
        value + "A",
    ]
    for forged in forgeries:
        browser = cookies.read(bringing(forged))
        assert browser == Browser(browser.sid), forged
    assert cookies.read(bringing(value)).subject == "alice"


def test_a_cookie_of_the_application_in_another_encoding_is_no_trouble(cookies: LoginCookies) -> None:
    _, value = signed_in(cookies)
    environ = {"HTTP_COOKIE": f"city=M\xfcnchen; {NAME}={value}"}
    assert cookies.read(environ).subject == "alice"


def test_a_signed_text_of_another_shape_is_no_cookie(cookies: LoginCookies) -> None:
    shapes: list[object] = [[], {}, ["c2lk", "alice"], ["c2lk", 7, NOW, NOW], "alice", None]
    for content in shapes:
        value = str(cookies._signer.dumps(content))
        assert cookies.read(bringing(value)).seen_at is None


def test_a_change_of_the_secret_logs_nobody_out(backend: MemoryBackend, clock: Clock) -> None:
    before = LoginCookies([SECRET], True, backend, clock)
    during = LoginCookies([SECRET, OTHER], True, backend, clock)
    after = LoginCookies([OTHER, SECRET], True, backend, clock)
    _, old = signed_in(before)
    browser, new = signed_in(after)
    assert after.read(bringing(old)).subject == "alice"
    assert during.read(bringing(new)).subject == "alice"
    assert before.read(bringing(new)).subject is None
    assert during.unseal(browser, "consent", after.seal(browser, "consent", {"a": 1}), 600) == {"a": 1}


def test_without_a_secret_there_are_no_cookies(backend: MemoryBackend, clock: Clock) -> None:
    with pytest.raises(ValueError, match="secret"):
        LoginCookies([], True, backend, clock)


DATA = {"client_id": "c1", "state": "ünï&=", "scopes": ["a", "b"], "n": 1, "none": None}


def test_a_sealed_form_comes_back_as_often_as_it_is_sent(cookies: LoginCookies) -> None:
    browser, value = signed_in(cookies)
    text = cookies.seal(browser, "consent", DATA)
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
    assert cookies.unseal(cookies.read(bringing(value)), "consent", text, 600) == DATA
    assert cookies.unseal(cookies.read(bringing(value)), "consent", text, 600) == DATA


@pytest.mark.requirement("AUTHZ-18")
@pytest.mark.parametrize(("age", "is_valid"), [(0, True), (599, True), (600, False), (-5, True)], ids=str)
def test_a_sealed_form_expires(cookies: LoginCookies, clock: Clock, age: float, is_valid: bool) -> None:
    browser, _ = signed_in(cookies)
    text = cookies.seal(browser, "consent", DATA)
    clock.now += age
    assert (cookies.unseal(browser, "consent", text, 600) == DATA) is is_valid


@pytest.mark.requirement("UI-05")
def test_a_sealed_form_of_another_browser_purpose_or_server_is_worth_nothing(
    cookies: LoginCookies, backend: MemoryBackend, clock: Clock
) -> None:
    victim, _ = signed_in(cookies)
    attacker, value = signed_in(cookies, "mallory")
    mine = cookies.seal(victim, "consent", DATA)
    assert cookies.unseal(victim, "consent", cookies.seal(attacker, "consent", DATA), 600) is None
    assert cookies.unseal(victim, "consent", cookies.seal(victim, "login", DATA), 600) is None
    other = LoginCookies([OTHER], True, backend, clock)
    assert cookies.unseal(victim, "consent", other.seal(victim, "consent", DATA), 600) is None
    realm = LoginCookies([SECRET], True, backend, clock, realm="https://b.example")
    assert cookies.unseal(victim, "consent", realm.seal(victim, "consent", DATA), 600) is None
    for forged in (None, "", ".", "x", mine[1:], mine + "A", value):
        assert cookies.unseal(victim, "consent", forged, 600) is None
    assert cookies.unseal(victim, "consent", mine, 600) == DATA


def test_a_form_sealed_before_the_first_cookie_is_good_in_the_browser_that_got_it(
    cookies: LoginCookies,
) -> None:
    browser = cookies.read(bringing(None))
    text = cookies.seal(browser, "login", DATA)
    response = Response()
    cookies.remember(response, browser)
    assert cookies.unseal(cookies.read(bringing(set_by(response))), "login", text, 600) == DATA
    assert cookies.unseal(cookies.read(bringing(None)), "login", text, 600) is None


def test_login_and_logout_end_the_forms_from_before(cookies: LoginCookies) -> None:
    anonymous = cookies.read(bringing(None))
    before = cookies.seal(anonymous, "login", DATA)
    browser = cookies.sign_in(Response(), anonymous, "alice")
    assert cookies.unseal(browser, "login", before, 600) is None
    during = cookies.seal(browser, "consent", DATA)
    assert cookies.unseal(cookies.sign_in(Response(), browser, "alice"), "consent", during, 600) is None


def test_a_form_stays_good_when_the_login_runs_out(cookies: LoginCookies, clock: Clock) -> None:
    browser, value = signed_in(cookies)
    clock.now += IDLE_SECONDS - 1
    text = cookies.seal(browser, "consent", DATA)
    clock.now += 1
    later = cookies.read(bringing(value))
    assert later.subject is None
    assert cookies.unseal(later, "consent", text, 600) == DATA
