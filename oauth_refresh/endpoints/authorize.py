"""GET /oauth/authorize: may this client act for this user? And POST: the user's decision.

A request is one URL from beginning to end: nothing of it is kept on the server until the user allows it,
so that loading the page twice, in two tabs or by a prefetch, does nothing.
"""

from __future__ import annotations

import hmac
import secrets
from functools import partial
from itertools import islice
from urllib.parse import quote, unquote_plus

from werkzeug.wrappers import Request, Response

from ..addresses import Addresses
from ..authorization import Target, Wanted, read_target, read_wanted
from ..errors import (
    AccessDenied,
    ConsentRequired,
    DocumentRefused,
    DocumentUnavailable,
    InvalidClient,
    InvalidRequest,
    LoginRequired,
    OAuthError,
    RegistryError,
)
from ..pages import ConsentView
from ..parameters import Parameters, read_form, read_query
from ..records import is_live
from ..redirects import display_host, find_redirect, form_action_source, is_loopback_redirect
from ..responses import error_response, prefers_json
from ..scopes import TOLERATED, join, parse_scope
from ..server import Server, User
from ..wording import say
from .returns import answer, back, fault, query_of
from .visits import Visit, to_login_of_application, visit_of

DECISION_SECONDS = 600
"""How long a consent page can be answered."""

GRANTS_LOOKED_AT_MAX = 100
"""Of one user, in search of one that remembers the leave. Beyond that the user is asked."""


def authorize(server: Server, request: Request, addresses: Addresses) -> Response:
    server.housekeeping.look_after()
    if request.method == "POST":
        return _decide(server, request, addresses)
    query = read_query(request.query_string)
    try:
        target = read_target(query, server.clients.asking)
    except OAuthError as error:
        return _stay_here(server, request, error)
    visit = visit_of(server, request, addresses)
    prompts = (query.get("prompt") or "").split(" ")
    try:
        wanted = _wanted(server, query, target, addresses)
    except OAuthError as error:
        if visit.user is None and not target.client.configured and "none" not in prompts:
            return _sign_in_first(visit, target)
        return back(server, request, addresses, target, error, visit.user)
    if visit.user is None or ("login" in prompts and _can_ask_to_sign_in(server)):
        if "none" in prompts:
            return back(server, request, addresses, target, LoginRequired("nobody is signed in"), visit.user)
        return _sign_in_first(visit, target)
    try:
        return _ask(visit, visit.user, target, wanted, prompts)
    except (OAuthError, RegistryError):
        raise
    except Exception:
        return back(server, request, addresses, target, _fault(request), visit.user)


def _fault(request: Request) -> OAuthError:
    """Something is wrong here. The client hears it by redirect, for the browser would not tell it."""
    return OAuthError(f"error {fault(request.method, request.path)}")


def _wanted(server: Server, query: Parameters, target: Target, addresses: Addresses) -> Wanted:
    wanted = read_wanted(
        query,
        target.client,
        known_scopes=server.scopes_for(target.client),
        default_scopes=partial(server.default_scopes_for, addresses),
        known_resources=server.resources(addresses),
    )
    left_out = set(parse_scope(query.get("scope") or "")) - TOLERATED - set(wanted.scopes)
    if left_out:
        client_id = target.client.client_id
        fields = {"client": client_id, "scopes": join(left_out), "asked_for": join(wanted.scopes)}
        server.events.emit_sparingly("scopes_left_out", fields, client_id, 60)
    return wanted


def _ask(visit: Visit, user: User, target: Target, wanted: Wanted, prompts: list[str]) -> Response:
    asked_for = "consent" in prompts or not _is_meant(visit.request)
    if not asked_for and (_vouched_for(target) or _allowed_before(visit.server, user, target, wanted)):
        return _allow(visit, target, wanted, user.subject, secrets.token_bytes(32))
    if "none" in prompts:
        error = ConsentRequired("the user has to be asked")
        return back(visit.server, visit.request, visit.addresses, target, error, user)
    return _consent_page(visit, user, target, wanted)


