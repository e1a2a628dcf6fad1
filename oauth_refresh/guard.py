"""The protected resource: a token goes in, an identity or a challenge comes out (RFC 6750, RFC 9728).

This is the path of every request to the API behind: plain environ reads, one lookup, no request object.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from . import cors
from .addresses import NOT_CONFIGURED, AddressBook, Addresses
from .cases import Refuse
from .errors import RegistryError
from .events import log
from .identity import Identity
from .paths import Requirement
from .registry import TokenRegistry
from .resources import covers

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

TOKEN_KEY = "oauth_refresh.token"

_GATES_MAX = 1024
_LOOPBACK_HOSTS = ("http://localhost", "http://127.0.0.1", "http://[::1]")
_LOOPBACK = re.compile(r"(http://(?:localhost|127\.0\.0\.1|\[::1\]))((?::\d+)?(?:/.*)?)")

_INVALID = "the access token is expired, revoked or unknown"
_OTHER_RESOURCE = "the access token was issued for another resource"


class _Gate:
    """What one requirement means at one public address, worked out once."""

    def __init__(self, addresses: Addresses, requirement: Requirement) -> None:
        self.scopes = requirement.scopes
        resources = [addresses.resource(prefix) for prefix in requirement.prefixes]
        self.audiences = frozenset([*resources, addresses.base])
        self.base = addresses.base
        prefix = requirement.prefixes[0] if requirement.prefixes else ""
        self.metadata = f'resource_metadata="{addresses.resource_metadata(prefix)}"'
        # Without credentials there is no error to name: the client learns where to go, and what to ask for.
        self.scope = f', scope="{" ".join(self.scopes)}"' if self.scopes else ""
        self.challenge = f'Bearer realm="oauth", {self.metadata}{self.scope}'


class Refusal(NamedTuple):
    """What is sent instead of the application's answer."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Guard:
    """Checks the bearer token of a request to a protected path."""

    def __init__(
        self,
        registry: TokenRegistry,
        addresses: AddressBook,
        *,
        set_remote_user: bool = True,
        cors_origins: tuple[str, ...] = ("*",),
    ) -> None:
        self._registry = registry
        self._addresses = addresses
        self._set_remote_user = set_remote_user
        self._origins = cors_origins
        self._gates: dict[tuple[Addresses, Requirement], _Gate] = {}

    def admit(self, environ: WSGIEnvironment, requirement: Requirement) -> Refusal | None:
        """Let the request in (None) with its identity in the environ, or say what to send instead.

        That is 401 or 403 with a challenge, 400 for two credentials, or 503 if the registry cannot answer.
        """
        addresses = self._addresses.of(environ)
        if addresses is None:
            return self._refusal(environ, 500, "server_error", NOT_CONFIGURED)
        gate = self._gates.get((addresses, requirement)) or self._gate(addresses, requirement)
        credentials = environ.get("HTTP_AUTHORIZATION", "")
        if credentials[:6].lower() != "bearer" or credentials[6:7] not in ("", " "):
            return self._challenge(environ, gate.challenge, "unauthorized", "a bearer access token is needed")
        token = credentials[7:].strip(" ")
        if "," in token:
            # WSGI joins repeated headers with commas, which no token contains.
            return self._told(environ, gate, 400, "invalid_request", "more than one credential", gate.scope)
        try:
            identity = self._registry.check(token)
        except RegistryError as error:
            return self._unavailable(environ, error)
        if isinstance(identity, Refuse):
            return self._told(environ, gate, 401, "invalid_token", _INVALID, gate.scope)
        # A token without an audience is good for the whole server: the application minted it itself.
        if identity.audience and gate.audiences.isdisjoint(identity.audience):
            text = _wrong_host(identity, gate) or _OTHER_RESOURCE
            return self._told(environ, gate, 401, "invalid_token", text, gate.scope)
        for scope in gate.scopes:
            if scope not in identity.scopes:
                return self._step_up(environ, gate, identity)
        self._introduce(environ, identity)
        return None

    def missing_scope(
        self, environ: WSGIEnvironment, requirement: Requirement, identity: Identity
    ) -> Refusal | None:
        """What to send to a request that was let in before, if this requirement asks for more scopes."""
        if set(requirement.scopes) <= set(identity.scopes):
            return None
        addresses = self._addresses.of(environ)
        if addresses is None:
            return self._refusal(environ, 500, "server_error", NOT_CONFIGURED)
        return self._step_up(environ, self._gate(addresses, requirement), identity)

    def _gate(self, addresses: Addresses, requirement: Requirement) -> _Gate:
        gate = _Gate(addresses, requirement)
        if len(self._gates) < _GATES_MAX:
            self._gates[addresses, requirement] = gate
        return gate

    def _introduce(self, environ: WSGIEnvironment, identity: Identity) -> None:
        environ[TOKEN_KEY] = identity
        # The token stops here: the application cannot hand on what it does not have.
        del environ["HTTP_AUTHORIZATION"]
        forget_user(environ)
        if self._set_remote_user and identity.subject:
            subject = identity.subject
            environ["REMOTE_USER"] = subject if subject.isascii() else subject.encode().decode("latin-1")
            environ["AUTH_TYPE"] = "Bearer"

    def _step_up(self, environ: WSGIEnvironment, gate: _Gate, identity: Identity) -> Refusal:
        """403 with the scopes to ask for: those needed, and those held, which older clients would lose."""
        scope = f', scope="{" ".join(sorted({*gate.scopes, *identity.scopes}))}"'
        return self._told(environ, gate, 403, "insufficient_scope", "the access token lacks a scope", scope)

    def _told(
        self, environ: WSGIEnvironment, gate: _Gate, status: int, error: str, text: str, scope: str
    ) -> Refusal:
        told = f'error="{error}", error_description="{text}"'
        challenge = f'Bearer realm="oauth", {told}, {gate.metadata}{scope}'
        return self._challenge(environ, challenge, error, text, status)

    def _challenge(
        self, environ: WSGIEnvironment, challenge: str, error: str, text: str, status: int = 401
    ) -> Refusal:
        return self._refusal(environ, status, error, text, ("WWW-Authenticate", challenge))

    def _unavailable(self, environ: WSGIEnvironment, error: RegistryError) -> Refusal:
        log.error("the registry cannot answer: %s", error)
        text = "the token cannot be checked now, try again"
        retry = ("Retry-After", str(error.retry_after))
        return self._refusal(environ, 503, "temporarily_unavailable", text, retry)

    def _refusal(
        self, environ: WSGIEnvironment, status: int, error: str, text: str, *headers: tuple[str, str]
    ) -> Refusal:
        body = msgspec.json.encode({"error": error, "error_description": text})
        sent = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            *headers,
            *cors.actual(environ, self._origins),
        ]
        return Refusal(status, sent, body)


def forget_user(environ: WSGIEnvironment) -> None:
    """Take out what the server in front says of the user: on a protected path only the token says."""
    environ.pop("REMOTE_USER", None)
    environ.pop("AUTH_TYPE", None)


def send(refusal: Refusal, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """Answer a WSGI request with a refusal."""
    start_response(f"{refusal.status} {HTTPStatus(refusal.status).phrase}", refusal.headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [refusal.body]


def _wrong_host(identity: Identity, gate: _Gate) -> str | None:
    """What to tell a developer whose token is good, but for another spelling of this loopback host."""
    here = _LOOPBACK.fullmatch(gate.base)
    if here is None:
        return None
    for host in _LOOPBACK_HOSTS:
        other = host + here[2]
        if host != here[1] and any(covers(other, audience) for audience in identity.audience):
            return f"the access token was issued for {other}, use that address instead of {gate.base}"
    return None
