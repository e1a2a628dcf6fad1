"""The grant record: everything the registry keeps of one user's authorization of one client.

There is one record per grant from the authorization code to the end, however often its tokens rotate.
Codes and tokens themselves are never in it, only their SHA-256 hashes.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from typing import Any

import msgspec

from .errors import RegistryError

FORMAT = 3
"""The first byte of every encoded grant; the second counts its fields. The id is left out: it is the record's
key. So are the fields that only few grants need, at the end, where none of them says anything.

The format before, which is still read, counted in three bytes and always had all fields.
"""

GRANT_ID_BYTES = 16
FORGET_AFTER = 3600.0
"""Seconds that a grant is kept after the last of its tokens has expired."""

LABEL_MAX = 200
PROPERTIES_BYTES_MAX = 4096


class Access(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """An access token: its hash, what it is good for, and when it ends (seconds since 1970, None: never).

    Scopes and audience are None where they are the grant's own: most are, and they fill half a record.
    """

    hash: bytes
    scopes: tuple[str, ...] | None
    audience: tuple[str, ...] | None
    proof_key: str
    expires_at: float | None


class Code(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The authorization code of the grant. Kept after its redemption, to recognise a second one.

    `challenge` is of PKCE: what `pkce.kept` made of it, bytes or text (msgspec knows no union of the two).
    """

    hash: bytes
    challenge: Any
    redirect_uri: str
    expires_at: float
    redeemed: bool = False


