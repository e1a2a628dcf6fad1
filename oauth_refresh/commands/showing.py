"""How commands show what they found: tables for people, JSON for programs, and questions before they act.

Names that clients chose are shown without anything that could move the cursor of a terminal.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from itertools import chain
from typing import TypeVar

import click

from ..durations import parse_duration
from ..errors import RegistryError

T = TypeVar("T")

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


def read_moment(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """A time such as 2026-11-26T14:00, in UTC unless it says otherwise, or 2h for two hours ago."""
    if value is None:
        return None
    try:
        return time.time() - parse_duration(value)
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except ValueError:
        told = f"{value!r} is neither a time such as 2026-11-26T14:00 nor a duration such as 2h"
        raise click.BadParameter(told) from None
    return (at if at.tzinfo else at.replace(tzinfo=timezone.utc)).timestamp()


def read_duration(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """A duration in seconds."""
    try:
        return None if value is None else parse_duration(value)
    except ValueError as error:
        told = f"{value!r} {error}; a duration is written 90s, 15m, 24h or 30d"
        raise click.BadParameter(told) from None


def plain(value: object) -> str:
    """Text of one line that a terminal only prints."""
    text = "" if value is None else str(value)
    return "".join(char if char.isprintable() else "?" for char in text)


def moment(seconds: float | None, otherwise: str = "never") -> str:
    """A time as people read it, in UTC."""
    if seconds is None:
        return otherwise
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")


def iso(seconds: float | None) -> str | None:
    """A time as programs read it (RFC 3339, UTC, whole seconds)."""
    return None if seconds is None else moment(seconds).replace(" ", "T") + "Z"


def readable(found: Iterable[T], trouble: list[RegistryError]) -> Iterator[T]:
    """What was found, whatever becomes of the search: a bad record must not save the others."""
    try:
        yield from found
    except RegistryError as error:
        trouble.append(error)


def begun(
    found: Iterator[T], trouble: list[RegistryError], beside: Callable[[T], bool] = lambda each: False
) -> Iterator[T]:
    """What is `readable`, once something of the registry was read. Raises its trouble if nothing was.

    What stands `beside` the registry, as in the settings, is no sign that it can be read.
    """
    held = []
    for each in found:
        held.append(each)
        if not beside(each):
            break
    for error in trouble:
        raise error
    return chain(held, found)


def show_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, default=str))


def show_json_list(values: Iterable[object]) -> None:
    """A JSON array, written item by item: a registry may hold more than fits in memory."""
    separator = "["
    for value in values:
        click.echo(separator + json.dumps(value, default=str), nl=False)
        separator = ",\n "
    click.echo("[]" if separator == "[" else "]")


def show_table(heads: Sequence[str], rows: Iterable[Sequence[object]], width: int = 40) -> int:
    """Print rows under their heads, in columns that fit the first hundred; how many rows there were."""
    rows = iter(rows)
    first = [[plain(cell) for cell in row] for _, row in zip(range(100), rows, strict=False)]
    sizes = [min(width, max(map(len, column))) for column in zip(heads, *first, strict=True)]
    click.secho(_row(heads, sizes), bold=True)
    count = 0
    for row in _chained(first, rows):
        click.echo(_row(row, sizes))
        count += 1
    return count


def _chained(first: Iterable[Sequence[str]], rows: Iterable[Sequence[object]]) -> Iterator[Sequence[str]]:
    yield from first
    for row in rows:
        yield [plain(cell) for cell in row]


def _row(cells: Sequence[str], sizes: Sequence[int]) -> str:
    return "  ".join(cell.ljust(size) for cell, size in zip(cells, sizes, strict=True)).rstrip()


def show_fields(fields: Mapping[str, object]) -> None:
    """Names and values, one pair a line; those that are None or empty are left out."""
    shown = {name: _text(value) for name, value in fields.items() if value not in (None, "", [])}
    size = max(map(len, shown), default=0)
    for name, value in shown.items():
        click.echo(f"{name.ljust(size)}  {value}")


def _text(value: object) -> str:
    return plain(" ".join(map(str, value)) if isinstance(value, list) else value)


def confirm(question: str, yes: bool) -> None:
    """Go on only if the operator says so. Without a terminal to ask at, `--yes` is needed."""
    if not yes:
        click.confirm(question, abort=True, err=True)


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
