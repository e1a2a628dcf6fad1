"""docs/performance.md and its chart, from the results that are kept.

The page has a place for each table, between `<!-- NAME -->` and `<!-- /NAME -->`. What stands there is
replaced, and the rest is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import chart, growth, http, imports, report, results, rotation_bytes, syscalls, writers
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
_SHORT = {"django-oauth-toolkit": "DOT"}
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
    return _ratios(kept, {who: who for who in ("anew", "refused", "malformed")})


def _rotate(kept: Kept) -> str:
    return _ratios(kept, {"anew": "anew", "resource": "resource"})


def _ratios(kept: Kept, more: Mapping[str, str]) -> str:
    """One line per store: the raw operation's time, and all others as multiples of it."""
    whose = {**more, **{each: _SHORT.get(each, each) for each in asking.LIBRARIES}}
    heads = ["store", "raw, µs", "least", "ours", "price", *whose.values()]
    lines = []
    for store in _in_order(kept):
        rows = {row["who"]: report.Row(**row) for row in kept[store]["rows"]}
        floor, ours = rows["floor"], rows["ours"]
        theirs = [_figure(rows[who].ratio) if who in rows else "" for who in whose]
        first = [_figure(value) for value in (ours.floor, floor.ratio, ours.ratio, ours.p10 / floor.p10)]
        lines.append([NAMES[store], *first, *theirs])
    return report.table(heads, 1, lines)


def _figure(value: float) -> str:
    """Three digits, and all that there are before the point."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _plain(made: Callable[..., Any], heads: Sequence[str], words: int) -> Callable[[Kept], str]:
    """As on the terminal, all stores in one table."""

    def table(kept: Kept) -> str:
        rows = [made(**row) for store in _in_order(kept) for row in kept[store]["rows"]]
        return report.table(heads, words, [row.cells() for row in rows])

    return table


def _growth(kept: Kept) -> str:
    costs = {store: [growth.Growth(**row) for row in kept[store]["rows"]] for store in _in_order(kept)}
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
    "writers": _plain(writers.Wait, writers.HEADS, writers.WORDS),
    "growth": _growth,
    "import": _plain(imports.Import, imports.HEADS, imports.WORDS),
    "syscalls": _plain(syscalls.Calls, syscalls.HEADS, syscalls.WORDS),
}
