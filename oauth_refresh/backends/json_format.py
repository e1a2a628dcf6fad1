"""How records are written as JSON, and what is wrong with a text that does not hold them.

    {"version":3,"records":{
    "c=desktop":{"text":"a body that is text"},
    "g:4f2a09":{"expires_at":1900000000.5,"index":["c=desktop","s=alice"],"base64":"AZkB"}
    }}

One record per line, so that a search finds a whole record and a damaged one has a line number. Keys and
index terms begin with their first byte, which says the kind (as a letter or digit, else as two hex digits);
then comes "=" and the rest as text, or ":" and the rest in hex. Bodies are text or base64.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Literal, NamedTuple

import msgspec

VERSION = 3
OLD_VERSIONS = (1, 2)

# A fixed set: what Python calls printable changes with its release, and a key must stay the same key.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NAME = re.compile(r"(?:([0-9A-Za-z])|([0-9a-f]{2}))(?::((?:[0-9a-f]{2})+)|=(.*))", re.DOTALL)
_BYTE = re.compile(r" ?\(byte (\d+)\)")

_MEND = "mend the file or restore a backup; it is left as it is, and read again when it has changed"


class Record(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """One record as it stands in the file. Of `text` and `base64` exactly one is there."""

    expires_at: float | None = None
    index: tuple[str, ...] = ()
    text: str | None = None
    base64: bytes | None = None

    @property
    def body(self) -> bytes:
        return self.base64 if self.base64 is not None else (self.text or "").encode()


class Old(NamedTuple):
    """A token file of the version before this format, as JSON gave it."""

    version: int
    content: dict[str, object]


class _File(msgspec.Struct, forbid_unknown_fields=True):
    version: Literal[3]
    records: dict[str, Record]


class _RawFile(msgspec.Struct, forbid_unknown_fields=True):
    version: Literal[3]
    records: dict[str, msgspec.Raw]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_File).decode
_decode_raw = msgspec.json.Decoder(_RawFile).decode
_decode_record = msgspec.json.Decoder(Record).decode

# MsgspecError is a ValueError in later releases of msgspec only.
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)


def spell(name: bytes) -> str:
    """The one spelling of a key or an index term. `unspell` gives the same bytes back."""
    kind, rest = name[:1], name[1:]
    head = kind.decode() if kind.isalnum() else kind.hex()
    text = _as_text(rest)
    return f"{head}:{rest.hex()}" if text is None else f"{head}={text}"


def unspell(text: str) -> bytes:
    """Raises ValueError for a text that `spell` would not have written."""
    found = _NAME.fullmatch(text)
    if found is not None:
        letter, digits, rest, plain = found.groups()
        kind = letter.encode() if letter else bytes.fromhex(digits)
        name = kind + (bytes.fromhex(rest) if rest else plain.encode())
        if spell(name) == text:
            return name
    raise ValueError("a key or index term is not spelled as this format demands")


def record(body: bytes, expires_at: float | None, index: Iterable[bytes]) -> Record:
    terms = tuple(sorted(spell(term) for term in index))
    text = _as_text(body)
    return Record(expires_at, terms, text, body if text is None else None)


def encode(records: Mapping[str, Record]) -> bytes:
    """The file that holds these records."""
    lines = [_encode({name: record})[1:-1] for name, record in records.items()]
    return b'{"version":%d,"records":{\n%s\n}}\n' % (VERSION, b",\n".join(lines))


def decode(data: bytes, known: frozenset[str]) -> tuple[dict[str, Record], frozenset[str]] | Old:
    """The records of a file and all names in them, or the content of an old file.

    `known` are names that were found well spelled before, and are not looked at again. Raises ValueError
    with the line and the reason, and with no key, term or body, for one that cannot be read.
    """
    try:
        records = _decode(data).records
        names = frozenset(chain(records, chain.from_iterable(record.index for record in records.values())))
        for name in names - known:
            unspell(name)
        for record in records.values():
            _check_body(record)
    except _UNREADABLE:
        return _diagnose(data)
    return records, names


def _as_text(data: bytes) -> str | None:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return None if _CONTROL.search(text) else text


def _check_body(record: Record) -> None:
    if (record.text is None) is (record.base64 is None):
        raise ValueError('a record needs either "text" or "base64"')


def _diagnose(data: bytes) -> Old:
    """An old file is found here too: today's format is read first, without asking which format it is."""
    content = _parse(data)
    version = content.get("version") if isinstance(content, dict) else None
    if not isinstance(content, dict) or type(version) is not int or version < 1:
        raise ValueError('line 1: this is not a registry file (it names no "version"): set another path')
    if version > VERSION:
        raise ValueError(
            f"line 1: its format {version} is newer than this release's ({VERSION}): "
            "install the release that wrote it, or a later one"
        )
    if version == VERSION:
        raise _damage(*_first_bad_record(data))
    if not any(isinstance(content.get(name), dict) for name in ("tokens", "clients")):
        raise ValueError(f'line 1: this file of version {version} has no "tokens": set another path')
    return Old(version, content)


def _parse(data: bytes) -> object:
    if not data.strip():
        raise ValueError("line 1: the file is empty: restore a backup, or delete it to begin anew")
    try:
        data.decode()
        return msgspec.json.decode(data)
    except UnicodeDecodeError as error:
        raise _damage(_line(data, error.start), "this is not UTF-8") from error
    except RecursionError as error:
        raise _damage(1, "it is nested too deeply") from error
    except msgspec.DecodeError as error:
        at = _BYTE.search(str(error))
        line = _line(data, int(at[1]) if at else len(data.rstrip()))
        raise _damage(line, _BYTE.sub("", str(error))) from error


def _first_bad_record(data: bytes) -> tuple[int, str]:
    """Its line and what is wrong with it."""
    try:
        records = _decode_raw(data).records
    except _UNREADABLE as error:
        return 1, str(error)
    at = 0
    for name, raw in records.items():
        # In the order of the file, so the search begins behind the record before.
        at = max(at, data.find(bytes(raw), at))
        try:
            record = _decode_record(raw)
            _check_body(record)
            for text in (name, *record.index):
                unspell(text)
        except _UNREADABLE as error:
            return _line(data, at), str(error)
        at += len(bytes(raw))
    return 1, "it is damaged"


def _damage(line: int, reason: str) -> ValueError:
    return ValueError(f"line {line}: {reason}: {_MEND}")


def _line(data: bytes, at: int) -> int:
    return data.count(b"\n", 0, at) + 1
