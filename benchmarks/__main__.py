"""python -m benchmarks [check|rotate] [STORE …]"""

from __future__ import annotations

import argparse
from importlib import import_module

from . import stores, timing
from .report import table

PROGRAMS = ("check", "rotate")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("program", choices=PROGRAMS)
    parser.add_argument("stores", nargs="*", metavar="STORE", help=f"of {', '.join(stores.ALL)}; all if none")
    chosen = parser.parse_args()
    print(timing.pin())
    print(table(import_module(f"benchmarks.{chosen.program}").run(chosen.stores or stores.ALL)))


if __name__ == "__main__":
    main()
