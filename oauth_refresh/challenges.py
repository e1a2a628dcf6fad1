"""Has this client used this code challenge before? One that comes back was not drawn at random.

RFC 9700 section 2.1.1 asks for a reasonable effort to notice clients whose challenges are constant: their
codes have no protection against whoever reads one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from hashlib import sha256

from .backends.base import Backend
from .errors import RegistryError

KIND = b"p"
REMEMBERED_SECONDS = 86400.0
_TRIES = 8
_HEAD = struct.Struct(">Bd")
_FORMAT = 1


class Challenges:
    """The challenges of the last day, over all workers: a record for each, made by whoever uses it first."""

    def __init__(self, backend: Backend, clock: Callable[[], float]) -> None:
        self._backend = backend
        self._clock = clock

    def claim(self, client_id: str, challenge: str, grant_id: bytes) -> bool:
        """Whether this challenge is this grant's. The same grant may ask again: its form was sent twice."""
        key = KIND + sha256(f"{client_id}\0{challenge}".encode()).digest()
        for _ in range(_TRIES):
            entry, now = self._backend.get(key), self._clock()
            if entry is not None and now < forget_at(entry.body):
                return entry.body[_HEAD.size :] == grant_id
            ends_at = now + REMEMBERED_SECONDS
            if self._backend.swap(key, entry, _HEAD.pack(_FORMAT, ends_at) + grant_id, ends_at):
                return True
        raise RegistryError("a code challenge kept changing through every try", retry_after=1)


def forget_at(body: bytes) -> float:
    """When the record may be forgotten (seconds since 1970). Raises `RegistryError` for a foreign one."""
    if len(body) < _HEAD.size or body[0] != _FORMAT:
        raise RegistryError("the record of a code challenge has a format that this release cannot read")
    ends_at: float = _HEAD.unpack_from(body)[1]
    return ends_at
