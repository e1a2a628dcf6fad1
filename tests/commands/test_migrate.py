"""`oauth-refresh migrate`: everything arrives, whatever it comes from, and however often it was cut off."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from benchmarks import grants
from oauth_refresh import migration
from oauth_refresh.backends import open_backend
from oauth_refresh.backends.base import Backend
from oauth_refresh.cli import main
from oauth_refresh.server import Server
from tests.commands.conftest import ok
from tests.settings_loading import load

NOW = 1_900_000_000.0
COUNT = 700


@pytest.fixture
def source(tmp_path: Path) -> str:
    url = f"sqlite://{tmp_path}/source.db"
    backend = open_backend(url)
    grants.fill(backend, COUNT, NOW)
    backend.close()
    return url


@pytest.fixture
def target(tmp_path: Path) -> str:
    return f"sqlite://{tmp_path}/target.db"


def migrate(*arguments: str) -> str:
    return ok(CliRunner(env={"OAUTH_SCOPES": "a; b"}).invoke(main, ["migrate", *arguments]))


def content(backend: Backend) -> dict[bytes, Any]:
    return {key: backend.get(key) for key in backend.keys(b"")}


def test_a_copy_has_every_record_with_its_terms_and_its_end(source: str, target: str) -> None:
    shown = migrate(source, target)
    assert shown == (
        f"compared: {COUNT} are the same in both registries\nlooked at  {COUNT}\ncopied     {COUNT}\n"
    )
    assert content(open_backend(target)) == content(open_backend(source))
    assert len(list(open_backend(target).find(b"suser7@example.org"))) == 3
    assert open_backend(target).purge(NOW + 91 * 86400) == COUNT


@pytest.mark.parametrize("scheme", ["file", "sqlite"])
def test_a_copy_to_a_file_and_back_is_the_same(source: str, tmp_path: Path, scheme: str) -> None:
    middle, end = f"file://{tmp_path}/middle.json", f"{scheme}://{tmp_path}/end"
    migrate(source, middle)
    migrate(middle, end)
    assert content(open_backend(end)) == content(open_backend(source))


def test_a_second_run_copies_what_is_missing_and_never_overwrites(source: str, target: str) -> None:
    backend = open_backend(target)
    grants.fill(backend, 300, NOW)
    key = b"g" + grants.tokens_of(5, NOW).store.id  # type: ignore[union-attr]
    newer = b"\x01newer"
    assert backend.swap(key, backend.get(key), newer)
    shown = migrate(source, target)
    assert shown.splitlines()[1:] == [
        f"looked at                     {COUNT}",
        "copied                        400",
        "there already                 299",
        "there in another state, kept  1",
    ]
    assert backend.get(key) == (newer, newer)


def test_what_has_expired_is_left_behind(tmp_path: Path, target: str) -> None:
    url = f"sqlite://{tmp_path}/source.db"
    grants.fill(open_backend(url), 10, 1_000_000_000.0)
    assert "expired, left behind  10" in migrate(url, target)
    assert content(open_backend(target)) == {}


def test_the_secret_that_was_drawn_for_the_source_goes_along(tmp_path: Path, target: str) -> None:
    url = f"sqlite://{tmp_path}/source.db"
    issued = _server(url).registry.create_with_refresh("alice", [])
    assert "the server secret" in migrate(url, target)
    assert issued.refresh_token is not None
    assert _server(target).registry.rotate_via_refresh_token(issued.refresh_token)


def test_a_live_move_takes_over_what_the_servers_have_not(source: str, target: str) -> None:
    before = content(open_backend(source))
    server = _server(target, OAUTH_REGISTRY_FALLBACK=source)
    server.registry.create("alice", [])
    assert server.backend.move(b"g" + grants.tokens_of(3, NOW).store.id)  # type: ignore[attr-defined, union-attr]
    assert migrate("--live", source, target).splitlines() == [
        "looked at     701",
        "moved         699",
        "moved before  2",
    ]
    after = content(open_backend(target))
    assert {key: after[key] for key in before} == before
    assert len(after) == COUNT + 1
    # And from there on, as from any other registry.
    assert migrate(target, target.replace("target", "third")).splitlines()[-1] == "copied     701"


@pytest.mark.slow
def test_a_copy_that_was_killed_is_run_again(tmp_path: Path, target: str) -> None:
    url, count = f"sqlite://{tmp_path}/source.db", 20_000
    grants.fill(open_backend(url), count, NOW)
    begun = subprocess.Popen(
        [sys.executable, "-m", "oauth_refresh", "migrate", url, target],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OAUTH_SCOPES": "a"},
    )
    there = open_backend(target)
    while sum(1 for _ in there.keys(b"")) < count // 10:
        assert begun.poll() is None
    begun.send_signal(signal.SIGKILL)
    begun.wait()
    left = sum(1 for _ in there.keys(b""))
    assert left < count
    assert f"copied         {count - left}" in migrate(url, target)
    assert content(there) == content(open_backend(url))


def test_the_ancestors_token_file_is_taken_over_and_left_as_it_is(tmp_path: Path, target: str) -> None:
    path = tmp_path / "tokens.json"
    token = {"hash": "0f" * 32, "agent_name": "builder", "allowed_tools": ["a"]}
    path.write_text(json.dumps({"version": 1, "tokens": {"t1": token}}))
    before = path.read_bytes()
    assert migrate(f"file://{path}", target).splitlines() == ["looked at  2", "copied     2"]
    assert path.read_bytes() == before
    assert [grant.subject for grant in _server(target).registry.list()] == ["builder"]
    assert "there in another state, kept  1" in migrate(f"file://{path}", target)


def test_the_ancestors_clients_are_taken_over_under_their_ids(tmp_path: Path, target: str) -> None:
    path = tmp_path / "clients.json"
    path.write_text(
        json.dumps(
            {
                "version": 1,
                "clients": {
                    "desk": {
                        "client_id": "desk",
                        "redirect_uris": ["http://127.0.0.1/cb", "http://a.example/"],
                    },
                    "gone": {"redirect_uris": ["https://a.example/"], "expires_at": "2020-01-01T00:00:00Z"},
                    "evil": {"redirect_uris": ["javascript:alert(1)"]},
                },
            }
        )
    )
    migrate(f"file://{path}", target)
    (client,) = _server(target).clients.list()
    assert (client.client_id, client.redirect_uris, client.public) == ("desk", ("http://127.0.0.1/cb",), True)


def test_memory_is_bounded_by_a_page_and_not_by_the_registry() -> None:
    source, target = open_backend("memory:"), open_backend("memory:")
    grants.fill(source, 3000, NOW)
    pages: list[int] = []
    migration.copy(source, target, pages.append, clock=lambda: NOW)
    assert set(pages) == {migration.PART}


def _server(url: str, **environ: str) -> Server:
    return Server(load(environ={"OAUTH_REGISTRY": url, "OAUTH_TRUST_REMOTE_USER": "yes", **environ}))


@pytest.mark.parametrize("options", [[], ["--live"]])
def test_a_target_of_another_program_is_refused_and_nothing_left_beside_it(
    tmp_path: Path, options: list[str]
) -> None:
    source, foreign = f"sqlite://{tmp_path}/source.db", tmp_path / "foreign"
    _server(source).registry.create_with_refresh("alice", [])
    foreign.mkdir()
    with closing(sqlite3.connect(foreign / "app.db")) as other:
        other.execute("CREATE TABLE note (text)")
    command = ["migrate", *options, source, f"sqlite://{foreign}/app.db"]
    done = CliRunner(env={"OAUTH_SCOPES": "a"}).invoke(main, command)
    assert (done.exit_code, done.stdout) == (1, "")
    assert "this is a database of something else" in done.stderr
    assert [each.name for each in foreign.iterdir()] == ["app.db"]


def test_a_source_that_is_not_there_is_not_moved(tmp_path: Path) -> None:
    for options in ([], ["--live"]):
        target = f"sqlite://{tmp_path}/new.db"
        done = CliRunner().invoke(main, ["migrate", *options, f"sqlite://{tmp_path}/nosuch.db", target])
        assert done.exit_code == 1
        assert f"there is no registry at {tmp_path}/nosuch.db" in done.stderr
        assert list(tmp_path.iterdir()) == []
