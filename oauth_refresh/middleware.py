"""OAuthMiddleware: is a request ours to answer, ours to guard, or to be passed on untouched?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, cast

from .callables import takes
from .cors import METHOD_OVERRIDES, is_preflight
from .errors import ConfigurationError, InvalidScope
from .guard import TOKEN_KEY, Guard, forget_user
from .last_resort import let_warnings_be_seen
from .paths import PUBLIC, Requirement
from .scopes import parse_scope
from .setting_loading import load_settings
from .setting_values import called_with
from .settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


_ASK = object()
"""The plan where what a request needs is asked anew each time."""
_PLANS_MAX = 1024
_PLANNED_LENGTH_MAX = 256
_OVERRIDE, _OTHER_OVERRIDE, _THIRD_OVERRIDE = METHOD_OVERRIDES


class OAuthMiddleware:
    """A WSGI application in front of another: OAuth authorization server and protected resource.

    `app` is the application behind. `config` is a mapping such as Flask's; keywords are settings in lower
    case (`protect={"/api": "notes:read"}`, `access_token_ttl="15m"`) and win over everything else. `adapt`
    is for frameworks: it may replace callables among the settings by such that run in their contexts;
    `at_first_request` is called before any request passes, when the application behind has been set up.
    Raises `ConfigurationError` with every mistake in the settings.

        application = OAuthMiddleware(application, protect={"/api": ""}, users_file="users.txt")
    """

    def __init__(
        self,
        app: WSGIApplication,
        config: Mapping[str, object] | None = None,
        *,
        defaults: Mapping[str, object] | None = None,
        environ: Mapping[str, str] | None = None,
        config_file: str | None = None,
        base_dir: str | None = None,
        clock: Callable[[], float] = time.time,
        adapt: Callable[[Settings], Settings] = lambda settings: settings,
        at_first_request: Callable[[], None] = lambda: None,
        **keywords: object,
    ) -> None:
        # Endpoints and pages bring Werkzeug and a template engine. An import of the package, which may only
        # want the guard, does without; a request never imports anything.
        from .endpoints.dispatch import Endpoints
        from .server import Server, environ_key

        let_warnings_be_seen()
        self.app = app
        loaded = load_settings(
            config=config, environ=environ, defaults=defaults, keywords=keywords, config_file=config_file
        )
        self.settings: Settings = _of_environ(adapt(loaded))
        self.server = Server(self.settings, base_dir=base_dir, clock=clock)
        _ = self.server.users  # a file that cannot be read shows now
        self.registry = self.server.registry
        self._endpoints = Endpoints(self.server)
        self._owns = self._endpoints.owns
        self.requirement = self._matcher()
        self.guard = Guard(
            self.registry,
            self.server.addresses,
            set_remote_user=self.settings.set_remote_user,
            cors_origins=self.settings.cors_origins,
            ask_for_held_scopes=self.settings.ask_for_held_scopes,
        )
        self._admit = self.guard.admit
        # By method, then by path: a pair would have to be made and hashed at each request.
        self._plans: dict[str, dict[str, Any]] = {}
        self._mounted = lru_cache(_PLANS_MAX)(self._match)
        self._at_first_request: Callable[[], None] | None = at_first_request
        # The key that only the guard may set, and headers that only the server may.
        self._removed = (TOKEN_KEY, *(environ_key(header) for header in self.settings.identity_headers))

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path, method = environ.get("PATH_INFO", ""), environ["REQUEST_METHOD"]
        try:
            plan = self._plans[method][path]
        except KeyError:
            plan = self._plan(method, path)
        if callable(plan):
            answered: Iterable[bytes] = plan(environ, start_response)
            return answered
        for key in self._removed:
            if key in environ:
                del environ[key]
        requirement = plan
        # Spelled out, as is much on this way: it is every request's.
        if plan is _ASK or _OVERRIDE in environ or _OTHER_OVERRIDE in environ or _THIRD_OVERRIDE in environ:
            requirement = self.requirement(environ, path)
        elif mount := environ.get("SCRIPT_NAME"):
            is_short = len(path) + len(mount) <= _PLANNED_LENGTH_MAX
            requirement = (self._mounted if is_short else self._match)(method, path, mount)
        if requirement is not None:
            if method == "OPTIONS" and is_preflight(environ):
                forget_user(environ)
            else:
                refusal = self._admit(environ, requirement)
                if refusal is not None:
                    start_response(refusal.status, [*refusal.headers])
                    return [refusal.body] if method != "HEAD" else []
        return self.app(environ, start_response)

    def _plan(self, method: str, path: str) -> Any:
        """What is to be done with a request, worked out once for each path that is asked for often."""
        begin = self._at_first_request
        if begin is not None:
            # Requests that come at the same time do the same: none passes before it is done.
            begin()
            self._at_first_request = None
        plan: Any = _ASK
        if self._owns(path):
            plan = self._endpoints.application(method, path)
        elif self.server.protection is not None:
            plan = self._match(method, path)
        if len(path) <= _PLANNED_LENGTH_MAX:
            # A copy, for another thread may be adding a method.
            if sum(map(len, list(self._plans.values()))) >= _PLANS_MAX:
                # A flood of paths that nobody asks for again must cost time, not memory.
                self._plans.clear()
            self._plans.setdefault(method, {})[path] = plan
        return plan

    def _matcher(self) -> Callable[[WSGIEnvironment, str], Requirement | None]:
        protect, protection = self.settings.protect, self.server.protection
        if protection is not None:
            return partial(_needed, self._match)
        decide = cast("Callable[[WSGIEnvironment], Any]", protect)
        return lambda environ, path: _decided(decide(environ))

    def _match(self, method: str, path: str, mount: str = "") -> Requirement | None:
        """What the path needs, however the application reads it.

        A proxy may have left the issuer's path before it. And a mounted application may put the mount before
        it again, also one that a client has made up: some servers take SCRIPT_NAME from a header.
        """
        protection, addresses = self.server.protection, self.server.addresses.configured
        if protection is None:
            return None
        paths = [path]
        if mount:
            paths.append(mount + path)
            if path[:1] not in ("", "/"):
                # Cut in the midst of a segment: the rest of it is the end of the mount.
                paths.append(f"/{mount.rpartition('/')[2]}{path}")
        if addresses is not None and addresses.path:
            above = addresses.path
            paths += [each[len(above) :] for each in paths if each == above or each.startswith(f"{above}/")]
        needed: Requirement | None = None
        for each in paths:
            needed = _both(needed, protection.match(method, each))
        return needed


def _of_environ(settings: Settings) -> Settings:
    """The settings, whose callables that are asked of a request must take its environ now."""
    for name in ("user_loader", "admin_check"):
        hook = getattr(settings, name)
        if hook is not None and not takes(hook, "environ"):
            raise ConfigurationError(f"OAUTH_{name.upper()}: {called_with('environ')}")
    return settings


def _needed(
    match: Callable[[str, str, str], Requirement | None], environ: WSGIEnvironment, path: str
) -> Requirement | None:
    """What the method needs, and where a header names another method for the application, what that needs."""
    mount = environ.get("SCRIPT_NAME", "")
    needed = match(environ["REQUEST_METHOD"], path, mount)
    for name in METHOD_OVERRIDES:
        if name in environ:
            needed = _both(needed, match(environ[name].strip(), path, mount))
    return needed


def _both(one: Requirement | None, other: Requirement | None) -> Requirement | None:
    """What is needed where either may be meant: all scopes, and a token that is good for both."""
    if one is None or other is None or one == other:
        return one or other
    shared = tuple(prefix for prefix in one.prefixes if prefix in other.prefixes)
    return Requirement(shared, tuple(sorted({*one.scopes, *other.scopes})))


def _decided(scopes: str | None) -> Requirement | None:
    """What a callable `protect` demands: None or "public" for an open path, else scopes ("": any token)."""
    if scopes is None or scopes == PUBLIC:
        return None
    if not isinstance(scopes, str):
        raise ConfigurationError(
            f"OAUTH_PROTECT: the callable answered {type(scopes).__name__}; needed are the scopes as text, "
            '"" for any token, or None for an open path'
        )
    try:
        return Requirement((), parse_scope(scopes))
    except InvalidScope as error:
        raise ConfigurationError(f"OAUTH_PROTECT: the callable answered no scopes: {error}") from error
