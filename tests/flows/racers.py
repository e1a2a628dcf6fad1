"""Processes that send one request each, all at the same moment."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode

from tests.flows.servers import ROOT

Answers = list[tuple[int, dict[str, Any]]]


class Racers:
    """Any number of client processes, started once and used for any number of races."""

    def __init__(self, processes: list[subprocess.Popen[str]]) -> None:
        self._processes = processes

    def race(self, port: int, path: str, form: Mapping[str, str]) -> Answers:
        """Every process connects; when all have, every one sends the same form. Status and JSON of each."""
        order = json.dumps([port, path, urlencode(form)])
        self._tell(order)
        assert self._hear() == ["ready"] * len(self._processes)
        self._tell("go")
        return [(status, answer) for status, answer in map(json.loads, self._hear())]

    def _tell(self, line: str) -> None:
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(line + "\n")
            process.stdin.flush()

    def _hear(self) -> list[str]:
        return [process.stdout.readline().strip() for process in self._processes if process.stdout]


@contextmanager
def racers(count: int) -> Iterator[Racers]:
    processes: list[subprocess.Popen[str]] = []
    try:
        processes.extend(_start() for _ in range(count))
        yield Racers(processes)
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _start() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", __name__], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _run() -> None:
    """In a racing process: each order is a line, and so are "ready", "go" and the answer."""
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    for line in sys.stdin:
        port, path, body = json.loads(line)
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        connection.connect()
        print("ready", flush=True)
        sys.stdin.readline()
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        print(json.dumps([answer.status, json.loads(answer.read())]), flush=True)
        connection.close()


if __name__ == "__main__":
    _run()
