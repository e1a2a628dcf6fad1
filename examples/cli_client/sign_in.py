"""Signing in without a browser, by filling in the login and consent forms. For tests and scripts."""

from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import requests

PAGES_MAX = 6
SECONDS_TO_ANSWER = 10


class _Form:
    def __init__(self, action: str) -> None:
        self.action = action
        self.fields: dict[str, str] = {}
        self.choices: dict[str, str] = {}


class _Forms(HTMLParser):
    """Every form of a page, with its fields and with the values of its buttons."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[_Form] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.found.append(_Form(given.get("action", "")))
        elif self.found and given.get("name"):
            kept = self.found[-1].choices if tag == "button" else self.found[-1].fields
            kept[given["name"]] = given.get("value", "")


def sign_in_without_browser(
    username: str, password: str, redirect_uri: str
) -> Callable[[str], dict[str, str]]:
    """A function that takes an authorization URL and returns what the client would hear at `redirect_uri`.

    It allows whatever is asked. An empty result means that the user was not let in.
    """

    def sign_in(authorization_url: str) -> dict[str, str]:
        with requests.Session() as browser:
            url = f"{authorization_url}&{urlencode({'redirect_uri': redirect_uri})}"
            answer = browser.get(url, allow_redirects=False, timeout=SECONDS_TO_ANSWER)
            for _ in range(PAGES_MAX):
                target = urljoin(answer.url, answer.headers.get("Location", ""))
                if target.startswith(f"{redirect_uri}?"):
                    return {**dict(parse_qsl(urlsplit(target).query)), "redirect_uri": redirect_uri}
                if answer.is_redirect:
                    answer = browser.get(target, allow_redirects=False, timeout=SECONDS_TO_ANSWER)
                else:
                    answer = _submit(browser, answer, username, password)
        return {}

    return sign_in


def _submit(
    browser: requests.Session, page: requests.Response, username: str, password: str
) -> requests.Response:
    forms = _Forms()
    forms.feed(page.text)
    for form in forms.found:
        action = urljoin(page.url, form.action)
        filled = None
        if "password" in form.fields:
            filled = {**form.fields, "username": username, "password": password}
        elif "decision" in form.choices:
            filled = {**form.fields, "decision": "allow"}
        if filled is not None:
            return browser.post(action, data=filled, allow_redirects=False, timeout=SECONDS_TO_ANSWER)
    return page
