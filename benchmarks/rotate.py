"""What does the renewal of a token cost? POST of a refresh, durable before the answer."""

from __future__ import annotations

import logging

from . import calling, driving, forgetting, stores
from .floor import Floor
from .peers import asking
from .report import HEADS, Row, row
from .timing import Elsewhere, Operation, interleaved

__all__ = ["HEADS", "STORES", "WORDS", "run"]

STORES = stores.ALL
WORDS = 3
ROUNDS = {"memory": (120, 400)}
_OTHERS = (150, 20)


def run(name: str, *, peers: bool) -> list[Row]:
    with stores.opened(name) as store:
        ours = driving.Ours(store.url)
        floor = Floor(calling.constant, store.raw)
        mine, least = ours.rotator(), calling.Rotator(floor, floor.create("ada")[1], "")
        _prove(mine)
        _refused(least, _prove(least))
        _prove_reuse(ours)
        if name != "memory":
            _prove_durable(store, mine)
        key, bodies = b"raw key of sixteen", [stores.body(), stores.body()]
        store.raw.swap(key, None, bodies[0])

        def raw() -> None:
            # One read and one compare-and-swap: what any rotation does at the least.
            old = store.raw.get(key)
            bodies.reverse()
            assert store.raw.swap(key, old, bodies[0] if bodies[0] != old else bodies[1])

        operations: dict[str, Operation | Elsewhere] = {"raw": raw, "floor": least, "ours": mine}
        operations["anew"] = forgetting.anew(ours.app, ours.rotator())
        operations["resource"] = naming = ours.rotator(driving.RESOURCE)
        _prove(naming)
        rounds, batch = ROUNDS.get(name, _OTHERS)
        with asking.running(store, wanted=peers) as others:
            operations |= {library: peer.turn("rotate") for library, peer in others.items()}
            timings = interleaved(operations, rounds=rounds, batch=batch)
        ours.close()
    return [row("rotate", name, who, found, timings["raw"]) for who, found in timings.items()]


def _prove(rotator: calling.Rotator) -> str:
    """What is timed must be right: a new pair that works, none for a forged token. The spent one."""
    spent = rotator.refresh_token
    assert rotator().startswith("200")
    assert rotator.refresh_token != spent
    assert calling.reader(rotator.app, rotator.access_token)().startswith("200")
    # One letter in the middle of the secret is another one.
    newest = rotator.refresh_token
    middle = "A" if newest[50] != "A" else "B"
    _refused(rotator, newest[:50] + middle + newest[51:])
    return spent


def _prove_reuse(ours: driving.Ours) -> None:
    """A spent token is recognised: presented when its successor was used, it ends its grant."""
    rotator = ours.rotator()
    spent = rotator.refresh_token
    rotator()
    rotator()
    logging.disable()  # it warns of the theft
    _refused(rotator, spent)
    _refused(rotator, rotator.refresh_token)
    logging.disable(logging.NOTSET)


def _prove_durable(store: stores.Store, rotator: calling.Rotator) -> None:
    """What was answered is in the store: another middleware over it knows the new token."""
    other = driving.Ours(store.url)
    assert calling.reader(other.app, rotator.access_token)().startswith("200")
    other.close()


def _refused(rotator: calling.Rotator, token: str) -> None:
    status, answer = calling.refresh(rotator.app, token, rotator.client_id)
    assert (status[:3], answer["error"]) == ("400", "invalid_grant")
