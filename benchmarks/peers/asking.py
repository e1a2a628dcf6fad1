"""The side of the parent: a peer's program in a process of its own, whose turns are rounds among ours."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit

from benchmarks.stores import Store

from . import environment

LIBRARIES: Mapping[str, str] = {
    "oauthlib": "oauthlib_peer",
    "Authlib": "authlib_peer",
    "django-oauth-toolkit": "django_peer",
}
"""The names of the libraries, and the programs."""

STORES: Mapping[str, tuple[str, ...]] = {
    "memory": tuple(LIBRARIES),
    "sqlite": tuple(LIBRARIES),
    "postgresql": ("Authlib", "django-oauth-toolkit"),
}
"""Which of them are measured over which store: oauthlib has none, and ours for it are a dict and SQLite."""

_SHARE = 40
"""A peer is given a fortieth of the calls per batch: it takes up to a thousand times as long for each."""


class Turn(NamedTuple):
    """One operation of a peer, as `timing.interleaved` takes it."""

    peer: Peer
    what: str

    def batch(self, count: int) -> float:
        took: float = self.peer.ask(do=self.what, count=max(2, count // _SHARE))
        return took


class Peer:
    """A running peer, at an address of its own: memory, a file of SQLite, or a database of PostgreSQL.

    When it is there it has proved that it refuses forged tokens and recognises a spent one. It inherits the
    CPU to which this process is pinned, and waits there for its turn.
    """

    def __init__(self, library: str, address: str) -> None:
        self.address = address
        self._process = subprocess.Popen(
            [environment.python(), "-m", f"benchmarks.peers.{LIBRARIES[library]}", address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment.variables(),
        )
        assert self._heard() == "ready"

    def ask(self, **what: object) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return self._heard()

    def turn(self, what: str) -> Turn:
        return Turn(self, what)

    def rotate(self, count: int) -> None:
        """Exchange its newest refresh token at least so many times."""
        self.ask(do="rotate", count=count)

    def kill(self) -> None:
        """At once, as by a failure: nothing that it still holds gets anywhere."""
        self._process.kill()
        self._process.communicate()

    def _heard(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the peer ended:\n{self._process.communicate()[1][-4000:]}")
        return json.loads(line)


@contextmanager
def running(store: Store, *, wanted: bool = True) -> Iterator[dict[str, Peer]]:
    """The peers that are measured over this store, by the names of their libraries; none unless `wanted`."""
    with ExitStack() as stack:
        peers = {}
        for library in STORES.get(store.name, ()) if wanted else ():
            where = address(store, library)
            if where != "memory":
                prove_durable(library, where)
            peers[library] = Peer(library, where)
            stack.callback(peers[library].kill)
        yield peers


def address(store: Store, library: str) -> str:
    """Where this peer keeps its tokens: beside ours, on the same disk or server. Call it once for each."""
    if store.name == "memory":
        return "memory"
    if store.name == "sqlite":
        path = Path(urlsplit(store.url).path)
        return f"sqlite:///{path.with_name(LIBRARIES[library])}.db"
    store.raw.connection.execute(f"CREATE DATABASE {LIBRARIES[library]}")
    return urlunsplit(urlsplit(store.url)._replace(path=f"/{LIBRARIES[library]}"))


def prove_durable(library: str, where: str) -> None:
    """A pair that was answered outlives the process that answered it."""
    first = Peer(library, where)
    first.rotate(1)
    access, _ = first.ask(do="newest")
    first.kill()
    second = Peer(library, where)
    assert second.ask(do="good", token=access) is True
    second.kill()
