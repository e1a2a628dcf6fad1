"""Where the server secret comes from: the configuration, else one that is drawn at the first start and kept.

A drawn secret is kept beside the data in a file of its own where the backend has such a place, else in the
registry itself. Either way whoever can write the data may know it, so it does not roll the registry forward.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Sequence

from .backends.base import Backend
from .backends.moving import MovingBackend
from .errors import RegistryError
from .events import log
from .tokens import Secrets

SUFFIX = ".secret"
_RECORD = b"s" + b"server secret"


def server_secrets(configured: Sequence[bytes], backend: Backend) -> Secrets:
    """The configured secrets, or the drawn one.

    Raises `RegistryError` if that can be neither read nor kept.
    """
    if configured:
        return Secrets(tuple(configured))
    drawn = tuple(dict.fromkeys(_drawn(each) for each in _places(backend)))
    return Secrets(drawn, frozenset(drawn))


def carry_secret(old: Backend, new: Backend) -> bool:
    """Keep the secret that was drawn for one registry with another too: whether there is one to keep.

    One that the other has already stays, and is then another one: the two are told apart by the caller.
    """
    found = _look(old)
    if found is None or (new.beside is not None and new.beside == old.beside):
        return False
    if new.beside is None:
        new.swap(_RECORD, None, found, copies="wanted")
    else:
        try:
            _draw(new.beside + SUFFIX, found)
        except OSError as error:
            raise _cannot_keep(new.beside + SUFFIX, error) from error
    return True


def _places(backend: Backend) -> tuple[Backend, ...]:
    """Where secrets may lie. That of a registry which is being left comes first: processes that know no
    other one sign with it."""
    if not isinstance(backend, MovingBackend):
        return (backend,)
    _drawn(backend.old)
    carry_secret(backend.old, backend.new)
    return (backend.old, backend.new)


def _look(backend: Backend) -> bytes | None:
    """The secret that was drawn for this registry, if there is one."""
    if backend.beside is not None:
        return _read(backend.beside + SUFFIX)
    entry = backend.get(_RECORD)
    return None if entry is None else entry.body


def _drawn(backend: Backend) -> bytes:
    return _beside(backend.beside + SUFFIX) if backend.beside is not None else _in_registry(backend)


def _beside(path: str) -> bytes:
    try:
        found = _read(path)
        return found if found is not None else _draw(path)
    except OSError as error:
        raise _cannot_keep(path, error) from error


def _cannot_keep(path: str, error: OSError) -> RegistryError:
    return RegistryError(
        f"the server secret cannot be kept in {path} ({error.strerror}): make its folder writable, "
        "or set OAUTH_SECRET_KEY"
    )


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            found = file.read().strip()
    except FileNotFoundError:
        return None
    if len(found) < 16:
        raise RegistryError(f"the server secret in {path} is damaged: restore it, or set OAUTH_SECRET_KEY")
    return found


def _draw(path: str, secret: bytes | None = None) -> bytes:
    """Of any number of processes that start at once, one draws the secret (or brings it), and all read it."""
    descriptor, draft = tempfile.mkstemp(prefix=os.path.basename(path), dir=os.path.dirname(path) or ".")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write((secret or secrets.token_urlsafe(32).encode()) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            # A link appears whole or not at all, and never replaces the secret of a faster process.
            os.link(draft, path)
            log.info("%s a server secret and kept it in %s", "brought" if secret else "drew", path)
        except FileExistsError:
            pass
    finally:
        os.unlink(draft)
    found = _read(path)
    if found is None:
        raise RegistryError(f"the server secret in {path} vanished: set OAUTH_SECRET_KEY")
    return found


def _in_registry(backend: Backend) -> bytes:
    entry = backend.get(_RECORD)
    if entry is None:
        backend.swap(_RECORD, None, secrets.token_urlsafe(32).encode())
        entry = backend.get(_RECORD)
    if entry is None:
        raise RegistryError("the server secret cannot be kept in the registry: set OAUTH_SECRET_KEY")
    if backend.shared:
        log.warning(
            "OAUTH_SECRET_KEY is not set: the server secret is kept in the registry itself, so that whoever "
            "reads the registry can forge tokens, and a registry that lost writes cannot be rolled forward"
        )
    return entry.body
