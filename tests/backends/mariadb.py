"""A real MariaDB for tests, from the system's package: on a free loopback port and on a socket."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pymysql
import pytest

from tests.backends.postgres import free_port

PASSWORD = "sesame street"
START_SECONDS = 60.0


class MariaDB:
    """One server with a data folder of its own. Its account is `oauth`, with `PASSWORD` and one database."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="mariadb"))
        self.data, self.log, self.socket = self.folder / "data", self.folder / "log", self.folder / "socket"
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._create()
            self.start()
        except BaseException:
            self.remove()
            raise

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def url(self, database: str = "registry", *, port: int | None = None, **options: object) -> str:
        query = f"?{urlencode(options)}" if options else ""
        return f"mysql://oauth:{quote(PASSWORD)}@127.0.0.1:{port or self.port}/{database}{query}"

    def socket_url(self, database: str = "registry", **options: object) -> str:
        query = urlencode({"unix_socket": self.socket, **options})
        return f"mariadb://oauth:{quote(PASSWORD)}@/{database}?{query}"

    def start(self, *arguments: str) -> None:
        """Start it, and wait until it takes connections. `arguments` are for `mariadbd`."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    _program("mariadbd"),
                    *self._where(),
                    *("--bind-address=127.0.0.1", f"--port={self.port}", f"--socket={self.socket}"),
                    # At 2 a commit outlives a killed server, which is what tests do, and not the machine.
                    *("--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=32M"),
                    *("--skip-log-bin", "--skip-name-resolve", "--max-connections=300"),
                    *arguments,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self._process.poll() is None, f"MariaDB does not start:\n{self.log.read_text()}"
            assert time.monotonic() < deadline, f"MariaDB does not answer:\n{self.log.read_text()}"
            time.sleep(0.02)

    def kill(self) -> None:
        """As a power failure would end it."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """As root over the socket, outside a transaction."""
        with self._connect() as connection, connection.cursor() as cursor:
            cursor.execute(statement, values or None)
            return list(cursor.fetchall())

    def _connect(self) -> pymysql.Connection:
        database = "registry" if (self.data / "registry").exists() else None
        return pymysql.connect(
            unix_socket=str(self.socket), user="root", database=database, autocommit=True, ssl_disabled=True
        )

    def _answers(self) -> bool:
        # PyMySQL leaves a Unix socket open that it could not connect, for some later test to complain of.
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.socket))
            except OSError:
                return False
        try:
            self._connect().close()
        except pymysql.err.OperationalError:
            return False
        return True

    def _end(self, signal_number: int) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal_number)
            process.wait(START_SECONDS)

    def _where(self) -> list[str]:
        account = ["--user=root"] if os.geteuid() == 0 else []
        return ["--no-defaults", f"--datadir={self.data}", f"--tmpdir={self.folder}", *account]

    def _create(self) -> None:
        made = subprocess.run(
            [
                _program("mariadb-install-db"),
                *self._where(),
                *("--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"),
            ],
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            cwd=self.folder,
        )
        assert made.returncode == 0, f"MariaDB makes no data folder:\n{made.stdout}{made.stderr}"
        self.start()
        self.run("CREATE DATABASE registry")
        self.run("CREATE USER oauth@'%%' IDENTIFIED BY %s", PASSWORD)
        self.run("GRANT ALL ON registry.* TO oauth@'%'")
        self.stop()


def _program(name: str) -> str:
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip("there is no MariaDB here: install mariadb-server")
    return found


@functools.cache
def shared() -> MariaDB:
    """One for all tests of this process, ended with it. Without the package the test is skipped."""
    _program("mariadbd")
    server, owner = MariaDB(), os.getpid()
    atexit.register(lambda: server.remove() if os.getpid() == owner else None)
    return server
