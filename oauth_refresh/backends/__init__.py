"""Registry backends: where records are kept. `open_backend` picks one by the scheme of its URL.

A third party adds a scheme by an entry point of that name in the group `oauth_refresh.backends`. It leads to
a callable `(url: str, *, base_dir: str | None) -> Backend`, which opens nothing yet; `split_url` may help it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.metadata import entry_points
from typing import cast
from urllib.parse import parse_qsl, unquote

from oauth_refresh.backends.base import Backend
from oauth_refresh.errors import ConfigurationError

logger = logging.getLogger("oauth_refresh")

ENTRY_POINT_GROUP = "oauth_refresh.backends"

_SQL = dict.fromkeys(("postgresql", "postgres", "mysql", "mariadb"), "oauth_refresh.backends.sql")
_REDIS = {
    scheme + way: "oauth_refresh.backends.redis"
    for scheme in ("redis", "rediss", "valkey", "valkeys")
    for way in ("", "+cluster", "+sentinel")
}
_OURS = {
    "file": "oauth_refresh.backends.json_file",
    "memory": "oauth_refresh.backends.memory",
    "sqlite": "oauth_refresh.backends.sqlite",
    **_SQL,
    **_REDIS,
}
_KNOWN = "memory, file, sqlite, postgresql, mysql, redis, redis+cluster, redis+sentinel (valkey too)"
_METHODS = ("get", "swap", "find", "keys", "purge", "close", "shared", "beside")


def open_backend(url: str | Backend, *, base_dir: str | None = None, announce: bool = True) -> Backend:
    """The backend that `url` names; an object that is a backend already is returned as it is.

    `base_dir` is the folder that relative paths start from, None for the working directory. The store
    itself is not touched: connections open at the first call, in each process for itself, so this may
    run before a fork. The log is told the absolute path, if `announce`. Raises `ConfigurationError`, with a
    text free of the URL's user and password.
    """
    if not isinstance(url, str):
        return _checked(url)
    scheme, colon, _ = url.partition(":")
    if not colon:
        raise ConfigurationError(
            "OAUTH_REGISTRY: a URL is needed: sqlite:relative.db, sqlite:///absolute/path.db or memory:"
        )
    backend = _checked(_factory(scheme.lower())(url, base_dir=base_dir))
    if announce and backend.beside is not None:
        logger.info("registry: %s", backend.beside)
    return backend


def split_url(url: str, allowed_options: Iterable[str]) -> tuple[str, dict[str, str]]:
    """What stands between scheme and query, percent-decoded, and the options of the query.

    For the factories of backends. Raises `ConfigurationError` for options that are unknown or repeated.
    """
    allowed = sorted(allowed_options)
    scheme, _, rest = url.partition(":")
    place, _, query = rest.partition("?")
    options: dict[str, str] = {}
    problems = []
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in allowed:
            offer = f"allowed are {', '.join(allowed)}" if allowed else "it takes none"
            problems.append(f"OAUTH_REGISTRY: {scheme}: has no option {name!r}; {offer}")
        elif name in options:
            problems.append(f"OAUTH_REGISTRY: the option {name!r} is given twice")
        options[name] = value
    if problems:
        raise ConfigurationError(problems)
    return unquote(place), options


def _factory(scheme: str) -> Callable[..., Backend]:
    """What opens a URL of this scheme. Only that backend's module is imported."""
    if scheme in _OURS:
        return cast("Callable[..., Backend]", import_module(_OURS[scheme]).open_url)
    for entry_point in entry_points(group=ENTRY_POINT_GROUP):
        if entry_point.name.lower() == scheme:
            try:
                return cast("Callable[..., Backend]", entry_point.load())
            except (ImportError, AttributeError) as error:
                raise ConfigurationError(
                    f"OAUTH_REGISTRY: the backend {entry_point.value} for {scheme}: does not load: {error}"
                ) from error
    raise ConfigurationError(
        f"OAUTH_REGISTRY: there is no backend for the scheme {scheme!r}; known are "
        f"{_KNOWN} and entry points of the group {ENTRY_POINT_GROUP}"
    )


def _checked(backend: Backend) -> Backend:
    missing = [name for name in _METHODS if not hasattr(backend, name)]
    if missing:
        what, lacks = type(backend).__name__, ", ".join(missing)
        raise ConfigurationError(f"OAUTH_REGISTRY: {what} is neither a URL nor a backend: it lacks {lacks}")
    return backend
