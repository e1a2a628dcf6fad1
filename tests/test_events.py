"""What the operator hears: one line per event, and the same to whoever listens."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from oauth_refresh.events import CATALOGUE, ERRORS, WARNINGS, Events


@pytest.mark.requirement("OPS-05")
def test_an_event_is_one_line_and_a_call_of_each_listener(caplog: pytest.LogCaptureFixture) -> None:
    events = Events()
    heard: list[tuple[int, str, Mapping[str, object]]] = []
    for number in (1, 2):
        events.listen(lambda name, fields, number=number: heard.append((number, name, fields)))  # type: ignore[misc]
    fields = {"grant": "ab", "generation": 3, "client": None}
    with caplog.at_level(logging.INFO):
        events.emit("token_rotated", fields)
    assert heard == [(1, "token_rotated", fields), (2, "token_rotated", fields)]
    assert caplog.record_tuples == [
        ("oauth_refresh", logging.INFO, "token_rotated grant='ab' generation=3 client=None")
    ]


@pytest.mark.requirement("RT-26")
def test_signs_of_theft_are_warnings(caplog: pytest.LogCaptureFixture) -> None:
    for name in sorted(WARNINGS):
        Events().emit(name, {})
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    assert {
        "token_reused",
        "code_reused",
        "token_stray",
        "token_shared_suspected",
        "client_mismatch",
        "registry_behind",
        "registry_rolled_back",
        "repeat_not_reproduced",
        "login_locked",
    } <= WARNINGS


@pytest.mark.requirement("GEN-21")
@pytest.mark.parametrize(
    "hostile", ["a\nb", "a\r\nb", "a\x0bb", "a\x85b", "a\u2028b", "a\x1b[2Jb", "a\u202eb"]
)
def test_no_value_breaks_the_line(caplog: pytest.LogCaptureFixture, hostile: str) -> None:
    with caplog.at_level(logging.INFO):
        Events().emit("client_registered", {"name": hostile, "more": [hostile]})
    (line,) = caplog.messages
    assert line.isprintable()
    assert len(line.splitlines()) == 1


def test_a_listener_that_fails_costs_nobody_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    events = Events()
    heard: list[str] = []

    def fail(name: str, fields: Mapping[str, object]) -> None:
        raise ZeroDivisionError

    events.listen(fail)
    events.listen(lambda name, fields: heard.append(name))
    events.emit("token_rotated", {})
    assert heard == ["token_rotated"]
    assert caplog.messages == ["a listener failed at the event token_rotated"]


def test_what_strangers_can_cause_is_told_sparingly_and_counted() -> None:
    now, heard = [100.0], list[Mapping[str, object]]()
    events = Events(clock=lambda: now[0])
    events.listen(lambda name, fields: heard.append(fields))
    for moment, key in ((100, "a"), (101, "a"), (102, "b"), (159.9, "a"), (160, "a"), (161, "a")):
        now[0] = moment
        events.emit_sparingly("access_refused", {"at": moment}, key, 60)
    assert heard == [{"at": 100, "count": 1}, {"at": 102, "count": 1}, {"at": 160, "count": 3}]


def test_strangers_cannot_fill_the_memory_with_what_was_kept_back() -> None:
    events = Events(clock=lambda: 0.0)
    for number in range(5000):
        events.emit_sparingly("access_refused", {}, str(number), 60)
    assert len(events.sparing("access_refused", 60).kept_back) <= 1024


def test_every_event_of_the_package_is_in_the_catalogue() -> None:
    package = Path(__file__).parent.parent / "oauth_refresh"
    named = re.compile(r"""(?:Event|emit|emit_sparingly|sparing)\(\s*"([a-z_]+)\"""")
    found = {name for path in package.rglob("*.py") for name in named.findall(path.read_text())}
    assert "token_rotated" in found
    assert found <= set(CATALOGUE)
    assert set(CATALOGUE) >= (WARNINGS | ERRORS)


def test_every_event_is_explained_to_the_operator() -> None:
    page = (Path(__file__).parent.parent / "docs" / "observability.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)`((?: \(\w+\))?) \|", page, re.MULTILINE))
    levels = dict.fromkeys(WARNINGS, " (warning)") | dict.fromkeys(ERRORS, " (error)")
    assert {name: rows.get(name) for name in CATALOGUE} == {name: levels.get(name, "") for name in CATALOGUE}
