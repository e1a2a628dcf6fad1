"""The Flask extension: `OAuthRefresh(app)` puts the middleware in front of a Flask application.

app = Flask(__name__)
OAuthRefresh(app, protect={"/api": "notes:read"}, login="user_id", login_url="/login")
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar, cast

from flask import Flask, current_app, request, session
from flask.testing import FlaskClient
from werkzeug.local import LocalProxy
from werkzeug.wrappers import Response

from .commands.under_flask import UnderFlask
from .doctor.inside import tell_at_start
from .errors import ConfigurationError
from .events import log
from .flask_setup import GUARDED_VIEWS, look_back
from .guard import TOKEN_KEY, Refusal
from .identity import Identity
from .middleware import OAuthMiddleware
from .paths import Requirement
from .scopes import parse_scope
from .settings import Settings

P = ParamSpec("P")
R = TypeVar("R")

Login = str | Callable[..., Any]

_NAME = "oauth_refresh"


class _NoToken:
    """Falsy, and a word of advice for whoever asks it for a subject."""

    def __bool__(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"current_token.{name}: {request.method} {request.path} was answered without an access token. "
            "Protect this path (OAUTH_PROTECT, @require_scope), or ask first: if current_token"
        )

    def __repr__(self) -> str:
        return "<no access token>"


def _token() -> Identity | None:
    identity = request.environ.get(TOKEN_KEY)
    return identity if isinstance(identity, Identity) else None


_NO_TOKEN = _NoToken()
current_token = cast("Identity", LocalProxy(lambda: _token() or _NO_TOKEN))
"""The identity of the access token of this request: subject, client_id, scopes, … Falsy without a token."""


class OAuthRefresh:
    """The middleware as a Flask extension. Settings come from `app.config` (`OAUTH_…`) and from keywords.

    `login` says how the application knows its users: the key in `session` under which it keeps the user's
    id, `"flask-login"`, or a callable, with or without the environ as its parameter, that answers the
    subject as text, or None. It is asked inside of a request context. The other callables run inside of an
    application context, where databases are reached. `registry` may be an engine of SQLAlchemy or the `db` of
    Flask-SQLAlchemy. Flask's `SECRET_KEY` is the server secret unless `OAUTH_SECRET_KEY` is set. Raises
    `ConfigurationError`.
    """

    def __init__(self, app: Flask | None = None, *, login: Login | None = None, **settings: Any) -> None:
        self._login = login
        self._settings = settings
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Put the middleware in front of `app`. One extension object serves any number of applications."""
        if not isinstance(app, Flask):
            raise TypeError(f"OAuthRefresh is for a Flask application, and this is {type(app).__name__}")
        if _NAME in app.extensions:
            raise RuntimeError("this application has OAuthRefresh already")
        settings = {**_login_settings(app, self._login), **self._settings}
        registry = settings.get("registry")
        if registry is not None and not isinstance(registry, str) and not hasattr(registry, "swap"):
            from .backends.sql import SQLBackend

            settings["registry"] = SQLBackend(registry, app=app)
        middleware = OAuthMiddleware(
            app.wsgi_app,
            app.config,
            base_dir=app.instance_path,
            adapt=partial(_in_contexts, app),
            at_first_request=partial(_look_back, app, dict(app.config)),
            **settings,
        )
        _make_instance_folder(app, middleware.server.backend.beside)
        middleware.server.events.sender = app
        app.extensions[_NAME] = middleware
        app.wsgi_app = middleware  # type: ignore[method-assign]
        app.cli.add_command(UnderFlask(middleware.server))
        tell_at_start(middleware.server, guards=False)

    @property
    def middleware(self) -> OAuthMiddleware:
        """The middleware of the current application, with its `registry` and `settings`."""
        return _middleware()

    @staticmethod
    def test_client(
        app: Flask, subject: str, scopes: str | Iterable[str] = "", **properties: object
    ) -> FlaskClient:
        """Flask's test client with an access token of this user for these scopes, as text or a list.

        The token is real and good for the whole server; `properties` go with it.
        """
        registry = _middleware_of(app).registry
        wanted = parse_scope(scopes) if isinstance(scopes, str) else scopes
        token = registry.create(subject, wanted, properties=properties).access_token
        client = app.test_client()
        client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token}"
        return client


def _login_settings(app: Flask, login: Login | None) -> dict[str, Any]:
    """The settings that `login` stands for."""
    if login is None:
        return {}
    if callable(login):
        return {"user_loader": login}
    if login == "flask_login":
        raise ConfigurationError("OAuthRefresh(login='flask_login'): did you mean 'flask-login'?")
    if login != "flask-login":
        if not app.secret_key:
            log.warning(
                "OAuthRefresh(login=%r): Flask's SECRET_KEY is not set, and without it there is no session: "
                "set it before OAuthRefresh(app), or nobody is known here",
                login,
            )
        return {"user_loader": lambda: session.get(login)}
    manager = getattr(app, "login_manager", None)
    if manager is None:
        raise ConfigurationError(
            "OAuthRefresh(login='flask-login'): this application has no LoginManager yet; "
            "call its init_app before"
        )
    return {"user_loader": _flask_login_user, **_flask_login_page(app, manager.login_view)}


