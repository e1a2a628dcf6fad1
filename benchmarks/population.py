"""Any number of grants that look lived in, each a function of its number: its tokens need not be kept.

Each has a user and a client of its own, as MCP clients register themselves: the most that the indexes of a
registry can have to hold.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import msgspec

from oauth_refresh.backends import json_format, open_backend
from oauth_refresh.backends.base import Backend
from oauth_refresh.backends.bulk import batches, create_many
from oauth_refresh.pkce import kept
from oauth_refresh.records import Access, Code, Grant, Previous, encode, forget_at, index_terms
from oauth_refresh.tokens import hash_token, mint_access, mint_code, mint_refresh

_SCOPES = ("notes:read", "notes:write")
_AUDIENCE = ("https://notes.example.org",)
_DAY = 86400.0
AT_ONCE = 1000


class Record(NamedTuple):
    """What `swap` is given for one grant."""

    key: bytes
    body: bytes
    expires_at: float | None
    terms: tuple[bytes, ...]


def access_token(number: int) -> str:
    return mint_access(_id(number), _drawn(b"access", number))


def refresh_token(number: int, generation: int = 2) -> str:
    # The tag is not looked at where the hash matches.
    return mint_refresh(_id(number), generation, _drawn(b"refresh", number), bytes(16))


def client_id(number: int) -> str:
    return _drawn(b"client", number)[:16].hex()


def record(number: int, now: float) -> Record:
    """A grant that was redeemed and rotated, whose access token is in use; it ends 5 to 30 days from now."""
    return _record(_grant(number, now))


def record_as_issued(number: int, now: float) -> Record:
    """The same grant before its first rotation: its code was redeemed, and nothing has been used."""
    issued = msgspec.structs.replace(
        _grant(number, now),
        previous=None,
        used=False,
        last_used_at=None,
        generation=1,
        refresh_hash=hash_token(refresh_token(number, 1)),
    )
    return _record(issued)


Make = Callable[[int, float], Record]
"""`record` or `record_as_issued`."""


def _record(grant: Grant) -> Record:
    return Record(b"g" + grant.id, encode(grant), forget_at(grant), index_terms(grant))


def _grant(number: int, now: float) -> Grant:
    challenge, redirect_uri = kept("c" * 43), "http://127.0.0.1:33418/"
    code = Code(hash_token(mint_code(_id(number), bytes(32))), challenge, redirect_uri, now, True)
    replaced = Access(_drawn(b"replaced", number), None, None, "", now + 30)
    return Grant(
        id=_id(number),
        client_id=client_id(number),
        subject=f"user-{number}@example.org",
        access=Access(hash_token(access_token(number)), None, None, "", now + _DAY),
        previous=Previous(_drawn(b"before", number), now, replaced),
        used=True,
        # Later than now: filling takes longer than the interval at which a use is noted again.
        last_used_at=now + _DAY,
        revoked_at=None,
        ends_at=None,
        properties={},
        seed=_drawn(b"seed", number),
        scopes=_SCOPES,
        resources=_AUDIENCE,
        created_at=now - _DAY,
        code=code,
        generation=2,
        refresh_hash=hash_token(refresh_token(number)),
        refresh_expires_at=now + _DAY * (5 + number % 25) + number % 86400,
    )


def fill(url: str, numbers: range, now: float, processes: int = 1, make: Make = record) -> None:
    """Put these grants into the registry, by as many processes at once."""
    if processes == 1:
        return put(open_backend(url, announce=False), numbers, now, make)
    context = multiprocessing.get_context("fork")
    parts = [numbers[first::processes] for first in range(processes)]
    children = [context.Process(target=fill, args=(url, part, now, 1, make)) for part in parts]
    for child in children:
        child.start()
    for child in children:
        child.join()
        assert child.exitcode == 0
    return None


def put(backend: Backend, numbers: range, now: float, make: Make = record) -> None:
    for batch in batches((make(number, now) for number in numbers), AT_ONCE):
        assert create_many(backend, batch) == len(batch)


def write_file(path: Path, numbers: range, now: float, make: Make = record) -> None:
    """A registry file with these grants: one swap after the other would write it as often."""

    def records() -> Iterator[tuple[str, json_format.Record]]:
        for number in numbers:
            key, body, expires_at, terms = make(number, now)
            yield json_format.spell(key), json_format.record(body, expires_at, terms)

    path.write_bytes(json_format.encode(dict(records())))
    path.chmod(0o600)


def _id(number: int) -> bytes:
    return _drawn(b"id", number)[:16]


def _drawn(kind: bytes, number: int) -> bytes:
    return sha256(b"%b %d" % (kind, number)).digest()
