"""The stores, each opened twice: as the registry does it, and raw, as nothing but its driver would be used.

The raw side is the floor of every figure: one read by key, and one compare-and-swap of a body of the size
of a grant, through the ordinary interface of the driver, in a table made for it.
"""

from __future__ import annotations

import hmac
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from time import time
from typing import Any, Protocol

BODY_BYTES = 450


class Raw(Protocol):
    """A store with nothing on top. `swap` creates where `old` is None; True if it wrote."""

    def get(self, key: bytes) -> bytes | None: ...

    def swap(self, key: bytes, old: bytes | None, new: bytes) -> bool: ...


class RawMemory:
    """A dict. Its floor has the one hash, the one comparison and the one look at the clock that no check of a
    token can do without."""

    def __init__(self) -> None:
        self.records: dict[bytes, bytes] = {}
        self.ends_at = time() + 86400

    def get(self, key: bytes) -> bytes | None:
        return self.records.get(key)

    def swap(self, key: bytes, old: bytes | None, new: bytes) -> bool:
        if self.records.get(key) != old:
            return False
        self.records[key] = new
        return True

    def check(self, token: bytes, stored: bytes, key: bytes) -> bool:
        self.records.get(key)
        return hmac.compare_digest(sha256(token).digest(), stored) and time() < self.ends_at


class RawSQLite:
    def __init__(self, path: Path, synchronous: str) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None, cached_statements=16)
        self.connection.execute("PRAGMA journal_mode = WAL")
        self.connection.execute(f"PRAGMA synchronous = {synchronous}")
        self.connection.execute("CREATE TABLE IF NOT EXISTS raw (key BLOB PRIMARY KEY, body BLOB NOT NULL)")

    def get(self, key: bytes) -> bytes | None:
        row = self.connection.execute("SELECT body FROM raw WHERE key = ?", (key,)).fetchone()
        return None if row is None else row[0]

    def swap(self, key: bytes, old: bytes | None, new: bytes) -> bool:
        if old is None:
            done = self.connection.execute("INSERT OR IGNORE INTO raw VALUES (?, ?)", (key, new))
        else:
            done = self.connection.execute(
                "UPDATE raw SET body = ? WHERE key = ? AND body = ?", (new, key, old)
            )
        return done.rowcount == 1


class RawPostgreSQL:
    def __init__(self, url: str) -> None:
        import psycopg

        self.connection = psycopg.connect(url, autocommit=True)
        self.connection.execute("CREATE TABLE IF NOT EXISTS raw (key bytea PRIMARY KEY, body bytea NOT NULL)")

    def get(self, key: bytes) -> bytes | None:
        row = self.connection.execute("SELECT body FROM raw WHERE key = %s", (key,)).fetchone()
        return None if row is None else row[0]

    def swap(self, key: bytes, old: bytes | None, new: bytes) -> bool:
        if old is None:
            done = self.connection.execute(
                "INSERT INTO raw VALUES (%s, %s) ON CONFLICT DO NOTHING", (key, new)
            )
        else:
            done = self.connection.execute(
                "UPDATE raw SET body = %s WHERE key = %s AND body = %s", (new, key, old)
            )
        return done.rowcount == 1


class RawValkey:
    def __init__(self, client: Any) -> None:
        self.client = client

    def get(self, key: bytes) -> bytes | None:
        found: bytes | None = self.client.get(key)
        return found

    def swap(self, key: bytes, old: bytes | None, new: bytes) -> bool:
        condition = ("NX",) if old is None else ("IFEQ", old)
        # By the plain command: redis-py warns that its own keyword for it is experimental.
        return self.client.execute_command("SET", key, new, *condition) is not None


class Store:
    """One store: its name, the registry's URL, and the raw side."""

    def __init__(self, name: str, url: str, raw: Any) -> None:
        self.name = name
        self.url = url
        self.raw = raw


ALL = ("memory", "sqlite", "sqlite-normal", "postgresql", "valkey", "cluster")


@contextmanager
def opened(name: str) -> Iterator[Store]:
    """The store of this name, its server started and ended with the block."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark")))
        yield _open(name, folder, stack)


def _open(name: str, folder: Path, stack: ExitStack) -> Store:
    if name == "memory":
        return Store(name, "memory:", RawMemory())
    if name in ("sqlite", "sqlite-normal"):
        synchronous = "normal" if name == "sqlite-normal" else "full"
        raw = RawSQLite(folder / "raw.db", synchronous)
        stack.callback(raw.connection.close)
        return Store(name, f"sqlite://{folder}/oauth.db?synchronous={synchronous}", raw)
    if name == "postgresql":
        return _postgresql(stack)
    return _valkey(folder, stack) if name == "valkey" else _cluster(folder, stack)


def _postgresql(stack: ExitStack) -> Store:
    from tests.backends.postgres import PostgreSQL

    server = PostgreSQL()
    stack.callback(server.remove)
    # Durable, as in production: the tests' own setting is off.
    server.run("ALTER SYSTEM SET fsync = on")
    server.stop()
    server.start("-cfsync=on")
    raw = RawPostgreSQL(server.url())
    stack.callback(raw.connection.close)
    return Store("postgresql", server.url(), raw)


def _valkey(folder: Path, stack: ExitStack) -> Store:
    import redis

    from tests.backends.valkey import single

    server = single(folder).start()
    stack.callback(server.stop)
    client = redis.Redis(host="127.0.0.1", port=server.port)
    stack.callback(client.close)
    return Store("valkey", f"valkey://{server.address}", RawValkey(client))


def _cluster(folder: Path, stack: ExitStack) -> Store:
    from redis.cluster import RedisCluster

    from tests.backends.valkey import cluster

    made = stack.enter_context(cluster(folder))
    host, port = made.nodes[0].address.split(":")
    client = RedisCluster(host=host, port=int(port))
    stack.callback(client.close)
    return Store("cluster", made.url, RawValkey(client))


def body() -> bytes:
    """As much as a grant's record, and as little compressible."""
    return os.urandom(BODY_BYTES)
