"""What a code or token looks like, and how the next one follows from it.

Codes and tokens are opaque text: a prefix that names the kind, then base64url without padding of

    code, access     grant id (16 bytes) . secret (32)
    refresh          grant id (16) . generation (4, big-endian) . secret (32) . tag (16)

A grant's line of tokens is a fixed function of the client's token, the grant's seed (in the registry)
and the server secret (in the configuration). Nothing here reads a clock, a store or randomness.
"""

from __future__ import annotations

import hmac
import struct
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from hashlib import sha256

from .keyed_hashes import Pads, hmac_of_pads, keyed, pads
from .records import GRANT_ID_BYTES
from .values import Value

CODE = "oac_"
ACCESS = "oat_"
REFRESH = "ort_"

SECRET_BYTES = 32
TAG_BYTES = 16
GENERATION_MAX = 2**32 - 1
"""The last generation, and the last epoch: both take four bytes."""

FIRST_EPOCH = bytes(4)
# The prefixes, of four letters, spell three bytes like the rest of the text.
_PLAIN_LAYOUT = struct.Struct(f">3x{GRANT_ID_BYTES}s{SECRET_BYTES}s")
_REFRESH_LAYOUT = struct.Struct(f">3x{GRANT_ID_BYTES}sI{SECRET_BYTES}s{TAG_BYTES}s")
_PLAIN_BYTES = _PLAIN_LAYOUT.size
_REFRESH_BYTES = _REFRESH_LAYOUT.size
_PLAIN_LENGTH = 68
_REFRESH_LENGTH = 95
ID_PART = slice(3, 3 + GRANT_ID_BYTES)
SECRET_PART = slice(ID_PART.stop + 4, ID_PART.stop + 4 + SECRET_BYTES)
"""Where `raw_refresh` has the grant's id and the secret."""

_plain_parts = _PLAIN_LAYOUT.unpack
_refresh_parts = _REFRESH_LAYOUT.unpack
_REFRESH_BEGINS = a2b_base64(REFRESH.replace("_", "/"))
_WITHOUT_SPARE_BITS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[::4])
_HEX = frozenset("0123456789abcdef")
_FROM_URLSAFE = bytes.maketrans(b"-_+/=", b"+/!!!")
TO_URLSAFE = bytes.maketrans(b"+/", b"-_")


class Presented(Value, frozen=True, gc=False):
    """A code or token as a client presented it: well formed, and not yet believed.

    `hash` is SHA-256 of its ASCII text with the prefix, the only form in which it is ever stored.
    `imported` marks a token of the ancestor's file, which has no tag; the registry found its hash on record.
    """

    kind: str
    grant_id: bytes
    secret: bytes
    hash: bytes
    generation: int = 0
    tag: bytes = b""
    imported: bool = False

    def __repr__(self) -> str:
        # A default repr would carry the secret into tracebacks and logs.
        return f"<{self.kind}… of grant {self.grant_id.hex()}>"


class Secrets(Value, frozen=True, gc=False):
    """The server secrets: the first signs and derives, all verify.

    `beside_data` holds those kept with the data they protect. A token whose tag only such a secret
    verifies cannot roll a registry forward: whoever can write the registry may know the secret too.
    """

    keys: tuple[bytes, ...]
    beside_data: frozenset[bytes] = frozenset()

    def __repr__(self) -> str:
        return f"<{len(self.keys)} server secrets>"


class Rights(Value, frozen=True, gc=False):
    """What an access token is good for. Scopes and audience are sorted; `proof_key` is a thumbprint or ""."""

    scopes: tuple[str, ...]
    audience: tuple[str, ...]
    proof_key: str = ""


def hash_token(text: str) -> bytes:
    return sha256(text.encode()).digest()


def mint_code(grant_id: bytes, secret: bytes) -> str:
    return CODE + b2a_base64(grant_id + secret, newline=False).translate(TO_URLSAFE).decode()


