"""Fetch a small JSON document from a URL that a stranger chose, without serving the stranger otherwise.

The name is resolved once, every address is judged, and the connection goes to the very address that was
judged; the name counts for SNI, certificate and Host. No redirect is followed, no proxy used, no cookie or
credential sent, and neither a slow nor an endless answer holds anybody longer than the time limit.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from http.client import HTTPException
from typing import Any, NamedTuple

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from .client_metadata import BYTES_MAX, Location
from .errors import FetchError
from .public_addresses import is_loopback, is_public

SECONDS = 10.0
"""For everything together: the look-up of the name, connecting, and the answer to its last byte."""
CONNECT_SECONDS = 3.0
ADDRESSES_TRIED = 3
AT_ONCE_MAX = 8
"""Fetches in one process. Each may hold one of its threads as long as the limit says."""

_JSON = re.compile(r"application/(?:json|[a-z0-9!#$&^_.-]+\+json)")
_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "User-Agent": "oauth-refresh",
    "Connection": "close",
}

Resolve = Callable[[str, int], Sequence[str]]
Connect = Callable[[str, int, float], socket.socket]


class Fetched(NamedTuple):
    """A document, and the headers it came with, their names in lower case."""

    body: bytes
    headers: Mapping[str, str]


def resolve(host: str, port: int) -> Sequence[str]:
    """Every address of a name, as the system knows it. OSError if there is none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(item[4][0]) for item in found))


def connect(address: str, port: int, seconds: float) -> socket.socket:
    return socket.create_connection((address, port), seconds)


class Fetcher:
    """Fetches documents: `fetcher(location)`. Resolver, connector and TLS context can be handed in."""

    def __init__(
        self,
        *,
        resolve: Resolve = resolve,
        connect: Connect = connect,
        context: ssl.SSLContext | None = None,
        seconds: float = SECONDS,
    ) -> None:
        self.resolve = resolve
        self.connect = connect
        self.seconds = seconds
        self._context = context
        self._free = threading.BoundedSemaphore(AT_ONCE_MAX)

    @property
    def too_late(self) -> str:
        return f"it was not there within {self.seconds:g} seconds"

    @cached_property
    def context(self) -> ssl.SSLContext:
        return self._context or ssl.create_default_context()

    def __call__(self, location: Location) -> Fetched:
        """The document. Raises `FetchError`, at the latest when the time limit is over."""
        if not self._free.acquire(blocking=False):
            raise FetchError("too many documents are being fetched at this moment")
        attempt = _Attempt(self, location)
        # In a thread of its own: nothing ends a look-up of a name that does not end by itself.
        thread = threading.Thread(target=self._run, args=(attempt,), daemon=True)
        try:
            thread.start()
        except BaseException:
            self._free.release()
            raise
        if not attempt.done.wait(self.seconds):
            attempt.give_up()
            raise FetchError(self.too_late)
        if attempt.fetched is None:
            raise attempt.error or FetchError("it could not be fetched")
        return attempt.fetched

    def _run(self, attempt: _Attempt) -> None:
        try:
            attempt.run()
        finally:
            self._free.release()


