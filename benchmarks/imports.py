"""What does an import cost? Time, modules and resident memory, against the standard library that it needs."""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
from typing import NamedTuple

_ROUNDS = 15
_ASK = """
import json, resource, sys, time
before = set(sys.modules)
start = time.perf_counter()
{statement}
taken = time.perf_counter() - start
resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([taken * 1000, len(set(sys.modules) - before), resident]))
"""
_OURS = "import oauth_refresh, oauth_refresh.middleware, oauth_refresh.guard"
_BUILT = """
from benchmarks import driving
driving.middleware("memory:")
"""


class Import(NamedTuple):
    """Milliseconds (median), modules that came, and kilobytes resident at the end."""

    who: str
    milliseconds: float
    modules: int
    kilobytes: int


def run() -> str:
    statements = {
        "standard library that it needs": _standard_library(),
        "oauth_refresh": _OURS,
        "the middleware built with its endpoints": _BUILT,
        "Authlib with SQLAlchemy": "import authlib.integrations.flask_oauth2, sqlalchemy.orm",
        "oauthlib": "import oauthlib.oauth2",
    }
    samples: dict[str, list[list[float]]] = {who: [] for who in statements}
    for _ in range(_ROUNDS):
        for who in random.sample(sorted(statements), len(statements)):
            samples[who].append(_ask(statements[who]))
    rows = [
        Import(who, statistics.median(s[0] for s in found), int(found[0][1]), int(found[0][2]))
        for who, found in samples.items()
    ]
    return _table(rows)


def _table(rows: list[Import]) -> str:
    floor = rows[0].milliseconds
    lines = ["| what | ms | modules | resident, MB | ratio |", "|---|---:|---:|---:|---:|"]
    lines += [
        f"| {row.who} | {row.milliseconds:.1f} | {row.modules} | {row.kilobytes / 1024:.1f} "
        f"| {row.milliseconds / floor:.2f} |"
        for row in rows
    ]
    return "\n".join(lines)


def _ask(statement: str) -> list[float]:
    ran = subprocess.run(
        [sys.executable, "-c", _ASK.format(statement=statement)],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    answer: list[float] = json.loads(ran.stdout.splitlines()[-1])
    return answer


def _standard_library() -> str:
    """An import of every module of the standard library that an import of the package brings."""
    program = f"{_OURS}\nimport sys\nprint(*sorted(set(sys.modules) & sys.stdlib_module_names))"
    named = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return "import " + ", ".join(name for name in named.stdout.split() if name != "__main__")
