"""Would one trust these pages with a password? What a browser makes of them, in all sizes, light and dark."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Literal
from urllib.parse import parse_qs

import pytest
from playwright.sync_api import Browser, Page
from werkzeug.datastructures import LanguageAccept
from werkzeug.wrappers import Request, Response

from oauth_refresh.census import Census
from oauth_refresh.dashboard import dashboard
from oauth_refresh.pages import Connection, ConsentView, GrantsView, Pages
from oauth_refresh.statistics import SERIES, Minute
from oauth_refresh.wording import say
from tests.browser.axe import violations
from tests.browser.conftest import Serve

pytestmark = pytest.mark.browser

WIDTHS = (320, 360, 768, 1440)
HIDDEN = {"request": "sealed"}
SCOPES = (("notes:read", "Read your notes"), ("notes:write", "Change and delete your notes"))
LONG = ConsentView(
    "W" * 300,
    "a.very.long.user.name@department.of.some.university.example.org",
    "a-very-long-part-of-a-host." * 6 + "example",
    client_host="another-very-long-part-of-a-host." * 6 + "example",
    scopes=[("a_scope_without_a_description_" * 4, ""), ("b", "Words " * 60)],
    resources=["https://notes.example/" + "x" * 200],
)
VIEWS = {
    "consent": ConsentView(
        "Claude", "alice", "claude.ai", scopes=SCOPES, resources=["https://notes.example/mcp"]
    ),
    "consent_loopback": ConsentView("Claude Code", "alice", "127.0.0.1:4000", "loopback", scopes=SCOPES),
    "consent_private": ConsentView("Cursor", "alice", "cursor:", "private"),
    "consent_long": LONG,
}


NOW = 1_800_000_000.0
_ONE = Connection("grant", "f00d", "laptop", NOW - 9e6, NOW - 9e4, SCOPES)
GRANTS = GrantsView(
    account="alice",
    action="/",
    hidden=HIDDEN,
    now=NOW,
    done=say("{client} no longer has access to your account.", client="Cursor"),
    sign_out_action="/",
    connections=[
        Connection("client", "c1", "Claude", NOW - 9e5, NOW - 300, SCOPES, count=30, parts=[_ONE] * 2),
        Connection("client", "c2", "W" * 300, NOW - 9e7, None, [("a_scope_without_words_" * 4, "")]),
        Connection("grant", "f00d", "", NOW - 60, NOW, ()),
    ],
    page=2,
    pages=3,
)


MINUTES = [
    Minute(
        NOW - 60 * (59 - n),
        {
            **dict.fromkeys(SERIES, n // 20),
            "rotated": 20 + n * 7 % 13 if n != 30 else 0,
            "repeated": n * 5 % 7,
            "refused": 9 if 40 < n < 44 else n % 2,
            "reused": int(n == 42),
        },
    )
    for n in range(60)
]
NOTHING = [Minute(NOW, dict.fromkeys(SERIES, 0))] * 144
NAMES_OF_CLIENTS = {"c1": "Claude", "c2": "W" * 80, "": ""}
CENSUS = Census(
    NOW - 40,
    2.5,
    50_000,
    0.25,
    9000,
    [300, 1200, 2500, 3000, 1500, 500],
    [4000, 3000, 1500, 500, 0, 0],
    [("c1", 6000), ("c2", 2000), ("", 1000)],
)


def shown(pages: Pages) -> dict[str, Response]:
    return {
        "login": pages.login("/login", HIDDEN, client_name="Claude Code"),
        "login_error": pages.login("/login", HIDDEN, error="Not right.", username="alice"),
        **{name: pages.consent(view, "/", HIDDEN, switch_action="/") for name, view in VIEWS.items()},
        "error": pages.error(
            "Unknown", "It is not known.", advice="Add it again.", status=200, correlation_id="7f3a"
        ),
        "error_link": pages.error(
            say("You are not signed in"),
            say("You are back from the page where users sign in, and this server still does not know you."),
            advice=say(
                "Sign in there. If you have done so, tell the operator: the server's log has the reason."
            ),
            link=("/login", say("Sign in")),
            status=200,
        ),
        "return": pages.return_to_client(
            "https://a.example/",
            "a.example",
            title="No",
            message="Not so.",
            status=200,
            correlation_id="7f3a",
        ),
        "message": pages.signed_out(),
        "account": pages.account("alice", "/", HIDDEN, grants_url="/grants"),
        "grants": pages.grants(GRANTS),
        "dashboard": pages.dashboard(dashboard(NOW, MINUTES, 1, CENSUS, NAMES_OF_CLIENTS.__getitem__)),
        "dashboard_new": pages.dashboard(dashboard(NOW, NOTHING, 10, None, str, is_live=True)),
        "grants_none": pages.grants(replace(GRANTS, connections=[], page=2, pages=3, are_all=False)),
    }


PAGES = Pages("Example Notes")
NAMES = tuple(shown(PAGES))


LANGUAGES = {"en": PAGES, "de": PAGES.spoken_to(LanguageAccept([("de", 1)]))}


@pytest.fixture(scope="module")
def origin(serve: Serve) -> str:
    @Request.application
    def application(request: Request) -> Response:
        name = request.path.strip("/")
        if request.method == "POST":
            return Response(f"received {sorted(request.form.items())}")
        pages = LANGUAGES[request.args.get("in", "en")]
        return shown(pages)[name] if name in NAMES else Response(status=404)

    return serve(application)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    yield context.new_page()
    context.close()


@pytest.fixture
def plain_page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(ignore_https_errors=True, java_script_enabled=False)
    yield context.new_page()
    context.close()


def complaints_of(page: Page) -> list[str]:
    """What the browser has to say about the pages from now on."""
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return complaints


# The luminance of WCAG 2.2. The background is that of the nearest ancestor that has one.
CONTRASTS = """() => {
  const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = colour => {
    const [r, g, b] = numbers(colour).map(v => v / 255).map(
      v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = element => {
    for (let e = element; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (numbers(colour)[3] !== 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const ratio = (a, b) => {
    const [low, high] = [light(a), light(b)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim(), element = walker.currentNode.parentElement;
    if (text) found.push([text, ratio(getComputedStyle(element).color, ground(element))]);
  }
  for (const field of document.querySelectorAll("input:not([type=hidden]), .secondary")) {
    const edge = getComputedStyle(field).borderTopColor;
    found.push(["the edge of " + (field.id || field.value), ratio(edge, ground(field.parentElement)) * 1.5]);
  }
  return found;
}"""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_its_ground(
    page: Page, origin: str, name: str, scheme: Literal["light", "dark"]
) -> None:
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{origin}/{name}")
    contrasts = page.evaluate(CONTRASTS)
    assert contrasts
    # 4.5 for text (WCAG 1.4.3 AA), 3 for the edges of controls (1.4.11), which come scaled to the same limit.
    assert [found for found in contrasts if found[1] < 4.5] == []


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_sticks_out_at_any_width(page: Page, origin: str, name: str, language: str) -> None:
    page.goto(f"{origin}/{name}?in={language}")
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.scrollingElement.scrollWidth") == width
        edges = page.evaluate(
            "[...document.querySelectorAll('main *')].map(e => e.getBoundingClientRect().right)"
        )
        assert max(edges) <= width


@pytest.mark.parametrize("name", NAMES)
def test_every_button_and_field_is_large_enough_for_a_thumb(page: Page, origin: str, name: str) -> None:
    page.set_viewport_size({"width": 320, "height": 640})
    page.goto(f"{origin}/{name}")
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    for control in page.locator("button, a, input:not([type=hidden])").all():
        box = control.bounding_box()
        assert box
        assert box["height"] >= 44
        assert box["width"] >= 44


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("scheme", "language"), [("light", "en"), ("dark", "de")])
def test_nothing_keeps_people_from_using_a_page(
    page: Page, origin: str, name: str, scheme: Literal["light", "dark"], language: str
) -> None:
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{origin}/{name}?in={language}")
    assert page.get_by_role("heading", level=1).count() == 1
    assert page.evaluate("document.documentElement.lang") == language
    assert violations(page) == []


@pytest.mark.requirement("HTTP-08")
@pytest.mark.parametrize("name", NAMES)
def test_the_style_passes_the_policy_and_nothing_else_is_asked_for(
    page: Page, origin: str, name: str
) -> None:
    complaints = complaints_of(page)
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.goto(f"{origin}/{name}")
    width = {"grants": "704px", "dashboard": "1152px"}.get(name.partition("_")[0], "448px")
    assert page.evaluate("getComputedStyle(document.querySelector('main')).maxWidth") == width
    assert complaints == []
    assert [url for url in requested if not url.endswith("/favicon.ico")] == [f"{origin}/{name}"]


def test_the_focus_is_seen_at_every_stop_and_follows_the_page(page: Page, origin: str) -> None:
    page.goto(f"{origin}/consent")
    stops = []
    for _ in range(3):
        page.keyboard.press("Tab")
        outline = page.evaluate("getComputedStyle(document.activeElement).outline")
        assert "solid 3px" in outline
        stops.append(page.evaluate("document.activeElement.innerText"))
    assert stops == ["Use another account", "Deny", "Allow"]


def test_the_fields_of_the_login_are_found_by_their_labels(page: Page, origin: str) -> None:
    page.goto(f"{origin}/login_error")
    assert page.get_by_label("User name").input_value() == "alice"
    assert page.get_by_label("Password").evaluate("field => field === document.activeElement")
    assert page.get_by_role("alert").inner_text() == "Not right."
    assert page.get_by_role("heading", level=1).inner_text() == "Sign in"


@pytest.mark.requirement("UI-12")
def test_the_login_works_without_scripts(plain_page: Page, origin: str) -> None:
    plain_page.goto(f"{origin}/login")
    plain_page.get_by_label("User name").fill("alice")
    plain_page.get_by_label("Password").fill("tea")
    plain_page.get_by_label("Password").press("Enter")
    assert plain_page.inner_text("body") == (
        "received [('password', 'tea'), ('request', 'sealed'), ('username', 'alice')]"
    )


@pytest.mark.requirement("UI-12")
@pytest.mark.parametrize(("button", "decision"), [("Allow", "allow"), ("Deny", "deny")])
def test_the_decision_works_without_scripts(
    plain_page: Page, origin: str, button: str, decision: str
) -> None:
    plain_page.goto(f"{origin}/consent")
    plain_page.get_by_role("button", name=button).click()
    assert plain_page.inner_text("body") == f"received [('decision', '{decision}'), ('request', 'sealed')]"


def consenting(form_target: str | None, leads_to: str) -> Callable[..., object]:
    """A server whose consent page has this target in its policy, and whose answer redirects there."""

    @Request.application
    def application(request: Request) -> Response:
        if request.method == "POST":
            return Response(status=303, headers={"Location": leads_to})
        return PAGES.consent(VIEWS["consent"], "/", HIDDEN, form_target=form_target)

    return application


@pytest.mark.requirement("HTTP-07")
def test_the_decision_leads_to_the_client_that_the_policy_names_and_to_no_other(
    plain_page: Page, serve: Serve
) -> None:
    client = serve(Request.application(lambda request: Response("at the client")))
    plain_page.goto(serve(consenting(client, f"{client}/cb?code=1")))
    plain_page.get_by_role("button", name="Allow").click()
    assert plain_page.url == f"{client}/cb?code=1"
    assert plain_page.inner_text("body") == "at the client"
    complaints = complaints_of(plain_page)
    elsewhere = serve(consenting("http://127.0.0.1:1", f"{client}/cb?code=1"))
    plain_page.goto(elsewhere)
    with plain_page.expect_console_message():
        plain_page.get_by_role("button", name="Allow").click()
    assert plain_page.url == f"{elsewhere}/"
    assert "form-action" in complaints[0]


@pytest.mark.requirement("HTTP-07")
def test_the_client_may_send_the_browser_on_to_another_host_of_its_own(
    plain_page: Page, serve: Serve
) -> None:
    farewell = serve(Request.application(lambda request: Response("you may close this")), https=True)
    client = serve(
        Request.application(lambda request: Response(status=302, headers={"Location": f"{farewell}/done"}))
    )
    plain_page.goto(serve(consenting(client, f"{client}/cb")))
    plain_page.get_by_role("button", name="Allow").click()
    assert plain_page.url == f"{farewell}/done"
    assert plain_page.inner_text("body") == "you may close this"


@pytest.mark.requirement("HTTP-07")
@pytest.mark.requirement("Q-30")
@pytest.mark.parametrize(
    ("form_target", "end"),
    [("cursor://anysphere/cb", "requestfinished"), ("vscode:", "requestfailed")],
    ids=["named", "another"],
)
def test_a_private_scheme_is_let_through_only_where_the_policy_names_it(
    plain_page: Page, serve: Serve, form_target: str, end: Any
) -> None:
    plain_page.goto(serve(consenting(form_target, "cursor://anysphere/cb?code=1")))
    with plain_page.expect_event(end, lambda request: request.method == "POST"):
        plain_page.get_by_role("button", name="Allow").click(no_wait_after=True)


@pytest.mark.requirement("HTTP-06")
def test_the_page_is_not_shown_in_a_frame(plain_page: Page, origin: str, serve: Serve) -> None:
    def framing(environ: object, start_response: Callable[..., object]) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/html")])
        return [f"<iframe src={origin}/consent></iframe>".encode()]

    plain_page.goto(serve(framing))
    assert [frame.url for frame in plain_page.frames[1:]] == ["chrome-error://chromewebdata/"]


def test_what_the_browser_is_told_is_a_form(origin: str, plain_page: Page) -> None:
    requests: list[str] = []
    plain_page.on("request", lambda request: requests.append(request.post_data or ""))
    plain_page.goto(f"{origin}/account")
    plain_page.get_by_role("button", name="Sign out").click()
    assert parse_qs(requests[-1]) == {"request": ["sealed"]}
