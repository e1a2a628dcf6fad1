"""What does the user see, and which headers guard it?"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Literal
from zipfile import ZipFile

import pytest
from werkzeug.wrappers import Response

import oauth_refresh
from oauth_refresh.errors import ConfigurationError
from oauth_refresh.pages import Connection, ConsentView, GrantsView, Pages, display, display_host, wait_text
from oauth_refresh.wording import Wording

HIDDEN = {"request": 'a"b<c>&'}
VIEW = ConsentView(
    client_name="Acme Notes",
    account="alice",
    redirect_display="app.acme.example",
    client_host="client.acme.example",
    scopes=(("notes:read", "Read your notes"), ("notes:write", "")),
    resources=("https://notes.example/mcp",),
)


GRANTS = GrantsView(
    account="alice",
    action="/oauth/grants",
    hidden=HIDDEN,
    connections=[Connection("client", "c1", "Acme", 1.0, None, [("notes:read", "Read your notes")])],
    now=60.0,
)


@pytest.fixture(scope="module")
def pages() -> Pages:
    return Pages("Example Notes")


def every_page(pages: Pages) -> dict[str, Response]:
    return {
        "login": pages.login("/oauth/login", HIDDEN, error="No.", username="alice", client_name="Acme"),
        "consent": pages.consent(VIEW, "/oauth/authorize", HIDDEN, switch_action="/oauth/logout"),
        "error": pages.error("Unknown application", "It is not known here.", advice="Add it again."),
        "return": pages.return_to_client(
            "https://app.example/cb?error=invalid_scope", "app.example", title="No", message="Not so."
        ),
        "message": pages.message("Done", "All is well."),
        "signed_out": pages.signed_out(),
        "account": pages.account("alice", "/oauth/logout", HIDDEN),
        "grants": pages.grants(GRANTS),
    }


NAMES = tuple(every_page(Pages()))


class Outline(HTMLParser):
    """The visible text of a page, and its elements in order."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self._texts: list[str] = []
        self._silent = False
        self.feed(response.get_data(as_text=True))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._silent = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._silent = False

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self._texts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self._texts).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def policy(response: Response) -> str:
    return response.headers["Content-Security-Policy"]


@pytest.mark.requirement("HTTP-06")
@pytest.mark.requirement("HTTP-08")
@pytest.mark.requirement("HTTP-09")
@pytest.mark.requirement("HTTP-10")
@pytest.mark.parametrize("name", NAMES)
def test_every_page_has_the_headers_that_guard_it(pages: Pages, name: str) -> None:
    response = every_page(pages)[name]
    nonce = re.search(r'<style nonce="([\w-]{22})">', response.get_data(as_text=True))
    assert nonce
    headers = dict(response.headers)
    del headers["Content-Length"]
    assert headers == {
        "Content-Type": "text/html; charset=utf-8",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
        "Content-Security-Policy": (
            f"default-src 'none'; style-src 'nonce-{nonce[1]}'; base-uri 'none'; "
            "form-action 'self'; frame-ancestors 'none'"
        ),
    }


def test_no_two_answers_have_the_same_nonce(pages: Pages) -> None:
    assert policy(pages.signed_out()) != policy(pages.signed_out())


@pytest.mark.requirement("HTTP-19")
@pytest.mark.parametrize("name", NAMES)
def test_https_pages_ask_for_https_from_now_on(name: str) -> None:
    response = every_page(Pages(https=True))[name]
    assert response.headers["Strict-Transport-Security"] == "max-age=31536000"


