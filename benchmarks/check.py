"""What does the check of a bearer token cost? GET through the WSGI callable, protected minus bare."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from . import driving, stores
from .floor import Floor
from .report import Row
from .timing import Timing, interleaved

ROUNDS = {"memory": (120, 2000), "sqlite": (120, 400)}
_OTHERS = (150, 60)


def run(names: Iterable[str] = stores.ALL) -> list[Row]:
    return [row for name in names if name != "sqlite-normal" for row in _store(name)]


def _store(name: str) -> list[Row]:
    with stores.opened(name) as store:
        ours = driving.middleware(store.url)
        client_id = driving.register(ours)
        issued = ours.registry.create_with_refresh("ada", ["notes:read", "notes:write"], client_id=client_id)
        floor = Floor(driving.constant, store.raw)
        floor_token, _ = floor.create("ada")
        _prove(ours, floor, issued.access_token, floor_token)
        key, body = b"raw key of sixteen", stores.body()
        store.raw.swap(key, None, body)
        operations = {
            "raw": (lambda: store.raw.get(key)),
            "floor": driving.reader(floor, floor_token),
            "ours": driving.reader(ours, issued.access_token),
            "refused": driving.reader(ours, _forged(issued.access_token)),
            "malformed": driving.reader(ours, "oat_" + "x" * 20),
            "open": driving.reader(ours, None, "/open"),
            "bare": driving.reader(driving.constant, None),
        }
        if name == "memory":
            token, stored = issued.access_token.encode(), sha256(issued.access_token.encode()).digest()
            operations["raw"] = lambda: store.raw.check(token, stored, key)
        rounds, batch = ROUNDS.get(name, _OTHERS)
        timings = interleaved(operations, rounds=rounds, batch=batch)
        ours.server.backend.close()
    return _rows(name, timings)


def _rows(name: str, timings: dict[str, Timing]) -> list[Row]:
    raw, bare = timings["raw"], timings["bare"]
    return [
        Row("check", name, who, Timing(found.p10 - bare.p10, found.median - bare.median), raw)
        for who, found in timings.items()
        if who not in ("raw", "bare")
    ] + [Row("check", name, "raw", raw, raw)]


def _prove(ours: object, floor: Floor, token: str, floor_token: str) -> None:
    """What is timed must be right: the good token lets in, one with a letter changed does not."""
    for app, good in ((ours, token), (floor, floor_token)):
        assert driving.reader(app, good)().startswith("200")  # type: ignore[arg-type]
        assert driving.reader(app, _forged(good))().startswith("401")  # type: ignore[arg-type]
        assert driving.reader(app, None)().startswith("401")  # type: ignore[arg-type]


def _forged(token: str) -> str:
    """Well formed, of the same grant, and wrong: the last letter of its secret is another one."""
    return token[:-1] + ("A" if token[-1] != "A" else "E")
