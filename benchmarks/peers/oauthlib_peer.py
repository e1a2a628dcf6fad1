"""oauthlib, with a validator as a user has to write it: tokens hashed, one row per grant, swapped in place.

Its store is a dict or a table of SQLite, by the driver alone.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from oauthlib.oauth2 import RequestValidator, WebApplicationServer
from oauthlib.oauth2.rfc6749.errors import InvalidGrantError

from benchmarks.calling import constant

from . import answering

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


class Row(NamedTuple):
    access: bytes
    refresh: bytes
    client_id: str
    scope: str
    access_ends: float
    refresh_ends: float


class Store(Protocol):
    """`swap` puts a row in the place of the one with this refresh token, if that is still there."""

    def client(self, client_id: str) -> object: ...

    def by_access(self, hashed: bytes) -> Row | None: ...

    def by_refresh(self, hashed: bytes) -> Row | None: ...

    def insert(self, row: Row) -> None: ...

    def swap(self, refresh: bytes, row: Row) -> bool: ...


class Dicts:
    def __init__(self) -> None:
        self._clients = {answering.CLIENT_ID: answering.CLIENT_ID}
        self._access: dict[bytes, Row] = {}
        self._refresh: dict[bytes, Row] = {}

    def client(self, client_id: str) -> object:
        return self._clients.get(client_id)

    def by_access(self, hashed: bytes) -> Row | None:
        return self._access.get(hashed)

    def by_refresh(self, hashed: bytes) -> Row | None:
        return self._refresh.get(hashed)

    def insert(self, row: Row) -> None:
        self._access[row.access] = self._refresh[row.refresh] = row

    def swap(self, refresh: bytes, row: Row) -> bool:
        old = self._refresh.pop(refresh, None)
        if old is None:
            return False
        del self._access[old.access]
        self.insert(row)
        return True


_TABLE = (
    "CREATE TABLE IF NOT EXISTS token (access BLOB UNIQUE, refresh BLOB UNIQUE, client_id TEXT, scope TEXT,"
    " access_ends REAL, refresh_ends REAL)"
)


class SQLite:
    def __init__(self, path: str) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        for statement in (
            "PRAGMA journal_mode = WAL",
            "PRAGMA synchronous = FULL",
            "CREATE TABLE IF NOT EXISTS client (id TEXT PRIMARY KEY)",
            _TABLE,
        ):
            self._database.execute(statement)
        self._database.execute("INSERT OR IGNORE INTO client VALUES (?)", (answering.CLIENT_ID,))

    def client(self, client_id: str) -> object:
        return self._database.execute("SELECT id FROM client WHERE id = ?", (client_id,)).fetchone()

    def by_access(self, hashed: bytes) -> Row | None:
        found = self._database.execute("SELECT * FROM token WHERE access = ?", (hashed,)).fetchone()
        return found and Row(*found)

    def by_refresh(self, hashed: bytes) -> Row | None:
        found = self._database.execute("SELECT * FROM token WHERE refresh = ?", (hashed,)).fetchone()
        return found and Row(*found)

    def insert(self, row: Row) -> None:
        self._database.execute("INSERT INTO token VALUES (?, ?, ?, ?, ?, ?)", row)

    def swap(self, refresh: bytes, row: Row) -> bool:
        done = self._database.execute(
            "UPDATE token SET access = ?, refresh = ?, client_id = ?, scope = ?, access_ends = ?,"
            " refresh_ends = ? WHERE refresh = ?",
            (*row, refresh),
        )
        return done.rowcount == 1


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


class Validator(RequestValidator):  # type: ignore[misc]
    def __init__(self, store: Store) -> None:
        self._store = store

    def client_authentication_required(self, request: Any, *args: object, **kwargs: object) -> bool:
        return False

    def authenticate_client_id(self, client_id: str, request: Any, *args: object, **kwargs: object) -> bool:
        if self._store.client(client_id) is None:
            return False
        request.client = Client(client_id)
        return True

    def validate_grant_type(self, client_id: str, grant_type: str, *args: object, **kwargs: object) -> bool:
        return grant_type in ("authorization_code", "refresh_token")

    def validate_refresh_token(self, refresh_token: str, client: Any, request: Any, *args: object) -> bool:
        row = self._store.by_refresh(_hash(refresh_token))
        if row is None or row.client_id != client.client_id or row.refresh_ends <= time.time():
            return False
        request.row = row
        return True

    def get_original_scopes(self, refresh_token: str, request: Any, *args: object) -> str:
        scope: str = request.row.scope
        return scope

    def rotate_refresh_token(self, request: Any) -> bool:
        return True

    def save_bearer_token(self, token: dict[str, Any], request: Any, *args: object) -> None:
        if not self._store.swap(_hash(request.refresh_token), _row(token, request.client.client_id)):
            raise InvalidGrantError(request=request)

    def validate_bearer_token(self, token: str, scopes: list[str], request: Any) -> bool:
        row = token and self._store.by_access(_hash(token))
        if not row or row.access_ends <= time.time():
            return False
        request.client_id = row.client_id
        return set(scopes) <= set(row.scope.split())


class Client(NamedTuple):
    client_id: str


def _row(token: dict[str, Any], client_id: str) -> Row:
    now = time.time()
    hashes = _hash(token["access_token"]), _hash(token["refresh_token"])
    return Row(*hashes, client_id, token["scope"], now + token["expires_in"], now + 30 * 86400)


def build(address: str) -> answering.Peer:
    store: Store = Dicts() if address == "memory" else SQLite(address.removeprefix("sqlite:///"))
    server = WebApplicationServer(Validator(store), token_expires_in=86400)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/open":
            return constant(environ, start_response)
        if path == "/oauth/token":
            body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])).decode()
            sent = {"Content-Type": environ["CONTENT_TYPE"]}
            headers, answer, status = server.create_token_response(path, "POST", body, sent)
            start_response(f"{status} Answer", list(headers.items()))
            return [answer.encode()]
        # Only this header: collecting others would cost more.
        given = environ.get("HTTP_AUTHORIZATION")
        valid, _ = server.verify_request(
            path, "GET", None, {"Authorization": given} if given else {}, ["notes:read"]
        )
        if not valid:
            start_response("401 Unauthorized", [("WWW-Authenticate", "Bearer")])
            return [b""]
        return constant(environ, start_response)

    def create() -> tuple[str, str]:
        token = _issued()
        store.insert(_row(token, answering.CLIENT_ID))
        return token["access_token"], token["refresh_token"]

    return answering.Peer(app, create)


def _issued() -> dict[str, Any]:
    from oauthlib.common import generate_token

    return {
        "access_token": generate_token(),
        "refresh_token": generate_token(),
        "scope": " ".join(answering.SCOPES),
        "expires_in": 86400,
    }


if __name__ == "__main__":
    answering.main(build)
