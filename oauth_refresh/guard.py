"""The protected resource: a token goes in, an identity or a challenge comes out (RFC 6750, RFC 9728).

This is the path of every request to the API behind: plain environ reads, one lookup, no request object.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

from . import cors
from .addresses import NOT_CONFIGURED, AddressBook, Addresses, tell_not_configured
from .cases import Refuse
from .errors import RegistryError
from .identity import Identity
from .paths import Requirement, has_one_reading
from .registry import TokenRegistry
from .resources import covers, resource_url
from .tokens import REFRESH, read
from .values import Value

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

TOKEN_KEY = "oauth_refresh.token"

_GATES_MAX = 1024
_GRANT = slice(4, 25)
"""Where the text of an access token spells its grant, but for the last two bits."""
_LOOPBACK_HOSTS = ("http://localhost", "http://127.0.0.1", "http://[::1]")
_LOOPBACK = re.compile(r"(http://(?:localhost|127\.0\.0\.1|\[::1\]))((?::\d+)?(?:/.*)?)")

_NEEDED = "an access token is needed, in the header Authorization: Bearer TOKEN"
_MIXED_UP = "this is a refresh token: it goes to the token endpoint, the access token comes here"
_MALFORMED = "this is no access token of this server (oat_...), or not the whole of one"
_INVALID = "the access token is expired, revoked or unknown"
_OTHER_RESOURCE = "the access token was issued for another resource"
_TELLABLE = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]{1,400}")
"""What may stand in a challenge (RFC 6750 section 3), and is not too much for a header."""


class Refusal(Value, frozen=True, gc=False):
    """What is sent instead of the application's answer."""

    status: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def with_headers(self, more: Sequence[tuple[str, str]]) -> Refusal:
        return self.but(headers=(*self.headers, *more))


class _Gate:
    """What one requirement means at one public address, worked out once."""

    def __init__(
        self, addresses: Addresses, requirement: Requirement, cors_headers: Sequence[tuple[str, str]]
    ) -> None:
        self.scopes = requirement.scopes
        resources = [addresses.resource(prefix) for prefix in requirement.prefixes]
        self.audiences = frozenset([*resources, addresses.base])
        self.base = addresses.base
        prefix = requirement.prefixes[0] if requirement.prefixes else ""
        self.resource = addresses.resource(prefix)
        self.metadata = f'resource_metadata="{addresses.resource_metadata(prefix)}"'
        # Without credentials there is no error to name: the client learns where to go, and what to ask for.
        self.scope = f', scope="{" ".join(self.scopes)}"' if self.scopes else ""
        challenge = f'Bearer realm="oauth", {self.metadata}{self.scope}'
        unauthorized = _refusal(401, "unauthorized", _NEEDED, ("WWW-Authenticate", challenge))
        self.unauthorized = unauthorized.with_headers(cors_headers)
        self.invalid = self.told(401, "invalid_token", _INVALID, self.scope).with_headers(cors_headers)
        self.malformed = self.told(401, "invalid_token", _MALFORMED, self.scope).with_headers(cors_headers)
        self.mixed_up = self.told(401, "invalid_token", _MIXED_UP, self.scope).with_headers(cors_headers)

    def told(self, status: int, error: str, text: str, scope: str) -> Refusal:
        told = f'error="{error}", error_description="{text}"'
        challenge = f'Bearer realm="oauth", {told}, {self.metadata}{scope}'
        return _refusal(status, error, text, ("WWW-Authenticate", challenge))


