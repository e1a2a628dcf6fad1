"""Whatever crosses the wire, watched: which texts are secrets, and where else do they turn up?"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests

SENT = ("password", "code", "code_verifier", "refresh_token", "token", "client_secret")
SEALED = ("continue", "request")
RECEIVED = ("access_token", "refresh_token", "client_secret")


class Watch:
    """Collects secrets from requests and answers, and the bodies of refusals."""

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}
        self.of_pages: dict[str, str] = {}
        self.refusals: list[tuple[int, str, str]] = []

    def over(self, session: requests.Session) -> requests.Session:
        """The same session, watched from now on."""
        session.hooks["response"].append(self._see)
        return session

    def add(self, kind: str, text: str) -> None:
        """Something that was not seen on the wire, or not at a known place."""
        if len(text) >= 4:
            self.secrets[text] = kind

    def leaks(self, places: Iterable[tuple[str, bytes]], *, pages: bool = True) -> list[str]:
        """Which kind of secret stands in which place, in clear or in another notation. No secret in it.

        Login cookies and sealed form values are looked for too, unless `pages` is False: pages hold them.
        """
        wanted = {**self.secrets, **(self.of_pages if pages else {})}
        return [
            f"{kind} in {place}"
            for place, content in places
            for text, kind in wanted.items()
            if any(notation in content for notation in _notations(text))
        ]

    def _see(self, answer: requests.Response, *_: Any, **__: Any) -> None:
        self._see_request(answer.request)
        for header in answer.headers.get("Set-Cookie", "").split("\n"):
            for morsel in SimpleCookie(header).values():
                self.of_pages[morsel.value] = "cookie"
        target = parse_qs(urlsplit(answer.headers.get("Location", "")).query)
        for code in target.get("code", ()):
            self.add("code", code)
        if answer.headers.get("Content-Type", "").startswith("application/json") and answer.content:
            told = answer.json()
            for name in RECEIVED:
                if name in told:
                    self.add(name, str(told[name]))
        if answer.status_code >= 400:
            path = urlsplit(answer.url).path
            self.refusals.append((answer.status_code, path, f"{answer.headers}\n{answer.text}"))

    def _see_request(self, request: requests.PreparedRequest) -> None:
        body = request.body or ""
        fields = parse_qs(body.decode() if isinstance(body, bytes) else body)
        for name in SENT:
            for value in fields.get(name, ()):
                self.add(name, value)
        for name in SEALED:
            for value in fields.get(name, ()):
                self.of_pages[value] = f"sealed {name}"


def _notations(text: str) -> list[bytes]:
    """How a text may turn up: itself, and for codes and tokens also without prefix, as bytes, and in hex."""
    found = [text.encode()]
    if text[:4] in ("oac_", "oat_", "ort_"):
        content = base64.urlsafe_b64decode(text[4:] + "=" * (-len(text[4:]) % 4))
        # The grant id in front is no secret, and the registry's key.
        secret = content[20:52] if text.startswith("ort_") else content[16:]
        found += [text[4:].encode(), secret, secret.hex().encode(), base64.b64encode(secret)]
    return found
