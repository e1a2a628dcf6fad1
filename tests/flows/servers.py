"""The demo behind real servers, in processes of their own, on loopback ports that the system chose."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import requests

ROOT = Path(__file__).parents[2]
START_SECONDS = 60.0
STOP_SECONDS = 15.0


class Gunicorn:
    """gunicorn with an application. It is started again by `start`, at the same address.

    The test keeps the listening socket and lends it, so the port cannot go to anybody else, neither before
    the start nor between a kill and the next start. Requests that come in between wait in the socket.
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str] | None = None,
        *,
        app: str = "oauth_refresh.demo:create_app()",
        options: Sequence[str] = ("--workers", "3"),
    ) -> None:
        self.folder = folder
        self.registry = folder / "oauth.db"
        self._environment = environment(folder, settings or {})
        self._app = app
        self._options = options
        self._log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._socket.getsockname()[1]
        self.base = f"http://127.0.0.1:{self.port}"

    def start(self) -> Gunicorn:
        """Begin to serve; returns when the first request has been answered."""
        self.launch()
        try:
            requests.get(self.base, timeout=START_SECONDS)
        except requests.RequestException:
            self.stop()
            raise AssertionError(f"the server did not start:\n{self.log()[-4000:]}") from None
        return self

    def set_environment(self, settings: Mapping[str, str]) -> None:
        """Other settings, from the next start on."""
        self._environment = environment(self.folder, settings)

    def launch(self) -> subprocess.Popen[bytes]:
        """Begin to serve, without a look at whether it does."""
        descriptor = os.dup(self._socket.fileno())
        command = ["-m", "gunicorn", "--bind", f"fd://{descriptor}", *self._options, self._app]
        try:
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    [sys.executable, *command],
                    cwd=self.folder,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[descriptor],
                    start_new_session=True,
                )
        finally:
            os.close(descriptor)
        return self._process

    @property
    def pid(self) -> int:
        """The process id of the master."""
        assert self._process is not None
        return self._process.pid

    def workers(self) -> list[int]:
        """The process ids of the workers that live at this moment."""
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _parent(pid) == self.pid]

    def kill(self) -> None:
        """`kill -9` of master and workers, all at one moment."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(STOP_SECONDS)

    def stop(self) -> None:
        """End it politely, and by force where that does not help."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def close(self) -> None:
        self.stop()
        self._socket.close()

    def log(self) -> str:
        """Everything that master and workers wrote so far."""
        return self._log.read_text("utf-8", "replace") if self._log.exists() else ""


class Waitress:
    """`python -m oauth_refresh demo`, which serves through waitress and prints its address."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "oauth_refresh", "demo", "--port", "0"],
            cwd=folder,
            env=environment(folder, settings or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        found = re.match(r"The notes demo is at (http://[\w.:]+)$", self._first_line())
        if found is None:
            self.close()
            raise AssertionError("the demo did not say where it is")
        self.base = found[1]

    def _first_line(self) -> str:
        patience = threading.Timer(START_SECONDS, self._process.kill)
        patience.start()
        try:
            return self._process.stdout.readline().strip() if self._process.stdout else ""
        finally:
            patience.cancel()

    def close(self) -> None:
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.communicate(timeout=STOP_SECONDS)
        self._process.kill()
        self._process.wait(STOP_SECONDS)


class WaitressServing:
    """Waitress with any application, on a port that was free a moment ago."""

    def __init__(self, folder: Path, app: str, settings: Mapping[str, str]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.base = f"http://127.0.0.1:{self.port}"
        with (folder / "waitress.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "waitress", f"--listen=127.0.0.1:{self.port}", app],
                cwd=folder,
                env=environment(folder, settings),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers)

    def _answers(self) -> bool:
        assert self._process.poll() is None, "Waitress did not start"
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            return True
        return False

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(STOP_SECONDS)


def environment(folder: Path, settings: Mapping[str, str]) -> dict[str, str]:
    """The environment of a server: files in `folder`, the registry too, and no setting of this machine."""
    return {
        "PATH": os.environ.get("PATH", ""),
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "OAUTH_REGISTRY": f"sqlite://{folder}/oauth.db",
        **settings,
    }


def wait_until(condition: Callable[[], bool], seconds: float = START_SECONDS) -> None:
    """Ask `condition` until it is true. AssertionError when the seconds are over."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{seconds} seconds were not enough"
        time.sleep(0.01)


def _parent(pid: int) -> int | None:
    """The parent of a process that is alive: a zombie is dead."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[1])
