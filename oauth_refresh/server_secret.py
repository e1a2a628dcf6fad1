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
    drawn = _beside(backend.beside + SUFFIX) if backend.beside is not None else _in_registry(backend)
    return Secrets((drawn,), frozenset([drawn]))


def _beside(path: str) -> bytes:
    try:
        found = _read(path)
        return found if found is not None else _draw(path)
    except OSError as error:
        raise RegistryError(
            f"the server secret cannot be kept in {path} ({error.strerror}): make its folder writable, "
            "or set OAUTH_SECRET_KEY"
        ) from error


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            found = file.read().strip()
    except FileNotFoundError:
        return None
    if len(found) < 16:
        raise RegistryError(f"the server secret in {path} is damaged: restore it, or set OAUTH_SECRET_KEY")
    return found


def _draw(path: str) -> bytes:
    """Of any number of processes that start at once, one draws the secret and all read it."""
    descriptor, draft = tempfile.mkstemp(prefix=os.path.basename(path), dir=os.path.dirname(path) or ".")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_urlsafe(32).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            # A link appears whole or not at all, and never replaces the secret of a faster process.
            os.link(draft, path)
            log.info("drew a server secret and kept it in %s", path)
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
