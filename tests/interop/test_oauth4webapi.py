"""oauth4webapi, the strictest client: it checks every answer against the standards before it uses it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.flows.headless import User
from tests.interop.node_programs import NodeClient

pytestmark = pytest.mark.slow


@pytest.mark.requirement("DISC-01")
@pytest.mark.requirement("DISC-03")
@pytest.mark.requirement("DCR-05")
@pytest.mark.requirement("Q-36")
@pytest.mark.requirement("Q-37")
@pytest.mark.parametrize("auth_method", ["none", "client_secret_basic", "client_secret_post"])
def test_it_finds_nothing_to_complain_about(base: str, tmp_path: Path, auth_method: str) -> None:
    found = NodeClient(tmp_path).run("oauth4webapi.mjs", User("bob"), f"{base}/api/notes", auth_method)
    assert found == {
        "refused": {
            "scheme": "bearer",
            "resource_metadata": f"{base}/.well-known/oauth-protected-resource/api/notes",
        },
        "issuers": [base, base],
        "method": auth_method,
        "secret": auth_method != "none",
        "first": {"scope": "notes:read notes:write", "type": "bearer", "expires_in": 86400},
        "notes": [[], [], [], []],
        "pairs": 4,
        "after": "invalid_token",
        "dead": [400, "invalid_grant"],
    }
