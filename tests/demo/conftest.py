"""The demo as a process, with its files in the test's own folder."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
STOP_SECONDS = 15


class Demo(NamedTuple):
    """A demo that serves. `walk` is everything that it printed to try."""

    process: subprocess.Popen[str]
    base: str
    walk: str


StartDemo = Callable[..., Demo]


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """An environment with these settings and none of this machine's."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("OAUTH_")}
    return {**kept, "TMPDIR": str(folder), "PYTHONPATH": str(ROOT), **settings}


def command(*options: str) -> list[str]:
    return [sys.executable, "-m", "oauth_refresh", "demo", *options]


@pytest.fixture
def start_demo(tmp_path: Path) -> Iterator[StartDemo]:
    with ExitStack() as stack:

        def start(*options: str, **settings: str) -> Demo:
            process = stack.enter_context(
                subprocess.Popen(
                    command("--port", "0", *options),
                    env=environment(tmp_path, **settings),
                    cwd=tmp_path,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    preexec_fn=_hear_interrupts,
                )
            )
            stack.callback(process.kill)
            walk = "".join(_until_the_last_step(process))
            found = re.match(r"The notes demo is at (http://\S+)\n", walk)
            assert found is not None, walk
            return Demo(process, found[1], walk)

        yield start


def _hear_interrupts() -> None:
    """A shell lets what it starts in the background ignore Ctrl-C, and so would all that comes of it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _until_the_last_step(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stdout is not None
    last = False
    for line in process.stdout:
        yield line
        last = last or line.startswith("# 9.")
        if last and line == "\n":
            return
