"""/oauth/grants: what has access to the account of the user at this browser? And an end to it by one press.

Nothing but grants of this very subject is ever read or ended here, whatever the form says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice

from werkzeug.wrappers import Request, Response

from ..addresses import Addresses
from ..pages import Connection, GrantsView, display
from ..parameters import Parameters, read_form
from ..records import Grant, is_live
from ..server import Server, User
from ..wording import Words, say
from .returns import redirect
from .visits import Visit, sign_in_for_page, visit_of

PAGE_SECONDS = 3600
DONE_SECONDS = 60
PER_PAGE = 20
LISTED_MAX = 20
"""How many connections of one application are shown one by one."""
LOOKED_AT_MAX = 2000
"""How many grants of one user are read for one page."""


def grants(server: Server, request: Request, addresses: Addresses) -> Response:
    visit = visit_of(server, request, addresses)
    if request.method == "POST":
        return _end(visit)
    if visit.user is None:
        return sign_in_for_page(visit, "/grants")
    response = server.pages_for(request).grants(_view(visit, visit.user))
    server.cookies(addresses).remember(response, visit.browser)
    return response


def _view(visit: Visit, user: User) -> GrantsView:
    server, browser = visit.server, visit.browser
    cookies = server.cookies(visit.addresses)
    now = server.clock()
    found = list(islice(server.registry.list(subject=user.subject), LOOKED_AT_MAX))
    live = [grant for grant in found if is_live(grant, now)]
    connections = sorted(_grouped(server, live), key=lambda each: -(each.last_used or each.since))
    pages = max(1, -(-len(connections) // PER_PAGE))
    page = min(max(1, visit.request.args.get("page", 1, int)), pages)
    built_in = server.has_login_page and browser.subject == user.subject
    return GrantsView(
        account=user.subject,
        action=f"{visit.endpoints}/grants",
        hidden={"page": cookies.seal(browser, "grants", {"subject": user.subject})},
        connections=connections[(page - 1) * PER_PAGE : page * PER_PAGE],
        page=page,
        pages=pages,
        are_all=len(found) < LOOKED_AT_MAX,
        now=now,
        done=_told(visit),
        sign_out_action=f"{visit.endpoints}/logout" if built_in else None,
        sign_out_hidden={"continue": cookies.seal(browser, "logout", {"query": None})} if built_in else {},
    )


def _grouped(server: Server, live: Iterable[Grant]) -> Iterable[Connection]:
    """One connection per client; grants without a client (the application made them) each by itself."""
    groups: dict[str, list[Grant]] = {}
    for grant in live:
        groups.setdefault(grant.client_id or f"\0{grant.id.hex()}", []).append(grant)
    for members in groups.values():
        yield _connection(server, members)


def _connection(server: Server, members: list[Grant]) -> Connection:
    described = server.settings.scopes
    first = members[0]
    client = server.clients.get(first.client_id) if first.client_id else None
    scopes = dict.fromkeys(scope for grant in members for scope in grant.scopes)
    members = sorted(members, key=lambda grant: -grant.created_at)
    parts = [_single(grant, described) for grant in members[:LISTED_MAX]] if len(members) > 1 else []
    return Connection(
        button="client" if first.client_id else "grant",
        value=first.client_id or first.id.hex(),
        name=(client.name if client else "") or first.label,
        verified=client is not None and client.configured,
        since=members[-1].created_at,
        last_used=_latest(grant.last_used_at for grant in members),
        scopes=[(scope, described.get(scope, "")) for scope in scopes],
        count=len(members),
        parts=parts,
    )


def _single(grant: Grant, described: Mapping[str, str]) -> Connection:
    return Connection(
        button="grant",
        value=grant.id.hex(),
        name=grant.label,
        since=grant.created_at,
        last_used=grant.last_used_at,
        scopes=[(scope, described.get(scope, "")) for scope in grant.scopes],
    )


def _latest(moments: Iterable[float | None]) -> float | None:
    return max((moment for moment in moments if moment is not None), default=None)


# --- the end --------------------------------------------------------------------------------------


def _end(visit: Visit) -> Response:
    form = read_form(visit.request.environ)
    form.require_single(("page", "client", "grant"))
    cookies = visit.server.cookies(visit.addresses)
    pending = cookies.unseal(visit.browser, "grants", form.get("page"), PAGE_SECONDS)
    if pending is None or visit.user is None or visit.user.subject != pending["subject"]:
        return visit.server.pages_for(visit.request).error(
            say("This page is out of date"),
            say("It was made for another login, or too long ago."),
            advice=say("Open the page again and repeat what you wanted to do."),
            status=403,
        )
    done = {"name": _name_of(visit.server, form), "ended": _end_those(visit.server, visit.user, form)}
    sealed = cookies.seal(visit.browser, "grants done", done)
    return redirect(f"{visit.endpoints}/grants?done={sealed}", 303)


def _end_those(server: Server, user: User, form: Parameters) -> int:
    """End the grants that the form names, as far as they are this user's; how many ended."""
    client_id, grant_id = form.get("client"), form.get("grant")
    if client_id:
        theirs = server.registry.list(subject=user.subject, client_id=client_id)
        # Those too that have only a code yet: it would be redeemed a moment later.
        return sum(server.registry.revoke_grant(grant.id, "user") for grant in list(theirs))
    grant = server.registry.get(grant_id) if grant_id else None
    if grant is None or grant.subject != user.subject:
        return 0
    return int(server.registry.revoke_grant(grant.id, "user"))


def _name_of(server: Server, form: Parameters) -> str:
    client_id = form.get("client")
    client = server.clients.get(client_id) if client_id else None
    return display(client.name) if client else ""


def _told(visit: Visit) -> Words:
    """What was done by the request before. Sealed, for a link from elsewhere must not claim anything."""
    done = visit.server.cookies(visit.addresses).unseal(
        visit.browser, "grants done", visit.request.args.get("done"), DONE_SECONDS
    )
    if done is None:
        return ""
    if not done["ended"]:
        return say("This access had ended already.")
    if not done["name"]:
        return say("The access has ended.")
    return say("{client} no longer has access to your account.", client=done["name"])
