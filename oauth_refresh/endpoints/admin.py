"""/oauth/admin: how things go, for the operator. Off unless the settings say who that is."""

from __future__ import annotations

from werkzeug.wrappers import Request, Response

from ..addresses import Addresses
from ..dashboard import dashboard
from ..pages import display
from ..server import Server
from ..wording import say
from .visits import sign_in_for_page, visit_of

LIVE_SECONDS = 15
_SPANS = {"hour": (60, 1), "day": (24 * 60, 10)}
"""Minutes in all, and in each step."""
_NAME_MAX = 40


def admin(server: Server, request: Request, addresses: Addresses) -> Response:
    visit = visit_of(server, request, addresses)
    if not server.is_operator(request.environ, visit.user):
        if visit.user is None and server.settings.admins:
            return sign_in_for_page(visit, "/admin")
        return server.pages_for(request).error(
            say("This page is for operators"),
            say("You are not one of them."),
            advice=say("If you should be, have OAUTH_ADMINS or OAUTH_ADMIN_CHECK changed."),
            status=403,
        )
    response = _page(server, request)
    server.cookies(addresses).remember(response, visit.browser)
    return response


def _page(server: Server, request: Request) -> Response:
    server.statistics.flush()
    is_live = request.args.get("live") == "1"
    minutes, each = _SPANS.get(request.args.get("span", ""), _SPANS["hour"])
    view = dashboard(
        server.clock(),
        server.statistics.read(minutes, each),
        each,
        server.census.latest(),
        lambda client_id: _client_name(server, client_id),
        is_live=is_live,
    )
    response = server.pages_for(request).dashboard(view)
    if is_live:
        # Only for whoever asked for it: a page that changes by itself loses a reader's place (WCAG 2.2.2).
        response.headers["Refresh"] = str(LIVE_SECONDS)
    return response


def _client_name(server: Server, client_id: str) -> str:
    client = server.clients.get(client_id) if client_id else None
    return display(client.name if client is not None else client_id, _NAME_MAX)