def mint_access(grant_id: bytes, secret: bytes) -> str:
    return _spelt_access(grant_id + secret).decode()


def _spelt_access(raw: bytes) -> bytes:
    return b"oat_" + b2a_base64(raw)[:-1].translate(TO_URLSAFE)


def mint_refresh(grant_id: bytes, generation: int, secret: bytes, tag: bytes) -> str:
    return _spelt_refresh(grant_id + generation.to_bytes(4, "big") + secret + tag).decode()


def _spelt_refresh(raw: bytes) -> bytes:
    # Without the one character of padding that 68 bytes have, and the end of the line.
    return b"ort_" + b2a_base64(raw)[:-2].translate(TO_URLSAFE)


def read(text: str) -> Presented | None:
    """The code or token that this text spells, or None where it is noise.

    Strict: prefix, length, alphabet and zero spare bits, so that no token has a second spelling.
    """
    try:
        ascii_text = text.encode()  # anything else is longer, or has foreign characters
    except UnicodeEncodeError:
        return None
    kind = text[:4]
    if kind == REFRESH:
        raw = raw_refresh(ascii_text)
        return None if raw is None else refresh_of(raw, sha256(ascii_text).digest())
    if len(ascii_text) != _PLAIN_LENGTH or kind not in (ACCESS, CODE):
        return None
    try:
        # 48 bytes are 64 characters exactly, so there are no spare bits.
        raw = a2b_base64(ascii_text.translate(_FROM_URLSAFE))
    except ValueError:
        return None
    if len(raw) != _PLAIN_BYTES:  # a foreign character leaves it short
        return None
    grant_id, secret = _plain_parts(raw)
    return Presented(kind, grant_id, secret, sha256(ascii_text).digest())


def raw_refresh(ascii_text: bytes) -> bytes | None:
    """What a refresh token spells, its prefix taken for three bytes, or None where it is noise."""
    # The two spare bits, in the last character, must be zero.
    if len(ascii_text) != _REFRESH_LENGTH or ascii_text[-1] not in _WITHOUT_SPARE_BITS:
        return None
    try:
        raw = a2b_base64(ascii_text.translate(_FROM_URLSAFE) + b"=")
    except ValueError:
        return None
    # A foreign character leaves it short.
    return raw if len(raw) == _REFRESH_BYTES and raw.startswith(_REFRESH_BEGINS) else None


def refresh_of(raw: bytes, token_hash: bytes) -> Presented:
    """The refresh token of which `raw_refresh` read this, and whose text has this hash."""
    grant_id, generation, secret, tag = _refresh_parts(raw)
    return Presented(REFRESH, grant_id, secret, token_hash, generation, tag)


def looks_old(text: str) -> bool:
    """Whether this could be a token of the ancestor's file: 64 lower-case hex digits."""
    return len(text) == 64 and _HEX.issuperset(text)


def old_key(token_hash: bytes) -> bytes:
    """The key of the registry record that leads from an imported token to its grant."""
    return b"o" + token_hash


def old_entry(kind: str, grant_id: bytes) -> bytes:
    """The body of that record."""
    return b"\x01" + kind.encode("ascii") + grant_id


def read_old(text: str, body: bytes) -> Presented | None:
    """An imported token as it was presented, given the body under its `old_key`. Its generation is 0."""
    kind = body[1:5].decode("ascii", "replace")
    if body[:1] != b"\x01" or kind not in (ACCESS, REFRESH) or len(body) != 5 + GRANT_ID_BYTES:
        return None
    return Presented(kind, body[5:], bytes.fromhex(text), hash_token(text), imported=True)


def tag(key: bytes, seed: bytes, grant_id: bytes, generation: int, secret: bytes) -> bytes:
    """The 16 bytes by which the server recognises any refresh token that it ever issued for a grant.

    The seed is part of the key, so neither a leaked server secret nor a leaked registry forges a token.
    """
    # Not by the keys that are remembered: how long a forgery takes must not tell who was here lately.
    return _tag(_tag_key(keyed(key), seed), grant_id + generation.to_bytes(4, "big") + secret)


