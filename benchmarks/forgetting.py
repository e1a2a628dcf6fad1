"""Ours as it is where nothing is remembered: what it costs not to have been there lately."""

from __future__ import annotations

from collections.abc import Callable

from oauth_refresh import OAuthMiddleware, plain_renewals, tokens
from oauth_refresh.backends.sqlite import SQLiteBackend
from oauth_refresh.backends.sqlite_commits import NOTHING_READ

from .timing import Operation


def anew(ours: OAuthMiddleware, operation: Operation) -> Operation:
    """The operation, after the process forgot what it read of a SQLite file, and every grant and its keys."""
    forget_file = _forget_file(ours)

    def forgetful() -> object:
        tokens.keys_of_grant.cache_clear()
        plain_renewals._lines.clear()
        ours.registry.encoded.clear()
        forget_file()
        return operation()

    return forgetful


def _forget_file(ours: OAuthMiddleware) -> Callable[[], None]:
    """As after a commit, by whichever process."""
    backend = ours.server.backend
    if not isinstance(backend, SQLiteBackend):
        return lambda: None
    with backend._file.reading() as link:
        commit = link.commit
    assert commit is not None, "SQLite's memory cannot be looked into here"

    def forget() -> None:
        commit.state = NOTHING_READ

    return forget
