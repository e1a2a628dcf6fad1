"""How results are shown: a table on the terminal and in Markdown, and a chart."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .timing import Timing


class Row(NamedTuple):
    """One figure: what was measured, over which store, for whom, and the floor of the same run."""

    what: str
    store: str
    who: str
    timing: Timing
    floor: Timing

    @property
    def ratio(self) -> float:
        """The 10th percentile as a multiple of the floor's."""
        return self.timing.p10 / self.floor.p10


def table(rows: Iterable[Row]) -> str:
    lines = [
        "| what | store | who | 10th percentile, us | median, us | ratio to raw |",
        "|---|---|---|---:|---:|---:|",
    ]
    lines += [
        f"| {row.what} | {row.store} | {row.who} | {row.timing.p10:.2f} | {row.timing.median:.2f} "
        f"| {row.ratio:.2f} |"
        for row in rows
    ]
    return "\n".join(lines)