def _flask_login_user() -> str | None:
    from flask_login import current_user

    found = current_user.get_id() if current_user.is_authenticated else None
    return None if found is None else str(found)


def _flask_login_page(app: Flask, view: str | None) -> dict[str, str]:
    """The address of Flask-Login's login view, where it is known by now."""
    if view is None:
        return {}
    if view.startswith(("/", "http:", "https:")):
        return {"login_url": view}
    for rule in app.url_map.iter_rules():
        if rule.endpoint == view and not rule.arguments:
            return {"login_url": rule.rule}
    raise ConfigurationError(
        f"OAuthRefresh(login='flask-login'): the login view {view!r} is not registered yet; "
        "register it before, or say login_url='/its/path'"
    )


def _make_instance_folder(app: Flask, registry: str | None) -> None:
    """Flask names an instance folder and leaves it to the application to make it. A registry needs it."""
    if registry is not None and os.path.dirname(registry) == app.instance_path:
        os.makedirs(app.instance_path, mode=0o700, exist_ok=True)


def _look_back(app: Flask, before: Mapping[str, object]) -> None:
    look_back(app, _middleware_of(app), before)


def _middleware() -> OAuthMiddleware:
    return _middleware_of(current_app)


def _middleware_of(app: Flask) -> OAuthMiddleware:
    middleware = app.extensions.get(_NAME)
    if not isinstance(middleware, OAuthMiddleware):
        raise RuntimeError("this application has no OAuthRefresh: call OAuthRefresh(app) or init_app(app)")
    return middleware


def _in_contexts(app: Flask, settings: Settings) -> Settings:
    """The settings with every callable made to run in the context that Flask code expects around it."""
    adapted: dict[str, Any] = {}
    for name in ("user_loader", "admin_check"):
        hook = getattr(settings, name)
        if hook is not None:
            adapted[name] = _in_request_context(app, hook)
    for name in ("password_check", "subject_check"):
        check = getattr(settings, name)
        if check is not None:
            adapted[name] = _in_app_context(app, check)
    return replace(settings, **adapted)


def _in_request_context(app: Flask, loader: Callable[..., Any]) -> Callable[[Mapping[str, Any]], Any]:
    try:
        takes_environ = bool(inspect.signature(loader).parameters)
    except (TypeError, ValueError):
        takes_environ = False

    def load(environ: Mapping[str, Any]) -> Any:
        with app.request_context(dict(environ)):
            return loader(environ) if takes_environ else loader()

    return load


def _in_app_context(app: Flask, check: Callable[P, R]) -> Callable[P, R]:
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        with app.app_context():
            return check(*args, **kwargs)

    return checked


def require_scope(scopes: str) -> Callable[[Callable[P, R]], Callable[P, R | Response]]:
    """A view that needs these scopes (several are separated by spaces; "" is any valid token).

    Works on paths that `OAUTH_PROTECT` covers, where it asks for more, and on those that it does not.
    Without a token the client gets 401, without a scope 403, with the challenge that tells it what to ask.
    """
    if not isinstance(scopes, str):
        raise TypeError(
            '@require_scope takes scopes as text, such as @require_scope("notes:read"); "" is any token'
        )
    needed = parse_scope(scopes)
    told: set[int] = set()

    def decorate(view: Callable[P, R]) -> Callable[P, R | Response]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R | Response:
            refusal = _refusal(needed, told)
            if refusal is not None:
                return _response(refusal)
            # A view may be a coroutine function, which Flask does not see behind this one.
            answer: R = current_app.ensure_sync(view)(*args, **kwargs)
            return answer

        GUARDED_VIEWS[id(view)] = guarded
        return guarded

    return decorate


def _refusal(needed: tuple[str, ...], told: set[int]) -> Refusal | None:
    middleware, environ = _middleware(), request.environ
    if id(middleware) not in told:
        told.add(id(middleware))
        _tell_of_unknown(needed, middleware.settings)
    covering = middleware.requirement(environ, environ.get("PATH_INFO", ""))
    requirement = Requirement(() if covering is None else covering.prefixes, needed)
    identity = _token()
    if identity is None:
        return middleware.guard.admit(environ, requirement)
    return middleware.guard.missing_scope(environ, requirement, identity)


def _tell_of_unknown(needed: tuple[str, ...], settings: Settings) -> None:
    """A view behind a misspelt scope is a view that no client ever reaches."""
    for scope in set(needed) - set(settings.known_scopes):
        log.warning(
            "@require_scope(%r): neither OAUTH_SCOPES nor OAUTH_PROTECT has this scope, so no client gets it",
            scope,
        )


def _response(refusal: Refusal) -> Response:
    return Response(refusal.body, refusal.status, refusal.headers)
