"""How much of what a server can do is left? Checks under gunicorn, as a share of what it does for a constant.

wrk asks two servers in turn: one whose application answers a constant, and one with the middleware in front
of it. The share is the middleware's rate of the constant's, in the same rounds.
"""

from __future__ import annotations

import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from . import driving, stores

ROOT = Path(__file__).parents[1]
SERVERS: Mapping[str, Sequence[str]] = {
    "2 sync": ("--workers", "2"),
    "1x4 threads": ("--workers", "1", "--worker-class", "gthread", "--threads", "4"),
    "2x4 threads": ("--workers", "2", "--worker-class", "gthread", "--threads", "4"),
}
_ROUNDS, _SECONDS, _CONNECTIONS = 3, 3, 8
_RATE = re.compile(r"Requests/sec:\s+([\d.]+)")
_LATENCY = re.compile(r"\s+(50|99)%\s+([\d.]+)(us|ms|s)")
_UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6}


class Load(NamedTuple):
    """Requests per second, and the time within which half and 99 % of them were answered (microseconds)."""

    rate: float
    p50: float
    p99: float


class Share(NamedTuple):
    store: str
    server: str
    constant: float
    ours: float
    p99_over_p50: float

    @property
    def share(self) -> float:
        return self.ours / self.constant


def run(names: Sequence[str]) -> list[Share]:
    # Memory serves one process.
    return [
        _measured(name, server)
        for name in names
        for server in SERVERS
        if name != "sqlite-normal" and (name != "memory" or server == "1x4 threads")
    ]


def _measured(name: str, server: str) -> Share:
    with ExitStack() as stack:
        store = stack.enter_context(stores.opened(name))
        settings = {"BENCHMARK_REGISTRY": store.url}
        constant = stack.enter_context(_serving("benchmarks.driving:constant", SERVERS[server], {}))
        ours = stack.enter_context(_serving("benchmarks.http:application()", SERVERS[server], settings))
        token = _token(ours)
        loads: dict[str, list[Load]] = {constant: [], ours: []}
        for _ in range(_ROUNDS):
            for base in (constant, ours):
                loads[base].append(_load(base, token))
    plain, guarded = loads[constant], loads[ours]
    return Share(
        name,
        server,
        statistics.median(load.rate for load in plain),
        statistics.median(load.rate for load in guarded),
        statistics.median(load.p99 / load.p50 for load in guarded),
    )


def application() -> object:
    """The middleware in front of the constant, with a page that mints a token to measure with."""
    app = driving.middleware(os.environ["BENCHMARK_REGISTRY"])

    def with_mint(environ: dict[str, object], start_response: object) -> object:
        if environ["PATH_INFO"] == "/mint":
            token = app.registry.create("ada", ["notes:read", "notes:write"]).access_token
            start_response("200 OK", [("Content-Type", "text/plain")])  # type: ignore[operator]
            return [token.encode()]
        return app(environ, start_response)  # type: ignore[arg-type]

    return with_mint


def _token(base: str) -> str:
    from urllib.request import urlopen

    with urlopen(f"{base}/mint", timeout=30) as answer:
        return str(answer.read().decode())


def _load(base: str, token: str) -> Load:
    """wrk for some seconds. Every answer must be a 200: a refusal would be quicker."""
    command = ["wrk", "-t1", f"-c{_CONNECTIONS}", f"-d{_SECONDS}s", "--latency"]
    command += ["-H", f"Authorization: Bearer {token}", f"{base}/api/notes"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate = _RATE.search(said)
    if "Non-2xx" in said or rate is None:
        raise SystemExit(f"not every request was answered with 200:\n{said}")
    latency = {percent: float(value) * _UNITS[unit] for percent, value, unit in _LATENCY.findall(said)}
    return Load(float(rate[1]), latency["50"], latency["99"])


@contextmanager
def _serving(app: str, options: Sequence[str], settings: Mapping[str, str]) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--log-level", "error"]
        process = subprocess.Popen(
            [*command, *options, app],
            cwd=folder,
            env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT), **settings},
        )
        try:
            for _ in range(600):
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    break
                except OSError:
                    time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)


def table(shares: Sequence[Share]) -> str:
    lines = [
        "| store | server | constant, 1/s | ours, 1/s | share | p99/p50 |",
        "|---|---|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {found.store} | {found.server} | {found.constant:.0f} | {found.ours:.0f} | {found.share:.2f} "
        f"| {found.p99_over_p50:.1f} |"
        for found in shares
    ]
    return "\n".join(lines)
