"""How much does a store grow with every rotation? Ours, Authlib and django-oauth-toolkit, one grant each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from . import driving, stores
from .peers import asking
from .scaling_stores import sqlite_size

HEADS = ("store", "who", "rotations", "bytes per rotation")
WORDS = 2
STORES = ("sqlite", "postgresql")
_BEFORE, _ROTATIONS = 300, 1000
"""The first ones fill the pages that a new table has in any case."""


class Growth(NamedTuple):
    store: str
    who: str
    rotations: int
    per_rotation: float

    def cells(self) -> list[str]:
        return [self.store, self.who, str(self.rotations), f"{self.per_rotation:.0f}"]


def run(name: str, *, peers: bool) -> list[Growth]:
    with stores.opened(name) as store:
        ours = driving.Ours(store.url)
        rotator = ours.rotator()

        def rotate(count: int) -> None:
            for _ in range(count):
                assert rotator().startswith("200")

        found = [_grown(name, "ours", rotate, lambda: size(store.url))]
        ours.close()
        with asking.running(store, wanted=peers) as others:
            for library, peer in others.items():
                if library != "oauthlib":  # the table is ours: it says nothing of the library
                    found.append(_grown_peer(name, library, peer))
    return found


def _grown_peer(name: str, library: str, peer: asking.Peer) -> Growth:
    return _grown(name, library, peer.rotate, lambda: size(peer.address))


def _grown(name: str, who: str, rotate: Callable[[int], None], measured: Callable[[], int]) -> Growth:
    rotate(_BEFORE)
    before = measured()
    rotate(_ROTATIONS)
    return Growth(name, who, _ROTATIONS, (measured() - before) / _ROTATIONS)


def size(url: str) -> int:
    """Bytes of the whole database, after what the store does in time by itself was done: a checkpoint of
    SQLite, a vacuum of PostgreSQL."""
    if url.startswith("sqlite:"):
        return sqlite_size(Path("/" + urlsplit(url).path.lstrip("/")))
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM")
        found = connection.execute("SELECT pg_database_size(current_database())").fetchone()
        assert found is not None
        return int(found[0])
