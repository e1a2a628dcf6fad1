"""The page "Write a client": its lines work as they are printed, with a person at a browser in between."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.flows.headless import User

from .conftest import StartDemo

SHELL, CURL = shutil.which("bash"), shutil.which("curl")
PAGE = Path(__file__).parents[2] / "docs" / "want" / "write-a-client.md"
BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(SHELL is None or CURL is None, reason="needs bash and curl")
def test_a_client_is_written_by_hand(start_demo: StartDemo) -> None:
    demo = start_demo()
    first, second = BLOCK.findall(PAGE.read_text("utf-8"))
    script = (first + second).replace("http://127.0.0.1:5000", demo.base)
    assert SHELL is not None
    with subprocess.Popen(
        [SHELL, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as shell:
        assert shell.stdout is not None
        landed = User().visit(shell.stdout.readline().strip(), "http://127.0.0.1:8765/callback")
        (code,) = re.findall(r"[?&]code=([^&]+)", landed)
        shown, _ = shell.communicate(code + "\n", timeout=60)
    decoder, answers = json.JSONDecoder(), []
    while shown.strip():
        answer, end = decoder.raw_decode(shown.strip())
        answers.append(answer)
        shown = shown.strip()[end:]
    assert answers == [{"notes": []}, {"notes": []}]
