"""The session in docs/commands.md, command by command: it prints what the page shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from oauth_refresh.cli import main

PAGE = Path(__file__).parent.parent / "docs" / "commands.md"

# What differs from run to run. Where the page shows one of these, the run shows another of its kind.
VARYING = re.compile(
    r"\b[0-9a-f]{32}\b|oc_[\w-]{24}|ocs_[\w-]{43}|oat_[\w-]{64}|ort_[\w-]{91}"
    r"|\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\dZ?"
)


class Step(NamedTuple):
    """One command of the page, and the lines that it shows below."""

    command: str
    shown: list[str]


def steps() -> Iterator[Step]:
    for block in re.findall(r"^```console\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *shown = part.rstrip("\n").split("\n")
            yield Step(command, shown)


def run(command: str, folder: Path) -> list[str]:
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OAUTH_CONFIG_FILE": str(folder / "oauth.toml"),
        "HOME": str(folder),
        "LANG": "C.UTF-8",
    }
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    printed = done.stdout.replace(str(folder), "/etc/notes").rstrip("\n")
    return printed.split("\n") if printed else []


def with_known(text: str, known: dict[str, str]) -> str:
    return VARYING.sub(lambda found: known.get(found[0], found[0]), text)


@pytest.mark.slow
def test_the_session_of_the_page_runs_as_it_is_shown(tmp_path: Path) -> None:
    (settings,) = re.findall(r"^```toml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "oauth.toml").write_text(settings)
    (tmp_path / "users").touch()
    known: dict[str, str] = {}
    for command, shown in steps():
        printed = run(with_known(command, known), tmp_path)
        assert len(printed) == len(shown), f"{command}\n" + "\n".join(printed)
        for expected, got in zip(shown, printed, strict=True):
            wanted, found = VARYING.findall(expected), VARYING.findall(got)
            known.update(zip(wanted, found, strict=True))
            # Columns are as wide as what is in them, so spaces are not compared.
            assert with_known(expected, known).split() == got.split(), command


def test_every_command_is_on_the_page() -> None:
    text = PAGE.read_text()
    assert [name for name in main.commands if f"oauth-refresh {name}" not in text] == []
