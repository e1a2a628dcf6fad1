"""Ends of a registry's server under a fleet of clients, and what became of their sessions."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from oauth_refresh.backends.redis_index import read_head, record_name
from oauth_refresh.event_log import read_events
from oauth_refresh.records import decode
from tests.backends import valkey
from tests.backends.postgres import PostgreSQL
from tests.flows.fleet import Fleet
from tests.flows.servers import Gunicorn

SECRET_KEY = "the server secret of a fleet under test"
OPTIONS = ("--workers", "4", "--worker-class", "gthread", "--threads", "8")
DOWN_SECONDS = 1.0


class Outcome(NamedTuple):
    """`behind`: how many acknowledged rotations the promoted replica lacked, by grant. `rolled` and `lost`
    are grants: those that were rolled forward, and those whose session is lost."""

    sessions: int
    rotations: int
    behind: Mapping[str, int]
    rolled: set[str]
    lost: set[str]
    waited: float


def demo(folder: Path, registry: str, **settings: str) -> Gunicorn:
    """The demo over this registry, for a fleet. Its events are in `folder`."""
    ours = {"OAUTH_SECRET_KEY": SECRET_KEY, "OAUTH_EVENT_LOG": str(folder / "events")}
    return Gunicorn(folder, {"OAUTH_REGISTRY": registry, **ours, **settings}, options=OPTIONS)


def lose_a_primary(cluster: valkey.Cluster, fleet: Fleet) -> Outcome:
    """`kill -9` of a primary whose replica lacks its last writes, and takes over by the cluster's vote.

    The replica is stopped while clients rotate, and killed with its primary: what has reached its socket
    would be replicated all the same. Then it is started, with what it had.
    """
    primary = cluster.owner(_name(fleet.sessions[0].grant))
    replica = cluster.replica_of(primary)
    with fleet:
        fleet.go_on(2)
        replica.pause()
        fleet.go_on(2)
        primary.kill()
        replica.kill()
        known = _generations(replica, fleet)
        behind = {
            session.grant: session.acknowledged - known[session.grant]
            for session in fleet.sessions
            if session.acknowledged > known.get(session.grant, session.acknowledged)
        }
        replica.start()
        fleet.go_on(3)
    assert replica.info("replication")["role"] == "master"
    return _outcome(fleet, behind)


def lose_a_postgresql(server: PostgreSQL, fleet: Fleet) -> Outcome:
    """`kill -9` of all its processes; a while later it is started again."""
    with fleet:
        fleet.go_on(3)
        server.kill()
        time.sleep(DOWN_SECONDS)
        server.start("-cfsync=on")
        fleet.go_on(3)
    return _outcome(fleet, {})


def _outcome(fleet: Fleet, behind: Mapping[str, int]) -> Outcome:
    fleet.assert_well()
    waited = max(session.waited for session in fleet.sessions)
    events = read_events(str(fleet.server.folder / "events"))
    rolled = {str(event["grant"]) for event in events if event["event"] == "registry_rolled_back"}
    return Outcome(len(fleet.sessions), fleet.rotations, behind, rolled, fleet.lost, waited)


def _name(grant: str) -> bytes:
    return record_name(b"oauth_refresh:", b"g" + bytes.fromhex(grant))


def _generations(replica: valkey.Server, fleet: Fleet) -> dict[str, int]:
    """What a dead replica will know when it starts, by grant: read from a copy of its files."""
    copy = valkey.single(replica.folder.parent)
    shutil.copytree(replica.folder / "appendonlydir", copy.folder / "appendonlydir")
    with valkey.running([copy]):
        values = copy.ask("MGET", *(_name(session.grant) for session in fleet.sessions))
    return {
        session.grant: decode(value[read_head(value).size :], bytes.fromhex(session.grant)).generation
        for session, value in zip(fleet.sessions, values, strict=True)
        if value is not None
    }
