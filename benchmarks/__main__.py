"""python -m benchmarks PROGRAM [STORE …]

check          a bearer token is checked, over every store
rotate         a refresh token is exchanged, over every store
http           checks under gunicorn, as a share of what the server can do at all (needs wrk)
import         what an import costs
instructions   callgrind's count, compared with instructions.json (needs valgrind); --write stores it
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from . import http, imports, instructions, stores, timing
from .report import table

PROGRAMS = ("check", "rotate", "http", "import", "instructions")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("program", choices=PROGRAMS)
    parser.add_argument("stores", nargs="*", metavar="STORE", help=f"of {', '.join(stores.ALL)}; all if none")
    parser.add_argument("--write", action="store_true", help="instructions: keep what was counted")
    chosen = parser.parse_args()
    names = chosen.stores or stores.ALL
    if chosen.program == "instructions":
        return instructions.run(write=chosen.write)
    if chosen.program == "import":
        print(imports.run())
    elif chosen.program == "http":
        print(http.table(http.run(names)))
    else:
        print(timing.pin())
        print(table(import_module(f"benchmarks.{chosen.program}").run(names)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
