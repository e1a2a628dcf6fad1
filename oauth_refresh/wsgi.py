"""The middleware without a line of code: `application`, wrapping what the setting OAUTH_REFRESH_APP names.

`OAUTH_REFRESH_APP=legacy.wsgi:application gunicorn oauth_refresh.wsgi:application` puts it in front of the
application in `legacy/wsgi.py`. All other settings come from the environment or a file, too.
"""

from __future__ import annotations

from functools import reduce
from importlib import import_module
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

from .callables import takes
from .doctor.inside import tell_at_start
from .errors import ConfigurationError
from .middleware import OAuthMiddleware
from .setting_loading import load_settings
from .starting import plainly_under_gunicorn

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


def application_to_wrap(named: str | None) -> WSGIApplication:
    """The WSGI application that `named` means: `package.module:name`, or `package.module:create()` for one
    that is made by a call. The name is `application` if it is left out.

    Raises `ConfigurationError` if there is no such module, no such name, or nothing that can be called. What
    the module itself raises at import is passed on: it is the application's own trouble.
    """
    if named is None:
        raise ConfigurationError(
            "OAUTH_REFRESH_APP is not set: it names the WSGI application to wrap, "
            "for example OAUTH_REFRESH_APP=legacy.wsgi:application"
        )
    module_name, _, name = named.partition(":")
    path = (name or "application").removesuffix("()")
    try:
        found: Any = reduce(getattr, path.split("."), _module(named, module_name))
    except AttributeError:
        raise ConfigurationError(f"OAUTH_REFRESH_APP={named}: {_lacks(module_name, path)}") from None
    if name.endswith("()"):
        found = _made(named, found)
    if not callable(found):
        raise ConfigurationError(
            f"OAUTH_REFRESH_APP={named} is of type {type(found).__name__}, which cannot be called"
        )
    _judge(named, found)
    wrapped: WSGIApplication = found
    return wrapped


def _judge(named: str, found: Any) -> None:
    """What takes no WSGI request would start, and fail at each one."""
    if iscoroutinefunction(found) or iscoroutinefunction(type(found).__call__):
        raise ConfigurationError(f"OAUTH_REFRESH_APP={named} is an ASGI application, and not one of WSGI")
    if not takes(found, {}, print):
        hint = f"; if it makes the application, write {named}()" if takes(found) else ""
        raise ConfigurationError(
            f"OAUTH_REFRESH_APP={named} is no WSGI application: it does not take environ and "
            f"start_response{hint}"
        )


def _made(named: str, factory: Any) -> Any:
    if not takes(factory):
        raise ConfigurationError(
            f"OAUTH_REFRESH_APP={named}: it cannot be called without arguments; "
            "leave off the () if it is the application itself"
        )
    return factory()


def _module(named: str, module_name: str) -> object:
    try:
        return import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        told = _no_module(module_name, error.name)
        raise ConfigurationError(f"OAUTH_REFRESH_APP={named}: {told}") from None


def _no_module(module_name: str, missing: str) -> str:
    told = f"there is no module {missing}; "
    if missing == module_name and module_name.endswith(".py"):
        return told + f"leave off .py: {module_name.removesuffix('.py')}"
    return told + "start the server in the application's folder, or name that folder in PYTHONPATH"


def _lacks(module_name: str, path: str) -> str:
    module = import_module(module_name)
    there = [name for name in ("application", "app", "create_app") if callable(getattr(module, name, None))]
    return f"{module_name} has no {path}" + (f"; it has {there[0]}" if there else "")


def _wrapped() -> OAuthMiddleware:
    with plainly_under_gunicorn():
        made = OAuthMiddleware(application_to_wrap(load_settings(quietly=True).refresh_app))
    tell_at_start(made.server, guards=True)
    return made


application = _wrapped()
