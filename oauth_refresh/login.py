"""Who is the user of this browser, for the built-in login? And was this form made for it?

One signed cookie per browser carries a random id, and after the login the subject and two times. Nothing of
it is stored; only the end of a login is, so that a copy of its cookie dies with it. All times come from the
clock that is handed in.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from itsdangerous import BadData, URLSafeSerializer
from werkzeug.http import parse_cookie
from werkzeug.wrappers import Request, Response

from .backends.base import Backend

LOGIN_SECONDS = 12 * 3600
"""A login ends this long after the password was given, however much it is used."""

IDLE_SECONDS = 3600
"""A login ends this long after the last page view."""

KIND = b"x"

_RENEW_SECONDS = 60
_ENDED = b"\x01"


@dataclass(frozen=True)
class Browser:
    """One browser, as its cookie tells. `sid` is its id, another one after each login and logout.

    `subject` is who is signed in now, None for nobody; `authenticated_at` is when the password was given.
    `seen_at` is the page view that the cookie was set at, None if the browser brought no valid cookie.
    Times are seconds since 1970. `proof` stands for the password that was given, where it is known here: with
    another one the login is worth nothing.
    """

    sid: bytes
    subject: str | None = None
    authenticated_at: float | None = None
    seen_at: float | None = None
    proof: bytes = b""


class LoginCookies:
    """Reads and sets the login cookie, and seals form values for the browser that has it.

    The first of `secrets` signs, all verify. `secure` is False only for plain http on loopback: the cookie
    then goes without the Secure attribute and without the name prefix that demands it. `realm` (the issuer)
    keeps the cookies of several servers with one secret apart: those of another realm are not valid here.
    """

    def __init__(
        self,
        secrets: Sequence[bytes],
        secure: bool,
        backend: Backend,
        clock: Callable[[], float],
        path: str = "/",
        *,
        realm: str = "",
    ) -> None:
        if not secrets:
            raise ValueError("at least one secret is needed to sign with")
        # itsdangerous signs with the last of its keys.
        self._keys = list(reversed(secrets))
        self._secure = secure
        self._backend = backend
        self._clock = clock
        self._path = path
        self._realm = realm
        self._signer = self._serializer("login cookie")

    @property
    def name(self) -> str:
        """The cookie's name. Browsers take `__Host-` only from the very host, by https, for the path `/`."""
        if not self._secure:
            return "oauth_refresh"
        return "__Host-oauth_refresh" if self._path == "/" else "__Secure-oauth_refresh"

    def read(self, source: Request | Mapping[str, Any]) -> Browser:
        """The browser that made this request, given as a request or a WSGI environ.

        A cookie that is absent, forged, or of a login that was ended gives a new browser with nobody signed
        in. A login that ran out leaves the id as it was, so that the forms on the screen stay valid. Raises
        `RegistryError` if it cannot be told whether the login was ended.
        """
        cookie = self._cookie(source.environ if isinstance(source, Request) else source)
        if cookie is None:
            return _new_browser()
        if cookie.subject is None or not self._lasts(cookie):
            return Browser(cookie.sid, seen_at=cookie.seen_at)
        if self._backend.get(_marker(cookie.sid)) is not None:
            return _new_browser()
        return Browser(cookie.sid, cookie.subject, cookie.authenticated_at, cookie.seen_at, cookie.proof)

    def remember(self, response: Response, browser: Browser) -> None:
        """Set the cookie that this browser does not have yet, or renew the idle time of its login.

        To be called at every page view, and not at a request that came from another site by POST: browsers
        send it without the cookie, and a new one would sign the user out.
        """
        if browser.seen_at is None or self._since(browser.seen_at) > _RENEW_SECONDS:
            self._set(response, browser)

    def sign_in(self, response: Response, browser: Browser, subject: str, proof: bytes = b"") -> Browser:
        """Make `subject` the user of this browser from now on, under a new id, and set the cookie.

        Whatever was signed under the old id ends here: cookies of an earlier login, and forms.
        Raises `RegistryError`, and then nothing has changed.
        """
        self._end(browser)
        now = self._clock()
        signed_in = replace(_new_browser(), subject=subject, authenticated_at=now, proof=proof)
        return self._set(response, signed_in)

    def sign_out(self, response: Response, browser: Browser) -> None:
        """End the login of this browser, in every copy of its cookie, and delete the cookie.

        Raises `RegistryError`, and then nothing has changed.
        """
        self._end(browser)
        response.delete_cookie(self.name, path=self._path, secure=self._secure, httponly=True, samesite="Lax")

    def seal(self, browser: Browser, purpose: str, data: Mapping[str, Any]) -> str:
        """`data` (what JSON can hold) as URL-safe text that only this browser can bring back.

        Bound to the purpose, one word for each kind of form. Signed, not encrypted. May be brought back more
        than once, until the next login or logout.
        """
        return str(self._sealer(browser, purpose).dumps([self._clock(), dict(data)]))

    def unseal(
        self, browser: Browser, purpose: str, text: str | None, max_age: float
    ) -> dict[str, Any] | None:
        """What `seal` was given less than `max_age` seconds ago for this browser and purpose, else None."""
        try:
            sealed = msgspec.convert(self._sealer(browser, purpose).loads(text or ""), _Sealed)
        except (BadData, msgspec.ValidationError):
            return None
        return sealed.data if self._since(sealed.at) < max_age else None

    def _cookie(self, environ: Mapping[str, Any]) -> _Cookie | None:
        # Ours is ASCII; parse_cookie raises where another cookie of this host is not even UTF-8.
        header = str(environ.get("HTTP_COOKIE", "")).encode("ascii", "replace").decode()
        text = parse_cookie(header).get(self.name)
        try:
            return msgspec.convert(self._signer.loads(text or ""), _Cookie)
        except (BadData, msgspec.ValidationError):
            return None

    def _set(self, response: Response, browser: Browser) -> Browser:
        now = self._clock()
        cookie = _Cookie(browser.sid, browser.subject, browser.authenticated_at, now, browser.proof)
        response.set_cookie(
            self.name,
            str(self._signer.dumps(msgspec.to_builtins(cookie))),
            path=self._path,
            secure=self._secure,
            httponly=True,
            samesite="Lax",
        )
        return replace(browser, seen_at=now)

    def _lasts(self, cookie: _Cookie) -> bool:
        began = cookie.authenticated_at
        return (
            began is not None
            and self._since(began) < LOGIN_SECONDS
            and self._since(cookie.seen_at) < IDLE_SECONDS
        )

    def _since(self, moment: float) -> float:
        return max(0.0, self._clock() - moment)

    def _end(self, browser: Browser) -> None:
        # Also where nobody is signed in any more: a copy of the cookie may have been kept alive elsewhere.
        # That the marker exists already is as good as having made it.
        if browser.seen_at is not None:
            self._backend.swap(_marker(browser.sid), None, _ENDED, self._clock() + LOGIN_SECONDS)

    def _sealer(self, browser: Browser, purpose: str) -> URLSafeSerializer:
        return self._serializer(f"form\0{purpose}\0{browser.sid.hex()}")

    def _serializer(self, salt: str) -> URLSafeSerializer:
        return URLSafeSerializer(
            self._keys,
            salt=f"oauth_refresh/1 {salt}\0{self._realm}".encode(),
            signer_kwargs={"digest_method": hashlib.sha256, "key_derivation": "hmac"},
        )


class _Cookie(msgspec.Struct, frozen=True, array_like=True):
    sid: bytes
    subject: str | None
    authenticated_at: float | None
    seen_at: float
    proof: bytes = b""


class _Sealed(msgspec.Struct, frozen=True, array_like=True):
    at: float
    data: dict[str, Any]


def _new_browser() -> Browser:
    return Browser(secrets.token_bytes(16))


def _marker(sid: bytes) -> bytes:
    return KIND + hashlib.sha256(sid).digest()