@pytest.mark.requirement("HTTP-07")
@pytest.mark.parametrize(
    ("target", "sources", "consent_sources"),
    [
        (None, "'self'", "'self'"),
        ("https://claude.ai", "'self' https://claude.ai", "'self' https://claude.ai https:"),
        ("http://127.0.0.1:4000", "'self' http://127.0.0.1:4000", "'self' http://127.0.0.1:4000 https:"),
        ("http://localhost:80/cb?a=b", "'self' http://localhost:80", "'self' http://localhost:80 https:"),
        ("http://[::1]:4000", "'self' http:", "'self' http: https:"),
        ("https:", "'self' https:", "'self' https: https:"),
        ("https://a.example; script-src *", "'self' https:", "'self' https: https:"),
        ("cursor:", "'self' cursor:", "'self' cursor:"),
        ("com.example.app:/cb", "'self' com.example.app:", "'self' com.example.app:"),
        ("vscode-insiders://x.y/cb", "'self' vscode-insiders:", "'self' vscode-insiders:"),
    ],
    ids=str,
)
def test_forms_may_lead_to_the_client_and_nowhere_else(
    pages: Pages, target: str | None, sources: str, consent_sources: str
) -> None:
    login = pages.login("/oauth/login", {}, form_target=target)
    consent = pages.consent(VIEW, "/oauth/authorize", {}, form_target=target)
    assert f"; form-action {sources}; frame-ancestors 'none'" in policy(login)
    assert f"; form-action {consent_sources}; frame-ancestors 'none'" in policy(consent)


@pytest.mark.parametrize("target", ["", "claude.ai", "*", "'unsafe-inline'", "; x:", "ünï:"])
def test_a_form_target_without_a_scheme_is_a_mistake(pages: Pages, target: str) -> None:
    with pytest.raises(ValueError, match="scheme"):
        pages.consent(VIEW, "/oauth/authorize", {}, form_target=target)


@pytest.mark.requirement("BCP-15")
@pytest.mark.requirement("BCP-26")
@pytest.mark.requirement("HTTP-08")
@pytest.mark.requirement("UI-12")
@pytest.mark.parametrize("name", NAMES)
def test_no_page_loads_anything_or_runs_a_script(pages: Pages, name: str) -> None:
    outline = Outline(every_page(pages)[name])
    tags = {tag for tag, _ in outline.elements}
    assert not tags & {"script", "img", "link", "iframe", "object", "embed", "video", "audio", "base"}
    for _, attributes in outline.elements:
        assert not {"src", "srcset", "style"} & set(attributes)
        assert not [key for key in attributes if key.startswith("on")]
    assert "url(" not in every_page(pages)[name].get_data(as_text=True)
    assert "@import" not in every_page(pages)[name].get_data(as_text=True)


@pytest.mark.parametrize("name", NAMES)
def test_every_page_can_be_found_through_without_seeing_it(pages: Pages, name: str) -> None:
    outline = Outline(every_page(pages)[name])
    assert outline.all("html") == [{"lang": "en"}]
    assert [len(outline.all(tag)) for tag in ("title", "h1", "header", "main", "footer")] == [1] * 5
    ids = {attributes["id"] for _, attributes in outline.elements if "id" in attributes}
    labelled = {attributes.get("for") for attributes in outline.all("label")}
    for field in outline.all("input"):
        assert field["type"] == "hidden" or field["id"] in labelled
        assert field.get("aria-describedby", "problem") in ids | {"problem"}


def test_the_login_form_fits_password_managers(pages: Pages) -> None:
    outline = Outline(pages.login("/oauth/login?x=1&y=2", HIDDEN))
    assert outline.all("form") == [{"method": "post", "action": "/oauth/login?x=1&y=2"}]
    hidden, username, password = outline.all("input")
    assert hidden == {"type": "hidden", "name": "request", "value": 'a"b<c>&'}
    assert (username["name"], username["autocomplete"], username["value"]) == ("username", "username", "")
    assert (password["name"], password["autocomplete"], password["type"]) == (
        "password",
        "current-password",
        "password",
    )
    assert ("autofocus" in username, "autofocus" in password) == (True, False)
    assert "calls itself" not in outline.text


@pytest.mark.requirement("AUTHZ-18")
def test_after_a_wrong_password_the_form_is_there_again_with_name_and_request(pages: Pages) -> None:
    response = pages.login(
        "/oauth/login", HIDDEN, error="Wrong <password>.", username='al"ice', client_name="Acme", status=403
    )
    outline = Outline(response)
    assert response.status_code == 403
    hidden, username, password = outline.all("input")
    assert hidden["value"] == 'a"b<c>&'
    assert username["value"] == 'al"ice'
    assert "value" not in password
    assert ("autofocus" in username, "autofocus" in password) == (False, True)
    assert "Wrong <password>." in outline.text
    assert {"class": "note bad", "role": "alert"} in outline.all("div")
    assert "An application that calls itself Acme asks for access" in outline.text


