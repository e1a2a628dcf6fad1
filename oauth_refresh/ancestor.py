"""Token files of the Go server that this project descends from: what do they become here?

Versions 1 and 2 of its token file keep a list of tokens, each with the SHA-256 hash of 64 hex digits. A
token keeps working until the first rotation moves its grant to today's format. A pure rule over the parsed
JSON: the clock, the seeds and the settings are handed in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from typing import NamedTuple

from .records import LABEL_MAX, Access, Grant, encode, forget_at
from .tokens import ACCESS, REFRESH, old_entry, old_key

_HASH = re.compile(r"[0-9a-f]{64}")
_TIME = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d{2}):(\d{2}))"
)


class Record(NamedTuple):
    """What a registry backend keeps."""

    key: bytes
    body: bytes
    expires_at: float | None
    terms: tuple[bytes, ...]


class Circumstances(NamedTuple):
    """What an import needs to know. `draw` gives random bytes; `warn` takes what the operator should hear."""

    now: float
    refresh_ttl: float
    known_scopes: tuple[str, ...]
    draw: Callable[[int], bytes]
    warn: Callable[[str], object]
    index_terms: Callable[[Grant], tuple[bytes, ...]]


def records(document: Mapping[str, object], circumstances: Circumstances) -> Iterator[Record]:
    """The records that a token file of version 1 or 2 becomes.

    Raises ValueError naming the token and the field that cannot be read.
    """
    tokens = document.get("tokens")
    if not isinstance(tokens, Mapping):
        raise ValueError("tokens: must be an object of tokens by id")
    for token_id, fields in tokens.items():
        if not isinstance(fields, Mapping):
            raise ValueError(f"token {token_id}: must be an object")
        yield from _grant_records(Fields(str(token_id), fields), circumstances)


def _grant_records(fields: Fields, circumstances: Circumstances) -> Iterator[Record]:
    grant = _grant(fields, circumstances)
    if grant is None:
        return
    yield Record(b"g" + grant.id, encode(grant), forget_at(grant), circumstances.index_terms(grant))
    # The way from an old token to its grant has no end of its own: it lives as long as the grant.
    if grant.access is not None:
        yield Record(old_key(grant.access.hash), old_entry(ACCESS, grant.id), None, ())
    if grant.refresh_hash:
        yield Record(old_key(grant.refresh_hash), old_entry(REFRESH, grant.id), None, ())


def _grant(fields: Fields, circumstances: Circumstances) -> Grant | None:
    """The grant of one old token, or None where nothing of it is alive and nobody needs to know it."""
    now = circumstances.now
    scopes = fields.texts("allowed_tools")
    if "*" in scopes:
        scopes = circumstances.known_scopes
    scopes = tuple(sorted(set(scopes)))
    refresh_hash = fields.hash("refresh_token_hash")
    refresh_expires_at = fields.time("refresh_expires_at")
    if refresh_hash and refresh_expires_at is None:
        refresh_expires_at = now + circumstances.refresh_ttl
    expires_at = fields.time("expires_at")
    access_hash = fields.hash("hash")
    if access_hash and expires_at is None:
        circumstances.warn(f"the imported token {fields.token_id} has no end until its first rotation")
    access = Access(access_hash, None, None, "", expires_at) if access_hash else None
    revoked_at = fields.time("revoked_at")
    if fields.flag("revoked") and revoked_at is None:
        revoked_at = now
    grant = Grant(
        # The same file gives the same ids: an import that was cut off is done again without harm.
        id=sha256(f"oauth_refresh/1 imported\0{fields.token_id}".encode()).digest()[:16],
        client_id="",
        subject=fields.text("agent_name") or fields.token_id,
        access=access,
        previous=None,
        used=fields.time("last_used_at") is not None,
        last_used_at=fields.time("last_used_at"),
        revoked_at=revoked_at,
        ends_at=None,
        properties=_properties(fields),
        seed=circumstances.draw(32),
        scopes=scopes,
        resources=(),
        created_at=fields.time("created_at") or now,
        refresh_hash=refresh_hash,
        refresh_expires_at=refresh_expires_at if refresh_hash else None,
        revoked_why="revoked_before_import" if revoked_at is not None else "",
        label=fields.text("label")[:LABEL_MAX],
    )
    forgotten = forget_at(grant)
    return None if forgotten is not None and forgotten <= now else grant


def _properties(fields: Fields) -> dict[str, object]:
    return {name: fields.text(name) for name in ("prefix", "tool_registry_hash") if fields.text(name)}


class Fields:
    """The fields of one token or client, each read once and checked. Most may be missing."""

    def __init__(self, token_id: str, fields: Mapping[str, object], what: str = "token") -> None:
        self.token_id = token_id
        self._fields = fields
        self._what = what

    def text(self, name: str) -> str:
        value = self._fields.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise self._wrong(name, "must be text")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._fields.get(name)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._wrong(name, "must be a list of texts")
        return tuple(value)

    def flag(self, name: str) -> bool:
        value = self._fields.get(name, False)
        if not isinstance(value, bool):
            raise self._wrong(name, "must be true or false")
        return value

    def seconds(self, name: str) -> float:
        value = self._fields.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, (int, float, type(None))):
            raise self._wrong(name, "must be a number")
        return float(value or 0)

    def hash(self, name: str) -> bytes:
        text = self.text(name)
        if text and not _HASH.fullmatch(text):
            raise self._wrong(name, "must be 64 lower-case hex digits")
        return bytes.fromhex(text)

    def time(self, name: str) -> float | None:
        """Seconds since 1970. Absent, null and the year 1 all mean that there is no such time."""
        text = self.text(name)
        if not text or text.startswith("0001-"):
            return None
        found = _TIME.fullmatch(text)
        if found is None:
            raise self._wrong(name, "must be a time as in RFC 3339")
        try:
            return _seconds(found)
        except (ValueError, OverflowError):
            raise self._wrong(name, "is no such time") from None

    def _wrong(self, name: str, reason: str) -> ValueError:
        return ValueError(f"{self._what} {self.token_id}: {name} {reason}")


def _seconds(found: re.Match[str]) -> float:
    day, clock, fraction, sign, hours, minutes = found.groups()
    moment = datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=timezone.utc)
    if sign is not None:
        offset = timedelta(hours=int(hours), minutes=int(minutes))
        moment = moment - offset if sign == "+" else moment + offset
    return moment.timestamp() + (int(fraction) / 10 ** len(fraction) if fraction else 0.0)
