"""How much of what a server can do is left? Checks under gunicorn, as a share of what it does for a constant.

wrk asks two servers in turn: one whose application answers a constant, and one with the middleware in front
of it. The share is the middleware's rate of the constant's, in the same rounds. Over SQLite renewals are
asked for too, by eight clients at once: what counts is how much longer than half of them the slowest wait.
"""

from __future__ import annotations

import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.request import urlopen

from . import driving, stores

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

ROOT = Path(__file__).parents[1]
STORES = ("memory", "sqlite", "postgresql", "valkey")
HEADS = ("what", "store", "server", "constant, 1/s", "ours, 1/s", "share", "p50, ms", "p99, ms", "p99/p50")
WORDS = 3
SERVERS: Mapping[str, Sequence[str]] = {
    "2 sync": ("--workers", "2"),
    "1x4 threads": ("--workers", "1", "--worker-class", "gthread", "--threads", "4"),
    "2x4 threads": ("--workers", "2", "--worker-class", "gthread", "--threads", "4"),
}
_ROUNDS, _SECONDS, _CONNECTIONS = 3, 3, 8
_RATE = re.compile(r"Requests/sec:\s+([\d.]+)")
_LATENCY = re.compile(r"\s+(50|99)%\s+([\d.]+)(us|ms|s)")
_UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6}
_RENEW = Path(__file__).with_name("renew.lua")


class Load(NamedTuple):
    """Requests per second, and the time within which half and 99 % of them were answered (microseconds)."""

    rate: float
    p50: float
    p99: float


class Share(NamedTuple):
    """Requests per second of the constant and of ours, and how long ours took (microseconds)."""

    what: str
    store: str
    server: str
    constant: float
    ours: float
    p50: float
    p99: float

    @property
    def share(self) -> float:
        return self.ours / self.constant

    def cells(self) -> list[str]:
        return [
            self.what,
            self.store,
            self.server,
            f"{self.constant:.0f}",
            f"{self.ours:.0f}",
            f"{self.share:.2f}",
            f"{self.p50 / 1000:.2f}",
            f"{self.p99 / 1000:.2f}",
            f"{self.p99 / self.p50:.1f}",
        ]


def run(name: str, *, peers: bool) -> list[Share]:
    # Memory serves one process.
    servers = [server for server in SERVERS if name != "memory" or server == "1x4 threads"]
    found = [_measured("check", name, server, _checks) for server in servers]
    if name == "sqlite":
        found += [_measured("renewal", name, server, _renewals) for server in servers]
    return found


def _measured(what: str, name: str, server: str, load: Callable[[str, str], Load]) -> Share:
    with ExitStack() as stack:
        store = stack.enter_context(stores.opened(name))
        settings = {"BENCHMARK_REGISTRY": store.url}
        constant = stack.enter_context(_serving("benchmarks.calling:constant", SERVERS[server], {}))
        ours = stack.enter_context(_serving("benchmarks.http:application()", SERVERS[server], settings))
        loads: dict[str, list[Load]] = {constant: [], ours: []}
        for _ in range(_ROUNDS):
            for base in (constant, ours):
                loads[base].append(load(base, ours))
    middle = sorted(loads[ours], key=lambda found: found.p99 / found.p50)[_ROUNDS // 2]
    plain, guarded = (statistics.median(found.rate for found in loads[base]) for base in (constant, ours))
    return Share(what, name, server, plain, guarded, middle.p50, middle.p99)


def application() -> WSGIApplication:
    """The middleware in front of the constant, with a page that mints pairs of tokens to measure with."""
    ours = driving.Ours(os.environ["BENCHMARK_REGISTRY"])

    def with_mint(environ, start_response):  # type: ignore[no-untyped-def]
        if environ["PATH_INFO"] == "/mint":
            pairs = [ours.rotator() for _ in range(_CONNECTIONS)]
            for pair in pairs:
                pair()
            start_response("200 OK", [("Content-Type", "application/json")])
            return [
                json.dumps(
                    [[each.access_token, each.refresh_token, each.client_id] for each in pairs]
                ).encode()
            ]
        return ours.app(environ, start_response)

    return with_mint


def _minted(base: str) -> list[list[str]]:
    """For each connection an access token, a refresh token, and the client's id."""
    with urlopen(f"{base}/mint", timeout=30) as answer:
        pairs: list[list[str]] = json.load(answer)
        return pairs


def _checks(base: str, ours: str) -> Load:
    token = _minted(ours)[0][0]
    return _load("-t1", "-H", f"Authorization: Bearer {token}", f"{base}/api/notes")


def _renewals(base: str, ours: str) -> Load:
    """By as many clients as there are connections: each presents what it was answered last."""
    with tempfile.NamedTemporaryFile("w", suffix=".tokens") as tokens:
        for _, refresh, client_id in _minted(ours):
            tokens.write(f"{refresh} {client_id}\n")
        tokens.flush()
        return _load(f"-t{_CONNECTIONS}", "-s", str(_RENEW), f"{base}/oauth/token", "--", tokens.name)


def _load(*options: str) -> Load:
    """wrk for some seconds. Every answer must be a 200: a refusal would be quicker."""
    command = ["wrk", f"-c{_CONNECTIONS}", f"-d{_SECONDS}s", "--latency", *options]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate = _RATE.search(said)
    if "Non-2xx" in said or "Socket errors" in said or rate is None:
        raise SystemExit(f"not every request was answered with 200:\n{said}")
    latency = {percent: float(value) * _UNITS[unit] for percent, value, unit in _LATENCY.findall(said)}
    return Load(float(rate[1]), latency["50"], latency["99"])


@contextmanager
def _serving(app: str, options: Sequence[str], settings: Mapping[str, str]) -> Iterator[str]:
    """Its address. Whatever it says is wrong, as a database that is locked."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--log-level", "error"]
        with log.open("wb") as said:
            process = subprocess.Popen(
                [*command, *options, app],
                cwd=folder,
                env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT), **settings},
                stdout=said,
                stderr=said,
            )
        try:
            for _ in range(600):
                try:
                    urlopen(f"http://127.0.0.1:{port}/open", timeout=30).close()
                    break
                except OSError:
                    time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)
            told = log.read_text()
        if told:
            raise SystemExit(f"the server had something to say:\n{told[-4000:]}")
