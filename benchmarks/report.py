"""How results are shown: rows of a table in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .timing import Timing


class Row(NamedTuple):
    """One figure in microseconds: what was measured, over which store, for whom, and the floor of the run."""

    what: str
    store: str
    who: str
    p10: float
    median: float
    floor: float

    @property
    def ratio(self) -> float:
        """The 10th percentile as a multiple of the floor's."""
        return self.p10 / self.floor

    def cells(self) -> list[str]:
        return [
            self.what,
            self.store,
            self.who,
            f"{self.p10:.2f}",
            f"{self.median:.2f}",
            f"{self.ratio:.2f}",
        ]


HEADS = ("what", "store", "who", "10th percentile, us", "median, us", "ratio to raw")


def row(what: str, store: str, who: str, found: Timing, floor: Timing) -> Row:
    return Row(what, store, who, found.p10, found.median, floor.p10)


def median_of(runs: Sequence[Sequence[Row]]) -> list[Row]:
    """Of each figure the run whose ratio is in the middle. Every run has the same figures."""
    return [
        sorted(same, key=lambda found: (found.ratio, found.p10))[len(same) // 2]
        for same in zip(*runs, strict=True)
    ]


def head(heads: Sequence[str], words: int) -> str:
    """The first two lines of a table whose first `words` columns are words, and the others numbers."""
    marks = ["---"] * words + ["---:"] * (len(heads) - words)
    return f"{line(heads)}\n|{'|'.join(marks)}|"


def line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def table(heads: Sequence[str], words: int, rows: Iterable[Iterable[str]]) -> str:
    return "\n".join([head(heads, words), *map(line, rows)])
