"""Registered clients: where they are kept, and whether credentials are theirs (RFC 6749 section 2.3)."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from math import inf
from typing import Protocol

import msgspec

from .backends.base import Backend, Copies, Entry
from .credentials import Credentials, invalid_client
from .errors import RegistryError, TooManyRequests
from .parameters import printable
from .reading_ahead import NOTHING_SEEN, Seen

FORMAT = 1
GRANT_TYPES = ("authorization_code", "refresh_token")
CLIENT_CREDENTIALS = "client_credentials"
CLIENT_ID_PREFIX = "oc_"
CLIENT_SECRET_PREFIX = "ocs_"
UNUSED_TTL = 86400.0
"""Seconds after which a registration that no user ever completed may be forgotten, unless it is set."""

_NOTED_EVERY_MAX = 86400.0
"""Seconds between two notes that a client is in use, at most: a write per refresh would be too many."""

TRIES = 8
_KEYS_MAX = 1024

_NO_SECRET = bytes(32)
_NAMELESS = "client authentication is missing: client_id in the body, or HTTP Basic with a secret"
_UNKNOWN_OR_WRONG = "unknown client, or wrong client authentication"
_UNKNOWN_OR_SILENT = "unknown client, or one that was registered with a client_secret and sent none"
"""Each is one text for both, so that nobody learns which ids there are."""


class Client(msgspec.Struct, array_like=True, frozen=True):
    """One registered client. `secret_hash` is empty for a public one; lifetimes are seconds or None.

    `scopes` None means "no restriction of its own". `introspect` says whose access tokens it may look at
    beside its own: True for everybody's, or those for these protected paths. New fields are only ever added
    at the end. From `forget_at` on (seconds since 1970) the registry may forget the client; None means never.
    `dead_token_status` is the HTTP status of `invalid_grant` for its refresh tokens.
    `management_hash` is that of the token with which the client looks after its registration, or empty.
    `other_secret_hashes` are of secrets that are valid beside the first, while one replaces the other.
    """

    client_id: str
    redirect_uris: tuple[str, ...]
    auth_method: str = "none"
    secret_hash: bytes = b""
    grant_types: tuple[str, ...] = GRANT_TYPES
    response_types: tuple[str, ...] = ("code",)
    scopes: tuple[str, ...] | None = None
    metadata: dict[str, object] = {}
    created_at: float = 0.0
    access_ttl: float | None = None
    refresh_ttl: float | None = None
    used: bool = False
    configured: bool = False
    trusted: bool = False
    introspect: bool | tuple[str, ...] = False
    forget_at: float | None = None
    dead_token_status: int = 400
    management_hash: bytes = b""
    other_secret_hashes: tuple[bytes, ...] = ()

    @property
    def public(self) -> bool:
        return not self.secret_hash

    @property
    def name(self) -> str:
        """What it calls itself, or its id."""
        name = self.metadata.get("client_name")
        return name if isinstance(name, str) and name.strip() else self.client_id

    def may(self, grant_type: str) -> bool:
        return grant_type in self.grant_types


class FailureCounter(Protocol):
    """Counts failures per name, over all workers."""

    def wait(self, realm: str, name: str) -> int: ...

    def failed(self, realm: str, name: str) -> object: ...


class Documents(Protocol):
    """Clients whose id is the URL of a metadata document: see `document_clients`."""

    def names(self, client_id: str) -> bool: ...

    def key(self, client_id: str) -> bytes: ...

    def known(self, client_id: str, seen: Seen = NOTHING_SEEN) -> Client | None: ...

    def current(self, client_id: str) -> Client: ...

    def mark_used(self, client: Client) -> None: ...

    def list(self) -> Iterator[Client]: ...

    def delete(self, client_id: str) -> bool: ...


class Clients:
    """The clients of one server: those of the configuration first, then those in the registry.

    A client id that is the URL of a metadata document belongs to `documents`, where there are any.
    """

    def __init__(
        self,
        backend: Backend,
        configured: Mapping[str, Client],
        failures: FailureCounter,
        *,
        documents: Documents | None = None,
        unused_ttl: float = UNUSED_TTL,
        used_ttl: float | None = None,
        idle_ttl: float = inf,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._backend = backend
        self._documents = documents
        self._unused_ttl = unused_ttl
        self._used_ttl = used_ttl
        self._configured = dict(configured)
        speaks = any(client.may(CLIENT_CREDENTIALS) for client in configured.values())
        self.grant_types = (*GRANT_TYPES, CLIENT_CREDENTIALS) if speaks else GRANT_TYPES
        """The grant types that some client may use. Only the operator lets a client speak for itself."""
        self._failures = failures
        self._clock = clock
        # So often that what is left of `used_ttl` is always longer than a grant lives that was just renewed.
        self._noted_for = inf if used_ttl is None else used_ttl - min(_NOTED_EVERY_MAX, idle_ttl / 2)
        self.own_keys: dict[str, bytes] = {}
        """Of clients that are kept as records of their own, by their ids: those asked for last."""

    def key(self, client_id: str) -> bytes | None:
        """Where the registry has what it knows of this client, or None for one that it cannot have."""
        key = self.own_keys.get(client_id) or self._own_key(client_id)
        if key is not None or client_id in self._configured:
            return key
        documents = self._documents_for(client_id)
        return None if documents is None else documents.key(client_id)

    def _own_key(self, client_id: str) -> bytes | None:
        if client_id in self._configured or self._documents_for(client_id) is not None:
            return None
        if len(client_id) > 255 or not printable(client_id):
            return None
        if len(self.own_keys) >= _KEYS_MAX:
            self.own_keys.clear()
        return self.own_keys.setdefault(client_id, _key(client_id))

    def get(self, client_id: str, seen: Seen = NOTHING_SEEN) -> Client | None:
        """The client with exactly this id, or None. Of a metadata document, what it last said."""
        key = self.own_keys.get(client_id) or self._own_key(client_id)
        if key is not None:
            entry = seen[key] if key in seen else self._backend.get(key)
            return None if entry is None else client_of(entry[0])
        configured = self._configured.get(client_id)
        documents = None if configured is not None else self._documents_for(client_id)
        return configured if documents is None else documents.known(client_id, seen)

    def asking(self, client_id: str) -> Client | None:
        """The client that wants a user to be asked. Its metadata document is fetched if it is not fresh.

        Raises what `DocumentClients.current` raises.
        """
        documents = self._documents_for(client_id)
        if documents is not None and client_id not in self._configured:
            return documents.current(client_id)
        return self.get(client_id)

    def _documents_for(self, client_id: str) -> Documents | None:
        if client_id.startswith(CLIENT_ID_PREFIX) or self._documents is None:
            return None
        return self._documents if self._documents.names(client_id) else None

    def register(
        self, metadata: Mapping[str, object], *, client_id: str | None = None, **fields: object
    ) -> tuple[Client, str | None]:
        """Keep a new client under an id of our own; the client, and its secret unless it is public.

        `client_id` is one that `registered_before` has just said is free.
        """
        secret = None
        if fields.get("auth_method") != "none":
            secret = CLIENT_SECRET_PREFIX + secrets.token_urlsafe(32)
        now = self._clock()
        members: dict[str, object] = {
            "metadata": dict(metadata),
            "created_at": float(int(now)),
            "secret_hash": b"" if secret is None else hash_secret(secret),
            "forget_at": now + self._unused_ttl,
            **fields,
        }
        drawn = CLIENT_ID_PREFIX + secrets.token_urlsafe(18)
        client = msgspec.structs.replace(Client(client_id or drawn, ()), **members)
        if self._swap(None, client, "wanted"):
            return client, secret
        same = None if client_id is None else self.get(client_id)
        if same is None:
            raise RegistryError("a client id that was just drawn is taken: is the random source broken?")
        return same, None

    def registered_before(self, client_id: str) -> Client | None:
        """The client that registered under this id before, kept for as long again as a new one would be."""
        for _ in range(TRIES):
            entry = self._backend.get(_key(client_id))
            if entry is None:
                return None
            client, now = client_of(entry.body), self._clock()
            # Half of it is enough to come back in, and spares the write to those who register all the time.
            if client.forget_at is None or client.forget_at - now >= self._unused_ttl / 2:
                return client
            renewed = msgspec.structs.replace(client, forget_at=now + self._unused_ttl)
            if self._swap(entry, renewed):
                return renewed
        raise _contended()

    def update(self, client: Client, **fields: object) -> Client | None:
        """The client as it is kept with these fields from now on; None if it has been deleted."""
        for _ in range(TRIES):
            entry = self._backend.get(_key(client.client_id))
            if entry is None:
                return None
            changed = msgspec.structs.replace(client_of(entry.body), **fields)
            if self._swap(entry, changed, "wanted"):
                return changed
        raise _contended()

    def mark_used(self, client: Client) -> None:
        """A user has let this client in, or still does: keep it for as long as that may be of use."""
        if self._clock() < self.noted_at(client):
            return
        if (documents := self._documents_for(client.client_id)) is not None:
            documents.mark_used(client)
            return
        if client.forget_at is None:
            return
        entry = self._backend.get(_key(client.client_id))
        if entry is None:
            return
        stored = client_of(entry.body)
        if stored.forget_at is None or self._clock() < self.noted_at(stored):
            return
        until = None if self._used_ttl is None else self._clock() + self._used_ttl
        # Losing this swap means that another request has done the same.
        self._swap(entry, msgspec.structs.replace(stored, used=True, forget_at=until))

    def noted_at(self, client: Client) -> float:
        """From when on its use is to be noted (seconds since 1970): the last note is so young until then."""
        if not client.used:
            return -inf
        return inf if client.forget_at is None else client.forget_at - self._noted_for

    def _swap(self, entry: Entry | None, client: Client, copies: Copies = "none") -> bool:
        key = _key(client.client_id)
        return self._backend.swap(key, entry, _encode(client), client.forget_at, (), copies)

    def list(self) -> Iterator[Client]:
        """All clients, those of the configuration first."""
        yield from self._configured.values()
        for key in self._backend.keys(b"c"):
            entry = self._backend.get(key)
            if entry is not None:
                yield client_of(entry.body)
        if self._documents is not None:
            yield from self._documents.list()

    def delete(self, client_id: str) -> bool:
        """Forget a client of the registry: whether there was one. Its grants are another matter."""
        if (documents := self._documents_for(client_id)) is not None:
            return documents.delete(client_id)
        for _ in range(TRIES):
            entry = self._backend.get(_key(client_id))
            if entry is None:
                return False
            if self._backend.swap(_key(client_id), entry, None, None, (), "required"):
                return True
        raise _contended()

    def authenticate(self, credentials: Credentials, seen: Seen = NOTHING_SEEN) -> Client:
        """The client that these credentials prove, or that a public client's request names.

        Raises `InvalidClient`, with one text for an unknown client and a wrong or missing secret, and
        `TooManyRequests` instead once too many wrong secrets were tried. The right one always passes. A
        metadata document is fetched only if it is not known: see `DocumentClients.current` for its errors.
        """
        if credentials.client_id is None:
            raise invalid_client(_NAMELESS)
        if not credentials.pairs:
            other = credentials.other_id
            if other is not None and self.get(credentials.client_id, seen) is None and self.get(other):
                return self.named(other)
            return self.named(credentials.client_id, seen)
        for client_id, secret in credentials.pairs:
            client = self.get(client_id, seen)
            if _is_secret_of(client, secret) and client is not None:
                return client
        raise self._failed(credentials)

    def named(self, client_id: str, seen: Seen = NOTHING_SEEN) -> Client:
        """The public client that a request without a secret names. Raises as `authenticate`."""
        client = self.get(client_id, seen)
        if client is None and self._documents_for(client_id) is not None:
            client = self.asking(client_id)
        if client is None or client.secret_hash:
            # Not counted, for nothing was guessed: a client whose registration is gone must hear so
            # however often it asks, and then registers again.
            why = "is unknown" if client is None else "has a secret and sent none"
            raise invalid_client(_UNKNOWN_OR_SILENT, f"{self._in_words(client_id)} {why}")
        return client

    def _failed(self, credentials: Credentials) -> Exception:
        # One of 65,536 buckets by id: the number of counters stays bounded whatever ids are tried, and a
        # collision costs nobody anything, for the right secret is accepted before anyone looks here.
        bucket = sha256((credentials.client_id or "").encode()).hexdigest()[:4]
        self._failures.failed("client", bucket)
        wait = self._failures.wait("client", bucket)
        if wait:
            return TooManyRequests("too many failed authentications of this client", retry_after=wait)
        who = self._in_words(credentials.client_id)
        return invalid_client(_UNKNOWN_OR_WRONG, f"{who}: no such id and secret")

    def _in_words(self, client_id: str | None) -> str:
        """What the log calls a client. Who puts a secret in the place of the id must not find it there."""
        if client_id in self._configured or str(client_id).startswith((CLIENT_ID_PREFIX, "https://")):
            return f"client {client_id!r}"
        return "a client with an id that is none of ours"


def configured_client(client_id: str, members: Mapping[str, object]) -> Client:
    """A client of the settings (`OAUTH_CLIENTS`), whose members were checked there."""
    digests = [hash_secret(secret) for secret in _texts(members.get("client_secret"))]
    digests += [bytes.fromhex(digest) for digest in _texts(members.get("client_secret_hash"))]
    name, scope, grant_types = (members.get(key) for key in ("client_name", "scope", "grant_types"))
    return Client(
        client_id=client_id,
        redirect_uris=_texts(members.get("redirect_uris")),
        auth_method=str(
            members.get("token_endpoint_auth_method") or ("client_secret_basic" if digests else "none")
        ),
        secret_hash=digests[0] if digests else b"",
        other_secret_hashes=tuple(digests[1:]),
        grant_types=GRANT_TYPES if grant_types is None else _texts(grant_types),
        scopes=None if scope is None else _texts(scope.split() if isinstance(scope, str) else scope),
        metadata={} if name is None else {"client_name": name},
        access_ttl=_seconds(members.get("access_token_ttl")),
        refresh_ttl=_seconds(members.get("refresh_token_ttl")),
        used=True,
        configured=True,
        trusted=bool(members.get("trusted")),
        introspect=_introspect(members.get("introspect")),
        dead_token_status=401 if members.get("dead_refresh_token_status") == 401 else 400,
    )


def _is_secret_of(client: Client | None, secret: str) -> bool:
    expected = client.secret_hash if client is not None and client.secret_hash else _NO_SECRET
    others = () if client is None else client.other_secret_hashes
    digest = hash_secret(secret)
    return any(hmac.compare_digest(each, digest) for each in (expected, *others))


def _texts(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return tuple(str(item) for item in value) if isinstance(value, Sequence) else ()


def _introspect(value: object) -> bool | tuple[str, ...]:
    return value if isinstance(value, bool) else _texts(value)


def _seconds(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def hash_secret(secret: str) -> bytes:
    """SHA-256 is enough here: the secrets that this server issues have 256 bits."""
    return sha256(secret.encode()).digest()


def _contended() -> RegistryError:
    return RegistryError("a client kept changing through every try: try again", retry_after=1)


def _key(client_id: str) -> bytes:
    return b"c" + client_id.encode()


_decoder = msgspec.msgpack.Decoder(Client)


def _encode(client: Client) -> bytes:
    return bytes((FORMAT,)) + msgspec.msgpack.encode(client)


@lru_cache(1024)
def client_of(body: bytes) -> Client:
    """The client that this record holds. Raises `RegistryError` if it is unreadable."""
    if body[:1] != b"\x01":
        raise RegistryError("a client record has a format that this release cannot read")
    try:
        return _decoder.decode(body[1:])
    except msgspec.MsgspecError as error:
        raise RegistryError("a client record is damaged: restore the registry from a backup") from error


def forget_at_of(body: bytes) -> float | None:
    """When the registry may forget the client of this record. Raises as `client_of`."""
    return client_of(body).forget_at


def record_of(client: Client) -> tuple[bytes, bytes]:
    """The key and the body under which the registry keeps this client."""
    return _key(client.client_id), _encode(client)
