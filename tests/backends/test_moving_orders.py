"""The move of one record under every order of the steps of a few processes, and with deaths between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest

from oauth_refresh.backends.base import Backend
from oauth_refresh.backends.memory import MemoryBackend
from oauth_refresh.backends.moving import MOVED, MovingBackend
from tests.backends.stepping import CrashError, Stage, Stepped, every_order

KEY = b"g one"
TERMS = (b"s alice",)
MOST_STEPS = 12


class World(NamedTuple):
    """Both stores as they are, and as the actors see them: step by step."""

    new: Backend
    old: Backend
    stepped_new: Backend
    stepped_old: Backend

    def moving(self) -> MovingBackend:
        return MovingBackend(self.stepped_new, self.stepped_old, _describe, clock=lambda: 0.0)


Actor = Callable[[World], Any]


def _describe(key: bytes, body: bytes) -> tuple[float | None, tuple[bytes, ...]]:
    return None, TERMS


def _world(stage: Stage, *, record: bytes | None = b"0") -> World:
    new, old = MemoryBackend(), MemoryBackend()
    if record is not None:
        old.swap(KEY, None, record, None, TERMS)
    return World(new, old, Stepped(new, stage), Stepped(old, stage))


def _add_one(backend: Backend) -> int:
    """Add 1 to the record's number: how often it was done, 0 where the record is not there."""
    for _ in range(20):
        entry = backend.get(KEY)
        if entry is None or entry.body.startswith(MOVED):
            return 0
        if backend.swap(KEY, entry, b"%d" % (int(entry.body) + 1), None, TERMS):
            return 1
    raise AssertionError("lost twenty times")


def new_process_writes(world: World) -> int:
    return _add_one(world.moving())


def old_process_writes(world: World) -> int:
    return _add_one(world.stepped_old)


def new_process_reads(world: World) -> int:
    entry = world.moving().get(KEY)
    assert entry is not None
    assert not entry.body.startswith(MOVED)
    return 0


def migrate(world: World) -> int:
    world.moving().move(KEY)
    return 0


def new_process_deletes(world: World) -> str:
    backend = world.moving()
    for _ in range(20):
        entry = backend.get(KEY)
        if entry is None or backend.swap(KEY, entry, None):
            return "gone"
    raise AssertionError("lost twenty times")


def new_process_creates(world: World) -> bool:
    return world.moving().swap(KEY, None, b"new", None, TERMS)


def old_process_creates(world: World) -> bool:
    return world.stepped_old.swap(KEY, None, b"old", None, TERMS)


def _outcomes(actors: tuple[Actor, ...], crash: tuple[int, int] | None, **of_world: Any) -> list[Any]:
    """For each order: what each actor answered, and the world as it was left."""

    def play(stage: Stage) -> tuple[list[Any], World]:
        world = _world(stage, **of_world)
        drawn = Counter[int]()

        def draw(count: int) -> bytes:
            # Random, but the same each time that this actor has done the same.
            drawn[stage.actor] += 1
            return bytes([stage.actor, drawn[stage.actor]]).rjust(count, b"r")

        with patch("oauth_refresh.backends.moving.os.urandom", draw):
            stage.run([partial(actor, world) for actor in actors], crash)
        return stage.answers, world

    return list(every_order(play))


def _seen(world: World) -> bytes | None:
    """The record as a process sees it afterwards."""
    entry = MovingBackend(world.new, world.old, _describe, clock=lambda: 0.0).get(KEY)
    return None if entry is None else entry.body


def _ids(actors: tuple[Actor, ...]) -> str:
    return " and ".join(actor.__name__ for actor in actors)


PAIRS = [
    (new_process_writes, new_process_writes),
    (new_process_writes, old_process_writes),
    (new_process_writes, new_process_reads),
    (new_process_writes, migrate),
    (migrate, old_process_writes),
    (migrate, migrate),
]


@pytest.mark.parametrize("actors", PAIRS, ids=_ids)
def test_no_write_that_was_answered_is_lost_or_done_twice(actors: tuple[Actor, ...]) -> None:
    outcomes = _outcomes(actors, None)
    assert len(outcomes) > 10
    for answers, world in outcomes:
        assert _seen(world) == b"%d" % sum(answers)


@pytest.mark.parametrize("actors", PAIRS, ids=_ids)
def test_whoever_dies_between_two_steps_leaves_what_the_others_can_finish(actors: tuple[Actor, ...]) -> None:
    for step in range(MOST_STEPS):
        for answers, world in _outcomes(actors, (0, step)):
            died = answers[0] is CrashError
            answered = sum(answer for answer in answers if answer is not CrashError)
            seen = int(_seen(world) or b"-1")
            assert answered <= seen <= answered + died
            backend = MovingBackend(world.new, world.old, _describe, clock=lambda: 0.0)
            assert _add_one(backend) == 1
            assert world.new.get(KEY) == (b"%d" % (seen + 1), b"%d" % (seen + 1))


@pytest.mark.slow
def test_three_processes_lose_nothing_either() -> None:
    actors = (new_process_writes, old_process_writes, migrate)
    for answers, world in _outcomes(actors, None):
        assert _seen(world) == b"%d" % sum(answers)


@pytest.mark.parametrize(
    "other", [new_process_writes, migrate, new_process_deletes], ids=lambda a: a.__name__
)
def test_what_was_deleted_does_not_come_back(other: Actor) -> None:
    for answers, world in _outcomes((new_process_deletes, other), None):
        assert answers[0] == "gone"
        assert _seen(world) is None
        assert MovingBackend(world.new, world.old, _describe).move(KEY) is False
        assert (world.new.get(KEY), list(MovingBackend(world.new, world.old, _describe).keys())) == (None, [])


def test_what_was_deleted_does_not_come_back_through_one_who_died() -> None:
    for step in range(MOST_STEPS):
        for answers, world in _outcomes((migrate, new_process_deletes), (0, step)):
            assert answers[1] == "gone"
            assert _seen(world) is None


@pytest.mark.parametrize("other", [new_process_creates, old_process_creates], ids=lambda a: a.__name__)
def test_of_two_who_create_a_record_one_wins(other: Actor) -> None:
    for answers, world in _outcomes((new_process_creates, other), None, record=None):
        assert sorted(answers) == [False, True]
        assert _seen(world) == (b"old" if other is old_process_creates and answers[1] else b"new")


def test_a_process_that_died_while_it_created_a_record_leaves_its_key_free() -> None:
    for step in range(MOST_STEPS):
        for answers, world in _outcomes((new_process_creates, new_process_creates), (0, step), record=None):
            assert answers[1] is (_seen(world) is not None and answers[0] is not True)
            assert _seen(world) == b"new"


@pytest.mark.parametrize("record", [b"0", None], ids=["there", "none"])
def test_a_record_is_named_once_at_every_moment_of_its_move(record: bytes | None) -> None:
    def named(world: World) -> list[list[bytes]]:
        backend = world.moving()
        return [list(backend.keys()), list(backend.find(TERMS[0]))]

    for answers, _ in _outcomes((migrate, named), None, record=record):
        assert answers[1] == ([[KEY], [KEY]] if record else [[], []])
