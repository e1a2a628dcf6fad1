"""Each example as a stranger starts it: by its command, in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import Thread

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
STOP_SECONDS = 15

Serve = Callable[..., str]
RunClient = Callable[..., subprocess.CompletedProcess[str]]


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """This environment without its OAuth settings, and with the programs that belong to the tests."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("OAUTH_")}
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    own = {
        "PATH": programs,
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "OAUTH_REGISTRY": f"sqlite://{folder}/oauth.db",
    }
    return {**kept, **own, **settings}


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """`serve(command, pattern)` starts a server, and returns the address that it tells as `pattern` says."""
    folder = tmp_path_factory.mktemp("server")
    with ExitStack() as stack:

        def start(command: Sequence[str], pattern: str, **settings: str) -> str:
            process = stack.enter_context(
                subprocess.Popen(
                    command,
                    cwd=ROOT,
                    env=environment(folder, **settings),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
            stack.callback(_stop, process)
            return _address(process, pattern)

        yield start


def _address(process: subprocess.Popen[str], pattern: str) -> str:
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        found = re.search(pattern, line)
        if found is not None:
            # A pipe that nobody empties stops the server when it is full.
            Thread(target=process.stdout.read, daemon=True).start()
            return found[1]
    raise AssertionError(f"the server did not start:\n{''.join(said)}")


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


@pytest.fixture(scope="module")
def demo(serve: Serve) -> str:
    command = [sys.executable, "-m", "oauth_refresh", "demo", "--port", "0"]
    return serve(command, r"The notes demo is at (http://\S+)")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "client" / "tokens.json"


@pytest.fixture
def run_client(tmp_path: Path, store: Path) -> RunClient:
    """`run_client(url, *options)` runs the example of a command-line client to its end."""

    def run(url: str, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            client_command(url, store, *options),
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def client_command(url: str, store: Path, *options: str) -> list[str]:
    program = EXAMPLES / "cli_client" / "client.py"
    return [sys.executable, str(program), url, "--store", str(store), *options]
