"""What does the renewal of a token cost? POST of a refresh, durable before the answer."""

from __future__ import annotations

from collections.abc import Iterable

from . import driving, stores
from .floor import Floor
from .report import Row
from .timing import interleaved

ROUNDS = {"memory": (120, 400)}
_OTHERS = (150, 20)


def run(names: Iterable[str] = stores.ALL) -> list[Row]:
    return [row for name in names for row in _store(name)]


def _store(name: str) -> list[Row]:
    with stores.opened(name) as store:
        ours = driving.middleware(store.url)
        client_id = driving.register(ours)
        issued = ours.registry.create_with_refresh("ada", ["notes:read", "notes:write"], client_id=client_id)
        floor = Floor(driving.constant, store.raw)
        assert issued.refresh_token is not None
        mine = driving.Rotator(ours, issued.refresh_token, client_id)
        least = driving.Rotator(floor, floor.create("ada")[1], "")
        _prove(mine, least)
        key, bodies = b"raw key of sixteen", [stores.body(), stores.body()]
        store.raw.swap(key, None, bodies[0])

        def raw() -> None:
            # One read and one compare-and-swap: what any rotation does at the least.
            old = store.raw.get(key)
            bodies.reverse()
            assert store.raw.swap(key, old, bodies[0] if bodies[0] != old else bodies[1])

        rounds, batch = ROUNDS.get(name, _OTHERS)
        timings = interleaved({"raw": raw, "floor": least, "ours": mine}, rounds=rounds, batch=batch)
        ours.server.backend.close()
    return [Row("rotate", name, who, found, timings["raw"]) for who, found in timings.items()]


def _prove(mine: driving.Rotator, least: driving.Rotator) -> None:
    """What is timed must be right: a new pair that works, and a spent token that is recognised."""
    for rotator in (mine, least):
        spent = rotator.refresh_token
        assert rotator().startswith("200")
        assert rotator.refresh_token != spent
        assert driving.reader(rotator.app, rotator.access_token)().startswith("200")
    # One letter in the middle of the secret is another one.
    middle = "A" if mine.refresh_token[50] != "A" else "B"
    forged = mine.refresh_token[:50] + middle + mine.refresh_token[51:]
    form = f"grant_type=refresh_token&refresh_token={forged}".encode()
    status, answer = driving.ask(mine.app, "/oauth/token", form, "application/x-www-form-urlencoded")
    assert (status[:3], answer["error"]) == ("400", "invalid_grant")