def _vouched_for(target: Target) -> bool:
    """Whether the operator vouches for this client, and it can prove itself."""
    return target.client.trusted and _proves_itself(target)


def _proves_itself(target: Target) -> bool:
    """By a secret, or by the https URL that only it can answer at (RFC 8252 section 8.6)."""
    return not target.client.public or target.redirect_uri.startswith("https://")


def _allowed_before(server: Server, user: User, target: Target, wanted: Wanted) -> bool:
    """Whether this user's leave is remembered: it lives in the grants themselves, and ends with them.

    So there is no record of it that a revocation could forget. What a metadata document says may have changed
    since the user read it: its clients are asked for each time.
    """
    period, client = server.settings.remember_consent, target.client
    if period is None or not _proves_itself(target) or "://" in client.client_id:
        return False
    now = server.clock()
    since = now - period
    grants = server.registry.list(subject=user.subject, client_id=client.client_id)
    return any(
        is_live(grant, now)
        and grant.created_at > since
        and grant.code is not None
        and grant.code.redeemed
        and grant.code.redirect_uri == target.redirect_uri
        and set(wanted.scopes) <= set(grant.scopes)
        and set(wanted.resources) <= set(grant.resources)
        for grant in islice(grants, GRANTS_LOOKED_AT_MAX)
    )


def _is_meant(request: Request) -> bool:
    """Whether somebody means this request, and no browser guesses that it will be needed."""
    purposes = (request.headers.get(name, "") for name in ("Sec-Purpose", "Purpose", "X-Moz"))
    return request.method == "GET" and not any("prefetch" in purpose.lower() for purpose in purposes)


# --- pages ----------------------------------------------------------------------------------------


def _stay_here(server: Server, request: Request, error: OAuthError) -> Response:
    """A mistake in client or redirect URI: a page, or JSON for a client that fetches the URL by itself."""
    if prefers_json(request):
        told = error_response(error)
        told.status_code = 400
        return told
    message = say("The application's request has a mistake.")
    advice = say("Go back to the application and connect it again.")
    if isinstance(error, (DocumentRefused, DocumentUnavailable)):
        message = say("The application's description of itself could not be read.")
        advice = say("Try again later. If it happens again, tell the makers of the application.")
    elif isinstance(error, InvalidClient):
        message = say("The application is not known here, or not any more.")
        advice = say("Remove the connection in the application and add it again: it then registers anew.")
    return server.pages_for(request).error(
        say("This application cannot be connected"),
        message,
        advice=advice,
        detail=error.description,
        status=400,
    )


def _can_ask_to_sign_in(server: Server) -> bool:
    return server.has_login_page or server.settings.login_url is not None


def _sign_in_first(visit: Visit, target: Target) -> Response:
    server, browser = visit.server, visit.browser
    # The login that `prompt=login` asks for is the one that follows now.
    query = _without_prompt_login(query_of(visit.request))
    if not server.has_login_page:
        return to_login_of_application(visit, query)
    cookies = server.cookies(visit.addresses)
    response = server.pages_for(visit.request).login(
        f"{visit.endpoints}/login?{query}",
        {"continue": cookies.seal(browser, "login", {"query": query})},
        client_name=target.client.name,
        form_target=form_action_source(target.redirect_uri),
    )
    cookies.remember(response, browser)
    return response


def _without_prompt_login(query: str) -> str:
    """The query as it was written, but for `login` among the words of `prompt`."""
    kept = []
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if unquote_plus(name) != "prompt":
            kept.append(pair)
        elif words := " ".join(word for word in unquote_plus(value).split(" ") if word != "login"):
            kept.append(f"prompt={quote(words)}")
    return "&".join(kept)


def _consent_page(visit: Visit, user: User, target: Target, wanted: Wanted) -> Response:
    server, browser = visit.server, visit.browser
    cookies = server.cookies(visit.addresses)
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
    query = query_of(visit.request)
    built_in = server.has_login_page and browser.subject == user.subject
    response = server.pages_for(visit.request).consent(
        _view(server, user, target, wanted),
        visit.endpoints + "/authorize",
        {"request": cookies.seal(browser, "consent", pending)},
        switch_action=visit.endpoints + "/logout" if built_in else None,
        switch_hidden={"continue": cookies.seal(browser, "logout", {"query": query})} if built_in else None,
        form_target=form_action_source(target.redirect_uri),
    )
    cookies.remember(response, browser)
    return response


