"""In which words do the pages speak, and is every one of them translated?"""

from __future__ import annotations

import ast
import logging
from pathlib import Path

import pytest
from jinja2 import Environment, nodes
from werkzeug.datastructures import LanguageAccept
from werkzeug.http import parse_accept_header

import oauth_refresh
from oauth_refresh.errors import ConfigurationError
from oauth_refresh.wording import Wording, choose, load, problem_of, say

from .driving import InProcess

PACKAGE = Path(oauth_refresh.__file__).parent


def sentences_of_templates() -> set[str]:
    found: set[str] = set()
    for path in PACKAGE.glob("templates/*.html"):
        for call in Environment().parse(path.read_text()).find_all(nodes.Call):
            if isinstance(call.node, nodes.Name) and call.node.name == "_":
                found.update(arg.value for arg in call.args if isinstance(arg, nodes.Const))
    return found


def sentences_of_code() -> set[str]:
    found: set[str] = set()
    for path in [*PACKAGE.glob("*.py"), *PACKAGE.glob("endpoints/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "say":
                found.update(str(arg.value) for arg in node.args if isinstance(arg, ast.Constant))
    return found


GERMAN = load()["de"]._catalogue


def test_every_sentence_is_translated_and_nothing_else() -> None:
    assert set(GERMAN) == sentences_of_templates() | sentences_of_code()


@pytest.mark.parametrize("english", sorted(GERMAN))
def test_every_translation_names_the_values_of_its_sentence(english: str) -> None:
    assert problem_of(english, GERMAN[english]) is None
    assert GERMAN[english].strip() == GERMAN[english] != ""


@pytest.mark.parametrize(
    ("accept", "asked", "language"),
    [
        ("", "", "en"),
        ("de", "", "de"),
        ("de-AT,de;q=0.9,en;q=0.8", "", "de"),
        ("en-GB,de;q=0.9", "", "en"),
        ("de;q=0.3, en;q=0.7", "", "en"),
        ("fr, it;q=0.5", "", "en"),
        ("fr, de;q=0.1", "", "de"),
        ("de;q=0", "", "en"),
        ("*", "", "en"),
        ("en", "fr de-CH en", "de"),
        ("de", "fr", "de"),
        ("de", "\N{SNOWMAN} ;;", "de"),
    ],
)
@pytest.mark.requirement("AUTHZ-13")
def test_the_language_is_the_one_that_is_asked_for(accept: str, asked: str, language: str) -> None:
    accepted = parse_accept_header(accept, LanguageAccept)
    assert choose(("en", "de"), accepted, asked) == language


def test_values_are_escaped_and_a_sentence_is_never_html() -> None:
    words = Wording("xx", {"Hello {name}": "<b>Hallo</b> {name}"})
    assert words("Hello {name}", name="<i>") == "&lt;b&gt;Hallo&lt;/b&gt; &lt;i&gt;"
    assert words(say("Hello {name}", name=say("you"))) == "&lt;b&gt;Hallo&lt;/b&gt; you"
    assert words("Use {this} & that") == "Use {this} &amp; that"


def test_a_folder_adds_a_language_and_replaces_single_sentences(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "fr.toml").write_text('"Sign in" = "Se connecter"\n')
    (tmp_path / "de.toml").write_text('"Sign in" = "Einloggen"\n"Read your notes" = "Ihre Notizen lesen"\n')
    (tmp_path / "notes.txt").write_text("not a translation")
    with caplog.at_level(logging.WARNING, "oauth_refresh"):
        found = load(str(tmp_path))
    assert list(found) == ["en", "de", "fr"]
    assert found["fr"]("Sign in") == "Se connecter"
    assert found["fr"]("Password") == "Password"
    assert found["de"]("Sign in") == "Einloggen"
    assert found["de"]("Password") == "Passwort"
    assert caplog.messages == [f"the translation fr lacks {len(GERMAN) - 1} sentences, shown in English"]


def test_a_language_from_right_to_left_says_so(tmp_path: Path) -> None:
    (tmp_path / "ar.toml").write_text('"Sign in" = "تسجيل الدخول"')
    server = InProcess(translation_folder=str(tmp_path))
    page = server.get("/oauth/login", {"Accept-Language": "ar"}).text
    assert '<html lang="ar" dir="rtl">' in page
    assert "<h1>تسجيل الدخول</h1>" in page


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('"Back to {client}" = "Zurück"', "must name {client} and nothing else in braces"),
        ('"Back to {client}" = "{client} {client.__class__}"', "must name {client}"),
        ('"Back to {client}" = "{client} {x}"', "must name {client}"),
        ('"Back to {client}" = "{client} }"', "must name {client}"),
        ('"Sign in" = 3', '"Sign in" is no text'),
        ("Sign in", "translation"),
    ],
)
def test_a_wrong_translation_stops_the_start(tmp_path: Path, content: str, problem: str) -> None:
    (tmp_path / "fr.toml").write_text(content)
    with pytest.raises(ConfigurationError, match="OAUTH_TRANSLATION_FOLDER") as error:
        InProcess(translation_folder=str(tmp_path))
    assert problem in str(error.value)


def test_languages_that_are_not_there_stop_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"there is no fr\.toml"):
        InProcess(languages="de, fr")
    with pytest.raises(ConfigurationError, match="there is no such folder"):
        InProcess(translation_folder=str(tmp_path / "missing"))


def test_only_the_languages_that_the_operator_wants_are_spoken() -> None:
    server = InProcess(languages="de")
    assert '<html lang="de">' in server.get("/oauth/login", {"Accept-Language": "en"}).text


def test_a_scope_is_described_in_the_language_of_the_page(tmp_path: Path) -> None:
    (tmp_path / "de.toml").write_text('"Read your notes" = "Ihre Notizen lesen"\n')
    server = InProcess(translation_folder=str(tmp_path))
    alice = server.signed_in("alice")
    url = server.authorize_url(server.register(), scope="notes:read", ui_locales="de-CH")
    page = alice.get(url, {"Accept-Language": "en"})
    assert "Ihre Notizen lesen" in page.text
    assert "Read your notes" in alice.get(url.replace("ui_locales", "x"), {"Accept-Language": "en"}).text


def test_a_description_is_escaped_once() -> None:
    server = InProcess(scopes={"a": "Read & write <all> {notes}"}, protect={"/api": "a"})
    page = server.signed_in("alice").get(server.authorize_url(server.register(), scope="a")).text
    assert "Read &amp; write &lt;all&gt; {notes}" in page


def test_the_login_stays_in_its_language_after_a_wrong_password() -> None:
    server = InProcess()
    browser = server.browser()
    page = browser.get(server.authorize_url(server.register(), ui_locales="de"))
    assert '<html lang="de">' in page.text
    again = browser.sign_in(page, password="wrong")
    assert "Dieser Benutzername und dieses Passwort passen nicht zusammen." in again.text
