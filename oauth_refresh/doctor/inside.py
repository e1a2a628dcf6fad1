"""From inside: do the settings, the registry and the files of this host fit a server that others reach?"""

from __future__ import annotations

import os
import secrets
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from ipaddress import ip_network

from ..backends.base import Backend
from ..durations import format_duration
from ..errors import ConfigurationError, RegistryError
from ..events import log
from ..proxies import UNIX
from ..server import Server
from ..setting_values import encode_secret
from ..settings import Settings
from ..signing_in import REMEDY, checks_passwords, nobody_can
from ..users import users_in
from . import Finding, error, moves, ok, warning

SHORT_GRACE = 30.0
"""Seconds. Proxies wait for a minute by default before they give a request up."""


CODE_TTL_MAX = 600.0
ACCESS_TTL_MIN = 60.0
"""Seconds, both. Some programs renew a minute before an access token ends."""

SECRET_BYTES = 22
"""128 random bits in base64 take as many; below that it is a word that somebody thought of, as a rule."""

_DRAW_A_SECRET = (
    'Set OAUTH_SECRET_KEY to what python -c "import secrets; print(secrets.token_urlsafe(32))" prints.'
)
_SEE_MESSAGE = "See what the message says, and run this again."


def examine(server: Server) -> Iterator[Finding]:
    settings = server.settings
    yield ok("settings", "All settings can be read, and they agree with each other.")
    for text in settings.warnings:
        yield warning("settings", text, "Correct the name, or take the variable out.")
    yield from _issuer(settings)
    yield from _secret(settings, server.backend)
    yield from _registry(settings, server.backend)
    yield from _users(settings)
    yield from _mistakes_in_users_file(settings.users_file)
    yield from _proxies(settings)
    yield from _protection(settings, server)
    yield from _grace(settings)
    yield from _lifetimes(settings)
    yield from _event_log(settings)


def tell_at_start(server: Server, *, guards: bool) -> None:
    """Log what makes a server useless, and is seen by nobody until a user stands before it.

    `guards` False for an application that may guard its own functions: see `tell_of_open_doors`.
    """
    # That nobody can sign in is said by every server, however it was made.
    if not nobody_can(server.settings):
        _tell(_users(server.settings))
    _tell(_registry_folder(server.backend))
    if guards:
        _tell(_registry_in_memory(server.backend))
        tell_of_open_doors(server)


def tell_of_open_doors(server: Server) -> None:
    """Log that no path is protected, if none is."""
    _tell(_protection(server.settings, server))


def _tell(found: Iterable[Finding]) -> None:
    for finding in found:
        if finding.severity != "ok":
            log.warning("%s %s", finding.text, finding.fix)


def _issuer(settings: Settings) -> Iterator[Finding]:
    if settings.issuer is None:
        yield warning(
            "issuer",
            "OAUTH_ISSUER is not set: only loopback hosts are served, and everybody else hears an error.",
            "Set OAUTH_ISSUER to the public https URL, exactly as clients see it.",
        )
    elif settings.issuer.startswith("https://") or settings.is_loopback:
        yield ok("issuer", f"The issuer is {settings.issuer}.")
    else:
        yield error(
            "issuer",
            f"The issuer {settings.issuer} is http: tokens and passwords cross the network readable.",
            "Put TLS in front, set OAUTH_ISSUER to the https URL and take OAUTH_ALLOW_HTTP out.",
        )


def _secret(settings: Settings, backend: Backend) -> Iterator[Finding]:
    if settings.secret_key is not None:
        size = len(encode_secret(settings.secret_key))
        if size >= SECRET_BYTES:
            yield ok("secret", "The server secret is configured.")
            return
        yield warning(
            "secret",
            f"OAUTH_SECRET_KEY has {size} bytes: a word that people think of can be guessed from cookies.",
            f"{_DRAW_A_SECRET} The one of now goes to OAUTH_SECRET_KEY_FALLBACKS for as long as tokens live.",
        )
        return
    where = "in the registry itself" if backend.beside is None else "in a file beside the registry"
    yield warning(
        "secret",
        f"OAUTH_SECRET_KEY is not set: a drawn secret is kept {where}, so a leaked backup forges tokens, and "
        "a registry that lost writes logs its users out.",
        f"{_DRAW_A_SECRET} Tokens that are out stay good; sign-ins on the login page end.",
    )