class Guard:
    """Checks the bearer token of a request to a protected path."""

    def __init__(
        self,
        registry: TokenRegistry,
        addresses: AddressBook,
        *,
        set_remote_user: bool = True,
        cors_origins: tuple[str, ...] = ("*",),
        ask_for_held_scopes: bool = True,
    ) -> None:
        self._events = registry.events
        self._refusals = registry.events.sparing("access_refused", 60)
        self._keeps_back = self._refusals.keeps_back
        self._check = registry.check
        self._addresses = addresses
        self._set_remote_user = set_remote_user
        self._origins = cors_origins
        self._ask_for_held_scopes = ask_for_held_scopes
        # Where every origin may read an answer, the headers that say so are always the same.
        self._cors = cors.actual({}, cors_origins) if "*" in cors_origins else []
        self._kept_back = self._refusals.kept_back if self._cors else {}
        self._clock = self._refusals.clock
        self._configured = addresses.configured
        self._gates: dict[Requirement | tuple[Addresses, Requirement], _Gate] = {}

    def admit(self, environ: WSGIEnvironment, requirement: Requirement) -> Refusal | None:
        """Let the request in (None) with its identity in the environ, or say what to send instead.

        That is 401 or 403 with a challenge, 400 for two credentials, or 503 if the registry cannot answer.
        """
        if self._configured:
            gate = self._gates.get(requirement) or self._gate(self._configured, requirement)
        else:
            addresses = self._addresses.of(environ)
            if addresses is None:
                return self._not_configured(environ)
            gate = self._gates.get((addresses, requirement)) or self._gate(addresses, requirement)
        scheme, _, token = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme != "Bearer" and scheme.lower() != "bearer":
            return gate.unauthorized if self._cors else self._for_browsers(environ, gate.unauthorized)
        if " " in token:
            token = token.strip(" ")
        try:
            identity = self._check(token)
        except RegistryError as error:
            return self._unavailable(environ, error)
        if type(identity) is not Identity:  # isinstance takes five times as long to deny
            # Most refusals were told just now, and must not cost more than an admission: this is `keeps_back`
            # spelled out. The letters that spell the grant stand for it; what is malformed is never kept
            # under such a key.
            kept = self._kept_back.get(identity.reason + token[_GRANT])
            if kept is not None and self._clock() < kept[0]:
                kept[1] += 1
                return gate.invalid
            return self._refused(environ, gate, token, identity)
        # A token without an audience is good for the whole server: the application minted it itself.
        audience = identity.audience
        if audience and gate.audiences.isdisjoint(audience) and not _covers_path(audience, gate, environ):
            text = _wrong_host(identity, gate) or _wrong_resource(identity, gate)
            self._tell("audience", identity, resource=gate.resource, audience=" ".join(audience))
            return self._told(environ, gate, 401, "invalid_token", text, gate.scope)
        scopes = identity.scopes
        for scope in gate.scopes:
            if scope not in scopes:
                return self._step_up(environ, gate, identity)
        environ[TOKEN_KEY] = identity
        # The token stops here: the application cannot hand on what it does not have.
        del environ["HTTP_AUTHORIZATION"]
        subject = identity.subject
        if self._set_remote_user and subject:
            environ["REMOTE_USER"] = subject if subject.isascii() else subject.encode().decode("latin-1")
            environ["AUTH_TYPE"] = "Bearer"
        else:
            forget_user(environ)
        return None

    def missing_scope(
        self, environ: WSGIEnvironment, requirement: Requirement, identity: Identity
    ) -> Refusal | None:
        """What to send to a request that was let in before, if this requirement asks for more scopes."""
        if set(requirement.scopes) <= set(identity.scopes):
            return None
        addresses = self._addresses.of(environ)
        if addresses is None:
            return self._not_configured(environ)
        return self._step_up(environ, self._gate(addresses, requirement), identity)

    def _gate(self, addresses: Addresses, requirement: Requirement) -> _Gate:
        gate = _Gate(addresses, requirement, self._cors or ())
        if len(self._gates) < _GATES_MAX:
            self._gates[requirement if self._configured else (addresses, requirement)] = gate
        return gate

    def _step_up(self, environ: WSGIEnvironment, gate: _Gate, identity: Identity) -> Refusal:
        """403 with the scopes to ask for: those needed, and those held, which older clients would lose."""
        held = identity.scopes if self._ask_for_held_scopes else ()
        scope = f', scope="{" ".join(sorted({*gate.scopes, *held}))}"'
        lacking = " ".join(sorted(set(gate.scopes) - set(identity.scopes)))
        self._tell("scope", identity, resource=gate.resource, lacking=lacking)
        text = f"the access token lacks {lacking}"
        return self._told(environ, gate, 403, "insufficient_scope", text, scope)

    def _refused(self, environ: WSGIEnvironment, gate: _Gate, token: str, refusal: Refuse) -> Refusal:
        reason, answer = refusal.reason, gate.invalid
        key = reason + token[_GRANT]
        if reason == "noise":
            if "," in token:
                # WSGI joins repeated headers with commas, which no token contains.
                self._tell("two_credentials")
                text = "more than one credential"
                return self._told(environ, gate, 400, "invalid_request", text, gate.scope)
            key = "malformed"
            answer = gate.mixed_up if token[:4] == REFRESH else gate.malformed
        if not self._keeps_back(key):
            presented = read(token)
            grant = None if presented is None else presented.grant_id.hex()
            self._refusals.emit({"grant": grant, "reason": reason}, key)
        return answer if self._cors else self._for_browsers(environ, answer)

    def _tell(self, reason: str, identity: Identity | None = None, **why: str) -> None:
        fields: dict[str, object] = {"grant": None}
        if identity is not None:
            fields = {"grant": identity.grant_id, "client": identity.client_id, "subject": identity.subject}
        key = f"{reason} {fields['grant']}"
        if not self._keeps_back(key):
            self._refusals.emit({**fields, "reason": reason, **why}, key)

    def _told(
        self, environ: WSGIEnvironment, gate: _Gate, status: int, error: str, text: str, scope: str
    ) -> Refusal:
        return self._for_browsers(environ, gate.told(status, error, text, scope))

    def _unavailable(self, environ: WSGIEnvironment, error: RegistryError) -> Refusal:
        self._events.emit_sparingly("registry_unavailable", {"reason": str(error)}, "", 10)
        text = "the token cannot be checked now, try again"
        retry = ("Retry-After", str(error.retry_after))
        return self._for_browsers(environ, _refusal(503, "temporarily_unavailable", text, retry))

    def _not_configured(self, environ: WSGIEnvironment) -> Refusal:
        tell_not_configured(self._events, environ)
        return self._for_browsers(environ, _refusal(500, "server_error", NOT_CONFIGURED))

    def _for_browsers(self, environ: WSGIEnvironment, refusal: Refusal) -> Refusal:
        return refusal.with_headers(self._cors or cors.actual(environ, self._origins))


