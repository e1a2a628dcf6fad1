"""What a grant takes in the registry: the same after one rotation and after a thousand."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.flows.client import OAuthClient, pair
from tests.flows.clocked import Clocked
from tests.flows.secret import Pair

ROTATIONS = 1000

# The generation is a number of MessagePack: one byte up to 127, three from 256 to 65535.
WIDTH = {1: 1, ROTATIONS: 3}


def live_on(server: Clocked, client: OAuthClient, newest: Pair, rotations: int) -> Pair:
    """A client's day, that many times: refresh, and call the API."""
    for _ in range(rotations):
        server.now += 3600
        newest = pair(client.refresh(newest.refresh))
        assert client.call(newest.access).status_code == 200
    return newest


def stored(path: Path) -> dict[str, int]:
    """Rows per table, and pages of the file, when all that was written has reached it."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = {name: database.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}
        return {**rows, "pages": database.execute("PRAGMA page_count").fetchone()[0]}


@pytest.mark.requirement("RT-24")
@pytest.mark.parametrize("policy", ["revoke", "catch-up"])
def test_a_grant_is_as_large_after_a_thousand_rotations_as_after_one(tmp_path: Path, policy: str) -> None:
    registry = f"sqlite://{tmp_path}/oauth.db?synchronous=normal"
    # With catch-up the record keeps the times of the last rotations: of one here, so that it has all at once.
    server = Clocked(tmp_path, registry=registry, reuse_policy=policy, catch_up_generations=1)
    client = server.client()
    newest = live_on(server, client, client.connected(), 1)
    early = len(server.record(newest.refresh)) - WIDTH[1]
    rows = stored(tmp_path / "oauth.db")

    newest = live_on(server, client, newest, ROTATIONS - 1)
    late = len(server.record(newest.refresh)) - WIDTH[ROTATIONS]
    assert server.grant(newest.refresh).generation == ROTATIONS + 1
    assert late == early
    # Fewer is right: what has expired meanwhile may be gone.
    assert [name for name, count in stored(tmp_path / "oauth.db").items() if count > rows[name]] == []
    sizes = f"{early + WIDTH[1]} bytes after one rotation, {late + WIDTH[ROTATIONS]} after {ROTATIONS}"
    print(f"\n{policy}: {sizes}")
