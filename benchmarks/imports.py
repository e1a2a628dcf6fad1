"""What does an import cost? Time, modules and resident memory, against the standard library that it needs."""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
from typing import NamedTuple

from .peers import environment

STORES = ("",)
HEADS = ("what", "ms", "modules", "resident, MB", "ratio")
WORDS = 1
_ROUNDS = 15
_ASK = """
import json, os, sys, time
before = set(sys.modules)
start = time.perf_counter()
{statement}
taken = time.perf_counter() - start
with open("/proc/self/statm") as file:
    resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024
print(json.dumps([taken * 1000, len(set(sys.modules) - before), resident]))
"""
_OURS = "import oauth_refresh, oauth_refresh.middleware, oauth_refresh.guard"
_BUILT = """
from benchmarks import driving
driving.middleware("memory:")
"""
_PEERS = {
    "oauthlib (parsing only)": "import oauthlib.oauth2",
    "Authlib with SQLAlchemy": (
        "import authlib.integrations.flask_oauth2, authlib.integrations.sqla_oauth2, sqlalchemy.orm"
    ),
    "django-oauth-toolkit, Django set up": (
        "from benchmarks.peers import django_peer\n"
        "django_peer.configure('memory')\n"
        "import oauth2_provider.views, oauth2_provider.decorators"
    ),
}


class Import(NamedTuple):
    """Milliseconds (median), modules that came, kilobytes resident then, and milliseconds of the floor."""

    who: str
    milliseconds: float
    modules: int
    kilobytes: int
    floor: float

    @property
    def ratio(self) -> float:
        return self.milliseconds / self.floor

    def cells(self) -> list[str]:
        return [
            self.who,
            f"{self.milliseconds:.1f}",
            str(self.modules),
            f"{self.kilobytes / 1024:.1f}",
            f"{self.ratio:.2f}",
        ]


def run(_: str, *, peers: bool) -> list[Import]:
    kept = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    statements = {
        "standard library that it needs": (sys.executable, kept, _standard_library()),
        "oauth_refresh": (sys.executable, kept, _OURS),
        "the middleware built with its endpoints": (sys.executable, kept, _BUILT),
    }
    if peers:
        theirs = environment.python(), environment.variables()
        statements |= {who: (*theirs, statement) for who, statement in _PEERS.items()}
    samples: dict[str, list[list[float]]] = {who: [] for who in statements}
    for _round in range(_ROUNDS):
        for who in random.sample(sorted(statements), len(statements)):
            samples[who].append(_ask(*statements[who]))
    taken = {who: statistics.median(sample[0] for sample in found) for who, found in samples.items()}
    floor = taken["standard library that it needs"]
    return [
        Import(who, taken[who], int(found[0][1]), int(found[0][2]), floor) for who, found in samples.items()
    ]


def _ask(python: str, variables: dict[str, str], statement: str) -> list[float]:
    ran = subprocess.run(
        [python, "-c", _ASK.format(statement=statement)],
        capture_output=True,
        text=True,
        check=True,
        env=variables,
    )
    answer: list[float] = json.loads(ran.stdout.splitlines()[-1])
    return answer


def _standard_library() -> str:
    """An import of every module of the standard library that an import of the package brings."""
    program = f"{_OURS}\nimport sys\nprint(*sorted(set(sys.modules) & sys.stdlib_module_names))"
    named = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return "import " + ", ".join(name for name in named.stdout.split() if name != "__main__")
