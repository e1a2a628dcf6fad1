"""What the operator hears: one log line per event, and the same to whoever listens.

An event never carries a code, token, secret, verifier or password. `CATALOGUE` lists them all.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .cases import Event

log = logging.getLogger("oauth_refresh")

Listener = Callable[[str, Mapping[str, object]], None]

CATALOGUE: Mapping[str, str] = MappingProxyType(
    {
        "code_issued": "a user allowed a client, and the client was sent an authorization code",
        "code_redeemed": "the client exchanged its code for the first tokens",
        "code_reused": "a code was redeemed twice, with everything right: the grant has ended",
        "grant_created": "the application, or a command, made tokens without a browser",
        "client_token_issued": "a client got an access token for itself, without a user",
        "token_rotated": "a refresh token was exchanged for its successor",
        "token_repeated": "a refresh that was answered before was answered again, with the same tokens",
        "token_reused": "a replaced refresh token came back too late: theft, or a client that forgets",
        "token_refused": "a code or refresh token was refused, and nothing changed",
        "token_shared_suspected": "late repeats in three generations running: a credential is shared",
        "token_stray": "a token of a line that a rollback together with a change of secret left behind",
        "client_mismatch": "a genuine token came from another client than its own",
        "registry_rolled_back": "the registry was behind a client's token, and was brought up to it",
        "registry_behind": "the same, where rolling forward is off or impossible",
        "repeat_not_reproduced": "a repeat needs a server secret that this host does not know",
        "grant_revoked": "a grant was ended, with all its tokens",
        "access_token_revoked": "one access token was ended by its client",
        "access_refused": "a protected path refused an access token; at most one a minute of each kind",
        "scopes_left_out": "a client asked for scopes that it cannot have, and is given the others",
        "request_refused": "an endpoint refused a request before any code or token was judged",
        "registry_unavailable": "the registry cannot answer, clients hear 503; at most one in ten seconds",
        "issuer_not_set": "a host other than loopback was asked for, which needs OAUTH_ISSUER: answered 500",
        "client_registered": "a client registered itself, or was registered by a command",
        "client_document_read": "a client's metadata document was read for the first time, or had changed",
        "client_document_refused": "a client's metadata document could not be fetched, or is wrong",
        "client_changed": "a client changed its registration",
        "client_deleted": "a client was deleted, by a command or by itself",
        "login": "a user signed in on the built-in page",
        "login_not_seen": "a browser is back from OAUTH_LOGIN_URL, and OAUTH_USER_LOADER still knows nobody",
        "user_not_believed": "a request named its user in a header, and came from no trusted proxy",
        "login_failed": "a name and password were wrong",
        "login_locked": "too many wrong passwords: the account or address has to wait",
    }
)

WARNINGS = frozenset(
    {
        "token_reused",
        "code_reused",
        "token_stray",
        "token_shared_suspected",
        "client_mismatch",
        "registry_behind",
        "registry_rolled_back",
        "repeat_not_reproduced",
        "login_locked",
        "login_not_seen",
        "user_not_believed",
    }
)
ERRORS = frozenset({"registry_unavailable", "issuer_not_set"})
_LEVELS = {**dict.fromkeys(WARNINGS, logging.WARNING), **dict.fromkeys(ERRORS, logging.ERROR)}

_KEPT_BACK_MAX = 1024

everywhere: list[Callable[[Events, str, Mapping[str, object]], None]] = []
"""Who hears the events of every server of this process."""


def level_of(name: str) -> int:
    """The level at which this event is logged."""
    return _LEVELS.get(name, logging.INFO)


class Events:
    """Hands every event to the log and to the listeners, in the order in which these were added.

    `sender` is what the signals of `oauth_refresh.signals` say they come from: the Flask application, where
    there is one.
    """

    def __init__(self, sender: object = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.sender = sender
        self._clock = clock
        self.listeners: list[Listener] = []
        self._sparing: dict[str, Sparing] = {}

    def listen(self, listener: Listener) -> None:
        """Call `listener(name, fields)` for every event from now on. What it raises is logged and dropped."""
        self.listeners.append(listener)

    def are_heard(self, events: Iterable[Event]) -> bool:
        """Whether anybody would hear of one of these: else nobody needs to put their fields together."""
        if self.listeners or everywhere:
            return True
        # Of every renewal, and a generator would take longer than what it asks.
        for event in events:  # noqa: SIM110
            if log.isEnabledFor(level_of(event.name)):
                return True
        return False

    def emit(self, name: str, fields: Mapping[str, object]) -> None:
        level = level_of(name)
        if log.isEnabledFor(level):
            log.log(level, "%s %s", name, " ".join(f"{key}={value!r}" for key, value in fields.items()))
        for listener in self.listeners:
            _tell(listener, name, fields)
        for broadcast in everywhere:
            _tell(partial(broadcast, self), name, fields)

    def emit_sparingly(self, name: str, fields: Mapping[str, object], key: str, seconds: float) -> None:
        """Emit at most one event per `seconds` for this name and key, with the `count` that it stands for.

        For what a stranger can cause as often as he likes: the log must not be his to fill.
        """
        sparing = self._sparing.get(name) or self.sparing(name, seconds)
        if not sparing.keeps_back(key):
            sparing.emit(fields, key)

    def sparing(self, name: str, seconds: float) -> Sparing:
        """The events of this name, at most one per `seconds` for each key."""
        return self._sparing.setdefault(name, Sparing(self.emit, self._clock, name, seconds))


class Sparing:
    """Events of one name, of which most are only counted."""

    def __init__(
        self,
        emit: Callable[[str, Mapping[str, object]], None],
        clock: Callable[[], float],
        name: str,
        seconds: float,
    ) -> None:
        self.clock = clock
        self.kept_back: dict[str, list[float]] = {}
        """By key: until when the next ones are kept back, and how many were."""
        self._emit = emit
        self._name = name
        self._seconds = seconds

    def keeps_back(self, key: str) -> bool:
        """Whether there was one for this key just now. It is counted then, and its fields are not needed."""
        found = self.kept_back.get(key)
        if found is None or self.clock() >= found[0]:
            return False
        found[1] += 1
        return True

    def emit(self, fields: Mapping[str, object], key: str) -> None:
        """One that was not kept back, with the `count` of those that were since the one before."""
        found = self.kept_back.get(key)
        count = 1 if found is None else int(found[1]) + 1
        if len(self.kept_back) >= _KEPT_BACK_MAX:
            self.kept_back.clear()
        self.kept_back[key] = [self.clock() + self._seconds, 0]
        self._emit(self._name, {**fields, "count": count})


def on_every_server(broadcast: Callable[[Events, str, Mapping[str, object]], None]) -> None:
    """Call `broadcast(events, name, fields)` for every event of every server in this process."""
    everywhere.append(broadcast)


def _tell(listener: Listener, name: str, fields: Mapping[str, object]) -> None:
    try:
        listener(name, fields)
    except Exception:
        # The tokens are stored by now: a listener's mistake must not cost the client its answer.
        log.exception("a listener failed at the event %s", name)
