"""A test's part that runs in a forked child, and its answer."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any


def in_a_child(action: Callable[[], Any]) -> Any:
    """What `action` returned in a child of this process; fails with its traceback if it raised."""
    context = multiprocessing.get_context("fork")
    answer, tell = context.Pipe(duplex=False)
    child = context.Process(target=_run, args=(action, tell), daemon=True)
    child.start()
    tell.close()
    try:
        assert answer.poll(60), "the child hangs"
        ended_well, result = answer.recv()
    finally:
        child.kill()
        child.join()
    assert ended_well, f"in the child:\n{result}"
    return result


def _run(action: Callable[[], Any], tell: Connection) -> None:
    try:
        tell.send((True, action()))
    except BaseException:
        tell.send((False, traceback.format_exc()))
