"""Blinker signals for every event, of every server in this process.

    from oauth_refresh.signals import token_reused

    @token_reused.connect
    def warn(sender, *, subject, client, **fields): ...

The sender is the Flask application, or the `Server` where there is none. What a receiver raises is logged and
costs no client its answer. Events become signals once this module is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from blinker import NamedSignal, Namespace

from .events import CATALOGUE, Events, on_every_server

event = NamedSignal("event", "Every event. Receivers are called with `name` and `fields`.")

_signals = Namespace()


def signal(name: str) -> NamedSignal:
    """The signal of the event with this name; also reached as an attribute of this module."""
    return _signals.signal(name, CATALOGUE.get(name))


def __getattr__(name: str) -> NamedSignal:
    if name not in CATALOGUE:
        raise AttributeError(f"there is no event {name!r}")
    return signal(name)


def _send(events: Events, name: str, fields: Mapping[str, object]) -> None:
    event.send(events.sender, name=name, fields=fields)
    members: dict[str, Any] = dict(fields)
    signal(name).send(events.sender, **members)


on_every_server(_send)
