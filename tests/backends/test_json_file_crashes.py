"""A process that is killed at any moment leaves the old file or the new one, and holds nobody up."""

from __future__ import annotations

import multiprocessing
import os
import signal
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from oauth_refresh.backends.base import Entry
from oauth_refresh.backends.json_file import JSONFileBackend
from tests.backends.children import in_a_child

ONE, TWO = Entry(b"1", b"1"), Entry(b"2", b"2")
STEPS = [
    (call, when)
    for call in ("open new", "write", "fsync new", "replace", "fsync folder")
    for when in ("before", "after")
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


def files(path: Path) -> list[str]:
    return sorted(file.name for file in path.parent.iterdir())


def die_at(call: str, when: str) -> None:
    """From now on this process kills itself before or after that call."""
    name, _, what = call.partition(" ")
    real = getattr(os, name)

    def concerned(target: object) -> bool:
        if not what:
            return True
        if isinstance(target, int):
            return stat.S_ISDIR(os.fstat(target).st_mode) is (what == "folder")
        return str(target).endswith("." + what)

    def die(target: object, *others: object) -> object:
        if not concerned(target):
            return real(target, *others)
        if when == "after":
            real(target, *others)
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)
        return None

    setattr(os, name, die)


def killed(call: str, when: str, action: Callable[[], object]) -> None:
    """Run `action` in a child that is killed at this step."""

    def act() -> None:
        die_at(call, when)
        action()

    child = multiprocessing.get_context("fork").Process(target=act)
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL


@pytest.mark.parametrize(("call", "when"), STEPS, ids=[f"{when} {call}" for call, when in STEPS])
def test_a_writer_killed_at_any_step_leaves_the_old_file_or_the_new_one(
    path: Path, call: str, when: str
) -> None:
    JSONFileBackend(str(path)).swap(b"k", None, b"1")
    backend = JSONFileBackend(str(path), timeout=0.05)
    killed(call, when, lambda: backend.swap(b"k", ONE, b"2"))
    is_done = call == "fsync folder" or (call, when) == ("replace", "after")
    assert backend.get(b"k") == (TWO if is_done else ONE)
    assert backend.swap(b"k", backend.get(b"k"), b"3") is True
    assert files(path) == ["tokens.json", "tokens.json.lock"]


def write_for_ever(path: str, tell: Connection) -> None:
    backend = JSONFileBackend(path)
    entry = backend.get(b"k")
    number = 0 if entry is None else int(entry.body[:8])
    while True:
        number += 1
        body = b"%08d" % number * 2500
        assert backend.swap(b"k", entry, body, 2e9 + number, [b"n%d" % number, b"all"])
        entry = Entry(body, body)
        tell.send(number)


def test_a_writer_that_is_killed_loses_nothing_that_was_answered(path: Path) -> None:
    context = multiprocessing.get_context("fork")
    backend = JSONFileBackend(str(path))
    for lap in range(8):
        answer, tell = context.Pipe(duplex=False)
        child = context.Process(target=write_for_ever, args=(str(path), tell), daemon=True)
        child.start()
        acknowledged = [answer.recv() for _ in range(7 + lap)]
        child.kill()
        child.join()
        tell.close()
        with suppress(EOFError, OSError):
            while True:
                acknowledged.append(answer.recv())
        entry = backend.get(b"k")
        assert entry is not None
        number = int(entry.body[:8])
        assert number in (acknowledged[-1], acknowledged[-1] + 1)
        assert entry.body == b"%08d" % number * 2500
        assert list(backend.find(b"n%d" % number)) == list(backend.find(b"all")) == [b"k"]


def test_only_what_a_killed_writer_left_is_swept(path: Path) -> None:
    JSONFileBackend(str(path)).swap(b"k", None, b"1")
    others = ["tokens.json.secret", "tokens.json.secretx7", "tokens.json.v2.bak", "tokens.json.new"]
    others += ["tokens.json.0123.new", "other.json.0123456789abcdef.new", "tokens.json.0123456789abcdef.new~"]
    for name in [*others, "tokens.json.0123456789abcdef.new", "tokens.json.fedcba9876543210.new"]:
        path.with_name(name).touch()
    assert JSONFileBackend(str(path)).swap(b"k", ONE, b"2") is True
    assert files(path) == sorted(["tokens.json", "tokens.json.lock", *others])


def test_a_child_forked_during_a_write_does_not_keep_the_lock(path: Path) -> None:
    """Its parent is killed in the middle of the write, and the child lives on."""
    backend = JSONFileBackend(str(path), timeout=0.5)
    backend.swap(b"k", None, b"1")
    answer, tell = multiprocessing.get_context("fork").Pipe(duplex=False)
    parent = os.fork()
    if parent == 0:
        with backend._file.locked():
            child = os.fork()
            if child:
                tell.send(child)
            time.sleep(60)
            os._exit(0)
    child = answer.recv()
    try:
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
        assert backend.swap(b"k", ONE, b"2") is True
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_child_forked_while_a_thread_holds_the_locks_can_write(path: Path) -> None:
    backend = JSONFileBackend(str(path), timeout=0.5)
    backend.swap(b"k", None, b"1")
    other = JSONFileBackend(str(path))
    with backend._loading, backend._file._writer:
        assert in_a_child(lambda: backend.swap(b"k", ONE, b"2")) is True
    assert other.get(b"k") == backend.get(b"k") == TWO
