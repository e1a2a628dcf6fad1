"""OAuth in front of any WSGI application, with refresh tokens that log nobody out.

What users import; everything is loaded at first use, so that a plain import stays small.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import ConfigurationError, OAuthError, OAuthRefreshError, RegistryError
    from .flask import OAuthRefresh, current_token, require_scope
    from .identity import Identity
    from .middleware import OAuthMiddleware
    from .registry import Issued, TokenRegistry

__version__ = "0.1.0"

_HOME = {
    "ConfigurationError": "errors",
    "Identity": "identity",
    "Issued": "registry",
    "OAuthError": "errors",
    "OAuthMiddleware": "middleware",
    "OAuthRefresh": "flask",
    "OAuthRefreshError": "errors",
    "RegistryError": "errors",
    "TokenRegistry": "registry",
    "current_token": "flask",
    "require_scope": "flask",
}

__all__ = [
    "ConfigurationError",
    "Identity",
    "Issued",
    "OAuthError",
    "OAuthMiddleware",
    "OAuthRefresh",
    "OAuthRefreshError",
    "RegistryError",
    "TokenRegistry",
    "current_token",
    "require_scope",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
