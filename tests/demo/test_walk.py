"""What the demo prints works when it is pasted, to the letter and in this order."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from typing import Any

import pytest

from .conftest import StartDemo

SHELL = shutil.which("bash")
CURL = shutil.which("curl")


def paste(walk: str) -> dict[int, str]:
    """What a shell prints for each step. Tokens and codes are replaced by a name of their own."""
    lines = walk[walk.index("# 1.") :]
    marked = re.sub(r"^# (\d)\.", r'echo "step \1"\n# \1.', lines, flags=re.MULTILINE)
    assert SHELL is not None
    ran = subprocess.run([SHELL, "-c", marked], capture_output=True, text=True, timeout=60, check=False)
    shown = re.sub(r"\bo[art][ct]_[\w-]{60,}", lambda found: _name(found[0]), ran.stdout + ran.stderr)
    parts = re.split(r"^step (\d)\n", shown, flags=re.MULTILINE)
    return {int(number): text for number, text in zip(parts[1::2], parts[2::2], strict=True)}


def _name(token: str) -> str:
    return f"{token[:4]}{hashlib.sha256(token.encode()).hexdigest()[:8]}"


def objects(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@pytest.mark.skipif(SHELL is None or CURL is None, reason="needs bash and curl")
@pytest.mark.requirement("WSGI-08")
def test_the_printed_lines_work_when_they_are_pasted(start_demo: StartDemo) -> None:
    demo = start_demo()
    steps = paste(demo.walk)

    assert "HTTP/1.1 401 Unauthorized" in steps[1]
    assert f'resource_metadata="{demo.base}/.well-known/oauth-protected-resource/api/notes"' in steps[1]

    resource, server = objects(steps[2])
    assert resource["resource"] == f"{demo.base}/api/notes"
    assert server["issuer"] == demo.base

    assert re.fullmatch(r"\S+\n\n?", steps[3])
    assert re.search(r"^oac_\w+$", steps[4], re.MULTILINE)

    (first,) = objects(steps[5])
    assert (first["token_type"], first["scope"], first["expires_in"]) == ("Bearer", "notes:read", 86400)

    notes, echo = objects(steps[6])
    assert notes == {"notes": []}
    assert (echo["subject"], echo["REMOTE_USER"], echo["AUTH_TYPE"]) == ("alice", "alice", "Bearer")
    assert "Authorization" not in echo["headers"]

    assert "HTTP/1.1 403 Forbidden" in steps[7]
    assert 'error="insufficient_scope"' in steps[7]

    newer, again, listed = objects(steps[8])
    assert newer["refresh_token"] != first["refresh_token"]
    assert (again["refresh_token"], again["access_token"]) == (newer["refresh_token"], newer["access_token"])
    assert listed == {"notes": []}

    newest, reuse, refused = objects(steps[9])
    assert newest["refresh_token"] != newer["refresh_token"]
    assert reuse["error"] == "invalid_grant"
    assert "HTTP/1.1 401 Unauthorized" in steps[9]
    assert refused["error"] == "invalid_token"


@pytest.mark.skipif(SHELL is None or CURL is None, reason="needs bash and curl")
def test_the_printed_lines_follow_the_settings(start_demo: StartDemo) -> None:
    demo = start_demo("--registry", "memory:", OAUTH_PREFIX="/auth", OAUTH_ACCESS_TOKEN_TTL="7")
    (first,) = objects(paste(demo.walk)[5])
    assert first["expires_in"] == 7
    assert "memory:" in demo.walk
