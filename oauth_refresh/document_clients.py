"""Clients whose id is the URL of their metadata document: fetched when a user is asked, and then kept.

What was fetched is a record of the registry, so all workers share it. It is fresh for as long as HTTP says,
and only a fresh one brings a user to the consent page. Token requests take it whatever its age: a document
host that is down, or gone, logs nobody out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TookTooLong
from hashlib import sha256
from typing import Protocol

import msgspec

from .backends.base import Backend, Entry
from .backends.forking import renewed_in_children
from .client_metadata import Location, is_document_url, locate
from .clients import Client
from .credentials import invalid_client
from .errors import (
    DocumentRefused,
    DocumentUnavailable,
    FetchError,
    OAuthError,
    RegistryError,
    TooManyRequests,
)
from .events import Events
from .fetch_quotas import FetchQuotas
from .freshness import LONGEST, fresh_for
from .reading_ahead import NOTHING_SEEN, Seen
from .registration import Registration

KIND = b"d"
UNUSED_TTL = 3600.0
"""Seconds after which a document that no user allowed may be forgotten, if it is not fresh for longer."""

WAITING_MAX = 16
WAIT_SECONDS = 12.0
TRIES = 8

_FORMAT = b"\x01"


class Answer(Protocol):
    """What a fetcher brings: the document, and headers with names in lower case."""

    @property
    def body(self) -> bytes: ...

    @property
    def headers(self) -> Mapping[str, str]: ...


Fetch = Callable[[Location], "Answer"]
Accept = Callable[[str, bytes], Registration]


class DocumentClients:
    """The documents of one server. `fetch` None: none is fetched, and those that are kept go on serving.

    Every method raises `RegistryError` when the registry cannot answer.
    """

    def __init__(
        self,
        backend: Backend,
        accept: Accept,
        fetch: Fetch | None,
        quotas: FetchQuotas,
        *,
        loopback: bool = False,
        events: Events | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.fetch = fetch
        self._backend = backend
        self._accept = accept
        self._quotas = quotas
        self._loopback = loopback
        self._events = events if events is not None else Events()
        self._clock = clock
        self._lock = threading.Lock()
        self._flights: dict[str, _Flight] = {}
        _all.add(self)

    def names(self, client_id: str) -> bool:
        """Whether this client id can only be the URL of a document."""
        return is_document_url(client_id, loopback=self._loopback)

    def host(self, client_id: str) -> str:
        """The host that a document's URL names, for the user to see; nothing for another client id."""
        location = locate(client_id, loopback=self._loopback) if self.names(client_id) else ""
        return "" if isinstance(location, str) else location.shown

    def key(self, client_id: str) -> bytes:
        """Where the registry has what this document said."""
        return _key(client_id)

    def known(self, client_id: str, seen: Seen = NOTHING_SEEN) -> Client | None:
        """The client as its document said when it was last fetched, however long ago. Fetches nothing."""
        key = _key(client_id)
        kept = _decode(seen[key] if key in seen else self._backend.get(key))
        return None if kept is None else kept.client

    def current(self, client_id: str) -> Client:
        """The client as its document says now, or has said within the time that HTTP lets it be kept.

        Raises `DocumentRefused` with what is wrong with the URL or in the document, `DocumentUnavailable` if
        it cannot be fetched just now, `TooManyRequests` over a quota. None of these is remembered.
        """
        location = locate(client_id, loopback=self._loopback)
        if isinstance(location, str):
            raise DocumentRefused(f"client_id: {location}")
        fetch = self.fetch
        if fetch is None:
            raise invalid_client("client_id: this server reads no client metadata documents")
        kept = _decode(self._backend.get(_key(client_id)))
        if kept is not None and 0 < kept.fresh_until - self._clock() <= LONGEST:
            return kept.client
        return self._together(
            client_id, lambda: self._renew(client_id, lambda: fetch(location), location, kept)
        )

    def mark_used(self, client: Client) -> None:
        """A user has allowed this client: keep what its document said for as long as tokens may live."""
        if client.used:
            return
        for _ in range(TRIES):
            entry = self._backend.get(_key(client.client_id))
            kept = _decode(entry)
            if kept is None or kept.client.used:
                return
            used = msgspec.structs.replace(kept, client=msgspec.structs.replace(kept.client, used=True))
            if self._swap(client.client_id, entry, used):
                return

    def list(self) -> Iterator[Client]:
        for key in self._backend.keys(KIND):
            kept = _decode(self._backend.get(key))
            if kept is not None:
                yield kept.client

    def delete(self, client_id: str) -> bool:
        """Forget what this document said: whether there was anything. Its grants are another matter."""
        for _ in range(TRIES):
            entry = self._backend.get(_key(client_id))
            if entry is None:
                return False
            if self._backend.swap(_key(client_id), entry, None, None, (), "required"):
                return True
        raise RegistryError("a client kept changing through every try: try again", retry_after=1)

    # --- fetching ---------------------------------------------------------------------------------

    def _together(self, client_id: str, renew: Callable[[], Client]) -> Client:
        """One fetch per document at a time in this process; who comes meanwhile waits for its outcome."""
        with self._lock:
            flight = self._flights.get(client_id)
            if flight is None:
                own = self._flights[client_id] = _Flight()
            elif flight.waiting >= WAITING_MAX:
                raise DocumentUnavailable(
                    "client_id: too many requests wait for this document", retry_after=5
                )
            else:
                flight.waiting += 1
        if flight is not None:
            return _outcome(flight)
        try:
            client = renew()
            own.landed.set_result(client)
            return client
        except BaseException as error:
            # What ends this thread, such as the end of its worker, is none of the others' business.
            ended = DocumentUnavailable("client_id: the fetch of its metadata document was broken off")
            own.landed.set_exception(error if isinstance(error, Exception) else ended)
            raise
        finally:
            with self._lock:
                # In a child that was forked by this very thread there is no flight any more.
                self._flights.pop(client_id, None)

    def _renew(
        self, client_id: str, fetch: Callable[[], Answer], location: Location, kept: _Kept | None
    ) -> Client:
        known, used = kept is not None, kept is not None and kept.client.used
        try:
            with self._quotas.fetching(client_id, location.host, known=known, used=used):
                client, seconds = self._read(client_id, fetch)
        except (DocumentRefused, DocumentUnavailable) as error:
            told = {"client": client_id, "reason": error.description}
            self._events.emit_sparingly("client_document_refused", told, client_id, 60)
            raise
        return self._store(client, seconds)

    def _read(self, client_id: str, fetch: Callable[[], Answer]) -> tuple[Client, float]:
        try:
            answer = fetch()
        except FetchError as error:
            described = f"the client metadata document at {client_id}: {error}"
            if error.lasting:
                raise DocumentRefused(described) from None
            raise DocumentUnavailable(described) from None
        wanted = self._accept(client_id, answer.body)
        client = Client(
            client_id,
            wanted.redirect_uris,
            wanted.auth_method,
            grant_types=wanted.grant_types,
            response_types=wanted.response_types,
            scopes=wanted.scopes,
            metadata=wanted.metadata,
            created_at=float(int(self._clock())),
        )
        return client, fresh_for(answer.headers)

    def _store(self, client: Client, seconds: float) -> Client:
        for _ in range(TRIES):
            entry = self._backend.get(_key(client.client_id))
            before = _decode(entry)
            if before is not None:
                client = msgspec.structs.replace(
                    client, created_at=before.client.created_at, used=before.client.used
                )
            if self._swap(client.client_id, entry, _Kept(client, self._clock() + seconds)):
                self._tell(client, before)
                return client
        # Other workers have fetched the same at this moment, and kept it.
        return client

    def _tell(self, client: Client, before: _Kept | None) -> None:
        if before is None or before.client != client:
            told = {"client": client.client_id, "name": client.name, "changed": before is not None}
            self._events.emit("client_document_read", told)

    def _swap(self, client_id: str, entry: Entry | None, kept: _Kept) -> bool:
        forget_at = _forget_at(kept, self._clock())
        body = _FORMAT + msgspec.msgpack.encode(kept)
        return self._backend.swap(_key(client_id), entry, body, forget_at, (), "wanted")

    def _after_fork(self) -> None:
        # The threads that hold the lock or fetch a document are the parent's alone.
        self._lock, self._flights = threading.Lock(), {}


