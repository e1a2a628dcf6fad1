"""The demo: a notes application behind the middleware, with two users whose passwords everybody knows.

`oauth-refresh demo` serves it, and so does `gunicorn 'oauth_refresh.demo:create_app()'`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from ..errors import ConfigurationError
from ..middleware import OAuthMiddleware
from ..setting_addresses import is_loopback_host
from ..users import check_from_mapping
from .folder import private_folder
from .notes import Notebook, create_notes

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

    from ..settings import Settings

# wonderland and builder: published passwords, which is why the demo answers this machine only.
USERS = {
    "alice": "scrypt:32768:8:1$fVsHFN2m7qbuxgPD$"
    "7f0a32dc67bcca0575b3a770996111fda99384b7efec2d3a054686edb042028c"
    "36bf958766b7ce5dd90d39f5aec742bd4edbc7f3d8ea52b2a3e0a33b8b277f6d",
    "bob": "scrypt:32768:8:1$oIzOAZgG0QkMIv1d$"
    "396cf6637e7e440b0b3a8c12173c80a98105386d0f649d93dd79a1b3bdef1b24"
    "66b9a80fbf023c0a329c9e6cffd60e93ff24eb18eff88e7580c5c1afe96b4c12",
}

check_password = check_from_mapping(USERS)
# Where one of these is set, the users are the visitor's own.
_OTHER_USERS = ("OAUTH_USERS_FILE", "OAUTH_PASSWORD_CHECK", "OAUTH_USER_LOADER", "OAUTH_TRUST_REMOTE_USER")


class Demo:
    """The notes application behind the middleware: a WSGI application.

    While the published users can sign in, only this machine is answered, whatever address the server in
    front listens on, and a public `OAUTH_ISSUER` is a `ConfigurationError`.
    """

    def __init__(self, registry: str | None = None, environ: Mapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        folder = private_folder()
        keywords: dict[str, Any] = {} if registry is None else {"registry": registry}
        notebook = Notebook(folder / "notes.db")
        notes = create_notes(notebook)
        self._answer = OAuthMiddleware(
            notes,
            defaults=_defaults(f"sqlite://{quote(str(folder / 'oauth.db'))}", environ),
            environ=environ,
            **keywords,
        )
        self.settings = self._answer.settings
        # Only the settings tell which hosts and origins the MCP server is to answer.
        self._answer.app = _with_tools(notes, notebook, self.settings)
        self.published_users = self.settings.password_check is check_password
        if self.published_users and self.settings.issuer and not _is_local_url(self.settings.issuer):
            raise ConfigurationError(
                f"OAUTH_ISSUER={self.settings.issuer}: the demo's users have published passwords, so it is "
                "for loopback addresses only; unset it, or set OAUTH_USERS_FILE to users of your own"
            )

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if self.published_users and not _is_from_here(environ):
            start_response("403 Forbidden", [("Content-Type", "text/plain; charset=utf-8")])
            return [b"The demo has published passwords and answers only the machine that it runs on.\n"]
        return self._answer(environ, start_response)


def create_app(registry: str | None = None, environ: Mapping[str, str] | None = None) -> Demo:
    """The demo as a WSGI application, for any server.

    `registry` is a registry URL; without one `OAUTH_REGISTRY` decides, and without that SQLite in a private
    folder below the system's temporary one. Every `OAUTH_` setting of `environ` (the process environment
    when None) wins over the demo's own values. `ConfigurationError` as for `OAuthMiddleware`, and where the
    private folder is not private.
    """
    return Demo(registry, environ)


def _is_from_here(environ: WSGIEnvironment) -> bool:
    # A server on a Unix socket has no peer address to tell. A dual-stack socket tells ::ffff:127.0.0.1.
    return is_loopback_host(environ.get("REMOTE_ADDR", "").removeprefix("::ffff:") or "localhost")


def _is_local_url(url: str) -> bool:
    return is_loopback_host(urlsplit(url).hostname or "")


def _with_tools(notes: WSGIApplication, notebook: Notebook, settings: Settings) -> WSGIApplication:
    """The notes application, and beside it at `/mcp` the same notes as tools."""
    try:
        from .tools import create_tools
    except ModuleNotFoundError as error:
        if error.name not in ("mcp", "a2wsgi"):
            raise
        tools: WSGIApplication = _no_tools
    else:
        tools = create_tools(notebook, settings)

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        application = tools if environ.get("PATH_INFO", "").rstrip("/") == "/mcp" else notes
        return application(environ, start_response)

    return answer


def _no_tools(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("501 Not Implemented", [("Content-Type", "application/json")])
    return [b'{"error": "the MCP server is not installed: pip install \'oauth-refresh[demo]\'"}\n']


def _defaults(registry: str, environ: Mapping[str, str]) -> dict[str, object]:
    values: dict[str, object] = {
        "registry": registry,
        "service_name": "Notes",
        "protect": {
            "/api": "",
            "GET /api/notes": "notes:read",
            "POST /api/notes": "notes:write",
            "/mcp": "mcp:tools",
        },
        "scopes": {
            "notes:read": "Read your notes",
            "notes:write": "Add notes in your name",
            "mcp:tools": "Read and add notes with an assistant's tools",
        },
        "default_scopes": ("notes:read", "mcp:tools"),
        "registration": "open",
        "root_aliases": True,
        # A person who pastes the steps by hand needs longer than a client does.
        "code_ttl": 300,
    }
    if not any(environ.get(key) for key in _OTHER_USERS):
        values["password_check"] = check_password
    return values