@pytest.mark.requirement("UI-03")
@pytest.mark.requirement("RES-10")
def test_the_consent_page_shows_who_asks_for_what_and_where_it_leads(pages: Pages) -> None:
    response = pages.consent(VIEW, "/oauth/authorize", HIDDEN, switch_action="/oauth/logout")
    outline = Outline(response)
    assert response.status_code == 200
    for shown in (
        "Acme Notes asks for access to your account",
        "The application chose this name itself. Nobody has checked it.",
        "Signed in as alice",
        "Read your notes notes:read notes:write",
        "Then takes you to app.acme.example",
        "The application comes from client.acme.example",
        "Gives it access to https://notes.example/mcp",
        "Example Notes",
    ):
        assert shown in outline.text


@pytest.mark.requirement("UI-03")
def test_the_decision_is_a_post_that_allows_or_denies(pages: Pages) -> None:
    outline = Outline(pages.consent(VIEW, "/oauth/authorize", HIDDEN))
    assert outline.all("form") == [{"class": "decision", "method": "post", "action": "/oauth/authorize"}]
    assert outline.all("input") == [{"type": "hidden", "name": "request", "value": 'a"b<c>&'}]
    deny, allow = outline.all("button")
    assert (deny["name"], deny["value"], deny["type"]) == ("decision", "deny", "submit")
    assert (allow["name"], allow["value"], allow["type"]) == ("decision", "allow", "submit")


def test_another_account_is_a_form_of_its_own_where_the_login_is_ours(pages: Pages) -> None:
    outline = Outline(
        pages.consent(VIEW, "/a", {}, switch_action="/oauth/logout", switch_hidden={"back": "sealed"})
    )
    assert outline.all("form")[0] == {"method": "post", "action": "/oauth/logout"}
    assert outline.all("input") == [{"type": "hidden", "name": "back", "value": "sealed"}]
    assert "Use another account" in outline.text
    assert "Use another account" not in Outline(pages.consent(VIEW, "/a", {})).text


def test_a_verified_name_is_not_called_unchecked(pages: Pages) -> None:
    assert "checked" not in Outline(pages.consent(replace(VIEW, verified=True), "/a", {})).text


@pytest.mark.requirement("UI-04")
@pytest.mark.parametrize(
    ("kind", "target", "where", "warning"),
    [
        ("web", "a.example", "Then takes you to a.example", None),
        (
            "loopback",
            "127.0.0.1:4000",
            "Then connects to a program on this computer, at 127.0.0.1:4000",
            "Any program on this computer could be asking, under any name.",
        ),
        (
            "private",
            "cursor:",
            "Then opens an app on this device, by links that begin with cursor:",
            "Any app on this device can claim such links and ask under any name.",
        ),
    ],
)
def test_a_redirect_that_proves_nothing_is_warned_about(
    pages: Pages, kind: Literal["web", "loopback", "private"], target: str, where: str, warning: str | None
) -> None:
    view = replace(VIEW, redirect_kind=kind, redirect_display=target)
    outline = Outline(pages.consent(view, "/a", {}))
    assert where in outline.text
    assert ({"class": "note warn"} in outline.all("div")) is (warning is not None)
    assert warning is None or warning in outline.text


def test_without_scopes_the_page_says_what_a_token_still_does(pages: Pages) -> None:
    outline = Outline(pages.consent(replace(VIEW, scopes=()), "/a", {}))
    assert "If you allow it, it can Use Example Notes in your name" in outline.text
    named = Outline(pages.consent(replace(VIEW, scopes=(), service_name="Other Notes"), "/a", {}))
    assert "Use Other Notes in your name" in named.text
    assert (
        "Use this service in your name" in Outline(Pages().consent(replace(VIEW, scopes=()), "/a", {})).text
    )