class _Attempt:
    """One fetch, in one thread, that another thread may give up."""

    def __init__(self, fetcher: Fetcher, location: Location) -> None:
        self.done = threading.Event()
        self.fetched: Fetched | None = None
        self.error: FetchError | None = None
        self._fetcher = fetcher
        self._location = location
        self._lock = threading.Lock()
        self._given_up = False
        self._line: socket.socket | None = None

    def run(self) -> None:
        try:
            self.fetched = self._fetch()
        except FetchError as error:
            self.error = error
        except (OSError, HTTPError, HTTPException, ValueError) as error:
            self.error = FetchError(_reason(error, self._fetcher.too_late))
        finally:
            with self._lock:
                if self._line is not None:
                    self._line.close()
                    self._line = None
            self.done.set()

    def give_up(self) -> None:
        """Cut the connection: whoever sends a byte now and then would hold the thread for ever."""
        with self._lock:
            self._given_up = True
            if self._line is not None:
                with suppress(OSError):
                    self._line.shutdown(socket.SHUT_RDWR)

    def _fetch(self) -> Fetched:
        opened = self._open(self._addresses())
        try:
            with self._lock:
                if self._given_up:
                    raise FetchError("it was given up")
                # A second handle of the same connection: TLS takes the first one over.
                self._line = opened.dup()
            return self._ask(opened)
        finally:
            opened.close()

    def _addresses(self) -> Sequence[str]:
        host = self._location.host
        try:
            addresses = self._fetcher.resolve(host.strip("[]"), self._location.port)
        except (OSError, UnicodeError):
            raise FetchError("its host name has no address") from None
        if not addresses:
            raise FetchError("its host name has no address")
        judge = is_loopback if self._location.loopback else is_public
        # One bad address is enough: whoever publishes it waits for the day on which it is the one tried.
        if not all(map(judge, addresses)):
            raise FetchError("its host name leads to an address that is not public", lasting=True)
        return addresses

    def _open(self, addresses: Sequence[str]) -> socket.socket:
        failure: OSError | None = None
        for address in addresses[:ADDRESSES_TRIED]:
            try:
                return self._fetcher.connect(address, self._location.port, CONNECT_SECONDS)
            except OSError as error:
                failure = error
        raise FetchError("its host does not answer") from failure

    def _ask(self, opened: socket.socket) -> Fetched:
        opened.settimeout(self._fetcher.seconds)
        location = self._location
        settings: dict[str, Any] = {"port": location.port, "timeout": self._fetcher.seconds}
        connection: HTTPConnection = (
            _PinnedTLS(opened, location.host, ssl_context=self._fetcher.context, **settings)
            if location.scheme == "https"
            else _Pinned(opened, location.host, **settings)
        )
        try:
            connection.request(
                "GET", location.target, headers=_HEADERS, preload_content=False, decode_content=False
            )
            return _read(connection.getresponse())
        finally:
            connection.close()


class _Pinned(HTTPConnection):
    """A connection for a name, over a socket that is open already: the name is not looked up again."""

    def __init__(self, opened: socket.socket, host: str, **settings: Any) -> None:
        super().__init__(host, **settings)
        self._opened = opened

    def _new_conn(self) -> socket.socket:
        return self._opened


class _PinnedTLS(HTTPSConnection):
    def __init__(self, opened: socket.socket, host: str, **settings: Any) -> None:
        super().__init__(host, **settings)
        self._opened = opened

    def _new_conn(self) -> socket.socket:
        return self._opened


def _read(response: urllib3.BaseHTTPResponse) -> Fetched:
    headers = {name.lower(): value for name, value in response.headers.items()}
    status = response.status
    if status != 200:
        kind = "a redirect, and none is followed" if 300 <= status < 400 else "not 200"
        raise FetchError(f"the answer has status {status}: {kind}", lasting=status in (404, 410))
    if headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        # Five kilobytes can be packed so that they unfold to five megabytes.
        raise FetchError("the answer is compressed, which was not asked for")
    if _JSON.fullmatch(headers.get("content-type", "").partition(";")[0].strip().lower()) is None:
        raise FetchError("the answer has another content type than application/json")
    return Fetched(_body(response), headers)


def _body(response: urllib3.BaseHTTPResponse) -> bytes:
    body = b""
    # To the end, where urllib3 tells whether as much came as was announced.
    while piece := response.read(BYTES_MAX + 1 - len(body), decode_content=False):
        body += piece
        if len(body) > BYTES_MAX:
            raise FetchError(f"the answer is larger than {BYTES_MAX} bytes", lasting=True)
    return body


def _reason(error: Exception, too_late: str) -> str:
    """In words that tell its author what to do, and no stranger anything about this network."""
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and len(causes) < 8:
        causes.append(cause)
    if any(isinstance(cause, TimeoutError) for cause in causes):
        return too_late
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return "its host has no certificate for this name that is trusted here"
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return "its host does not speak TLS as it should"
    return "its host broke off, or answered with something else than HTTP"
