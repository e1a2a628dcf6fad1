"""One HTTP request with as little as possible between the test and the socket: nothing is tried twice."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from contextlib import closing
from typing import Any
from urllib.parse import urlencode

TIMEOUT = 60.0


class NoAnswer(Exception):
    """The connection ended before there was an answer. `sent` says whether the request had gone out whole."""

    def __init__(self, *, sent: bool) -> None:
        super().__init__("after the request was sent" if sent else "before the request was sent")
        self.sent = sent


def post(port: int, path: str, form: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
    """POST a form to 127.0.0.1: status and JSON. Raises `NoAnswer`."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    return _exchange(port, "POST", path, urlencode(form), headers)


def get(port: int, path: str, access_token: str) -> tuple[int, dict[str, Any]]:
    """GET with a bearer token: status and JSON. Raises `NoAnswer`."""
    return _exchange(port, "GET", path, None, {"Authorization": f"Bearer {access_token}"})


def _exchange(
    port: int, method: str, path: str, body: str | None, headers: Mapping[str, str]
) -> tuple[int, dict[str, Any]]:
    sent = False
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)) as connection:
        try:
            connection.request(method, path, body, headers)
            sent = True
            answer = connection.getresponse()
            status, text = answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            # Without the cause: its text is of no use, and a chained one could hold parts of an answer.
            raise NoAnswer(sent=sent) from None
    return status, json.loads(text)
