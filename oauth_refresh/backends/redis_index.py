"""How records lie in Redis or Valkey: their names, the head of a value, the sets of index terms.

- `PREFIX r KEY` is a record: one string. Its head says under which terms it is named and until when; the
  body follows. The whole string is the version that a swap compares.
- `PREFIX i HASH PART` is a part of an index term: a sorted set of keys, each with the minute until which it
  names its record, the horizon. A term has 64 parts and a key is in one of them, so that a term of millions
  of records neither lies on one server nor is one huge value, and one of hundreds is stored without
  pointers. A part lies on another server of a cluster than the record, so it is written before the record
  and is at times ahead of it, never behind. Whoever looks a term up reads the head of each record it names.

The horizon lies a quarter of the record's remaining life beyond its end. So a rotation, which moves that
end, writes one string, and only now and then the terms too; that also puts back a term that a failover
lost. The server forgets what is past its horizon, and the set with its last key. Where a record has no end,
the minute at which it was named takes the horizon's place; it is removed when somebody finds it dead, a day
after that minute at the earliest: whoever named it then has long written the record.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from time import time
from typing import NamedTuple
from zlib import crc32

from oauth_refresh.errors import RegistryError

MARGIN_SECONDS = 600.0
"""How much longer than `expires_at` the server keeps a record: the clocks of hosts and servers differ."""

NO_HORIZON = 0xFFFFFFFF
NEVER_BASE = 2**33
"""Added to the minute at which a record without an end was named."""

PARTS = 64

_FORMAT = 0x10
_HASH_BYTES = 16
_HORIZON_BYTES = 4
_FIRST_TERM = 1 + _HORIZON_BYTES
_SLACK_SECONDS = 3600.0
_LATEST = 1e11

_BEGINNING = tuple(bytes([_FORMAT + count]) for count in range(16))
HEAD_BYTES_MAX = _FIRST_TERM + 15 * _HASH_BYTES


class Head(NamedTuple):
    """What a value says before the body. `horizon` is in minutes since 1970."""

    terms: frozenset[bytes]
    horizon: int
    size: int


NO_HEAD = Head(frozenset(), 0, 0)


def record_name(prefix: bytes, key: bytes) -> bytes:
    return b"%br%b" % (prefix, key)


def part_name(prefix: bytes, term: bytes, key: bytes) -> bytes:
    """The part of a term, hashed already, that names `key`."""
    return b"%bi%b%c" % (prefix, term, crc32(key) % PARTS)


def part_names(prefix: bytes, term: bytes) -> list[bytes]:
    return [b"%bi%b%c" % (prefix, term, part) for part in range(PARTS)]


@lru_cache(1024)
def hash_term(term: bytes) -> bytes:
    return blake2b(term, digest_size=_HASH_BYTES).digest()


def hash_terms(terms: Iterable[bytes]) -> frozenset[bytes]:
    return frozenset(map(hash_term, terms))


def head_size(value: bytes) -> int:
    """How many bytes of a value are its head. Raises `RegistryError` if it is of no known format."""
    count = (value[0] if value else 0) - _FORMAT
    if not 0 <= count < 16:
        raise RegistryError(
            "registry: a record's format is unknown: another program uses the same keys (set another "
            "?prefix=), or a later release wrote it (install that one)"
        )
    return _FIRST_TERM + count * _HASH_BYTES if count else 1


def read_head(value: bytes) -> Head:
    """The head of a value, or of its beginning. Raises `RegistryError` if it is of no known format."""
    size = head_size(value)
    if size == 1:
        return Head(frozenset(), 0, 1)
    terms = [value[at : at + _HASH_BYTES] for at in range(_FIRST_TERM, size, _HASH_BYTES)]
    return Head(frozenset(terms), int.from_bytes(value[1:_FIRST_TERM], "big"), size)


def head_of(terms: frozenset[bytes], horizon: int) -> bytes:
    if not terms:
        return _BEGINNING[0]
    return _BEGINNING[len(terms)] + horizon.to_bytes(_HORIZON_BYTES, "big") + b"".join(sorted(terms))


def forget_at(expires_at: float | None) -> int | None:
    """When the server may forget the record, in milliseconds since 1970; None for never."""
    if expires_at is None or expires_at >= _LATEST:
        return None
    return max(1, math.ceil((expires_at + MARGIN_SECONDS) * 1000))


def needed_horizon(expires_at: float | None) -> int:
    """The minute until which the terms must name the record at least."""
    if expires_at is None or expires_at >= _LATEST:
        return NO_HORIZON
    return max(0, math.ceil((expires_at + MARGIN_SECONDS) / 60))


def next_horizon(expires_at: float | None) -> int:
    """The minute to name the record until, so that the terms need not be written at each rotation."""
    needed = needed_horizon(expires_at)
    if needed == NO_HORIZON or expires_at is None:
        return NO_HORIZON
    slack = max(_SLACK_SECONDS, (expires_at - time()) / 4)
    return min(needed + math.ceil(slack / 60), NO_HORIZON - 1)


REPLACE = b"""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[3] then
  redis.call('SET', KEYS[1], ARGV[2], 'PXAT', ARGV[3])
else
  redis.call('SET', KEYS[1], ARGV[2])
end
return 1
"""
"""The record, old value, new value and, unless it is kept for ever, the millisecond to forget it at."""

DELETE = b"""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""
"""The record and its value."""

PURGE = b"""
local at = redis.call('PEXPIRETIME', KEYS[1])
if at < 0 or at > tonumber(ARGV[1]) then return 0 end
return redis.call('DEL', KEYS[1])
"""
"""The record, and the millisecond: what is to be forgotten until then is forgotten now."""

NAME = b"""
local now = math.floor(redis.call('TIME')[1] / 60)
local horizon = tonumber(ARGV[2])
if horizon == 4294967295 then horizon = 8589934592 + now end
redis.call('ZADD', KEYS[1], 'GT', horizon, ARGV[1])
local gone = redis.call('ZRANGEBYSCORE', KEYS[1], 0, '(' .. now, 'LIMIT', 0, 100)
if #gone > 0 then redis.call('ZREM', KEYS[1], unpack(gone)) end
local last = tonumber(redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2] or 0)
if last >= 8589934592 then
  redis.call('PERSIST', KEYS[1])
elseif last > 0 then
  redis.call('EXPIREAT', KEYS[1], (last + 1) * 60)
end
return 1
"""
"""The part of a term, the record's key and its horizon. Some that are past theirs are dropped on the way."""

UNNAME = b"""
local before = 8589934592 + math.floor(redis.call('TIME')[1] / 60) - 1440
local minute = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or 0)
if minute >= 8589934592 and minute < before then redis.call('ZREM', KEYS[1], ARGV[1]) end
return 1
"""
"""The part, and the key of a dead record without an end, dropped if it was named more than a day ago."""
