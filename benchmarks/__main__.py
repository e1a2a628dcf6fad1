"""python -m benchmarks PROGRAM [STORE …]

check          a bearer token is checked, over every store (20 s; with --peers 40 s)
rotate         a refresh token is exchanged, over every store (45 s; with --peers 90 s)
bytes          what each rotation adds to a store (5 s; with --peers 60 s)
http           checks and renewals under gunicorn, as a share of what it can do at all (5 min; needs wrk)
writers        how long one of several processes that write to one SQLite file waits (1 min)
growth         a check and a rotation among a thousand and a million grants, or --grants (2 min)
import         what an import costs (15 s; with --peers 25 s)
syscalls       a renewal's waits for the disk and messages to the database (3 s; needs strace)
instructions   callgrind's count, compared with instructions.json (1 min; needs valgrind)
page           no measuring: the tables and the chart of docs/performance.md, from what was kept with --write
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from typing import Any

from . import growth, instructions, page, report, results, timing

PROGRAMS = {
    "check": "check",
    "rotate": "rotate",
    "bytes": "rotation_bytes",
    "http": "http",
    "writers": "writers",
    "growth": "growth",
    "import": "imports",
    "syscalls": "syscalls",
}
"""Their modules. Each has STORES, HEADS (the first WORDS are of words), and `run`, whose rows have cells."""

RATIOS = ("check", "rotate")
PINNED = (*RATIOS, "growth")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("program", choices=[*PROGRAMS, "instructions", "page"])
    parser.add_argument("stores", nargs="*", metavar="STORE", help="all of the program's if none")
    parser.add_argument("--peers", action="store_true", help="oauthlib, Authlib, django-oauth-toolkit too")
    parser.add_argument("--runs", type=int, default=1, help="check, rotate: the middle one of so many runs")
    parser.add_argument("--grants", type=int, nargs="+", default=growth.GRANTS, help="growth: among so many")
    parser.add_argument("--write", action="store_true", help="keep the results, for docs/performance.md")
    chosen = parser.parse_args()
    if chosen.program == "instructions":
        return instructions.run(write=chosen.write)
    if chosen.program == "page":
        return page.write()
    program: Any = import_module(f"benchmarks.{PROGRAMS[chosen.program]}")
    unknown = set(chosen.stores) - set(program.STORES)
    if unknown:
        parser.error(f"{', '.join(unknown)}: {chosen.program} takes {', '.join(program.STORES)}")
    if chosen.runs > 1 and chosen.program not in RATIOS:
        parser.error(f"--runs is for {', '.join(RATIOS)}")
    chosen.stores = chosen.stores or getattr(program, "USUAL", program.STORES)
    if chosen.program in PINNED:
        print(timing.pin())
    print(report.head(program.HEADS, program.WORDS))
    for name in chosen.stores:
        rows = _measured(program, name, chosen)
        for row in rows:
            print(report.line(row.cells()), flush=True)
        if chosen.write:
            results.keep(chosen.program, name, rows, peers=chosen.peers)
    return 0


def _measured(program: Any, name: str, chosen: argparse.Namespace) -> list[Any]:
    named = {"grants": chosen.grants} if chosen.program == "growth" else {}
    runs = [program.run(name, peers=chosen.peers, **named) for _ in range(chosen.runs)]
    return report.median_of(runs) if len(runs) > 1 else list(runs[0])


if __name__ == "__main__":
    sys.exit(main())
