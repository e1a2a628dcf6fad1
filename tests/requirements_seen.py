"""Which requirements did the tests show that ran and passed in this very run?"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

VARIABLE = "REQUIREMENTS_REPORT"


class RequirementsSeen:
    """Writes a line "ID test" for each requirement marker of each test that passed, when the session ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.marked: dict[str, set[str]] = {}
        self.shown: set[tuple[str, str]] = set()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            ids = {name for mark in item.iter_markers("requirement") for name in mark.args}
            self.marked[item.nodeid] = ids

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.outcome == "passed" and not hasattr(report, "wasxfail"):
            test = report.nodeid.partition("[")[0]
            self.shown.update((name, test) for name in self.marked.get(report.nodeid, ()))

    def pytest_sessionfinish(self) -> None:
        lines = sorted(f"{name} {test}\n" for name, test in self.shown)
        self.path.write_text("".join(lines), encoding="utf-8")


def watch(config: pytest.Config) -> None:
    # Taken out of the environment: a test that starts pytest again would write over the report of this run.
    path = os.environ.pop(VARIABLE, "")
    if path:
        config.pluginmanager.register(RequirementsSeen(Path(path).absolute()))