def _refusal(status: int, error: str, text: str, *headers: tuple[str, str]) -> Refusal:
    body = msgspec.json.encode({"error": error, "error_description": text})
    return Refusal(
        f"{status} {HTTPStatus(status).phrase}",
        (
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            *headers,
        ),
        body,
    )


def forget_user(environ: WSGIEnvironment) -> None:
    """Take out what the server in front says of the user: on a protected path only the token says."""
    environ.pop("REMOTE_USER", None)
    environ.pop("AUTH_TYPE", None)


def _covers_path(audience: tuple[str, ...], gate: _Gate, environ: WSGIEnvironment) -> bool:
    """Whether the path itself is one of these resources, or below one, though no rule names it by now."""
    path, mount = environ.get("PATH_INFO", ""), environ.get("SCRIPT_NAME", "")
    # Behind any mount but the issuer's own the application may mean another path.
    if not has_one_reading(path) or not gate.base.endswith(mount):
        return False
    try:
        resource = resource_url(gate.base, path.encode("latin-1").decode())
    except UnicodeError:
        return False
    return any(covers(granted, resource) for granted in audience)


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


def _wrong_resource(identity: Identity, gate: _Gate) -> str:
    """What to tell a developer whose token is good, but not here: the client asked for something else."""
    text = f"{_OTHER_RESOURCE}: for {' or '.join(identity.audience)}, not for {gate.resource}"
    return text if _TELLABLE.fullmatch(text) else _OTHER_RESOURCE
