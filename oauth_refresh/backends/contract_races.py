"""What the contract lets many threads and processes do at the same moment."""

# ruff: noqa: S101

from __future__ import annotations

import multiprocessing
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Barrier, BrokenBarrierError
from typing import Any, Protocol

from oauth_refresh.backends.base import Backend

THREADS = 16
PROCESSES = 8

ROUNDS = 25
"""How often each race is run: the stores are real, and a round costs a disk's or a server's time."""

LATER = 4102444800.0
"""In the year 2100: a store that forgets by its own clock has not forgotten what expires then."""

PATIENCE = 60.0
"""Seconds after which a race is taken to hang."""


class Gate(Protocol):
    """A barrier of threads or of processes."""

    def wait(self, timeout: float | None = None) -> int: ...


Task = Callable[[Backend, int, Gate], Any]
"""What each participant does, told its number. Functions of this module, because `spawn` must find them."""


def race_to_replace(backend: Backend, number: int, gate: Gate) -> list[bool]:
    backend.swap(b"prize", None, b"start")
    won = []
    for lap in range(ROUNDS):
        gate.wait(PATIENCE)
        entry = backend.get(b"prize")
        gate.wait(PATIENCE)
        body = b"lap %d, %d" % (lap, number)
        won.append(backend.swap(b"prize", entry, body, index=[b"prizes", b"of %d" % number]))
        gate.wait(PATIENCE)
        if won[-1]:
            assert _body(backend, b"prize") == body
            assert list(backend.find(b"of %d" % number)) == [b"prize"]
    return won


def race_to_create(backend: Backend, number: int, gate: Gate) -> list[bool]:
    won = []
    for lap in range(ROUNDS):
        key, body = b"lap %d" % lap, b"of %d" % number
        gate.wait(PATIENCE)
        won.append(backend.swap(key, None, body, index=[b"of %d" % number]))
        gate.wait(PATIENCE)
        assert (_body(backend, key) == body) is won[-1]
        assert (key in backend.find(b"of %d" % number)) is won[-1]
    return won


def race_to_delete(backend: Backend, number: int, gate: Gate) -> list[bool]:
    won = []
    for lap in range(ROUNDS):
        key = b"lap %d" % lap
        backend.swap(key, None, b"body")
        gate.wait(PATIENCE)
        entry = backend.get(key)
        gate.wait(PATIENCE)
        won.append(backend.swap(key, entry, None))
    return won


def raise_counter(backend: Backend, number: int, gate: Gate) -> None:
    gate.wait(PATIENCE)
    for _ in range(ROUNDS):
        _add_one(backend)


def raise_counter_in_a_thread(backend: Backend, number: int, gate: Gate) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(raise_counter, backend, number, gate).result(PATIENCE)


def raise_counter_and_close(backend: Backend, number: int, gate: Gate) -> None:
    gate.wait(PATIENCE)
    for lap in range(ROUNDS):
        _add_one(backend)
        if lap % 5 == number % 5:
            backend.close()


def _add_one(backend: Backend) -> None:
    while True:
        entry = backend.get(b"counter")
        value = int(entry.body) if entry else 0
        if backend.swap(b"counter", entry, b"%d" % (value + 1), LATER, index=[b"counters"]):
            return


def winners(won: list[list[bool]]) -> list[int]:
    """For each round, how many were told that they won."""
    return [sum(of_round) for of_round in zip(*won, strict=True)]


def in_threads(backend: Backend, task: Task) -> list[Any]:
    """What `task` returned in each thread. Python is made to change threads wherever it can."""
    gate = Barrier(THREADS)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            work = [pool.submit(_abort_if_it_fails, gate, task, backend, number) for number in range(THREADS)]
            wait(work, PATIENCE)
            # What the others say of the gate that one of them left is not the story.
            for done in work:
                failure = done.exception() if done.done() else None
                if failure is not None and not isinstance(failure, BrokenBarrierError):
                    raise failure
            return [done.result(0) for done in work]
    finally:
        sys.setswitchinterval(interval)


def _abort_if_it_fails(gate: Barrier, task: Task, backend: Backend, number: int) -> Any:
    """One that fails must not leave the others waiting at the gate until nobody has any patience left."""
    try:
        return task(backend, number, gate)
    except BaseException:
        gate.abort()
        raise


def in_processes(
    open_store: Callable[[Path], Backend],
    place: Path,
    task: Task,
    *,
    count: int = PROCESSES,
    method: str | None = None,
) -> list[Any]:
    """What `task` returned in each process. `open_store` is called in the processes, never here."""
    fastest = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
    context: Any = multiprocessing.get_context(method or fastest)
    gate = context.Barrier(count)
    answers, children = [], []
    for number in range(count):
        answer, tell = context.Pipe(duplex=False)
        child = context.Process(target=_work, args=(tell, open_store, place, task, number, gate), daemon=True)
        child.start()
        tell.close()
        answers.append(answer)
        children.append(child)
    try:
        return [_answer(answer) for answer in answers]
    finally:
        for child in children:
            child.join(1)
            child.kill()
            child.join()


def _work(
    tell: Connection,
    open_store: Callable[[Path], Backend],
    place: Path,
    task: Task,
    number: int,
    gate: Gate,
) -> None:
    try:
        backend = open_store(place)
        result = task(backend, number, gate)
        backend.close()
        tell.send((True, result))
    except BaseException:
        tell.send((False, traceback.format_exc()))


def _answer(answer: Connection) -> Any:
    assert answer.poll(PATIENCE), "a process hangs"
    ended_well, result = answer.recv()
    assert ended_well, f"in a process:\n{result}"
    return result


def _body(backend: Backend, key: bytes) -> bytes | None:
    entry = backend.get(key)
    return None if entry is None else entry.body
