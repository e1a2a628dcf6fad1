"""docs/performance.md and its chart show what was measured: both are written from what is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import __main__ as benchmarks
from benchmarks import chart, page, report, results
from benchmarks.report import Row

DJANGO = "django-oauth-toolkit"
KEPT = {program: results.load(program) for program in page.TABLES}


def test_the_page_shows_what_is_kept() -> None:
    text = page.PAGE.read_text()
    assert page.written(text, KEPT) == text, "run: python -m benchmarks page"


def test_the_chart_shows_what_is_kept() -> None:
    assert chart.drawn(KEPT) == page.CHART.read_text(), "run: python -m benchmarks page"


def test_the_page_and_the_help_say_how_each_program_is_run() -> None:
    text = page.PAGE.read_text()
    for program in (*benchmarks.PROGRAMS, "instructions", "page"):
        assert f"| `python -m benchmarks {program}" in text
        assert f"\n{program} " in (benchmarks.__doc__ or "")


def kept(**taken: float) -> dict[str, Any]:
    """As one run over SQLite keeps it: 10th percentiles by whose they are."""
    rows = [Row("check", "sqlite", who, p10, p10 + 1, taken["raw"])._asdict() for who, p10 in taken.items()]
    return {
        "sqlite": {"command": "python -m benchmarks check sqlite", "with": {"Python": "3.11"}, "rows": rows}
    }


def test_a_table_has_ratios_to_the_raw_operation_and_says_what_made_it() -> None:
    places = "".join(f"<!-- {program} -->\nold\n<!-- /{program} -->\n" for program in page.TABLES)
    nothing: dict[str, Any] = {program: {} for program in page.TABLES}
    measured = kept(
        raw=4.0, floor=5.0, ours=6.0, anew=7.0, refused=5.5, malformed=1.0, oauthlib=200.0, **{DJANGO: 5e3}
    )
    shown = page.written(places, {**nothing, "check": measured})
    assert shown.startswith(
        "<!-- check -->\n"
        "| store | raw, µs | least | ours | price | anew | refused | malformed | oauthlib | Authlib"
        " | DOT |\n"
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n"
        "| SQLite | 4.00 | 1.25 | 1.50 | 1.20 | 1.75 | 1.38 | 0.25 | 50.0 |  | 1,250 |\n"
        "\n"
        "`python -m benchmarks check sqlite`: Python 3.11.\n"
        "<!-- /check -->\n"
        "<!-- rotate -->\n"
        "<!-- /rotate -->\n"
    )
    assert "old" not in shown


def test_points_stand_where_their_figures_belong() -> None:
    drawing = ElementTree.fromstring(chart.drawn({"check": kept(raw=1.0, ours=10.0, Authlib=100.0)}))
    points = [float(point.get("cx", 0)) for point in drawing.iter("{http://www.w3.org/2000/svg}circle")]
    raw, ours, authlib = points
    assert ours - raw == pytest.approx(authlib - ours)
    assert ours > raw


def test_of_several_runs_the_one_in_the_middle_counts() -> None:
    runs = [[Row("check", "sqlite", "ours", p10, 0, floor)] for p10, floor in ((9, 3), (8, 2), (5, 5))]
    assert report.median_of(runs) == [Row("check", "sqlite", "ours", 9, 0, 3)]


def test_results_are_kept_by_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    row = Row("check", "memory", "ours", 1.5, 2.0, 0.5)
    results.keep("check", "memory", [row], peers=False)
    results.keep("check", "sqlite", [row, row], peers=False)
    found = results.load("check")
    assert [Row(**each) for each in found["memory"]["rows"]] == [row]
    assert len(found["sqlite"]["rows"]) == 2
    assert "SQLite" in found["sqlite"]["with"]
