"""The table of requirements in the documentation names the tests that show them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .requirements_seen import RequirementsSeen
from .standards import PAGE, faults, filled, lines, marked, passed

RUN = """
import pytest

shows = pytest.mark.requirement


@shows("GEN-01")
def test_good():
    pass


@shows("GEN-01")
def test_bad():
    raise AssertionError


@shows("GEN-01")
def test_skipped():
    pytest.skip()


good, bad = pytest.param(1, marks=shows("GEN-02")), pytest.param(0, marks=shows("GEN-03"))


@pytest.mark.parametrize("row", [good, bad])
def test_rows(row):
    assert row
"""

TRUE = {"GEN-01": ["tests/test_a.py::test_one"]}


def row(ids: str, evidence: str) -> str:
    return f"| {ids} | what is asked | `where.py` | {evidence} |\n"


def test_the_page_names_tests_that_exist_and_carry_the_id() -> None:
    assert faults(PAGE.read_text(encoding="utf-8"), marked()) == [], "try: python -m tests.standards --fill"


def test_the_modules_that_the_page_names_exist() -> None:
    package = PAGE.parent.parent / "oauth_refresh"
    named = set(re.findall(r"`((?:\w+/)*\w+\.py)`", PAGE.read_text(encoding="utf-8")))
    assert [name for name in sorted(named) if not (package / name).is_file()] == []


@pytest.mark.parametrize(
    ("page", "fault"),
    [
        (row("**GEN-01**", "`test_a.py::test_two`"), "GEN-01: tests/test_a.py::test_two does not show it"),
        (row("**GEN-01**", "Not built"), "GEN-01: of the first tier, and no test is named"),
        (row("GEN-01", "Not built"), "GEN-01: a test shows it, and the table says otherwise"),
        (row("GEN-01", "of course"), "GEN-01: neither a test nor a reason"),
        (row("GEN-01 to GEN-03", "Not built"), "GEN-01: a test shows it, and the table says otherwise"),
        (row("GEN-01", "`test_a.py::test_one`") * 2, "GEN-01: in two lines"),
        ("see `test_a.py::test_two`", "tests/test_a.py::test_two: named, and it shows nothing"),
        (row("GEN-02", "Not built"), "GEN-01: a test carries it, and the table has no such line"),
    ],
)
def test_a_line_that_is_not_true_is_found(page: str, fault: str) -> None:
    assert fault in faults(page, TRUE)


def test_lines_that_are_true_or_give_a_reason_are_left_alone() -> None:
    page = row("**GEN-01**", "`test_a.py::test_one`") + row(
        "GEN-02 to GEN-04", "Not built: no tokens are signed"
    )
    assert faults(page, TRUE) == []
    assert [line.ids for line in lines(page)] == [("GEN-01",), ("GEN-02", "GEN-03", "GEN-04")]


def test_filling_in_writes_the_tests_and_leaves_reasons_alone() -> None:
    reason = row("GEN-02 to GEN-04", "Not built: no tokens are signed")
    assert filled(row("**GEN-01**", "") + reason, TRUE) == row("**GEN-01**", "`test_a.py::test_one`") + reason


def test_filling_in_keeps_a_name_that_is_still_right() -> None:
    both = {"GEN-01": ["tests/test_a.py::test_new", "tests/test_a.py::test_one"]}
    page = row("**GEN-01**", "`test_a.py::test_gone`, `test_a.py::test_one`")
    assert filled(page, both) == row("**GEN-01**", "`test_a.py::test_one`")


def test_a_test_that_failed_shows_nothing(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = requirement(id): shows it\n", encoding="utf-8")
    (tmp_path / "test_run.py").write_text(RUN, encoding="utf-8")
    report = tmp_path / "report"
    pytest.main(["-q", "-p", "no:cacheprovider", str(tmp_path)], plugins=[RequirementsSeen(report)])
    assert (
        report.read_text(encoding="utf-8") == "GEN-01 test_run.py::test_good\nGEN-02 test_run.py::test_rows\n"
    )


def test_a_report_is_read_as_it_is_written(tmp_path: Path) -> None:
    report = tmp_path / "report"
    report.write_text("GEN-01 tests/test_a.py::test_one\n", encoding="utf-8")
    assert passed(report) == TRUE