def _registry(settings: Settings, backend: Backend) -> Iterator[Finding]:
    if not backend.shared:
        yield from _registry_in_memory(backend)
        return
    url = settings.registry if isinstance(settings.registry, str) else ""
    if settings.issuer is not None and url.startswith(("sqlite:", "file:")) and ":///" not in url:
        yield warning(
            "registry",
            f"{url} is relative to the folder in which a process starts (now {backend.beside}).",
            "Name it with three slashes and its whole path, so that nothing ever starts an empty one.",
        )
    if is_to_be_made(backend):
        # Made by a look, it would be an empty one in whatever folder the operator happens to stand.
        yield ok("registry", f"There is none at {backend.beside} yet; a server that starts here makes it.")
        return
    nowhere = list(_registry_folder(backend))
    if nowhere:
        yield from nowhere
        return
    try:
        _write_and_remove(backend)
    except RegistryError as trouble:
        yield error(
            "registry",
            f"The registry cannot be written: {trouble}",
            _SEE_MESSAGE,
        )
        return
    yield ok("registry", "The registry can be read and written.")
    try:
        yield from moves.examine(backend)
    except RegistryError as trouble:
        yield error("registry", f"A record of the registry cannot be read: {trouble}", _SEE_MESSAGE)
    if backend.beside is not None:
        names = ("", "-wal", "-shm", ".lock", ".secret")
        yield from _private("registry", [backend.beside + name for name in names])


def _registry_in_memory(backend: Backend) -> Iterator[Finding]:
    if not backend.shared:
        yield error(
            "registry",
            "The registry is in the memory of each process: every worker has grants of its own, so that a "
            "client's requests fail now and then, and a restart logs everybody out.",
            "Set OAUTH_REGISTRY, for example to sqlite:///var/lib/app/oauth.db.",
        )


def _registry_folder(backend: Backend) -> Iterator[Finding]:
    folder = os.path.dirname(backend.beside or "")
    if folder and not os.path.isdir(folder):
        yield error(
            "registry",
            f"There is no folder {folder}, where the registry is to be: whatever needs it will be 503.",
            "Make it, for the account of the server alone (mode 0700).",
        )


def is_to_be_made(backend: Backend) -> bool:
    """Whether the registry is a file that is not there yet, and that this account could make."""
    if backend.beside is None or os.path.exists(backend.beside):
        return False
    try:
        with tempfile.TemporaryFile(dir=os.path.dirname(backend.beside)):
            return True
    except OSError:
        return False


def _write_and_remove(backend: Backend) -> None:
    key, now = b"d" + secrets.token_bytes(16), time.time()
    backend.swap(key, None, b"\x01", now + 60)
    entry = backend.get(key)
    if entry is None or not backend.swap(key, entry, None):
        raise RegistryError("a record that was just written is not there: are two stores behind one address?")


def _private(about: str, paths: list[str]) -> Iterator[Finding]:
    for path in paths:
        try:
            mode = os.stat(path).st_mode & 0o777
        except OSError:
            continue
        if mode & 0o007:
            text = f"{path} has mode {mode:o}: every account of this host can read it."
            yield warning(about, text, f"chmod o= {path}, and give its folder mode 0700.")


def _users(settings: Settings) -> Iterator[Finding]:
    reason = nobody_can(settings)
    if reason is not None:
        yield error("sign-in", reason, REMEDY)
        return
    yield ok("sign-in", "Users can sign in.")
    if settings.user_loader is not None and settings.login_url is None and not checks_passwords(settings):
        yield warning(
            "sign-in",
            "Users are known by OAUTH_USER_LOADER, and there is no page to send those to who are not.",
            "Set OAUTH_LOGIN_URL to the application's login page.",
        )
    if settings.users_file is not None:
        yield from _private("sign-in", [settings.users_file])
        with suppress(ConfigurationError):
            if not users_in(settings.users_file)[0]:
                text = f"There is no user in {settings.users_file}."
                yield warning("sign-in", text, "oauth-refresh user add NAME")


