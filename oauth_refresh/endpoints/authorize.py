"""GET /oauth/authorize: may this client act for this user? And POST: the user's decision.

A request is one URL from beginning to end: nothing of it is kept on the server until the user allows it,
so that loading the page twice, in two tabs or by a prefetch, does nothing.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

from werkzeug.wrappers import Request, Response

from ..addresses import Addresses
from ..authorization import Target, Wanted, read_target, read_wanted
from ..clients import Client
from ..errors import AccessDenied, ConsentRequired, InvalidClient, LoginRequired, OAuthError
from ..login import Browser
from ..pages import ConsentView
from ..parameters import Parameters, read_form, read_query
from ..redirects import add_query, display_host, form_action_source, is_loopback_redirect
from ..responses import error_members, error_response
from ..server import Server, User

DECISION_SECONDS = 600
"""How long a consent page can be answered."""


def authorize(server: Server, request: Request, addresses: Addresses) -> Response:
    if request.method == "POST":
        return _decide(server, request, addresses)
    query = read_query(request.query_string)
    try:
        target = read_target(query, server.clients.get)
    except OAuthError as error:
        return _stay_here(server, request, error)
    browser = server.cookies(addresses).read(request)
    user = server.user(request.environ, browser)
    prompts = (query.get("prompt") or "").split(" ")
    try:
        wanted = _wanted(server, query, target, addresses)
    except OAuthError as error:
        if user is None and not target.client.configured:
            return _sign_in_first(server, request, addresses, browser, target)
        return _back(server, addresses, target, error, user)
    if user is None or "login" in prompts:
        if "none" in prompts:
            return _back(server, addresses, target, LoginRequired("nobody is signed in"), user)
        return _sign_in_first(server, request, addresses, browser, target)
    if _approved_before(target.client, target.redirect_uri):
        return _allow(server, addresses, target, wanted, user.subject, secrets.token_bytes(32))
    if "none" in prompts:
        return _back(server, addresses, target, ConsentRequired("the user has to be asked"), user)
    return _ask_user(server, request, addresses, browser, user, target, wanted)


def _wanted(server: Server, query: Parameters, target: Target, addresses: Addresses) -> Wanted:
    return read_wanted(
        query,
        target.client,
        known_scopes=server.settings.known_scopes,
        default_scopes=server.default_scopes,
        known_resources=server.resources(addresses),
    )


def _approved_before(client: Client, redirect_uri: str) -> bool:
    """Whether the operator vouches for this client, and it can prove to be it: by a secret or its https URL."""
    return client.trusted and (not client.public or redirect_uri.startswith("https://"))


# --- pages ----------------------------------------------------------------------------------------


def _stay_here(server: Server, request: Request, error: OAuthError) -> Response:
    """A mistake in client or redirect URI: a page, or JSON for a client that fetches the URL by itself."""
    accept = request.accept_mimetypes
    if accept["application/json"] > accept["text/html"]:
        answer = error_response(error)
        answer.status_code = 400
        return answer
    advice = "Go back to the application and connect it again."
    if isinstance(error, InvalidClient):
        advice = "Remove the connection in the application and add it again: it then registers anew."
    return server.pages.error(
        "This application cannot be connected", error.description, advice=advice, status=400
    )


def _sign_in_first(
    server: Server, request: Request, addresses: Addresses, browser: Browser, target: Target
) -> Response:
    # The login that `prompt=login` asks for is the one that follows now.
    query = _without_prompt_login(request.query_string)
    if not server.has_login_page:
        return _to_login_of_application(server, request, query)
    cookies = server.cookies(addresses)
    response = server.pages.login(
        addresses.base + server.settings.prefix + "/login",
        {"continue": cookies.seal(browser, "login", {"query": query})},
        client_name=target.client.name,
        form_target=form_action_source(target.redirect_uri),
    )
    cookies.remember(response, browser)
    return response


def _to_login_of_application(server: Server, request: Request, query: str) -> Response:
    login_url = server.settings.login_url
    if login_url is None:
        return server.pages.error(
            "Nobody can sign in here yet",
            "This server does not know how its users sign in.",
            advice="The operator sets OAUTH_LOGIN_URL, OAUTH_USERS_FILE or OAUTH_PASSWORD_CHECK.",
            status=500,
        )
    # The way back is a path on this host, never a URL that a parameter could turn elsewhere.
    back = f"{request.environ.get('SCRIPT_NAME', '')}{request.path}?{query}"
    return redirect(add_query(_from_mount(request, login_url), [("next", back)]), 302)


def _from_mount(request: Request, url: str) -> str:
    return request.environ.get("SCRIPT_NAME", "") + url if url.startswith("/") else url


def _without_prompt_login(query: bytes) -> str:
    pairs = parse_qsl(query.decode("ascii", "replace"), keep_blank_values=True)
    kept = [
        (name, " ".join(word for word in value.split(" ") if word != "login") if name == "prompt" else value)
        for name, value in pairs
    ]
    return urlencode([(name, value) for name, value in kept if name != "prompt" or value])


def _ask_user(
    server: Server,
    request: Request,
    addresses: Addresses,
    browser: Browser,
    user: User,
    target: Target,
    wanted: Wanted,
) -> Response:
    cookies = server.cookies(addresses)
    pending = {
        "client_id": target.client.client_id,
        "redirect_uri": target.redirect_uri,
        "state": target.state,
        "scopes": wanted.scopes,
        "resources": wanted.resources,
        "challenge": wanted.challenge,
        "subject": user.subject,
        "nonce": secrets.token_hex(32),
    }
    endpoints = addresses.base + server.settings.prefix
    again = {
        "continue": cookies.seal(
            browser, "logout", {"query": request.query_string.decode("ascii", "replace")}
        )
    }
    built_in = server.has_login_page and browser.subject == user.subject
    response = server.pages.consent(
        _view(server, user, target, wanted),
        endpoints + "/authorize",
        {"request": cookies.seal(browser, "consent", pending)},
        switch_action=endpoints + "/logout" if built_in else None,
        switch_hidden=again if built_in else None,
        form_target=form_action_source(target.redirect_uri),
    )
    cookies.remember(response, browser)
    return response


def _view(server: Server, user: User, target: Target, wanted: Wanted) -> ConsentView:
    redirect_uri = target.redirect_uri
    web = redirect_uri.startswith(("http://", "https://"))
    described = server.settings.scopes
    return ConsentView(
        client_name=target.client.name,
        account=user.subject,
        redirect_display=display_host(redirect_uri),
        redirect_kind="loopback" if is_loopback_redirect(redirect_uri) else "web" if web else "private",
        verified=target.client.configured,
        scopes=[(scope, described.get(scope) or scope) for scope in wanted.scopes],
        resources=wanted.resources,
    )


# --- the decision ---------------------------------------------------------------------------------


def _decide(server: Server, request: Request, addresses: Addresses) -> Response:
    form = read_form(request)
    form.require_single(("request", "decision"))
    cookies = server.cookies(addresses)
    browser = cookies.read(request)
    pending = cookies.unseal(browser, "consent", form.get("request"), DECISION_SECONDS)
    user = server.user(request.environ, browser)
    if pending is None or user is None or user.subject != pending["subject"]:
        return server.pages.error(
            "This page is out of date",
            "It was made for another login, or too long ago.",
            advice="Go back to the application and connect it again.",
            status=403,
        )
    client = server.clients.get(pending["client_id"])
    if client is None:
        return _stay_here(
            server, request, InvalidClient("client_id: this client is no longer registered here")
        )
    target = Target(client, pending["redirect_uri"], pending["state"])
    if form.get("decision") != "allow":
        return _back(server, addresses, target, AccessDenied("the user did not allow it"), user)
    wanted = Wanted(tuple(pending["scopes"]), tuple(pending["resources"]), pending["challenge"])
    return _allow(server, addresses, target, wanted, user.subject, bytes.fromhex(pending["nonce"]))


def _allow(
    server: Server, addresses: Addresses, target: Target, wanted: Wanted, subject: str, nonce: bytes
) -> Response:
    """Issue the code. Grant and code follow from the nonce of the page, so a form sent twice gets one code."""
    code = server.registry.authorize(
        grant_id=_from_nonce(server, b"grant", nonce)[:16],
        secret=_from_nonce(server, b"code", nonce),
        client_id=target.client.client_id,
        subject=subject,
        scopes=wanted.scopes,
        resources=wanted.resources,
        challenge=wanted.challenge,
        redirect_uri=target.redirect_uri,
    )
    return _answer(addresses, target, {"code": code})


def _from_nonce(server: Server, label: bytes, nonce: bytes) -> bytes:
    return hmac.digest(server.secrets.keys[0], b"oauth_refresh/1 consent " + label + b"\0" + nonce, "sha256")


# --- back to the client ---------------------------------------------------------------------------


def _answer(addresses: Addresses, target: Target, members: Mapping[str, str]) -> Response:
    return redirect(_answer_url(addresses, target, members), 303)


def _answer_url(addresses: Addresses, target: Target, members: Mapping[str, str]) -> str:
    state = [] if target.state is None else [("state", target.state)]
    return add_query(target.redirect_uri, [*members.items(), *state, ("iss", addresses.issuer)])


def _back(
    server: Server, addresses: Addresses, target: Target, error: OAuthError, user: User | None
) -> Response:
    """Tell the client by redirect. A browser in which nobody is signed in is not sent to a stranger's site.

    Anyone can register a client, so such a link would make this server a way to any page (RFC 9700
    section 4.11.2): the user then sees where it leads, and goes there by hand.
    """
    if user is not None or target.client.configured:
        return _answer(addresses, target, error_members(error))
    return server.pages.return_to_client(
        _answer_url(addresses, target, error_members(error)),
        display_host(target.redirect_uri),
        title="You are not signed in",
        message="The application asked to go on without a login page.",
        client_name=target.client.name,
        status=400,
    )


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
