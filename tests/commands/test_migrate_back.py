"""`oauth-refresh migrate` into a registry in which an earlier move has left markers: refused, and why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from oauth_refresh import migration
from oauth_refresh.backends import open_backend
from oauth_refresh.backends.base import Entry
from oauth_refresh.backends.moving import MovingBackend
from oauth_refresh.cli import main
from oauth_refresh.kinds import describe
from oauth_refresh.server import Server
from tests.commands.conftest import ok
from tests.settings_loading import load

SECRET = {"OAUTH_SECRET_KEY": "a server secret of enough bytes", "OAUTH_TRUST_REMOTE_USER": "yes"}
REFUSED = (
    "Error: 3 records cannot be taken over: in their place the target holds markers, for it was itself moved "
    "away from with --live, and a server on it answers 503 for them; stay with the source, and name an empty "
    "target\n"
)


@pytest.fixture
def old(tmp_path: Path) -> str:
    return f"sqlite://{tmp_path}/old.db"


@pytest.fixture
def new(tmp_path: Path) -> str:
    return f"sqlite://{tmp_path}/new.db"


def migrate(*arguments: str) -> Result:
    return CliRunner(env={"OAUTH_SCOPES": "a", **SECRET}).invoke(main, ["migrate", *arguments])


def server(url: str, **environ: str) -> Server:
    return Server(load(environ={"OAUTH_REGISTRY": url, **SECRET, **environ}))


def content(url: str) -> dict[bytes, Entry | None]:
    backend = open_backend(url)
    return {key: backend.get(key) for key in backend.keys(b"")}


@pytest.mark.parametrize("options", [[], ["--live"]])
def test_a_move_back_into_markers_is_refused_and_nothing_written(
    old: str, new: str, options: list[str]
) -> None:
    tokens = [server(old).registry.create("alice", []).access_token for _ in range(3)]
    ok(migrate("--live", old, new))
    server(new).registry.create("bob", [])
    before = content(old), content(new)
    done = migrate(*options, new, old)
    assert (done.exit_code, done.stdout, done.stderr) == (1, "", REFUSED)
    assert (content(old), content(new)) == before
    assert [getattr(server(new).registry.check(token), "subject", None) for token in tokens] == ["alice"] * 3


def test_the_address_that_was_left_can_be_moved_back_to_when_what_lies_there_is_put_aside(
    tmp_path: Path, old: str, new: str
) -> None:
    issued = server(old).registry.create_with_refresh("alice", [])
    ok(migrate("--live", old, new))
    for left in tmp_path.glob("old.db*"):
        left.rename(tmp_path / f"aside-{left.name}")
    assert ok(migrate(new, old)).splitlines()[-1] == "copied     1"
    assert issued.refresh_token is not None
    assert server(old).registry.rotate_via_refresh_token(issued.refresh_token)


def test_a_live_move_that_was_not_finished_is_finished_live_and_not_by_a_copy(old: str, new: str) -> None:
    issued = server(old).registry.create("alice", [])
    key = b"g" + bytes.fromhex(issued.grant_id)
    moving = server(new, OAUTH_REGISTRY_FALLBACK=old).backend
    assert isinstance(moving, MovingBackend)
    entry = moving.old.get(key)
    assert entry is not None
    moving._move(key, entry)  # and then the process died
    refused = migrate(old, new)
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr.startswith("Error: 1 record arriving in the target by a live move")
    assert ok(migrate("--live", old, new)).splitlines()[-1] == "moved      1"
    assert getattr(server(new).registry.check(issued.access_token), "subject", None) == "alice"


def test_the_ancestors_tokens_are_not_said_to_be_there_where_markers_are(
    tmp_path: Path, old: str, new: str
) -> None:
    path = tmp_path / "tokens.json"
    token = {"hash": "0f" * 32, "agent_name": "builder", "allowed_tools": ["a"]}
    path.write_text(json.dumps({"version": 1, "tokens": {"t1": token}}))
    ok(migrate(f"file://{path}", old))
    ok(migrate("--live", old, new))
    again = migrate(f"file://{path}", old)
    assert again.exit_code == 1
    assert "markers of a move in their place  2" in again.stdout
    assert "2 records cannot be taken over" in again.stderr


def test_what_a_live_move_meets_in_the_place_of_a_record_is_counted_apart() -> None:
    old, new, third = (open_backend("memory:") for _ in range(3))

    def tell(key: bytes, body: bytes) -> tuple[float | None, tuple[bytes, ...]]:
        return describe(key, body, 0.0)

    old.swap(b"x both", None, b"as it was")
    old.swap(b"x old", None, b"as it was")
    new.swap(b"x both", None, b"as it is")
    assert MovingBackend(third, new, tell).move(b"x both")
    tally = migration.move(MovingBackend(new, old, tell), lambda count: None)
    assert (tally.looked_at, tally.copied, tally.markers) == (2, 1, 1)
