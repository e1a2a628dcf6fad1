"""The official conformance suite of MCP, its scenarios for authorization servers."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.flows.client import OAuthClient
from tests.flows.headless import User
from tests.interop.node_programs import installed, running

pytestmark = pytest.mark.slow

SCENARIOS = ["authorization-server-metadata-endpoint", "authorization-code-grant"]


@pytest.fixture
def port() -> int:
    """A port that was free a moment ago: the suite listens there for its redirect."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def run_suite(folder: Path, base: str, client_id: str, port: int) -> tuple[str, dict[str, list[Any]]]:
    """What the suite printed, and the checks of each scenario. A user follows the address that it prints."""
    program = installed() / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
    asked = ["--url", base, "--client-id", client_id, "--port", str(port), "--output-dir", str(folder)]
    printed = []
    with running(folder, program, "authorization", *asked) as suite:
        assert suite.stdout is not None
        for line in suite.stdout:
            printed.append(line)
            found = re.search(rf"{re.escape(base)}/oauth/authorize\?\S+", line)
            if found is not None:
                user = User()
                user.browser.get(user.visit(found[0], f"http://127.0.0.1:{port}/callback"), timeout=10)
    files = sorted(folder.glob("*/checks.json"))
    return "".join(printed), {file.parent.name: json.loads(file.read_text()) for file in files}


@pytest.mark.requirement("CONF-01")
@pytest.mark.requirement("CONF-02")
@pytest.mark.requirement("CONF-03")
def test_every_check_of_both_scenarios_is_a_success(base: str, tmp_path: Path, port: int) -> None:
    client = OAuthClient(base)
    registered = client.register(redirect_uris=[f"http://127.0.0.1:{port}/callback"])
    assert registered.status_code == 201
    printed, checks = run_suite(tmp_path, base, client.client_id, port)
    assert len(checks) == len(SCENARIOS)
    for scenario in SCENARIOS:
        (found,) = [of_it for name, of_it in checks.items() if scenario in name]
        assert found, printed
        assert {check["status"] for check in found} == {"SUCCESS"}, printed
