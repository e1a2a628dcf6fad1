"""One request as a client would make it, without following redirects; a failure is an answer, too."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from http.client import HTTPException, HTTPMessage
from typing import IO, Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

SECONDS = 10.0
BYTES_MAX = 1 << 20


class Answer(NamedTuple):
    """What came back. `status` is 0 where nothing did; `trouble` then says why."""

    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""
    trouble: str = ""
    untrusted: bool = False

    @property
    def json(self) -> dict[str, Any] | None:
        """The JSON object in it, if it is one."""
        try:
            found = json.loads(self.body)
        except ValueError:
            return None
        return found if isinstance(found, dict) else None

    @property
    def shown(self) -> str:
        """What it was, in a few words."""
        if not self.status:
            return f"no answer ({self.trouble})"
        where = self.headers.get("location")
        if where is not None:
            return f"a redirect to {where[:200]!r}"
        return f"status {self.status}, {self.headers.get('content-type', 'no type')}"


class _Stay(HTTPRedirectHandler):
    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


def fetch(
    url: str,
    form: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    document: Mapping[str, object] | None = None,
    method: str | None = None,
) -> Answer:
    """GET, or POST of a form or of a JSON document, or another method. The URL must be http or https."""
    if urlsplit(url).scheme not in ("http", "https"):
        return Answer(0, trouble="neither http nor https")
    body = None if form is None else urlencode(form).encode()
    sent = {"Accept": "application/json", **(headers or {})}
    if document is not None:
        body, sent["Content-Type"] = json.dumps(document).encode(), "application/json"
    request = Request(url, body, sent, method=method)  # noqa: S310 - checked above
    try:
        with _opener(url).open(request, timeout=SECONDS) as response:
            return _answer(response.status, response.headers, response.read(BYTES_MAX))
    except HTTPError as refusal:
        with refusal:
            return _answer(refusal.code, refusal.headers, refusal.read(BYTES_MAX))
    except (OSError, HTTPException, ValueError) as trouble:
        reason = trouble.reason if isinstance(trouble, URLError) else trouble
        return Answer(0, trouble=str(reason), untrusted=isinstance(reason, ssl.SSLCertVerificationError))


def _opener(url: str) -> Any:
    host = urlsplit(url).hostname or ""
    is_here = host in ("localhost", "::1") or host.startswith("127.")
    # A proxy that the environment names leads out of this machine, not back to it.
    return build_opener(_Stay, *([ProxyHandler({})] if is_here else []))


def _answer(status: int, headers: Any, body: bytes) -> Answer:
    return Answer(status, {name.lower(): value for name, value in headers.items()}, body)