@pytest.mark.requirement("UI-08")
def test_what_a_client_says_of_itself_is_text_and_nothing_else(pages: Pages) -> None:
    hostile = "<img src=x onerror=alert(1)>\u202eevil\u0000\x1b[2J\n\"'&" + "x" * 500
    view = ConsentView(
        client_name=hostile,
        account=hostile,
        redirect_display=hostile,
        client_host=hostile,
        scopes=((hostile, hostile),),
        resources=(hostile,),
    )
    for response in (
        pages.consent(view, "/a", {hostile: hostile}),
        pages.login("/a", {}, client_name=hostile, username=hostile, error=hostile),
        pages.return_to_client(
            "https://a.example/", hostile, title=hostile, message="m", client_name=hostile
        ),
        pages.account(hostile, "/a", {}),
    ):
        html = response.get_data(as_text=True)
        assert "<img" not in html
        assert not Outline(response).all("img")
    shown = Outline(pages.consent(view, "/a", {})).text
    assert "\u202e" not in shown
    assert "\x1b" not in shown
    assert "x" * 300 not in shown


def test_a_client_without_a_visible_name_is_called_nameless(pages: Pages) -> None:
    for name in ("", " ", "\u200b\u3164\u202e"):
        outline = Outline(pages.consent(replace(VIEW, client_name=name), "/a", {}))
        assert "An application without a name asks for access" in outline.text


@pytest.mark.requirement("UI-08")
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Acme Notes", "Acme Notes"),
        ("  Acme \t\r\n Notes ", "Acme Notes"),
        ("Acme\u2028Notes\u00a0\u3000!", "Acme Notes !"),
        ("a\u202eb\u2066c\u2069d\u200fe\u061cf", "abcdef"),
        ("a\x00b\x1bc\x7fd\x9be", "abcde"),
        ("a\u200bb\u2060c\ufeffd\u00ade\U000e0041f", "abcdef"),
        ("a\u115fb\u3164c\uffa0d\ufe0fe\U000e0100f", "abcdef"),
        ("a\ud800b\ue000c", "abc"),
        ("Zoe\u0308", "Zoë"),
        (
            "\u65e5\u672c \u0639\u0631\u0628\u064a \U0001f600",
            "\u65e5\u672c \u0639\u0631\u0628\u064a \U0001f600",
        ),
        ("x" * 80, "x" * 80),
        ("x" * 81, "x" * 79 + "…"),
        ("x" * 78 + " yyy", "x" * 78 + "…"),
        ("", ""),
    ],
    ids=ascii,
)
def test_text_of_unknown_origin_is_one_visible_line(text: str, shown: str) -> None:
    assert display(text) == shown


def test_of_a_long_host_the_end_is_shown(pages: Pages) -> None:
    assert display_host("accounts.example." + "a" * 10 + ".evil.example", 13) == "…evil.example"
    assert display_host("a" * 300) == "a" * 300
    assert display_host("a\u202eb") == "ab"


@pytest.mark.requirement("UI-15")
def test_the_error_page_says_what_to_do_and_how_to_find_the_reason(pages: Pages) -> None:
    response = pages.error(
        "Unknown <application>",
        "It is not known here.",
        advice="Remove the connection and add it again.",
        status=404,
        correlation_id="7f3a",
    )
    outline = Outline(response)
    assert response.status_code == 404
    assert outline.text == (
        "Unknown <application> \u2013 Example Notes Example Notes Unknown <application> "
        "It is not known here. What you can do Remove the connection and add it again. Reference 7f3a"
    )
    bare = Outline(pages.error("No", "Not so."))
    assert bare.text == "No \u2013 Example Notes Example Notes No Not so."


@pytest.mark.requirement("AUTHZ-14")
def test_the_way_back_to_the_client_is_a_link_that_says_where_it_leads(pages: Pages) -> None:
    url = "https://app.example/cb?error=invalid_scope&state=a%22b"
    response = pages.return_to_client(
        url, "app.example", title="No", message="Not so.", client_name="Acme", correlation_id="7f3a"
    )
    outline = Outline(response)
    assert response.status_code == 400
    assert outline.all("a") == [{"class": "button secondary", "href": url, "rel": "noreferrer"}]
    assert "The button leaves this site for app.example Back to Acme Reference 7f3a" in outline.text
    nameless = pages.return_to_client(url, "app.example", title="No", message="Not so.")
    assert "Back to the application" in Outline(nameless).text


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "JavaScript:x", " java\tscript:x", "\x01data:text/html,x", "vbscript:x"]
)
def test_a_link_back_never_runs_a_script(pages: Pages, url: str) -> None:
    with pytest.raises(ValueError, match="script"):
        pages.return_to_client(url, "x", title="No", message="Not so.")