def _tag(tag_key: Pads, signed: bytes) -> bytes:
    return hmac_of_pads(tag_key, b"refresh\0" + signed)[:TAG_BYTES]


@lru_cache(64)
def keys_of_grant(key: bytes, seed: bytes) -> tuple[Pads, Pads]:
    """What salts and tags of one grant are made with. A walk along its line asks for them at each step."""
    digest = keyed(key)
    return pads(digest(b"oauth_refresh/1 salt\0" + seed)), _tag_key(digest, seed)


def _tag_key(digest: Callable[[bytes], bytes], seed: bytes) -> Pads:
    return pads(digest(b"oauth_refresh/1 tag\0" + seed))


def verifying_key(presented: Presented, seed: bytes, secrets: Secrets) -> bytes | None:
    """The first server secret that verifies the tag of this refresh token. All are tried every time."""
    found: bytes | None = None
    for key in secrets.keys:
        expected = tag(key, seed, presented.grant_id, presented.generation, presented.secret)
        if hmac.compare_digest(expected, presented.tag) and found is None:
            found = key
    return found


class Link(Value, frozen=True, gc=False):
    """One generation of a grant's line: its refresh secret, and the salt from which its tokens follow."""

    generation: int
    counted: bytes
    """The generation, as it stands in the token."""
    refresh_secret: bytes
    salt: bytes
    parent: Pads
    """Of the secret before."""
    tag_key: Pads

    def __repr__(self) -> str:
        return f"<link of generation {self.generation}>"

    def refresh_token(self, grant_id: bytes) -> str:
        signed = grant_id + self.counted + self.refresh_secret
        return _spelt_refresh(signed + _tag(self.tag_key, signed)).decode()

    def access_token(self, grant_id: bytes, epoch: int, rights: Rights) -> str:
        counted = epoch.to_bytes(4, "big") if epoch else FIRST_EPOCH
        message = b"access\0" + self.salt + counted + rights_digest(rights)
        return mint_access(grant_id, hmac_of_pads(self.parent, message))


@lru_cache(1024)
def rights_digest(rights: Rights) -> bytes:
    lines = (" ".join(sorted(rights.scopes)), " ".join(sorted(rights.audience)), rights.proof_key)
    return sha256("\n".join(lines).encode()).digest()


def derive(key: bytes, seed: bytes, grant_id: bytes, generation: int, secret: bytes) -> Link:
    """The link of this generation, from the secret of the one before it (for the first, the code's)."""
    salt_key, tag_key = keys_of_grant(key, seed)
    counted = generation.to_bytes(4, "big")
    salt = hmac_of_pads(salt_key, grant_id + counted)
    parent = pads(secret)
    return Link(generation, counted, hmac_of_pads(parent, b"refresh\0" + salt), salt, parent, tag_key)


def derive_forward(
    keys: Iterable[bytes], seed: bytes, grant_id: bytes, generation: int, secret: bytes, steps: int
) -> Iterator[Link]:
    """Every link that may lie `steps` generations ahead of a token, with at most one change of server secret.

    For one step these are the successors under each key. Lines without a change come first.
    """
    keys = tuple(keys)
    lines = {key: [(generation, secret)] for key in keys}
    for key in keys:
        link = None
        for _ in range(steps):
            at, current = lines[key][-1]
            link = derive(key, seed, grant_id, at + 1, current)
            lines[key].append((link.generation, link.refresh_secret))
        if link is not None:
            yield link
    for first in keys:
        for second in keys:
            if second == first:
                continue
            for done in range(1, steps):
                at, current = lines[first][done]
                link = None
                for _ in range(steps - done):
                    link = derive(second, seed, grant_id, at + 1, current)
                    at, current = link.generation, link.refresh_secret
                if link is not None:
                    yield link
