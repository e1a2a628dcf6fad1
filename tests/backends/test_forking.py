"""What a forked child renews before anything else."""

from __future__ import annotations

import gc
import os

from oauth_refresh.backends.forking import renewed_in_children


class Held:
    def __init__(self) -> None:
        self.renewed_by: list[int] = []

    def renew(self) -> None:
        self.renewed_by.append(os.getpid())


held = renewed_in_children(Held.renew)


def seen_by_a_child(one: Held, other: Held) -> bytes:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            mine = [[os.getpid()], []]
            os.write(writing, b"right" if [one.renewed_by, other.renewed_by] == mine else b"wrong")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    told = os.read(reading, 5)
    os.close(reading)
    os.close(writing)
    return told


def test_a_child_renews_what_is_in_the_set_once_and_its_parent_nothing() -> None:
    one, other = Held(), Held()
    held.add(one)
    assert seen_by_a_child(one, other) == b"right"
    assert one.renewed_by == []


def test_what_nobody_needs_is_not_kept() -> None:
    held.add(Held())
    gc.collect()
    assert not list(held)
