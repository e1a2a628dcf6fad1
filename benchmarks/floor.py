"""The least honest program: what a WSGI program must do at the very least to check and rotate tokens safely.

A selector in the token, one row per grant, SHA-256 at rest, compare-and-swap. It has no clients, scopes,
audiences, errors, metadata, repeats or theft detection. The ratio to it is the price of all the rest.
"""

from __future__ import annotations

import hmac
import os
import struct
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import msgspec

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from .stores import Raw

_TIMES = struct.Struct(">dd")
_FILLED = 450 - 64 - _TIMES.size


class Floor:
    """Its rows: SHA-256 of access and refresh secret, two expiries, the user in the rest."""

    def __init__(self, app: WSGIApplication, raw: Raw, clock: Callable[[], float] = time.time) -> None:
        self.app = app
        self.raw = raw
        self.clock = clock

    def create(self, user: str) -> tuple[str, str]:
        """An access and a refresh token."""
        selector = _text(os.urandom(16))
        body, access, refresh = self._pair(user.encode().ljust(_FILLED))
        self.raw.swap(selector.encode(), None, body)
        return f"{selector}.{access}", f"{selector}.{refresh}"

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/oauth/token":
            return self._rotate(environ, start_response)
        token = environ.get("HTTP_AUTHORIZATION", "")[7:]
        selector, _, secret = token.partition(".")
        row = self.raw.get(selector.encode())
        if (
            row is None
            or not hmac.compare_digest(sha256(secret.encode()).digest(), row[:32])
            or _TIMES.unpack_from(row, 64)[0] <= self.clock()
        ):
            start_response("401 Unauthorized", [("WWW-Authenticate", "Bearer")])
            return [b""]
        environ["REMOTE_USER"] = row[80:].rstrip().decode()
        return self.app(environ, start_response)

    def _rotate(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        form = parse_qs(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).decode())
        selector, _, secret = form["refresh_token"][0].partition(".")
        key = selector.encode()
        row = self.raw.get(key)
        if row is not None and hmac.compare_digest(sha256(secret.encode()).digest(), row[32:64]):
            body, access, refresh = self._pair(row[80:])
            if _TIMES.unpack_from(row, 64)[1] > self.clock() and self.raw.swap(key, row, body):
                told = {
                    "access_token": f"{selector}.{access}",
                    "token_type": "Bearer",
                    "expires_in": 86400,
                    "refresh_token": f"{selector}.{refresh}",
                }
                start_response(
                    "200 OK", [("Content-Type", "application/json"), ("Cache-Control", "no-store")]
                )
                return [msgspec.json.encode(told)]
        start_response("400 Bad Request", [("Content-Type", "application/json")])
        return [b'{"error": "invalid_grant"}']

    def _pair(self, user: bytes) -> tuple[bytes, str, str]:
        access, refresh, now = _text(os.urandom(32)), _text(os.urandom(32)), self.clock()
        hashes = sha256(access.encode()).digest() + sha256(refresh.encode()).digest()
        return hashes + _TIMES.pack(now + 86400, now + 2592000) + user, access, refresh


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()
