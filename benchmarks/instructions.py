"""How many instructions do a check, a look at a token and a renewal take? The same on every run.

`python -m benchmarks instructions` counts with callgrind and compares with `instructions.json`, keyed by
Python's version: a count that rose by more than 5 % fails, and so does a version that the file does not know,
and a refused token that takes 5 % more than an accepted one. `--write` puts what was counted into the file.
"""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import calling, driving

FILE = Path(__file__).with_suffix(".json")
WHAT = ("check", "refused", "introspect", "rotate", "resource")
TOLERANCE = 1.05
_FEW, _MANY = 100, 600
_COUNTED = re.compile(r"Collected : (\d+)")


def repeat(what: str, count: int) -> None:
    """What is counted: so many of these requests over the memory backend. Runs under callgrind."""
    app = driving.middleware("memory:")
    client_id = driving.register(app)
    issued = app.registry.create_with_refresh("ada", ["notes:read", "notes:write"], client_id=client_id)
    token = calling.forged(issued.access_token) if what == "refused" else issued.access_token
    operation = calling.reader(app, token)
    if what == "introspect":
        operation = calling.introspector(app, token, driving.READER)
    elif what in ("rotate", "resource"):
        operation = driving.rotator(app, client_id, driving.RESOURCE if what == "resource" else None)
    logging.disable()  # the first refusal is told
    for _ in range(count):
        assert operation().startswith("401" if what == "refused" else "200")


def counted() -> dict[str, int]:
    """Instructions per operation: the difference of two runs, so that the start of Python is not in it."""
    jobs = [(what, count) for what in WHAT for count in (_FEW, _MANY)]
    with ThreadPoolExecutor(2) as pool:
        totals = dict(zip(jobs, pool.map(_count, jobs), strict=True))
    return {what: round((totals[what, _MANY] - totals[what, _FEW]) / (_MANY - _FEW)) for what in WHAT}


def _count(job: tuple[str, int]) -> int:
    what, count = job
    program = f"from benchmarks.instructions import repeat; repeat({what!r}, {count})"
    command = [
        "valgrind",
        "--tool=callgrind",
        "--callgrind-out-file=/dev/null",
        sys.executable,
        "-c",
        program,
    ]
    kept = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ran = subprocess.run(
        command,
        env={**kept, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    found = _COUNTED.search(ran.stderr)
    if ran.returncode or found is None:
        raise SystemExit(f"callgrind counted nothing:\n{ran.stderr[-2000:]}")
    return int(found[1])


def compared(counts: dict[str, int], known: dict[str, dict[str, int]], version: str) -> list[str]:
    """What is wrong with these counts, nothing if they may stay."""
    lacking = set(WHAT) - set(known.get(version, {}))
    if lacking:
        names = ", ".join(sorted(lacking))
        return [f"{FILE.name} lacks {names} of Python {version}: python -m benchmarks instructions --write"]
    wrong = [
        f"{what}: {counts[what]} instructions, {counts[what] / known[version][what] - 1:+.1%} on {FILE.name}"
        for what in WHAT
        if counts[what] > TOLERANCE * known[version][what]
    ]
    # A stranger's guesses must not be more of a load than the requests of users. Where things lie in memory
    # changes with any line of code, and with that a count by up to 3 %.
    if counts["refused"] > TOLERANCE * counts["check"]:
        more = counts["refused"] / counts["check"] - 1
        wrong.append(f"refused: {counts['refused']} instructions, {more:+.1%} on an accepted token")
    return wrong


def run(*, write: bool) -> int:
    """The exit code."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    known: dict[str, dict[str, int]] = json.loads(FILE.read_text()) if FILE.exists() else {}
    counts = counted()
    for what, count in counts.items():
        before = known.get(version, {}).get(what)
        print(f"{what}: {count} instructions" + (f" ({count / before - 1:+.1%})" if before else ""))
    if write:
        FILE.write_text(json.dumps({**known, version: counts}, indent=4, sort_keys=True) + "\n")
        return 0
    wrong = compared(counts, known, version)
    print("\n".join(wrong) or "nothing rose by more than 5 %")
    return 1 if wrong else 0
