"""The doctor before a registry in which a live move has left its markers, or was not finished."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from oauth_refresh.backends.moving import MOVED, MovingBackend
from oauth_refresh.cli import main
from oauth_refresh.server import Server

from ..settings_loading import load

SETTINGS = {"OAUTH_SECRET_KEY": "a server secret of enough bytes", "OAUTH_TRUST_REMOTE_USER": "yes"}


@pytest.fixture
def old(tmp_path: Path) -> str:
    return f"sqlite://{tmp_path}/old.db"


@pytest.fixture
def new(tmp_path: Path) -> str:
    return f"sqlite://{tmp_path}/new.db"


def server(url: str, **environ: str) -> Server:
    return Server(load(environ={**SETTINGS, "OAUTH_REGISTRY": url, **environ}))


def fill(url: str) -> None:
    made = server(url)
    made.clients.register({"client_name": "Desk"}, redirect_uris=("http://127.0.0.1/",), auth_method="none")
    for _ in range(2):
        made.registry.create("alice", [])


def examine(url: str, **environ: str) -> tuple[list[dict[str, Any]], int]:
    """What the doctor says of the registry, and its exit code."""
    told = CliRunner(env={**SETTINGS, "OAUTH_REGISTRY": url, **environ}).invoke(main, ["doctor", "--json"])
    return [each for each in json.loads(told.stdout) if each["about"] == "registry"], told.exit_code


def migrate_live(old: str, new: str) -> None:
    assert CliRunner(env=SETTINGS).invoke(main, ["migrate", "--live", old, new]).exit_code == 0


def test_a_registry_that_was_moved_away_from_is_an_error(old: str, new: str) -> None:
    fill(old)
    migrate_live(old, new)
    (_, found), code = examine(old)
    assert (found["severity"], code) == ("error", 1)
    assert found["text"] == (
        "3 of 3 grants and clients that were looked at are markers (format 255): a live move took the "
        "records to another registry, and whoever needs one of them here hears 503."
    )
    assert found["fix"].startswith("Set OAUTH_REGISTRY to the registry that they went to")


def test_both_ends_of_a_move_are_healthy_while_it_goes_on_and_after_it(old: str, new: str) -> None:
    fill(old)
    healthy = ([{"severity": "ok", "about": "registry", "text": "The registry can be read and written."}], 0)
    moving = server(new, OAUTH_REGISTRY_FALLBACK=old).registry
    moving.revoke(next(moving.list()).id)

    def shown(**environ: str) -> tuple[list[dict[str, Any]], int]:
        found, code = examine(new, **environ)
        return [{key: each[key] for key in ("severity", "about", "text")} for each in found], code

    assert shown(OAUTH_REGISTRY_FALLBACK=old) == healthy
    migrate_live(old, new)
    assert shown(OAUTH_REGISTRY_FALLBACK=old) == healthy
    assert shown() == healthy


def test_two_urls_that_were_exchanged_to_move_back_are_an_error(old: str, new: str) -> None:
    fill(old)
    migrate_live(old, new)
    (_, found), code = examine(old, OAUTH_REGISTRY_FALLBACK=new)
    assert (found["severity"], code) == ("error", 1)
    assert "take OAUTH_REGISTRY_FALLBACK out" in found["fix"]


def test_a_move_that_was_not_finished_before_the_fallback_was_taken_out_is_an_error(
    old: str, new: str
) -> None:
    fill(old)
    moving = server(new, OAUTH_REGISTRY_FALLBACK=old).backend
    assert isinstance(moving, MovingBackend)
    key = next(iter(moving.old.keys(b"g")))
    entry = moving.old.get(key)
    assert entry is not None
    moving._move(key, entry)  # and then the process died
    (_, found), code = examine(new)
    assert (found["severity"], code) == ("error", 1)
    assert found["text"].startswith("1 of 1 grants and clients that were looked at are still arriving")
    assert found["fix"].startswith("Set OAUTH_REGISTRY_FALLBACK")
    assert [each["severity"] for each in examine(new, OAUTH_REGISTRY_FALLBACK=old)[0]] == ["ok"]


def test_what_a_newer_release_has_left_is_an_error_and_no_traceback(old: str) -> None:
    server(old).backend.swap(b"g newer", None, MOVED + b"\x92\xa5newer\x01")
    (_, found), code = examine(old)
    assert (found["severity"], code) == ("error", 1)
    assert "begun by a newer release" in found["text"]
