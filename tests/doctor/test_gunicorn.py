"""The doctor before a real gunicorn with several workers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from oauth_refresh.cli import main

from ..flows.servers import Gunicorn

pytestmark = pytest.mark.slow

KEY = "a server secret of enough bytes"


def examine(folder: Path, **settings: str) -> list[dict[str, Any]]:
    """What the doctor finds with its own settings, before a server whose settings are `settings`."""
    server = Gunicorn(folder, {"OAUTH_SECRET_KEY": KEY, **settings}, options=("--workers", "2"))
    try:
        server.start()
        environ = {
            "OAUTH_REGISTRY": f"sqlite://{server.registry}",
            "OAUTH_SECRET_KEY": KEY,
            "OAUTH_PROTECT": "/api/notes=notes:read",
            "OAUTH_TRUST_REMOTE_USER": "on",
        }
        told = CliRunner(env=environ).invoke(main, ["doctor", server.base, "--json"])
    finally:
        server.close()
    return [
        each for each in json.loads(told.stdout) if each["severity"] == "error" or each["about"] == "workers"
    ]


def test_workers_that_share_registry_and_secret_are_healthy(tmp_path: Path) -> None:
    (workers,) = examine(tmp_path)
    assert workers["severity"] == "ok"
    assert "12 repeats of one refresh were answered alike" in workers["text"]


def test_workers_with_a_registry_in_memory_are_found(tmp_path: Path) -> None:
    (wrong,) = examine(tmp_path, OAUTH_REGISTRY="memory:")
    assert wrong["about"] == "same registry"
    assert "memory:, where each worker has its own" in wrong["text"]
