"""Who visits a page, at which address, and what comes first if nobody is signed in?"""

from __future__ import annotations

import re
from typing import NamedTuple

from werkzeug.wrappers import Request, Response

from ..addresses import Addresses
from ..login import Browser
from ..redirects import add_query
from ..server import Server, User
from ..signing_in import nobody_can
from ..wording import say
from .returns import redirect

AFTER_LOGIN = "after_login"
"""The parameter on the way back from the application's login page: when the browser was sent there."""

_ROUND_SECONDS = 600
"""Whoever comes back within this time, and is still nobody, would be sent round in circles."""

_NOT_WHERE_IT_LOOKS = (
    "the browser was there, and OAUTH_USER_LOADER (in Flask, login=) answers None: "
    "does it look where that page keeps the user?"
)

PAGES = ("/grants", "/admin")
"""Pages that a user signs in for, beside the consent page."""


class Visit(NamedTuple):
    """One request of a browser: at which address it was made, and who sits at it."""

    server: Server
    request: Request
    addresses: Addresses
    browser: Browser
    user: User | None

    @property
    def endpoints(self) -> str:
        return self.addresses.base + self.server.settings.prefix


def visit_of(server: Server, request: Request, addresses: Addresses) -> Visit:
    browser = server.cookies(addresses).read(request)
    return Visit(server, request, addresses, browser, server.user(request.environ, browser))


def sign_in_for_page(visit: Visit, page: str) -> Response:
    """The login, ours or the application's, that leads to this one of `PAGES`."""
    server, browser, query = visit.server, visit.browser, query_for(page)
    if not server.has_login_page:
        return to_login_of_application(visit, "")
    cookies = server.cookies(visit.addresses)
    response = server.pages_for(visit.request).login(
        f"{visit.endpoints}/login?{query}", {"continue": cookies.seal(browser, "login", {"query": query})}
    )
    cookies.remember(response, browser)
    return response


def query_for(page: str) -> str:
    """What a login carries instead of an authorization request, when it leads to a page of ours."""
    return f"to={page.lstrip('/')}"


def page_after_login(query: str | None) -> str | None:
    """Where a login with this query leads, below the prefix; None if the query is a client's request."""
    if query is None:
        return "/login"
    return next((page for page in PAGES if query == query_for(page)), None)


def to_login_of_application(visit: Visit, query: str) -> Response:
    login_url = visit.server.settings.login_url
    if nobody_can(visit.server.settings):
        return visit.server.pages_for(visit.request).error(
            say("Nobody can sign in here yet"),
            say("This server does not know how its users sign in."),
            advice=say("The server's log names the settings that are missing."),
            status=500,
        )
    if login_url is None:
        return visit.server.pages_for(visit.request).error(
            say("You are not signed in"),
            say("Users of this server sign in elsewhere, and it was not told where."),
            advice=say("Sign in there, then load this page again. The operator can set OAUTH_LOGIN_URL."),
            status=403,
        )
    now = int(visit.server.clock())
    # The way back is a path on this host, never a URL that a parameter could turn elsewhere.
    mount = visit.addresses.path
    kept = [pair for pair in query.split("&") if pair and pair.partition("=")[0] != AFTER_LOGIN]
    way_back = f"{mount}{visit.request.path}?{'&'.join([*kept, f'{AFTER_LOGIN}={now}'])}"
    where = add_query(mount + login_url if login_url.startswith("/") else login_url, [("next", way_back)])
    if visit.user is None and _was_there(visit.request, now):
        return _not_seen(visit, where)
    return redirect(where, 302)


def _was_there(request: Request, now: int) -> bool:
    """Whether the browser has just been sent to the application's login page, and is back."""
    sent = request.args.get(AFTER_LOGIN, "")
    return re.fullmatch("[0-9]{1,12}", sent) is not None and abs(now - int(sent)) <= _ROUND_SECONDS


def _not_seen(visit: Visit, login_url: str) -> Response:
    """Most likely the user loader looks for the user elsewhere than the login page puts them."""
    server = visit.server
    fields = {"login_url": server.settings.login_url, "reason": _NOT_WHERE_IT_LOOKS}
    server.events.emit_sparingly("login_not_seen", fields, "", 60)
    return server.pages_for(visit.request).error(
        say("You are not signed in"),
        say("You are back from the page where users sign in, and this server still does not know you."),
        advice=say("Sign in there. If you have done so, tell the operator: the server's log has the reason."),
        link=(login_url, say("Sign in")),
        status=403,
    )
