"""`oauth-refresh migrate`: take all records to another registry."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from .deployment import Deployment, with_plain_errors
from .showing import counted, show_fields

if TYPE_CHECKING:
    from ..backends.base import Backend
    from ..migration import Tally
    from ..server import Server


@click.command()
@click.argument("source", metavar="SOURCE")
@click.argument("target", metavar="TARGET")
@click.option("--live", is_flag=True, help="Move under running servers, which have SOURCE as their fallback.")
@click.option("--config", metavar="FILE", help="A settings file, instead of that of OAUTH_CONFIG_FILE.")
@with_plain_errors
def migrate(source: str, target: str, *, live: bool, config: str | None) -> None:
    """Take all records of the registry SOURCE to the registry TARGET. Both are URLs as in OAUTH_REGISTRY.

    Without --live the records are copied: stop the servers first. SOURCE is only read, a record that TARGET
    has already stays as it is, and at the end both are compared. The token and client files of version 1 and
    2 are taken over too, as file:///path/tokens.json.

    With --live the servers run on, with OAUTH_REGISTRY=TARGET and OAUTH_REGISTRY_FALLBACK=SOURCE on all of
    them; what they have not moved yet is moved now. After it, remove OAUTH_REGISTRY_FALLBACK.

    A TARGET that was itself moved away from with --live is refused: it answers 503 for what it gave away.

    A run that was cut off is simply run again.

    \b
      oauth-refresh migrate sqlite:///var/lib/app/oauth.db postgresql://app@db/oauth
      oauth-refresh migrate --live sqlite:///var/lib/app/oauth.db postgresql://app@db/oauth
    """
    from ..server import Server

    named = {"registry": target, "registry_fallback": source}
    server = Server(Deployment(config=config, named=named).settings)
    beside = server.both_registries[0].beside
    if beside is not None and not os.path.exists(beside):
        raise click.ClickException(f"there is no registry at {beside}: name the one that is to be moved")
    tally = _move(server) if live else _copy(server)
    show_fields(
        {
            "looked at": tally.looked_at,
            "moved" if live else "copied": str(tally.copied),
            "there already": tally.there_already or None,
            "there in another state, kept": tally.kept or None,
            "markers of a move in their place": tally.markers or None,
            "arriving by a live move": tally.arriving or None,
            "expired, left behind": tally.expired or None,
            "moved before": tally.moved_before or None,
        }
    )
    _judge(tally)


_MARKED = (
    "cannot be taken over: in their place the target holds markers, for it was itself moved away from with "
    "--live, and a server on it answers 503 for them; stay with the source, and name an empty target"
)
_ARRIVING = (
    "arriving in the target by a live move that was not finished: finish that first, with "
    "oauth-refresh migrate --live, the registry that they come from, and this target"
)


def _judge(tally: Tally) -> None:
    wrong = {
        _MARKED: tally.markers,
        _ARRIVING: tally.arriving,
        "of a format that this release cannot read: update it": tally.unreadable,
        "still missing in the target: is a server writing to the source? run it again": tally.missing,
    }
    found = "; ".join(f"{counted(number, 'record')} {what}" for what, number in wrong.items() if number)
    if found:
        raise click.ClickException(found)


def _copy(server: Server) -> Tally:
    from .. import migration
    from ..backends.json_file import JSONFileBackend
    from ..server_secret import carry_secret

    source, target = server.both_registries
    document = source.old_document() if isinstance(source, JSONFileBackend) else None
    if document is not None:
        return migration.copy_rows(server.import_old(document), target)
    _look_at(source, target)
    _judge(migration.in_the_way(source, target))
    _note_secret(carry_secret(source, target))
    total = _counted(migration.keys_to_move(source))
    with _progress("copying", total) as tell:
        tally = migration.copy(source, target, tell)
    with _progress("comparing", total) as tell:
        compared = migration.verify(source, target, tell)
    tally.missing, tally.unreadable = compared.missing, compared.unreadable
    click.echo(f"compared: {compared.there_already} are the same in both registries")
    return tally


def _move(server: Server) -> Tally:
    from .. import migration
    from ..backends.moving import MovingBackend
    from ..server_secret import carry_secret

    source, target = server.both_registries
    _look_at(source, target)
    # What is arriving is what this finishes.
    _judge(replace(migration.in_the_way(source, target), arriving=0))
    _note_secret(carry_secret(source, target))
    with _progress("moving", _counted(migration.keys_to_move(source))) as tell:
        return migration.move(MovingBackend(target, source, server.describe), tell)


def _look_at(*registries: Backend) -> None:
    """Meet what refuses the move before anything is written, a secret beside another's data above all."""
    for registry in registries:
        next(iter(registry.keys(b"")), None)


def _note_secret(carried: bool) -> None:
    if carried:
        click.echo("the server secret that was drawn for the source is kept with the target too")


def _counted(keys: Iterable[bytes]) -> int:
    return sum(1 for _ in keys)


@contextmanager
def _progress(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar with what remains, and the rate; on a terminal alone. What was done is said at its end."""
    begun, done = time.monotonic(), 0

    def rate() -> str:
        return f"{done / max(time.monotonic() - begun, 1e-3):,.0f} a second"

    def shown(item: object) -> str:
        return rate()

    progress: Any = click.progressbar(
        length=total,
        label=label,
        show_pos=True,
        item_show_func=shown,
        file=sys.stderr,
    )
    with progress as bar:

        def tell(count: int) -> None:
            nonlocal done
            done += count
            bar.update(count)

        yield tell
    click.echo(f"{label}: {counted(done, 'record')} in {time.monotonic() - begun:.1f} s, {rate()}", err=True)
