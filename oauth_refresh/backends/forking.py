"""What a forked child must not go on with: a lock that a thread of its parent held, a shared connection."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar
from weakref import WeakSet

T = TypeVar("T")


def renewed_in_children(renew: Callable[[T], object]) -> WeakSet[T]:
    """A set of objects, for each of which a forked child calls `renew` before anything else.

    They are in it until nobody needs them any more. To be made once, by a module: what a process is to do
    after a fork it can never be told to leave.
    """
    objects: WeakSet[T] = WeakSet()

    def in_child() -> None:
        for each in list(objects):
            renew(each)

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=in_child)
    return objects
