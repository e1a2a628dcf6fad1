"""Is docs/standards.md true: does each line name a test that exists, carries its id, and passed?

    python -m tests.standards            the table against the markers in the source of the tests
    python -m tests.standards REPORT     the same against the tests that passed (see requirements_seen)
    python -m tests.standards --fill     write the tests' names into the table

An id in bold is of the first tier: a test must show it. Any other line may say instead why none does, in
words that begin with one of REASONS.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "standards.md"
REASONS = ("Not built", "By review", "Not ours", "Decided otherwise")
MOST_NAMED = 2

Shown = Mapping[str, list[str]]


class Line(NamedTuple):
    ids: tuple[str, ...]
    first_tier: bool
    evidence: str

    @property
    def tests(self) -> list[str]:
        return tests_in(self.evidence)


def expand(cell: str) -> tuple[str, ...]:
    """`"RS-01"`, or a run of ids as in `"DPOP-01 to DPOP-22"`."""
    ids = re.findall(r"([A-Z]+)-(\d+)", cell)
    if " to " not in cell:
        return tuple(f"{kind}-{number}" for kind, number in ids)
    (kind, first), (_, last) = ids
    return tuple(f"{kind}-{number:02}" for number in range(int(first), int(last) + 1))


def lines(page: str) -> Iterator[Line]:
    for text in page.splitlines():
        if re.match(r"\| (\*\*)?[A-Z]+-\d+", text):
            cells = [cell.strip() for cell in text.strip("|").split(" | ")]
            yield Line(expand(cells[0]), cells[0].startswith("**"), cells[-1].rstrip("|").strip())


def ids_of(decorators: Iterable[ast.expr]) -> set[str]:
    found: set[str] = set()
    for node in (node for decorator in decorators for node in ast.walk(decorator)):
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "requirement":
            found.update(str(arg.value) for arg in node.args if isinstance(arg, ast.Constant))
    return found


def marked_in(body: list[ast.stmt], at: str, inherited: frozenset[str]) -> Iterator[tuple[str, str]]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            ids, name = inherited | ids_of(node.decorator_list), f"{at}::{node.name}"
            if isinstance(node, ast.ClassDef):
                yield from marked_in(node.body, name, ids)
            elif node.name.startswith("test_"):
                yield from ((each, name) for each in ids)


def marked() -> dict[str, list[str]]:
    """Every id with the tests that carry it, a test of the part itself before a flow, in a fixed order."""
    found: dict[str, list[str]] = {}
    for path in sorted(HERE.rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for name, test in marked_in(tree.body, path.relative_to(HERE.parent).as_posix(), frozenset()):
            found.setdefault(name, []).append(test)
    return {name: sorted(tests, key=lambda test: ("/flows/" in test, test)) for name, tests in found.items()}


def passed(report: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in report.read_text(encoding="utf-8").splitlines():
        name, test = line.split(" ", 1)
        found.setdefault(name, []).append(test)
    return found


def wrong_in(line: Line, shown: Shown) -> Iterator[str]:
    name = line.ids[0]
    for test in line.tests:
        if test not in shown.get(name, ()):
            yield f"{name}: {test} does not show it"
    if line.tests:
        return
    if line.first_tier:
        yield f"{name}: of the first tier, and no test is named"
    elif not line.evidence.startswith(REASONS):
        yield f"{name}: neither a test nor a reason"
    yield from (
        f"{each}: a test shows it, and the table says otherwise" for each in line.ids if each in shown
    )


def tests_in(text: str) -> list[str]:
    return [f"tests/{name}" for name in re.findall(r"`([^`]+\.py::\w+(?:::\w+)*)`", text)]


def faults(page: str, shown: Shown) -> list[str]:
    found = list(lines(page))
    ids = [name for line in found for name in line.ids]
    known = {test for tests in shown.values() for test in tests}
    unlisted = sorted(shown.keys() - set(ids))
    return [
        *(fault for line in found for fault in wrong_in(line, shown)),
        *(f"{test}: named, and it shows nothing" for test in tests_in(page) if test not in known),
        *(f"{name}: in two lines" for name in sorted({name for name in ids if ids.count(name) > 1})),
        *(f"{name}: a test carries it, and the table has no such line" for name in unlisted),
    ]


def filled(page: str, shown: Shown) -> str:
    """The page with the names of tests in the last column wherever a test shows the one id of a line.

    Names that are still right stay, so that a new test changes no line that has its tests already.
    """

    def fill(match: re.Match[str]) -> str:
        ids = expand(match[2])
        if len(ids) > 1 or ids[0] not in shown:
            return match[0]
        named = [test for test in tests_in(match[3]) if test in shown[ids[0]]]
        tests = named or list(dict.fromkeys(shown[ids[0]]))
        return match[1] + ", ".join(f"`{test.removeprefix('tests/')}`" for test in tests[:MOST_NAMED]) + " |"

    return re.sub(r"^(\| ((?:\*\*)?[A-Z]+-\d+[^|]*) \|.*\| )([^|]*)\|$", fill, page, flags=re.MULTILINE)


def main(arguments: list[str]) -> int:
    page = PAGE.read_text(encoding="utf-8")
    if arguments == ["--fill"]:
        PAGE.write_text(filled(page, marked()), encoding="utf-8")
        return 0
    found = faults(page, passed(Path(arguments[0])) if arguments else marked())
    print("\n".join(found) or f"{sum(len(line.ids) for line in lines(page))} requirements: the table is true")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