def test_the_account_page_tells_who_is_signed_in_and_signs_out_by_post(pages: Pages) -> None:
    outline = Outline(pages.account("alice", "/oauth/logout", {"csrf": "sealed"}))
    assert outline.all("form") == [{"method": "post", "action": "/oauth/logout"}]
    assert outline.all("input") == [{"type": "hidden", "name": "csrf", "value": "sealed"}]
    assert "Signed in as alice Sign out" in outline.text


@pytest.mark.parametrize(
    ("seconds", "span"),
    [
        (1, "1 s"),
        (59, "59 s"),
        (60, "1 min"),
        (61, "2 min"),
        (900, "15 min"),
    ],
    ids=str,
)
def test_a_wait_is_told_in_words_and_never_too_short(seconds: int, span: str) -> None:
    assert (
        Wording("en")(wait_text(seconds)) == f"There were too many attempts to sign in. Try again in {span}."
    )


def test_one_template_of_ones_own_replaces_one_page(tmp_path: Path) -> None:
    (tmp_path / "message.html").write_text("<p nonce={{ nonce }}>{{ service_name }}: {{ message }}</p>")
    pages = Pages("Example <Notes>", str(tmp_path))
    response = pages.message("Done", "All <well>.")
    html = response.get_data(as_text=True)
    assert re.fullmatch(r"<p nonce=[\w-]{22}>Example &lt;Notes&gt;: All &lt;well&gt;\.</p>", html)
    assert response.headers["X-Frame-Options"] == "DENY"
    assert "Sign out" in Outline(pages.account("alice", "/a", {})).text


def test_a_template_of_ones_own_may_build_on_the_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "login.html").write_text(
        '{% extends "oauth_refresh/login.html" %}{% block foot %}<p>Call 123.</p>{% endblock %}'
    )
    (tmp_path / "style.css").write_text('{% include "oauth_refresh/style.css" %}\n:root { --accent: #060; }')
    pages = Pages("", str(tmp_path))
    response = pages.login("/a", {})
    assert Outline(response).text.endswith("Sign in Call 123.")
    assert ":root { --accent: #060; }" in response.get_data(as_text=True)


def test_broken_templates_stop_the_start(tmp_path: Path) -> None:
    (tmp_path / "login.html").write_text("{% if %}")
    (tmp_path / "layout.html").write_text("{% block x %}")
    with pytest.raises(ConfigurationError) as error:
        Pages("", str(tmp_path))
    assert [problem.partition(":")[0] for problem in error.value.problems] == [
        "template layout.html",
        "template login.html",
    ]


def test_a_template_that_names_another_which_is_not_there_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "consent.html").write_text('{% extends "oauth_refresh/nope.html" %}')
    (tmp_path / "login.html").write_text('{% include "own.html" %}{% include "maybe.html" ignore missing %}')
    (tmp_path / "own.html").write_text('{% import "oauth_refresh/parts.html" as parts %}{% if %}')
    with pytest.raises(ConfigurationError) as error:
        Pages("", str(tmp_path))
    first, second = error.value.problems
    assert (
        first == "template oauth_refresh/nope.html: oauth_refresh/nope.html (template consent.html names it)"
    )
    assert second.startswith("template own.html: ")
    assert second.endswith("(template login.html names it)")
    (tmp_path / "consent.html").unlink()
    (tmp_path / "own.html").write_text('{% import "oauth_refresh/parts.html" as parts %}')
    Pages("", str(tmp_path))


def test_a_template_folder_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="OAUTH_TEMPLATE_FOLDER"):
        Pages("", str(tmp_path / "missing"))


def test_the_pages_render_from_a_zip_file(tmp_path: Path) -> None:
    package = Path(oauth_refresh.__file__).parent
    archive = tmp_path / "app.zip"
    with ZipFile(archive, "w") as file:
        for path in (path for path in package.rglob("*") if path.is_file()):
            file.write(path, f"oauth_refresh/{path.relative_to(package)}")
    program = (
        f"import sys; sys.path.insert(0, {str(archive)!r})\n"
        "from oauth_refresh import pages\n"
        f"assert pages.__file__.startswith({str(archive)!r})\n"
        "print(pages.Pages().signed_out().get_data(as_text=True))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "<h1>You are signed out</h1>" in ran.stdout, ran.stderr
