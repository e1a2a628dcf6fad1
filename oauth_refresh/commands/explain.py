"""`oauth-refresh explain`: why was I logged out?"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from .deployment import Deployment, on_deployment
from .grant import members
from .showing import iso, json_option, moment, plain, show_json

if TYPE_CHECKING:
    from ..records import Grant
    from ..stories import Happening, Told, Verdict
    from ..tokens import Presented


@click.command()
@click.argument("what", required=False, metavar="[TOKEN_OR_GRANT]")
@click.option(
    "--client", "client_id", metavar="ID", help="As if this client presented it; by default its own."
)
@click.option(
    "--events", multiple=True, metavar="FILE", help="An event log, instead of that of OAUTH_EVENT_LOG."
)
@json_option
@on_deployment
def explain(
    deployment: Deployment, what: str | None, client_id: str | None, events: tuple[str, ...], as_json: bool
) -> None:
    """Tell the life of a grant: what happened to it, why it ended, what its client hears now.

    Takes a grant id, or any code or token of the grant, also one that is long dead. A token is a secret:
    leave it out and it is asked for, or pipe it in; an argument stays in the shell's history. It is never
    printed, and explaining it changes nothing.

    The registry knows how things stand; what happened on the way stands in the event log, if OAUTH_EVENT_LOG
    keeps one.

    \b
    Examples:
      oauth-refresh explain 49f647a5fb808543c99ce4ef96d0f0fb
      oauth-refresh explain                               (asks for the token)
      pbpaste | oauth-refresh explain --json
    """
    text = _asked() if what in (None, "-") else str(what).strip()
    story = _story(deployment, text, client_id, events)
    show_json(story) if as_json else _tell(story)


def _asked() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().strip()
    asked: str = click.prompt("Token or grant", hide_input=True, err=True)
    return asked.strip()


def _story(deployment: Deployment, text: str, client_id: str | None, logs: tuple[str, ...]) -> dict[str, Any]:
    from .. import stories

    registry = deployment.registry
    presented = registry.read(text)
    if presented is None and not re.fullmatch("[0-9a-f]{32}", text):
        raise click.ClickException(
            "this is neither a grant id (32 hex digits) nor a code or token of oauth_refresh "
            "(oac_…, oat_…, ort_…), or not the whole of it"
        )
    grant_id = text if presented is None else presented.grant_id.hex()
    # The events first: what happens meanwhile must not make the registry look older than they are.
    told = list(_events(deployment, grant_id, logs))
    grant, now = registry.get(grant_id), registry.clock()
    verdict = _verdict(deployment, grant, presented, client_id, told)
    return {
        "grant": _gone(grant_id, told) if grant is None else members(grant, now),
        "token": _token(deployment, grant, presented, verdict, told),
        "timeline": [_happening(each, deployment.program) for each in stories.timeline(grant, told, now)],
        "verdict": {
            name: text.replace("oauth-refresh ", f"{deployment.program} ")
            for name, text in verdict._asdict().items()
        },
    }


def _gone(grant_id: str, told: list[Told]) -> dict[str, object]:
    """The members that are left of a grant without a record."""
    from ..story_gone import gone

    found = gone(told)
    if found is None:
        return {"grant": grant_id, "state": "unknown"}
    return {"grant": grant_id, "subject": found.subject, "client_id": found.client_id, "state": "gone"}


def _verdict(
    deployment: Deployment,
    grant: Grant | None,
    presented: Presented | None,
    client_id: str | None,
    told: list[Told],
) -> Verdict:
    from .. import stories, story_gone, story_log
    from ..tokens import ACCESS

    registry, server = deployment.registry, deployment.server
    of_access = presented is not None and presented.kind == ACCESS
    if grant is None:
        gone = story_gone.gone(told)
        if gone is None:
            return stories.unknown(of_access=of_access)
        known = not gone.client_id or server.clients.get(gone.client_id) is not None
        return story_gone.verdict(gone, moment, of_access=of_access, client_is_known=known)
    client = server.clients.get(grant.client_id) if grant.client_id else None
    if presented is None:
        found = stories.verdict_of_grant(grant, registry.clock())
        asks_for_tokens = stories.may_ask_for_tokens(grant)
    else:
        who = client_id or grant.client_id or None
        policy = server.policy_for(client)
        found = stories.verdict(grant, presented, who, registry.clock(), policy, registry.secrets)
        asks_for_tokens = not of_access
    if client is None and grant.client_id and asks_for_tokens:
        return stories.where_client_is_gone(found)
    return story_log.with_events(found, grant, presented, told, registry.clock())


def _token(
    deployment: Deployment,
    grant: Grant | None,
    presented: Presented | None,
    verdict: Verdict,
    told: list[Told],
) -> dict[str, object] | None:
    from .. import stories, story_log
    from ..tokens import ACCESS, CODE

    if presented is None:
        return None
    kinds = {CODE: "authorization code", ACCESS: "access token"}
    about: dict[str, object] = {"kind": kinds.get(presented.kind, "refresh token")}
    if grant is not None:
        known = stories.standing_of(grant, presented, deployment.registry.secrets)
        about["standing"] = story_log.standing(known, verdict, grant, presented, told)
    return about


def _happening(happening: Happening, program: str) -> dict[str, object]:
    return {
        "time": iso(happening.at),
        "what": happening.what,
        "text": happening.text.replace("oauth-refresh ", f"{program} "),
        "source": happening.source,
    }


def _events(deployment: Deployment, grant_id: str, logs: tuple[str, ...]) -> Iterator[Told]:
    from ..event_log import read_events
    from ..stories import Told

    for path in logs or _usual_logs(deployment.settings.event_log):
        try:
            for event in read_events(path, grant_id):
                at = _moment_of(event)
                if event.get("grant") == grant_id and at is not None:
                    yield Told(at, str(event["event"]), event)
        except OSError as error:
            raise click.ClickException(
                f"event log {path}: {error.strerror}: run this as the user that the server runs as, or name "
                "an event log that you can read with --events"
            ) from error


def _moment_of(event: Mapping[str, object]) -> float | None:
    """Seconds since 1970; None for a line that no server wrote so."""
    try:
        return datetime.fromisoformat(str(event.get("time")).replace("Z", "+00:00")).timestamp()
    except ValueError:
        return None


def _usual_logs(path: str | None) -> list[str]:
    """The event log and the one before it, as far as they are files that can be read from the beginning."""
    return [] if path is None else [log for log in (f"{path}.1", path) if os.path.isfile(log)]


def _tell(story: dict[str, Any]) -> None:
    from ..stories import GOOD

    grant, token, verdict = story["grant"], story["token"], story["verdict"]
    # A client that speaks for itself has no subject.
    of = f" of {plain(grant['subject'])}" if grant.get("subject") else ""
    who = f"{of} for {plain(grant['client_id'] or 'no client')}" if "subject" in grant else ""
    click.secho(f"Grant {grant['grant']}{who}: {grant['state']}", bold=True)
    if token is not None:
        article = "an" if token["kind"].startswith("a") else "a"
        click.echo(f"\nThis is {article} {token['kind']}. {token.get('standing', '')}".rstrip())
    click.echo("\nWhat happened (UTC):" if story["timeline"] else "\nNothing is known of what happened.")
    for happening in story["timeline"]:
        at = str(happening["time"]).replace("T", " ").removesuffix("Z")
        click.echo(f"  {at}  {plain(happening['text'])}")
    click.echo("\nIf its client came now:" if token is None else "\nIf it were presented now:")
    # The event log may have been written to by others: nothing of it moves the cursor.
    click.secho(f"  {plain(verdict['text'])}", fg="green" if verdict["outcome"] in GOOD else "red")
    if verdict["hears"]:
        click.echo(f"  The program hears: {verdict['hears']}")
    click.echo(f"\nWhat to do:\n  {plain(verdict['advice'])}")
