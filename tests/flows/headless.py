"""A person at a browser, without the browser: follows redirects, signs in, decides on the consent page."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import NamedTuple
from urllib.parse import urljoin

import requests

from tests.flows.secret import Secret

STEPS_MAX = 12
TIMEOUT = 30.0

PASSWORDS = {"alice": Secret("wonderland"), "bob": Secret("builder")}


class Form(NamedTuple):
    """One form of a page: where it is sent, and what it holds before anybody types."""

    action: str
    fields: dict[str, str]

    def asks_for(self, name: str) -> bool:
        return name in self.fields


class User:
    """Somebody with a name, a password and a browser, which keeps its cookies from one visit to the next."""

    def __init__(
        self, name: str = "alice", password: Secret | None = None, browser: requests.Session | None = None
    ) -> None:
        self.name = name
        self.password = PASSWORDS[name] if password is None else password
        self.browser = requests.Session() if browser is None else browser
        self.seen: list[requests.Response] = []

    def visit(self, url: str, until: str, decision: str = "allow") -> str:
        """Open `url`, do what the pages ask for, and return the address that begins with `until`.

        That address, the client's own, is not opened. AssertionError where the way ends at a page that
        offers nothing more to do; it tells status and title of that page.
        """
        page = self._get(url)
        for _ in range(STEPS_MAX):
            if page.is_redirect:
                target = urljoin(page.url, page.headers["Location"])
                if target.startswith(until):
                    return target
                page = self._get(target)
                continue
            page = self._answer(page, decision)
        raise AssertionError(f"{STEPS_MAX} pages, and no end in sight")

    def _answer(self, page: requests.Response, decision: str) -> requests.Response:
        forms = read_forms(page)
        for form in forms:
            if form.asks_for("password") and page.status_code == 200:
                entered = {**form.fields, "username": self.name, "password": self.password.text}
                return self._post(form.action, entered)
        for form in forms:
            if form.asks_for("decision"):
                return self._post(form.action, {**form.fields, "decision": decision})
        raise AssertionError(f"stuck at a page with status {page.status_code}: {_title(page)}")

    def _get(self, url: str) -> requests.Response:
        return self._look(self.browser.get(url, allow_redirects=False, timeout=TIMEOUT))

    def _post(self, url: str, fields: dict[str, str]) -> requests.Response:
        return self._look(self.browser.post(url, fields, allow_redirects=False, timeout=TIMEOUT))

    def _look(self, page: requests.Response) -> requests.Response:
        self.seen.append(page)
        return page


def read_forms(page: requests.Response) -> list[Form]:
    """The forms of a page, in order."""
    reader = _Forms(page.url)
    reader.feed(page.text)
    return reader.forms


def _title(page: requests.Response) -> str:
    return page.text.partition("<title>")[2].partition("</title>")[0] or "(no title)"


class _Forms(HTMLParser):
    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self.forms: list[Form] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attributes}
        if tag == "form":
            self.forms.append(Form(urljoin(self._url, found.get("action", "")), {}))
        elif tag in ("input", "button") and self.forms and "name" in found:
            self.forms[-1].fields[found["name"]] = found.get("value", "")
