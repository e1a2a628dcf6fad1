"""How is the browser sent on: to the next page, or back to the client with an answer?"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from werkzeug.wrappers import Request, Response

from ..addresses import Addresses
from ..authorization import Target
from ..errors import OAuthError
from ..redirects import add_query, display_host
from ..responses import error_members
from ..server import Server, User
from ..wording import say

log = logging.getLogger("oauth_refresh")


def answer(addresses: Addresses, target: Target, members: Mapping[str, str]) -> Response:
    """Send the browser to the client's redirect URI, with these members, the `state` and the `iss`."""
    return redirect(_answer_url(addresses, target, members), 303)


def _answer_url(addresses: Addresses, target: Target, members: Mapping[str, str]) -> str:
    state = [] if target.state is None else [("state", target.state)]
    return add_query(target.redirect_uri, [*members.items(), *state, ("iss", addresses.issuer)])


def back(
    server: Server,
    request: Request,
    addresses: Addresses,
    target: Target,
    error: OAuthError,
    user: User | None,
) -> Response:
    """Tell the client by redirect. A browser in which nobody is signed in is not sent to a stranger's site.

    Anyone can register a client, so such a link would make this server a way to any page (RFC 9700
    section 4.11.2): the user then sees where it leads, and goes there by hand.
    """
    if user is not None or target.client.configured:
        return answer(addresses, target, error_members(error))
    return server.pages_for(request).return_to_client(
        _answer_url(addresses, target, error_members(error)),
        display_host(target.redirect_uri),
        title=say("You are not signed in"),
        message=say("The application asked to go on without a login page."),
        client_name=target.client.name,
        status=400,
    )


def fault(method: str, path: str) -> str:
    """Log the exception that is being handled; the number under which the operator finds it."""
    number = uuid.uuid4().hex[:12]
    # A path is the client's own text and may hold line breaks.
    log.exception("error %s at %s %r", number, method, path)
    return number


def query_of(request: Request) -> str:
    """The query as it was written, fit for a `Location`."""
    return quote(request.query_string.decode("ascii", "replace"), safe="%!$&'()*+,;=:@/?-._~")


def redirect(location: str, status: int) -> Response:
    """A redirect without a body to render, that no cache keeps and no next page hears of."""
    headers: dict[str, Any] = {
        "Location": location,
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    response = Response(status=status, headers=headers)
    # Werkzeug would spell the URL anew; a client compares it byte for byte.
    response.autocorrect_location_header = False
    return response
