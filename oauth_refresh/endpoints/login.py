"""/oauth/login and /oauth/logout: the built-in login, for servers whose application has none of its own."""

from __future__ import annotations

from werkzeug.wrappers import Request, Response

from ..addresses import Addresses
from ..authorization import Target, read_target
from ..errors import InvalidRequest, OAuthError
from ..login import Browser
from ..pages import wait_text
from ..parameters import Parameters, read_form, read_query
from ..redirects import form_action_source
from ..server import Server
from ..wording import Words, say
from .returns import query_of, redirect
from .visits import page_after_login

LOGIN_PAGE_SECONDS = 3600
PASSWORD_MAX = 1024
USERNAME_MAX = 255

_WRONG = say("That user name and password do not fit together.")
_OUTDATED = say("This page was out of date. Please sign in again.")


def login(server: Server, request: Request, addresses: Addresses) -> Response:
    if not server.has_login_page:
        return server.pages_for(request).error(
            say("No login here"), say("Users of this server sign in elsewhere."), status=404
        )
    if request.method == "POST":
        return _sign_in(server, request, addresses)
    cookies = server.cookies(addresses)
    browser = cookies.read(request)
    if browser.subject is not None:
        hidden = {"continue": cookies.seal(browser, "logout", {"query": None})}
        response = server.pages_for(request).account(
            browser.subject,
            _url(server, addresses, "/logout"),
            hidden,
            grants_url=_url(server, addresses, "/grants"),
        )
    else:
        response = _form(server, request, addresses, browser, None)
    cookies.remember(response, browser)
    return response


def _form(
    server: Server,
    request: Request,
    addresses: Addresses,
    browser: Browser,
    query: str | None,
    *,
    error: Words = "",
    username: str = "",
    status: int = 200,
) -> Response:
    target = None if query is None else _target_of(server, query)
    return server.pages_for(request).login(
        login_url(server, addresses, query),
        {"continue": server.cookies(addresses).seal(browser, "login", {"query": query})},
        error=error,
        username=username,
        client_name="" if target is None else target.client.name,
        form_target=None if target is None else form_action_source(target.redirect_uri),
        status=status,
    )


def login_url(server: Server, addresses: Addresses, query: str | None) -> str:
    """Where the login form is posted to. The authorization request stays in the URL, beside the sealed form.

    When another tab has signed in meanwhile, the seal is void, and what the browser came for is still known.
    """
    return _url(server, addresses, "/login" if query is None else f"/login?{query}")


def _sign_in(server: Server, request: Request, addresses: Addresses) -> Response:
    form = read_form(request.environ)
    form.require_single(("continue", "username", "password"))
    cookies = server.cookies(addresses)
    browser = cookies.read(request)
    pending = cookies.unseal(browser, "login", form.get("continue"), LOGIN_PAGE_SECONDS)
    if pending is None:
        return _go_on(server, request, addresses, browser)
    query = pending["query"]
    username, password = _credentials(form)
    wait = _reserve(server, request, username)
    if wait:
        response = _form(
            server, request, addresses, browser, query, error=wait_text(wait), username=username, status=429
        )
        response.headers["Retry-After"] = str(wait)
        return response
    subject = server.check_password(username, password)
    if subject is None:
        # Without the name: now and then somebody types the password into that field.
        server.events.emit("login_failed", {})
        return _form(server, request, addresses, browser, query, error=_WRONG, username=username, status=403)
    _forgive(server, request, username)
    response = redirect(_next(server, addresses, query), 303)
    cookies.sign_in(response, browser, subject, server.proof_of(subject) or b"")
    server.events.emit("login", {"subject": subject})
    return response


def _go_on(server: Server, request: Request, addresses: Addresses, browser: Browser) -> Response:
    """Another tab has signed in or out, or cookies are off: the password is not looked at.

    The query of the URL is not sealed, and need not be: it is only ever shown to our own authorize endpoint.
    """
    text = query_of(request)
    known = text and (page_after_login(text) or _target_of(server, text) is not None)
    query = text if known else None
    if browser.subject is not None or browser.seen_at is None:
        # Without a cookie this may come from another site, to which browsers do not lend it: an answer that
        # sets a new one would sign out whoever is signed in. The next page, asked for by GET, knows better.
        return redirect(_next(server, addresses, query), 303)
    return _form(server, request, addresses, browser, query, error=_OUTDATED, status=403)


def _credentials(form: Parameters) -> tuple[str, str]:
    username, password = form.get("username") or "", form.get("password") or ""
    if len(username) > USERNAME_MAX or len(password) > PASSWORD_MAX:
        raise InvalidRequest(
            f"username, password: at most {USERNAME_MAX} and {PASSWORD_MAX} characters are allowed"
        )
    return username, password


def _reserve(server: Server, request: Request, username: str) -> int:
    """Count this attempt before the password is looked at; the seconds to wait if there were too many."""
    wait = server.attempts.reserve("account", username)
    source = server.counted_source(request.environ)
    if not wait and source is not None:
        wait = server.source_attempts.reserve("address", source)
    if wait:
        server.events.emit("login_locked", {"username": username, "wait": wait})
    return wait


def _forgive(server: Server, request: Request, username: str) -> None:
    server.attempts.clear("account", username)
    source = server.counted_source(request.environ)
    if source is not None:
        server.source_attempts.give_back("address", source)


def logout(server: Server, request: Request, addresses: Addresses) -> Response:
    """Sign out, and go on where the form says: to the login page, if another account is wanted."""
    form = read_form(request.environ)
    form.require_single(("continue",))
    cookies = server.cookies(addresses)
    browser = cookies.read(request)
    pending = cookies.unseal(browser, "logout", form.get("continue"), LOGIN_PAGE_SECONDS)
    if pending is None:
        return server.pages_for(request).error(
            say("This page is out of date"),
            say("Nobody was signed out."),
            advice=say("Load it again."),
            status=403,
        )
    if pending["query"] is None:
        response = server.pages_for(request).signed_out()
    else:
        response = redirect(_next(server, addresses, pending["query"]), 303)
    cookies.sign_out(response, browser)
    return response


def _next(server: Server, addresses: Addresses, query: str | None) -> str:
    """Where a login leads: to a page of ours, or back to the authorization request."""
    return _url(server, addresses, page_after_login(query) or f"/authorize?{query}")


def _url(server: Server, addresses: Addresses, path: str) -> str:
    return addresses.base + server.settings.prefix + path


def _target_of(server: Server, query: str) -> Target | None:
    """Who asks, and where the whole way may end: browsers ask for leave to go there already at this form."""
    try:
        return read_target(read_query(query.encode("ascii", "replace")), server.clients.get)
    except OAuthError:
        return None
