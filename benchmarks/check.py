"""What does the check of a bearer token cost? GET through the WSGI callable, protected minus bare."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING

from . import calling, driving, forgetting, stores
from .floor import Floor
from .peers import asking
from .report import HEADS, Row, row
from .timing import Elsewhere, Operation, Timing, interleaved

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

__all__ = ["HEADS", "STORES", "WORDS", "run"]

STORES = tuple(name for name in stores.ALL if name != "sqlite-normal")
WORDS = 3
ROUNDS = {"memory": (120, 2000), "sqlite": (120, 400)}
_OTHERS = (150, 60)


def run(name: str, *, peers: bool) -> list[Row]:
    with stores.opened(name) as store:
        ours = driving.middleware(store.url)
        client_id = driving.register(ours)
        issued = ours.registry.create_with_refresh("ada", ["notes:read", "notes:write"], client_id=client_id)
        floor = Floor(calling.constant, store.raw)
        floor_token, _ = floor.create("ada")
        for app, good in ((ours, issued.access_token), (floor, floor_token)):
            _prove(app, good)
        key, body = b"raw key of sixteen", stores.body()
        store.raw.swap(key, None, body)
        operations: dict[str, Operation | Elsewhere] = {
            "raw": (lambda: store.raw.get(key)),
            "floor": calling.reader(floor, floor_token),
            "ours": calling.reader(ours, issued.access_token),
            "refused": calling.reader(ours, calling.forged(issued.access_token)),
            "malformed": calling.reader(ours, "oat_" + "x" * 20),
            "open": calling.reader(ours, None, "/open"),
            "bare": calling.reader(calling.constant, None),
        }
        if name == "sqlite":
            operations["anew"] = forgetting.anew(ours, calling.reader(ours, issued.access_token))
        if name == "memory":
            token, stored = issued.access_token.encode(), sha256(issued.access_token.encode()).digest()
            operations["raw"] = lambda: store.raw.check(token, stored, key)
        rounds, batch = ROUNDS.get(name, _OTHERS)
        with asking.running(store, wanted=peers) as others:
            for library, peer in others.items():
                operations[library] = peer.turn("check")
                operations[f"{library}, bare"] = peer.turn("bare")
            timings = interleaved(operations, rounds=rounds, batch=batch)
        ours.server.backend.close()
    return _rows(name, timings)


def _rows(name: str, timings: Mapping[str, Timing]) -> list[Row]:
    """Each without what its own bare application costs; the floor needs none."""
    raw = timings["raw"]
    found = [row("check", name, "raw", raw, raw)]
    for who, took in timings.items():
        if who not in ("raw", "bare") and not who.endswith(", bare"):
            bare = timings.get(f"{who}, bare", timings["bare"])
            net = Timing(took.p10 - bare.p10, took.median - bare.median)
            found.append(row("check", name, who, net, raw))
    return found


def _prove(app: WSGIApplication, token: str) -> None:
    """What is timed must be right: the good token lets in, one with a letter changed does not."""
    assert calling.reader(app, token)().startswith("200")
    assert calling.reader(app, calling.forged(token))().startswith("401")
    assert calling.reader(app, None)().startswith("401")
