"""docs/performance.md and its chart, from the results that are kept.

The page has a place for each table, between `<!-- NAME -->` and `<!-- /NAME -->`. What stands there is
replaced, and the rest is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import chart, growth, http, imports, report, results, rotation_bytes, scaling, syscalls
from .peers import asking

DOCS = Path(__file__).parents[1] / "docs"
PAGE, CHART = DOCS / "performance.md", DOCS / "performance.svg"
NAMES = {
    "memory": "memory",
    "sqlite": "SQLite",
    "sqlite-normal": "SQLite, `synchronous=normal`",
    "postgresql": "PostgreSQL",
    "valkey": "Valkey",
    "cluster": "Valkey cluster",
}
Kept = Mapping[str, Any]


def write() -> int:
    """The exit code."""
    kept = {program: results.load(program) for program in TABLES}
    PAGE.write_text(written(PAGE.read_text(), kept))
    CHART.write_text(chart.drawn(kept))
    return 0


def written(page: str, kept: Mapping[str, Kept]) -> str:
    """The page with the tables of these results. A program that never ran keeps its place empty."""
    for program, table in TABLES.items():
        text = f"{table(kept[program])}\n\n{_made_by(kept[program])}\n" if kept[program] else ""
        place = re.compile(f"(<!-- {program} -->\n).*?(<!-- /{program} -->\n)", re.DOTALL)
        page, found = place.subn(lambda marks, text=text: marks[1] + text + marks[2], page)  # type: ignore[misc]
        assert found == 1, f"{PAGE.name} has no place for {program}"
    return page


def _check(kept: Kept) -> str:
    return _ratios(kept, {"refused": "a refused token", "malformed": "a malformed one"})


def _rotate(kept: Kept) -> str:
    return _ratios(kept, {})


def _ratios(kept: Kept, more: Mapping[str, str]) -> str:
    """One line per store: the raw operation's time, and all others as multiples of it."""
    whose = {"floor": "least program", "ours": "ours", **more, **{each: each for each in asking.LIBRARIES}}
    heads = ["store", "raw, µs", *whose.values(), "ours, to least program"]
    lines = []
    for store in _in_order(kept):
        rows = {row["who"]: report.Row(**row) for row in kept[store]["rows"]}
        ratios = [f"{rows[who].ratio:.2f}" if who in rows else "" for who in whose]
        price = f"{rows['ours'].p10 / rows['floor'].p10:.2f}"
        lines.append([NAMES[store], f"{rows['raw'].p10:.2f}", *ratios, price])
    return report.table(heads, 1, lines)


def _plain(made: Callable[..., Any], heads: Sequence[str], words: int) -> Callable[[Kept], str]:
    """As on the terminal, all stores in one table."""

    def table(kept: Kept) -> str:
        rows = [made(**row) for store in _in_order(kept) for row in kept[store]["rows"]]
        return report.table(heads, words, [row.cells() for row in rows])

    return table


def _growth(kept: Kept) -> str:
    costs = {store: [scaling.Cost(**row) for row in kept[store]["rows"]] for store in _in_order(kept)}
    cells = [cost.cells() for found in costs.values() for cost in found]
    table = report.table(growth.HEADS, growth.WORDS, cells)
    return "\n".join([table, "", *(f"- {store}: {growth.summary(found)}" for store, found in costs.items())])


def _in_order(kept: Kept) -> list[str]:
    known = list(NAMES)
    return sorted(kept, key=lambda store: known.index(store) if store in known else len(known))


def _made_by(kept: Kept) -> str:
    """The commands, with their stores if there are several, and all versions that they ran."""
    stores: dict[str, list[str]] = {}
    used: dict[str, dict[str, None]] = {}
    for store in _in_order(kept):
        command = kept[store]["command"]
        stores.setdefault(command, []).append(NAMES.get(store, store))
        versions = (f"{name} {version}" for name, version in kept[store]["with"].items())
        used.setdefault(command, {}).update(dict.fromkeys(versions))
    if len(stores) == 1:
        return "\n".join(f"`{command}`: {_listed(versions)}." for command, versions in used.items())
    return "\n".join(
        f"- {', '.join(stores[command])}: `{command}`: {_listed(versions)}"
        for command, versions in used.items()
    )


def _listed(versions: Iterable[str]) -> str:
    return ", ".join(sorted(versions, key=str.lower))


TABLES: Mapping[str, Callable[[Kept], str]] = {
    "check": _check,
    "rotate": _rotate,
    "bytes": _plain(rotation_bytes.Growth, rotation_bytes.HEADS, rotation_bytes.WORDS),
    "http": _plain(http.Share, http.HEADS, http.WORDS),
    "growth": _growth,
    "import": _plain(imports.Import, imports.HEADS, imports.WORDS),
    "syscalls": _plain(syscalls.Calls, syscalls.HEADS, syscalls.WORDS),
}
