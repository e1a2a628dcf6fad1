"""What a record says of itself: when it may be forgotten, and under which terms it is found.

A store keeps both beside the body, and tells neither: whoever takes records to another store asks here. The
first byte of a key is the kind of its record.
"""

from __future__ import annotations

from . import attempts, challenges, clients, document_clients, login, statistics
from .backends.base import Entry
from .records import decode, forget_at, index_terms

SERVER_SECRET = b"s"
HOUSEKEEPING = b"h"


def describe(key: bytes, body: bytes, now: float) -> tuple[float | None, tuple[bytes, ...]]:
    """When this record may be forgotten (seconds since 1970, None for never), and its index terms.

    `now` serves for records that do not tell: they get all the time that one of their kind may have. A kind
    that is unknown is kept for ever. Raises `RegistryError` for a body that this release cannot read.
    """
    kind = key[:1]
    if kind == b"g":
        grant = decode(body, key[1:])
        return forget_at(grant), index_terms(grant)
    if kind == b"c":
        return clients.forget_at_of(body), ()
    if kind == document_clients.KIND:
        return document_clients.forget_at_of(Entry(body, b""), now), ()
    if kind == attempts.KIND:
        return attempts.forget_at(body), ()
    if kind == challenges.KIND:
        return challenges.forget_at(body), ()
    if kind == login.KIND:
        return now + login.LOGIN_SECONDS, ()
    if kind == statistics.KIND:
        return statistics.forget_at(key), ()
    return None, ()
