"""What makes an authorization request acceptable (RFC 6749 section 4.1.1, RFC 7636, RFC 8707).

First the client and where to send the browser: before both are known to be right, nothing is sent
anywhere. Then everything else, whose mistakes the client hears by redirect.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from . import pkce, resources, scopes
from .clients import Client
from .errors import (
    InvalidClient,
    InvalidRequest,
    RequestNotSupported,
    RequestUriNotSupported,
    UnauthorizedClient,
    UnsupportedResponseType,
)
from .parameters import Parameters, printable
from .redirects import find_redirect

STATE_MAX = 8192

KNOWN = (
    "response_type",
    "client_id",
    "redirect_uri",
    "scope",
    "state",
    "code_challenge",
    "code_challenge_method",
    "response_mode",
    "prompt",
    "request",
    "request_uri",
)


class Target(NamedTuple):
    """Where the browser may be sent with the answer: client and redirect URI are known to be right."""

    client: Client
    redirect_uri: str
    state: str | None


class Wanted(NamedTuple):
    """What the client asks the user for."""

    scopes: tuple[str, ...]
    resources: tuple[str, ...]
    challenge: str


def read_target(query: Parameters, find_client: Callable[[str], Client | None]) -> Target:
    """The client and the redirect URI. What is wrong here is told to the user alone, never by redirect.

    Raises `InvalidClient` for an unknown client, `InvalidRequest` for anything else.
    """
    query.require_single(("client_id", "redirect_uri"))
    client_id = query.get("client_id")
    if client_id is None:
        raise InvalidRequest("client_id: missing")
    client = find_client(client_id) if printable(client_id) else None
    if client is None:
        raise InvalidClient("client_id: this client is not registered here, or no longer")
    requested = query.get("redirect_uri")
    redirect_uri = find_redirect(client.redirect_uris, requested)
    if redirect_uri is None:
        if requested is None:
            raise InvalidRequest("redirect_uri: missing, and the client has not registered exactly one")
        raise InvalidRequest("redirect_uri: not one of those that the client registered")
    return Target(client, redirect_uri, _state(query))


def _state(query: Parameters) -> str | None:
    """The value to echo. Of several, or of one that cannot be echoed truthfully, none."""
    state = query.get("state")
    if state is None or query.repeated("state") or not printable(state) or len(state) > STATE_MAX:
        return None
    return state


def read_wanted(
    query: Parameters,
    client: Client,
    *,
    known_scopes: Collection[str],
    default_scopes: Callable[[tuple[str, ...]], Collection[str]],
    known_resources: Sequence[str],
) -> Wanted:
    """What is asked for; `default_scopes` says, given the resources, what that is where no scope is named.

    Raises the `OAuthError` that the client is to read in its redirect.
    """
    query.require_single(KNOWN)
    state = query.get("state")
    if state is not None and (not printable(state) or len(state) > STATE_MAX):
        raise InvalidRequest(f"state: at most {STATE_MAX} printable ASCII characters are allowed")
    _judge_response_type(query)
    if not client.may("authorization_code"):
        raise UnauthorizedClient("this client is not registered for authorization_code")
    challenge = query.get("code_challenge")
    defect = pkce.check_challenge(challenge, query.get("code_challenge_method"))
    if challenge is None or defect is not None:
        raise InvalidRequest(defect or "code_challenge is required")
    text = query.get("scope")
    requested = None if text is None else scopes.parse_scope(text)
    audience = resources.select(query.all("resource"), known_resources)
    granted = scopes.grantable(requested, known_scopes, default_scopes(audience), client.scopes)
    return Wanted(granted, audience, challenge)


def _judge_response_type(query: Parameters) -> None:
    if query.get("request") is not None:
        raise RequestNotSupported("request: not supported")
    if query.get("request_uri") is not None:
        raise RequestUriNotSupported("request_uri: not supported")
    response_type = query.get("response_type")
    if response_type is None:
        raise InvalidRequest("response_type: missing")
    if response_type != "code":
        raise UnsupportedResponseType("response_type: only code is supported")
    if query.get("response_mode") not in (None, "query"):
        raise InvalidRequest("response_mode: only query is supported")