def _mistakes_in_users_file(path: str | None) -> Iterator[Finding]:
    """Those that every server logs when it reads the file."""
    if path is None:
        return
    try:
        _, mistakes = users_in(path)
    except ConfigurationError as trouble:
        for problem in trouble.problems:
            yield error("sign-in", f"No worker can start: {problem}.", "Mend the file, or put a copy back.")
        return
    for problem in mistakes:
        yield error("sign-in", f"This line counts for nobody: {problem}.", "Mend it, or take it out.")


def _proxies(settings: Settings) -> Iterator[Finding]:
    networks = [each for each in settings.trusted_proxies if each != UNIX]
    everywhere = [each for each in networks if ip_network(each, strict=False).prefixlen == 0]
    if not everywhere:
        return
    danger = "count failed logins against whom they like"
    if settings.trust_remote_user:
        danger = "name themselves any user they like, by one header"
    yield error(
        "proxies",
        f"OAUTH_TRUSTED_PROXIES holds {everywhere[0]}, so everybody is a trusted proxy and may {danger}.",
        "Name the addresses of your proxies alone, such as 127.0.0.1 or 10.0.0.0/8.",
    )


def _protection(settings: Settings, server: Server) -> Iterator[Finding]:
    if callable(settings.protect) or server.prefixes:
        yield ok("protection", f"Protected: {', '.join(server.prefixes) or 'what a callable says'}.")
        return
    yield warning(
        "protection",
        "No path is protected: every request reaches the application without a token.",
        'Set OAUTH_PROTECT, for example to "/api=notes:read", or in Flask guard views by @require_scope; '
        "only a server whose tokens others check needs none.",
    )


def _grace(settings: Settings) -> Iterator[Finding]:
    if settings.refresh_grace >= SHORT_GRACE:
        return
    yield warning(
        "grace",
        f"Grace is {settings.refresh_grace:g} seconds: a refresh that a proxy holds up for longer, "
        "or whose answer gets lost, can end the grant.",
        "Set OAUTH_REFRESH_GRACE above the longest time that a request can wait in front of the application.",
    )


def _lifetimes(settings: Settings) -> Iterator[Finding]:
    if settings.code_ttl > CODE_TTL_MAX:
        yield warning(
            "lifetimes",
            f"Authorization codes live {format_duration(settings.code_ttl)}: one that leaks is good for as "
            "long (RFC 6749 section 4.1.2 has ten minutes at most).",
            "Take OAUTH_CODE_TTL out: a minute is enough for programs that work.",
        )
    if settings.access_token_ttl < ACCESS_TTL_MIN:
        yield warning(
            "lifetimes",
            f"Access tokens live {format_duration(settings.access_token_ttl)}: programs that renew a "
            "minute before the end will do so at every request.",
            "Set OAUTH_ACCESS_TOKEN_TTL to 15m or more: one that is revoked ends at once, whatever it is.",
        )
    if settings.refresh_token_ttl < settings.access_token_ttl:
        yield warning(
            "lifetimes",
            f"Refresh tokens live {format_duration(settings.refresh_token_ttl)}, shorter than access tokens "
            f"({format_duration(settings.access_token_ttl)}): when a program wants to renew, it is too late.",
            "Set OAUTH_REFRESH_TOKEN_TTL well above OAUTH_ACCESS_TOKEN_TTL.",
        )


def _event_log(settings: Settings) -> Iterator[Finding]:
    path = settings.event_log
    if path is None:
        return
    there = os.path.exists(path)
    if os.path.isdir(path) or not os.access(path if there else os.path.dirname(path) or ".", os.W_OK):
        yield error(
            "event log",
            f"The event log {path} cannot be written: its events are lost.",
            "Make its folder, and let the account of the server write there.",
        )
        return
    yield ok("event log", f"Events are appended to {path}.")
