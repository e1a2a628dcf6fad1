"""`oauth-refresh grant`: who has access now, and how to end it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import click

from ..errors import RegistryError
from .deployment import Deployment, on_deployment
from .showing import (
    begun,
    confirm,
    counted,
    iso,
    json_option,
    moment,
    read_duration,
    read_moment,
    readable,
    show_fields,
    show_json,
    show_json_list,
    show_table,
    yes_option,
)

if TYPE_CHECKING:
    from ..records import Grant

F = TypeVar("F", bound=Callable[..., object])


class Chosen(NamedTuple):
    """Which grants a command is about. Times are seconds since 1970; None asks for nothing."""

    subject: str | None = None
    client_id: str | None = None
    created_after: float | None = None
    created_before: float | None = None
    idle: float | None = None

    def __bool__(self) -> bool:
        return any(value is not None for value in self)

    def has(self, grant: Grant, now: float) -> bool:
        after, before = self.created_after, self.created_before
        last = grant.created_at if grant.last_used_at is None else grant.last_used_at
        return (
            (after is None or grant.created_at >= after)
            and (before is None or grant.created_at < before)
            and (self.idle is None or now - last >= self.idle)
        )


def choosing(command: F) -> F:
    """The options that choose grants, as the parameters of `Chosen`."""
    idle = "Only those not used for so long, such as 30d."
    before, after = "Only those made before this time.", "Only those made at this time or later."
    for option in (
        click.option("--idle", metavar="DURATION", callback=read_duration, help=idle),
        click.option("--created-before", metavar="TIME", callback=read_moment, help=before),
        click.option("--created-after", metavar="TIME", callback=read_moment, help=after),
        click.option("--client", "client_id", metavar="ID", help="Only those of this client."),
        click.option("--subject", metavar="USER", help="Only those of this user."),
    ):
        command = option(command)
    return command


@click.group()
def grant() -> None:
    """List, show and revoke grants.

    A grant is one user's authorization of one client. It lasts from the user's "Allow" until it is revoked
    or its refresh token expires, however often its tokens are renewed. Times are in UTC; a time is written
    2026-11-26, 2026-11-26T14:00, or 2h for two hours ago.
    """


@grant.command("list")
@choosing
@click.option("--all", "ended_too", is_flag=True, help="Those that have ended, too.")
@json_option
@on_deployment
def list_(deployment: Deployment, ended_too: bool, as_json: bool, **chosen: object) -> None:
    """List the grants that are alive.

    \b
    Examples:
      oauth-refresh grant list --subject alice
      oauth-refresh grant list --client oc_3q2-7w --created-after 2h --json
      oauth-refresh grant list --idle 30d
    """
    wanted = Chosen(**chosen)  # type: ignore[arg-type]
    trouble: list[RegistryError] = []
    found = begun(readable(_find(deployment, wanted, ended_too), trouble), trouble)
    now = deployment.registry.clock()
    if as_json:
        show_json_list(members(each, now) for each in found)
    else:
        rows = (_row(each, now) for each in found)
        heads = ("GRANT", "SUBJECT", "CLIENT", "STATE", "CREATED", "LAST USED", "SCOPES")
        if not show_table(heads, rows) and not (ended_too or wanted or trouble):
            click.echo("No grant is alive. --all shows those that have ended.", err=True)
    for error in trouble:
        raise error


@grant.command()
@click.argument("grant_id")
@json_option
@on_deployment
def show(deployment: Deployment, grant_id: str, as_json: bool) -> None:
    """Show one grant. `oauth-refresh explain` tells its life as a story."""
    found = deployment.registry.get(grant_id)
    if found is None:
        raise click.ClickException(f"{_unknown(grant_id)}: {deployment.program} grant list shows all")
    about = members(found, deployment.registry.clock())
    if as_json:
        show_json(about)
        return
    show_fields(about)


@grant.command()
@click.argument("grant_ids", nargs=-1, metavar="[GRANT_ID]...")
@choosing
@click.option("--everything", is_flag=True, help="All grants of all users, if nothing else chooses.")
@yes_option
@json_option
@on_deployment
def revoke(
    deployment: Deployment,
    grant_ids: tuple[str, ...],
    everything: bool,
    yes: bool,
    as_json: bool,
    **chosen: object,
) -> None:
    """End grants with all their tokens, at once and for good.

    Says how many grants that are, and asks. Their users sign in again when their programs next need it.

    \b
    Examples:
      oauth-refresh grant revoke 49f647a5fb808543c99ce4ef96d0f0fb
      oauth-refresh grant revoke --subject alice              (a lost laptop)
      oauth-refresh grant revoke --client oc_3q2-7w --yes     (a client that was broken into)
      oauth-refresh grant revoke --created-after 2026-11-26T02:00 --created-before 2026-11-26T03:00
      oauth-refresh grant revoke --everything                 (a leaked backup and secret)
    """
    which = Chosen(**chosen)  # type: ignore[arg-type]
    if bool(grant_ids) + bool(which) + everything != 1:
        raise click.UsageError("say which grants: by id, or by options, or --everything")
    trouble: list[RegistryError] = []
    found = begun(readable(_find(deployment, which), trouble), trouble)
    ids = _named(deployment, grant_ids) if grant_ids else [each.id for each in found]
    if not ids:
        raise click.ClickException("no grant that is alive is meant by this")
    confirm(f"End {counted(len(ids), 'grant')}?", yes)
    ended = _revoke(deployment, ids)
    if as_json:
        show_json({"revoked": ended})
    else:
        click.echo(f"{counted(ended, 'grant')} ended")
    for error in trouble:
        raise error


def _unknown(grant_id: str) -> str:
    # Whoever puts a token in the place of the id must not find it in a terminal's history.
    if re.fullmatch("[0-9a-f]{32}", grant_id):
        return f"there is no grant {grant_id}"
    return "a grant is named by its id, 32 hex digits, and this is none"


def _named(deployment: Deployment, grant_ids: Iterable[str]) -> list[bytes]:
    found = []
    for grant_id in grant_ids:
        each = deployment.registry.get(grant_id)
        if each is None:
            raise click.ClickException(f"{_unknown(grant_id)}; nothing was changed")
        if each.revoked_at is None:
            found.append(each.id)
    return found


def _revoke(deployment: Deployment, ids: list[bytes]) -> int:
    def end(ids: Iterable[bytes]) -> int:
        return sum(deployment.registry.revoke_grant(each, "revoked_by_operator") for each in ids)

    if not sys.stderr.isatty():
        return end(ids)
    with click.progressbar(ids, label="revoking", file=sys.stderr) as progress:
        return end(progress)


def _find(deployment: Deployment, chosen: Chosen, ended_too: bool = False) -> Iterator[Grant]:
    now = deployment.registry.clock()
    for each in deployment.registry.list(subject=chosen.subject, client_id=chosen.client_id):
        if chosen.has(each, now) and (ended_too or state(each, now) in ("alive", "pending")):
            yield each


def _row(grant: Grant, now: float) -> tuple[str, ...]:
    times = moment(grant.created_at), moment(grant.last_used_at)
    return grant.id.hex(), grant.subject, grant.client_id, state(grant, now), *times, " ".join(grant.scopes)


def state(grant: Grant, now: float) -> str:
    """The word for where this grant is in its life."""
    from ..records import alive

    if grant.revoked_at is not None:
        return "revoked"
    if not alive(grant.ends_at, now):
        return "ended"
    if grant.code is not None and not grant.code.redeemed:
        return "pending" if alive(grant.code.expires_at, now) else "expired"
    access_lives = grant.access is not None and alive(grant.access.expires_at, now)
    refresh_lives = bool(grant.refresh_hash) and alive(grant.refresh_expires_at, now)
    return "alive" if access_lives or refresh_lives else "expired"


def members(grant: Grant, now: float) -> dict[str, object]:
    """The grant as a program reads it."""
    return {
        "grant": grant.id.hex(),
        "subject": grant.subject,
        "client_id": grant.client_id,
        "state": state(grant, now),
        "scopes": list(grant.scopes),
        "resources": list(grant.resources),
        "label": grant.label,
        "generation": grant.generation,
        "created_at": iso(grant.created_at),
        "last_used_at": iso(grant.last_used_at),
        "access_expires_at": None if grant.access is None else iso(grant.access.expires_at),
        "refresh_expires_at": iso(grant.refresh_expires_at) if grant.refresh_hash else None,
        "ends_at": iso(grant.ends_at),
        "revoked_at": iso(grant.revoked_at),
        "revoked_why": grant.revoked_why,
    }