def _view(server: Server, user: User, target: Target, wanted: Wanted) -> ConsentView:
    redirect_uri = target.redirect_uri
    web = redirect_uri.lower().startswith(("http://", "https://"))
    described = server.settings.scopes
    return ConsentView(
        client_name=target.client.name,
        account=user.subject,
        redirect_display=display_host(redirect_uri),
        redirect_kind="loopback" if is_loopback_redirect(redirect_uri) else "web" if web else "private",
        verified=target.client.configured,
        scopes=[(scope, described.get(scope) or scope) for scope in wanted.scopes],
        resources=wanted.resources,
        client_host=server.documents.host(target.client.client_id),
    )


# --- the decision ---------------------------------------------------------------------------------


def _decide(server: Server, request: Request, addresses: Addresses) -> Response:
    form = read_form(request.environ)
    form.require_single(("request", "decision"))
    visit = visit_of(server, request, addresses)
    pending = server.cookies(addresses).unseal(
        visit.browser, "consent", form.get("request"), DECISION_SECONDS
    )
    if pending is None or visit.user is None or visit.user.subject != pending["subject"]:
        return server.pages_for(request).error(
            say("This page is out of date"),
            say("It was made for another login, or too long ago."),
            advice=say("Go back to the application and connect it again."),
            status=403,
        )
    client = server.clients.get(pending["client_id"])
    # A metadata document may have changed since the page was shown.
    if client is None or find_redirect(client.redirect_uris, pending["redirect_uri"]) is None:
        gone = InvalidClient("client_id: this client is no longer registered here, or not as it was")
        return _stay_here(server, request, gone)
    target = Target(client, pending["redirect_uri"], pending["state"])
    nonce = bytes.fromhex(pending["nonce"])
    wanted = Wanted(tuple(pending["scopes"]), tuple(pending["resources"]), pending["challenge"])
    try:
        if form.get("decision") == "allow":
            return _allow(visit, target, wanted, visit.user.subject, nonce)
        return _deny(visit, target, visit.user, nonce)
    except (OAuthError, RegistryError):
        raise
    except Exception:
        return back(server, request, addresses, target, _fault(request), visit.user)


def _allow(visit: Visit, target: Target, wanted: Wanted, subject: str, nonce: bytes) -> Response:
    """Issue the code. Grant and code follow from the nonce, so that a form sent twice gets one code."""
    server, grant_id = visit.server, _grant_id(visit.server, nonce)
    if server.settings.unique_challenges and wanted.challenge:
        client_id = target.client.client_id
        if not server.challenges.claim(client_id, wanted.challenge, grant_id):
            reused = InvalidRequest("code_challenge: was used before, a new one is needed each time")
            return back(server, visit.request, visit.addresses, target, reused, User(subject))
    code = server.registry.authorize(
        grant_id=grant_id,
        secret=_from_nonce(server, b"code", nonce),
        client_id=target.client.client_id,
        subject=subject,
        scopes=wanted.scopes,
        resources=wanted.resources,
        challenge=wanted.challenge,
        redirect_uri=target.redirect_uri,
    )
    return answer(visit.addresses, target, {"code": code})


def _deny(visit: Visit, target: Target, user: User, nonce: bytes) -> Response:
    # Whoever has allowed it by the same page before has thought better of it.
    visit.server.registry.revoke(_grant_id(visit.server, nonce))
    error = AccessDenied("the user did not allow it")
    return back(visit.server, visit.request, visit.addresses, target, error, user)


def _grant_id(server: Server, nonce: bytes) -> bytes:
    return _from_nonce(server, b"grant", nonce)[:16]


def _from_nonce(server: Server, label: bytes, nonce: bytes) -> bytes:
    return hmac.digest(server.secrets.keys[0], b"oauth_refresh/1 consent " + label + b"\0" + nonce, "sha256")