_all = renewed_in_children(DocumentClients._after_fork)


class _Kept(msgspec.Struct, array_like=True, frozen=True):
    client: Client
    fresh_until: float


def forget_at_of(entry: Entry, now: float) -> float | None:
    """When the registry may forget the document in this record, if it is stored again now."""
    kept = _decode(entry)
    return now if kept is None else _forget_at(kept, now)


def _forget_at(kept: _Kept, now: float) -> float | None:
    return None if kept.client.used else max(kept.fresh_until, now + UNUSED_TTL)


class _Flight:
    def __init__(self) -> None:
        self.landed: Future[Client] = Future()
        self.waiting = 0


def _outcome(flight: _Flight) -> Client:
    try:
        return flight.landed.result(WAIT_SECONDS)
    except OAuthError as error:
        # One exception must not be raised in two threads: each would add its own traceback to it.
        raise _again(error) from None
    except TookTooLong:
        raise DocumentUnavailable("client_id: its metadata document is still being fetched") from None


def _again(error: OAuthError) -> OAuthError:
    if isinstance(error, DocumentUnavailable):
        return DocumentUnavailable(error.description)
    if isinstance(error, TooManyRequests):
        return TooManyRequests(error.description, retry_after=error.retry_after)
    return DocumentRefused(error.description)


def _key(client_id: str) -> bytes:
    return KIND + sha256(client_id.encode("utf-8", "backslashreplace")).digest()


def _decode(entry: Entry | None) -> _Kept | None:
    if entry is None:
        return None
    if entry.body[:1] != _FORMAT:
        raise RegistryError("the record of a client document has a format that this release cannot read")
    try:
        return msgspec.msgpack.decode(entry.body[1:], type=_Kept)
    except msgspec.MsgspecError as error:
        raise RegistryError("the record of a client document is damaged: restore the registry") from error
