"""The count of instructions is a guard only if it closes: a rise and an unknown version are both told."""

from __future__ import annotations

import json

from benchmarks.instructions import FILE, WHAT, compared

KNOWN = {"3.11": {"check": 1000, "refused": 900, "introspect": 5000, "rotate": 20_000, "resource": 30_000}}


def test_a_count_that_rose_by_more_than_a_twentieth_is_told() -> None:
    counts = {"check": 1051, "refused": 900, "introspect": 5250, "rotate": 21_000, "resource": 31_500}
    assert compared(counts, KNOWN, "3.11") == ["check: 1051 instructions, +5.1% on instructions.json"]
    assert compared(dict.fromkeys(WHAT, 10) | {"check": 1050}, KNOWN, "3.11") == []


def test_a_refused_token_that_takes_more_than_an_accepted_one_is_told() -> None:
    counts = dict.fromkeys(WHAT, 10) | {"check": 800, "refused": 841}
    assert compared(counts, KNOWN, "3.11") == ["refused: 841 instructions, +5.1% on an accepted token"]
    assert compared({**counts, "refused": 840}, KNOWN, "3.11") == []


def test_a_version_without_counts_is_told() -> None:
    (told,) = compared(KNOWN["3.11"], KNOWN, "3.99")
    assert "lacks check, introspect, refused, resource, rotate of Python 3.99" in told
    before = {"3.11": {what: count for what, count in KNOWN["3.11"].items() if what != "introspect"}}
    (told,) = compared(KNOWN["3.11"], before, "3.11")
    assert "lacks introspect of Python 3.11" in told


def test_what_is_kept_has_every_count() -> None:
    assert all(set(counts) == set(WHAT) for counts in json.loads(FILE.read_text()).values())