class Previous(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The pair that the current one replaced. Its access token's expiry was cut when it was replaced."""

    refresh_hash: bytes
    rotated_at: float
    access: Access | None = None


class Grant(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One grant. Times are seconds since 1970. New fields are only ever added at the end, and here alone:
    unknown fields at the end of an access token, a code or a pair would be lost.

    `subject` is "" for a token that a client holds for itself; `client_id` is "" while the client of an
    imported token is unknown. `used` says whether the successor that the last rotation handed out has
    been used. `rotations` holds the times of the newest rotations, for the catch-up policy alone.
    """

    id: bytes
    client_id: str
    subject: str
    access: Access | None
    previous: Previous | None
    used: bool
    last_used_at: float | None
    revoked_at: float | None
    ends_at: float | None
    properties: dict[str, object]
    seed: bytes
    scopes: tuple[str, ...]
    resources: tuple[str, ...]
    created_at: float
    code: Code | None = None
    generation: int = 0
    refresh_hash: bytes = b""
    refresh_expires_at: float | None = None
    epoch: int = 0
    proof_key: str = ""
    revoked_why: str = ""
    late_repeats: int = 0
    late_marked: bool = False
    rotations: tuple[float, ...] = ()
    label: str = ""

    def scopes_of(self, access: Access) -> tuple[str, ...]:
        """What this access token of the grant is good for."""
        return self.scopes if access.scopes is None else access.scopes

    def audience_of(self, access: Access) -> tuple[str, ...]:
        """The resources that this access token of the grant is good for; none for the whole server."""
        return self.resources if access.audience is None else access.audience

    def __repr__(self) -> str:
        # The seed is a secret, and a default repr would carry it into tracebacks.
        return f"<grant {self.id.hex()} generation {self.generation}>"


_FIELDS = len(Grant.__struct_fields__)
_ID_HEAD = b"\xc4\x10"
_ARRAY = b"\xdc"
_BEFORE_ID = 3
_AFTER_ID = _BEFORE_ID + len(_ID_HEAD) + GRANT_ID_BYTES
"""Where the second field begins in what the encoder makes: an array, counted in two bytes."""

_MOVED_BYTE = b"\xff"
"""What the markers of a move of the registry begin with, and no record does."""

_FORMAT_BYTE = bytes((FORMAT,))
_FORMAT_BEFORE = bytes((FORMAT - 1,)) + _ARRAY
_HEAD_BYTES = 2
_SELDOM = b"".join(map(msgspec.msgpack.encode, (0, "", "", 0, False, (), "")))
"""How the fields from epoch to label are encoded where none says anything.

A grant in its first epoch and without rotations ends like this with no other values: text that does is not
UTF-8, and of late repeats there are at most 255.
"""

_SELDOM_FIELDS = 7
_BEFORE_SELDOM = slice(_AFTER_ID, -len(_SELDOM))
_HEAD = bytes((FORMAT, _FIELDS))
_SHORT_HEAD = bytes((FORMAT, _FIELDS - _SELDOM_FIELDS))
_KNOWN_HEADS = (_SHORT_HEAD, _HEAD)
_SHORT_TO_ID = _ARRAY + bytes((0, _FIELDS - _SELDOM_FIELDS)) + _ID_HEAD

_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Grant)
_raw_decoder = msgspec.msgpack.Decoder(list[msgspec.Raw])


def encode(grant: Grant, like: bytes | None = None) -> bytes:
    """The record as bytes. Trailing fields of `like` that this release does not know are carried over."""
    made = _encode(grant)
    if like is not None and not like.startswith(_KNOWN_HEADS):
        tail = _unknown_tail(like)
        if tail:
            count = bytes((FORMAT, _FIELDS + len(tail)))
            return b"".join((count, made[_AFTER_ID:], *map(bytes, tail)))
    if made.endswith(_SELDOM) and not grant.epoch and not grant.rotations:
        return _SHORT_HEAD + made[_BEFORE_SELDOM]
    return _HEAD + made[_AFTER_ID:]


def _unknown_tail(body: bytes) -> tuple[msgspec.Raw, ...]:
    return tuple(_raw_decoder.decode(_with_id(body, bytes(GRANT_ID_BYTES)))[_FIELDS:])


def _with_id(body: bytes, grant_id: bytes) -> bytes:
    """As the encoder made it."""
    if body.startswith(_FORMAT_BYTE):
        return b"".join((_ARRAY, b"\0", body[1:_HEAD_BYTES], _ID_HEAD, grant_id, body[_HEAD_BYTES:]))
    if body.startswith(_FORMAT_BEFORE):
        return b"".join((body[1 : 1 + _BEFORE_ID], _ID_HEAD, grant_id, body[1 + _BEFORE_ID :]))
    if body[:1] == _MOVED_BYTE:
        raise RegistryError(
            f"a grant record has format {body[0]}: it has moved to another registry, or is about to: restart "
            "this process with the settings of the others (OAUTH_REGISTRY, OAUTH_REGISTRY_FALLBACK)"
        )
    found, age = (body[0], "a newer" if body[0] > FORMAT else "an older") if body else ("none", "another")
    raise RegistryError(
        f"a grant record has format {found}, this release reads {FORMAT - 1} and {FORMAT}: it was written by "
        f"{age} release, or the registry is damaged"
    )


def decode(body: bytes, grant_id: bytes) -> Grant:
    """The grant that these bytes hold, which lay under this id of 16 bytes.

    Raises `RegistryError` for a format that this release cannot read: that is never "no such grant".
    """
    try:
        if body.startswith(_SHORT_HEAD):
            return _decoder.decode(_SHORT_TO_ID + grant_id + body[_HEAD_BYTES:])
        return _decoder.decode(_with_id(body, grant_id))
    except (msgspec.MsgspecError, ValueError) as error:
        # Text that is not UTF-8 raises UnicodeDecodeError, which is a ValueError and no MsgspecError.
        raise RegistryError("a grant record is damaged: restore the registry from a backup") from error


def forget_at(grant: Grant) -> float | None:
    """When the registry may forget this grant (seconds since 1970), or None while a token has no end.

    A revoked grant is kept as long as it would have lived: its tokens stay recognised until then.
    """
    # Without a list to loop over: every renewal asks.
    latest, access, previous, code = grant.created_at, grant.access, grant.previous, grant.code
    if access is not None:
        if access.expires_at is None:
            return None
        if access.expires_at > latest:
            latest = access.expires_at
    if previous is not None and previous.access is not None:
        if previous.access.expires_at is None:
            return None
        if previous.access.expires_at > latest:
            latest = previous.access.expires_at
    if grant.refresh_expires_at is not None and grant.refresh_expires_at > latest:
        latest = grant.refresh_expires_at
    if code is not None and code.expires_at > latest:
        latest = code.expires_at
    return latest + FORGET_AFTER


def is_live(grant: Grant, now: float) -> bool:
    """Whether a client can use this grant now, or renew it. Not while its code waits to be redeemed."""
    if grant.revoked_at is not None or not alive(grant.ends_at, now):
        return False
    can_renew = bool(grant.refresh_hash) and alive(grant.refresh_expires_at, now)
    return can_renew or (grant.access is not None and alive(grant.access.expires_at, now))


def index_terms(grant: Grant) -> tuple[bytes, ...]:
    """The terms under which a grant is found again: its subject and its client, as far as they are known."""
    return terms_of(grant.subject, grant.client_id)


@lru_cache(1024)
def terms_of(subject: str, client_id: str) -> tuple[bytes, ...]:
    """The same for a grant of this subject and this client."""
    terms = ((b"s", subject), (b"c", client_id))
    return tuple(term(kind, text) for kind, text in terms if text)


def term(kind: bytes, text: str) -> bytes:
    """An index term. Long names (a client id can be a URL) are hashed, for a term has at most 512 bytes."""
    raw = text.encode()
    return kind + (raw if len(raw) <= 200 else b"\0" + sha256(raw).digest())


def alive(expires_at: float | None, now: float) -> bool:
    """Whether at least one whole second is left. None never ends."""
    return expires_at is None or expires_at - now >= 1


def elapsed(since: float, now: float) -> float:
    """Seconds since then. A clock that went back makes it zero, not negative."""
    return max(0.0, now - since)
