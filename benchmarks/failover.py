"""python -m benchmarks.failover [--clients N] [--runs N]

How many sessions does the end of a registry's server cost? Clients rotate without pause over HTTP against the
demo while a primary of a Valkey cluster, or PostgreSQL, is killed. Not a timing: a count, which must be 0.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.backends import valkey
from tests.backends.postgres import PostgreSQL
from tests.flows import failover
from tests.flows.fleet import Fleet

HEAD = (
    "| registry | roll forward | run | rotations | sessions behind | rotations missing | rolled forward "
    "| sessions lost | longest wait |\n|---|---|---:|---:|---:|---:|---:|---:|---:|"
)


def cluster(clients: int, roll_forward: str) -> failover.Outcome:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="failover")))
        servers = stack.enter_context(valkey.cluster(folder))
        server = failover.demo(folder, servers.url, OAUTH_ROLL_FORWARD=roll_forward)
        stack.callback(server.close)
        return failover.lose_a_primary(servers, Fleet(server.start(), clients))


def postgresql(clients: int) -> failover.Outcome:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="failover")))
        database = PostgreSQL()
        stack.callback(database.remove)
        server = failover.demo(folder, database.url())
        stack.callback(server.close)
        return failover.lose_a_postgresql(database, Fleet(server.start(), clients))


def rows(clients: int, runs: int) -> Iterator[str]:
    for registry, roll_forward in (("cluster", "on"), ("cluster", "off"), ("postgresql", "on")):
        for run in range(1, runs + 1):
            came = postgresql(clients) if registry == "postgresql" else cluster(clients, roll_forward)
            # A run in which the promoted replica lacked nothing shows nothing.
            assert came.behind or registry == "postgresql", "the replica lacked no rotation: run it again"
            yield (
                f"| {registry} | {roll_forward} | {run} | {came.rotations} | {len(came.behind)} "
                f"| {sum(came.behind.values())} | {len(came.rolled) if roll_forward == 'on' else ''} "
                f"| {len(came.lost)} of {came.sessions} | {came.waited:.1f} s |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.failover", description=__doc__)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--runs", type=int, default=5)
    chosen = parser.parse_args()
    print(HEAD)
    for row in rows(chosen.clients, chosen.runs):
        print(row, flush=True)


if __name__ == "__main__":
    main()
