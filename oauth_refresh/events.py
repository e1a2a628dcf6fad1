"""What the operator hears: one log line per event, and the same to whoever listens.

An event never carries a code, token, secret, verifier or password.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

log = logging.getLogger("oauth_refresh")

Listener = Callable[[str, Mapping[str, object]], None]

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
    }
)


class Events:
    """Hands every event to the log and to the listeners, in the order in which these were added."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Call `listener(name, fields)` for every event from now on. What it raises is logged and dropped."""
        self._listeners.append(listener)

    def emit(self, name: str, fields: Mapping[str, object]) -> None:
        level = logging.WARNING if name in WARNINGS else logging.INFO
        if log.isEnabledFor(level):
            log.log(level, "%s %s", name, " ".join(f"{key}={value!r}" for key, value in fields.items()))
        for listener in self._listeners:
            _tell(listener, name, fields)


def _tell(listener: Listener, name: str, fields: Mapping[str, object]) -> None:
    try:
        listener(name, fields)
    except Exception:
        # The tokens are stored by now: a listener's mistake must not cost the client its answer.
        log.exception("a listener failed at the event %s", name)
