"""Was a Flask application set up as its author believes? Looked at once, when the first request comes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flask import Flask

from .doctor.inside import tell_of_open_doors
from .events import log
from .middleware import OAuthMiddleware
from .server import Server

GUARDED_VIEWS: dict[int, Callable[..., Any]] = {}
"""What `require_scope` made of each view, by the view's `id`, of all applications in this process."""


def look_back(app: Flask, middleware: OAuthMiddleware, before: Mapping[str, object]) -> None:
    """Tell what was done too late, or not at all, while the application was set up.

    `before` is its configuration as it was when the settings were read.
    """
    read = ["SECRET_KEY", "SECRET_KEY_FALLBACKS"]
    if middleware.settings.secret_key != before.get("SECRET_KEY"):
        read.clear()
    read += sorted({name for name in (*before, *app.config) if name.startswith("OAUTH_")})
    for name in read:
        if app.config.get(name) != before.get(name):
            log.warning(
                "app.config[%r] was changed after OAuthRefresh(app), which does not see that: "
                "set it before, or call init_app(app) after it",
                name,
            )
    _guard_what_stands_above(app)
    if not GUARDED_VIEWS:
        tell_of_open_doors(middleware.server)
    # Whoever put something else in between has paths that Flask knows nothing of.
    if getattr(middleware.app, "__func__", None) is Flask.wsgi_app:
        _tell_of_paths_without_routes(app, middleware.server)


def _guard_what_stands_above(app: Flask) -> None:
    """Above the decorator that registers a view `require_scope` comes too late: Flask has it without.

    Such a view is guarded now. One that is registered both ways is meant to be.
    """
    places: list[tuple[Any, list[tuple[Any, Any]]]] = [
        (app.view_functions, list(app.view_functions.items())),
        *((before, list(enumerate(before))) for before in app.before_request_funcs.values()),
    ]
    registered = {id(function) for _, entries in places for _, function in entries}
    for place, entries in places:
        for where, function in entries:
            guarded = GUARDED_VIEWS.get(id(function))
            if guarded is not None and id(guarded) not in registered:
                place[where] = guarded
                log.error(
                    "@require_scope stands above the decorator that registers %s, which does not see it: it "
                    "is guarded from this request on; write @require_scope below the other",
                    getattr(function, "__qualname__", where),
                )


def _tell_of_paths_without_routes(app: Flask, server: Server) -> None:
    """A rule for a path that the application does not have protects nothing."""
    fold: Callable[[str], str] = str.casefold if server.settings.ignore_case else str
    routes = [rule.rule for rule in app.url_map.iter_rules()]
    for prefix in server.prefixes:
        if not any(_lies_below(fold(route), fold(prefix)) for route in routes):
            log.warning(
                "OAUTH_PROTECT: this application has no route at or below %s%s",
                prefix,
                _meant(prefix, routes),
            )
    prefix = server.settings.prefix
    hidden = sorted(route for route in routes if route.startswith(f"{prefix}/"))
    if hidden:
        log.warning(
            "OAUTH_PREFIX: the application's route %s lies below %s, where the endpoints are, and is never "
            "reached; move one of the two",
            hidden[0],
            prefix,
        )
    login = (server.settings.login_url or "").partition("?")[0]
    if login.startswith("/") and not any(_lies_below(route, login) for route in routes):
        log.warning("OAUTH_LOGIN_URL: this application has no route %s%s", login, _meant(login, routes))


def _lies_below(route: str, prefix: str) -> bool:
    """Whether a route of Flask's may match the path `prefix`, or one below it."""
    segments = route.strip("/").split("/")
    wanted = prefix.strip("/").split("/") if prefix.strip("/") else []
    for at, name in enumerate(wanted):
        if at >= len(segments):
            return False
        if ":" in segments[at] and "<" in segments[at]:
            return True  # a converter, which may take slashes, too
        if "<" not in segments[at] and segments[at] != name:
            return False
    return True


def _meant(path: str, routes: Iterable[str]) -> str:
    from difflib import get_close_matches  # takes long to import, and is seldom needed

    depth = path.strip("/").count("/") + 1
    there = {"/" + "/".join(route.strip("/").split("/")[:depth]) for route in routes}
    near = get_close_matches(path, sorted(there), 1, 0.6)
    return f"; {near[0]} was meant, perhaps" if near else ""
