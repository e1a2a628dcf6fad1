"""The demo's MCP server under gunicorn's kinds of workers: none of them hangs, whatever is sent."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.flows.client import OAuthClient
from tests.flows.secret import Secret
from tests.flows.servers import Gunicorn

# Less than gunicorn's own patience with a worker, which is 30 seconds.
PATIENCE = 20.0

WORKERS = {
    "sync": ("--workers", "2"),
    "gthread": ("--workers", "2", "--worker-class", "gthread", "--threads", "4"),
    "sync-preload": ("--workers", "2", "--preload"),
    "gthread-preload": ("--workers", "2", "--worker-class", "gthread", "--threads", "4", "--preload"),
}

pytestmark = pytest.mark.slow


@pytest.fixture(params=WORKERS.values(), ids=list(WORKERS))
def gunicorn(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Gunicorn]:
    server = Gunicorn(tmp_path, options=request.param)
    try:
        yield server.start()
    finally:
        server.close()


def ask(base: str, access: Secret, method: str, **params: object) -> requests.Response:
    return requests.post(
        f"{base}/mcp",
        json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params},
        headers={
            "Authorization": f"Bearer {access.text}",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": "2025-11-25",
        },
        timeout=PATIENCE,
    )


@pytest.mark.requirement("MCP-05")
def test_every_worker_answers_every_tool_call_and_no_stream_is_opened(gunicorn: Gunicorn) -> None:
    client = OAuthClient(gunicorn.base, api="/mcp", scope="mcp:tools")
    access = client.connected().access
    for method in ("GET", "DELETE"):
        answer = requests.request(
            method,
            client.api,
            headers={"Authorization": f"Bearer {access.text}", "Accept": "text/event-stream"},
            timeout=PATIENCE,
        )
        assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")

    def add(number: int) -> str:
        arguments = {"text": f"note {number}"}
        answer = ask(gunicorn.base, access, "tools/call", name="add_note", arguments=arguments)
        return str(answer.json()["result"]["content"][0]["text"])

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(add, range(24))) == sorted(f"Noted: note {number}" for number in range(24))
    listed = ask(gunicorn.base, access, "tools/call", name="list_notes", arguments={}).json()
    kept = listed["result"]["structuredContent"]["result"]
    assert sorted(kept) == sorted(f"note {number}" for number in range(24))
