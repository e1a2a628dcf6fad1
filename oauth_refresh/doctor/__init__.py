"""What is wrong with a deployment? It is looked at from inside, from outside, and from both at once."""

from __future__ import annotations

from typing import Literal, NamedTuple

Severity = Literal["ok", "warning", "error"]


class Finding(NamedTuple):
    """One thing that was looked at: what was found, and what to do where that is not right."""

    severity: Severity
    about: str
    text: str
    fix: str = ""


def ok(about: str, text: str) -> Finding:
    return Finding("ok", about, text)


def warning(about: str, text: str, fix: str) -> Finding:
    return Finding("warning", about, text, fix)


def error(about: str, text: str, fix: str) -> Finding:
    return Finding("error", about, text, fix)
