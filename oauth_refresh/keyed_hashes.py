"""HMAC-SHA256 (RFC 2104) out of plain SHA-256. Almost every key here is itself a hash of 32 bytes.

`hmac.digest` looks its algorithm up at every call, which takes twice as long as the hashing of a token. A
renewal has six of them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256

_BLOCK_BYTES = 64
_HALF_BLOCK = 32
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))
_INNER_HALF, _OUTER_HALF = _INNER[:1] * _HALF_BLOCK, _OUTER[:1] * _HALF_BLOCK


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """The 32 bytes, for a key that is used once."""
    if len(key) != _HALF_BLOCK:
        return hmac_of_pads(pads(key), message)
    inner = sha256(key.translate(_INNER) + _INNER_HALF + message).digest()
    return sha256(key.translate(_OUTER) + _OUTER_HALF + inner).digest()


def pads(key: bytes) -> tuple[bytes, bytes]:
    """What the inner and the outer hash begin with under this key. As secret as the key."""
    block = _block(key)
    return block.translate(_INNER), block.translate(_OUTER)


def hmac_of_pads(of_key: tuple[bytes, bytes], message: bytes) -> bytes:
    """The 32 bytes, for a key that is used twice."""
    inner, outer = of_key
    return sha256(outer + sha256(inner + message).digest()).digest()


@lru_cache(64)
def keyed(key: bytes) -> Callable[[bytes], bytes]:
    """`hmac_sha256` of a key that is used again and again, as the server secrets are."""
    inner_pad, outer_pad = pads(key)
    begin_inner, begin_outer = sha256(inner_pad).copy, sha256(outer_pad).copy

    def digest(message: bytes) -> bytes:
        inner, outer = begin_inner(), begin_outer()
        inner.update(message)
        outer.update(inner.digest())
        return outer.digest()

    return digest


def _block(key: bytes) -> bytes:
    short = key if len(key) <= _BLOCK_BYTES else sha256(key).digest()
    return short.ljust(_BLOCK_BYTES, b"\0")
