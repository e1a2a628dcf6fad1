"""The registry in one readable JSON file: for small tools, and for whoever has a token file already.

Every change writes the whole file, so its cost grows with the number of records; `docs/registry-file.md`
says from which size on SQLite is the better place. `json_format` says what the file looks like, `json_disk`
how it is replaced.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from threading import Lock

from oauth_refresh.backends import split_url
from oauth_refresh.backends.base import Backend, Copies, Entry
from oauth_refresh.backends.bulk import Row
from oauth_refresh.backends.forking import renewed_in_children
from oauth_refresh.backends.json_disk import LockedFile, Pin, WholeFile
from oauth_refresh.backends.json_format import VERSION, Old, Record, decode, encode, record, spell, unspell
from oauth_refresh.errors import ConfigurationError, RegistryError

logger = logging.getLogger("oauth_refresh")

TIMEOUT_MAX = 600.0

Importer = Callable[[Mapping[str, object]], Iterable[tuple[bytes, bytes, "float | None", tuple[bytes, ...]]]]
"""Makes records of an old token file: key, body, expires_at (seconds since 1970) and index terms of each."""


class JSONFileBackend:
    """Records in the JSON file at `path`. The version of an entry is its body.

    `timeout` is how many seconds a call waits for other threads, and then again for other processes,
    before it raises. The file is created at the first call; one that is deleted while in use is an error and
    never silently begun anew. A swap that returned True outlives a power failure.

    `import_old` is asked for the records of a token file of version 1 or 2, by one process, at the first
    call that meets such a file. It may raise ValueError with a reason, and must not use this backend. The
    original is kept beside the file; if anything fails or the process dies it stays where it was, and the
    next call tries again. Without `import_old` such a file is a `RegistryError`.
    """

    shared = True
    beside: str | None
    schema = f"version {VERSION}"

    def __init__(self, path: str, *, timeout: float = 5.0) -> None:
        self.beside = self._path = os.path.abspath(path)
        self.import_old: Importer | None = None
        self._file = WholeFile(self._path, timeout)
        self._snapshot: _Snapshot | None = None
        self._loading = Lock()
        self._seen = False
        _backends.add(self)

    def get(self, key: bytes) -> Entry | None:
        found = self._now().records.get(spell(key))
        if found is None:
            return None
        body = found.body
        return Entry(body, body)

    def swap(
        self,
        key: bytes,
        old: Entry | None,
        body: bytes | None,
        expires_at: float | None = None,
        index: Iterable[bytes] = (),
        copies: Copies = "none",
    ) -> bool:
        if old is None and body is None:
            raise ValueError("old and body are both None")
        name = spell(key)
        new = None if body is None else record(body, expires_at, frozenset(index))
        with self._file.locked() as locked:
            now = self._open(locked)
            current = now.records.get(name)
            if (current and current.body) != (old and old.version):
                return False
            # A copy, for others may be reading what is there.
            records = dict(now.records)
            if new is None:
                del records[name]
            else:
                records[name] = new
            self._write(locked, records, now.names)
            return True

    def create_many(self, rows: Sequence[Row]) -> int:
        """Create those that are not there, and write the file once."""
        with self._file.locked() as locked:
            now = self._open(locked)
            records = dict(now.records)
            for key, body, expires_at, terms in rows:
                records.setdefault(spell(key), record(body, expires_at, frozenset(terms)))
            created = len(records) - len(now.records)
            if created:
                self._write(locked, records, now.names)
            return created

    def old_document(self) -> dict[str, object] | None:
        """The content of a token or client file of version 1 or 2, as long as it is one. Changes nothing."""
        found = self._file.read()
        try:
            content = None if found is None else decode(found[1], frozenset())
        except ValueError as error:
            raise RegistryError(f"registry {self._path}: {error}") from error
        return content.content if isinstance(content, Old) else None

    def find(self, term: bytes) -> Iterator[bytes]:
        yield from (unspell(name) for name in self._now().named(spell(term)))

    def keys(self, prefix: bytes = b"") -> Iterator[bytes]:
        keys = (unspell(name) for name in self._now().records)
        yield from sorted(key for key in keys if key.startswith(prefix))

    def purge(self, now: float) -> int:
        with self._file.locked() as locked:
            found = self._open(locked)
            records = {
                name: record
                for name, record in found.records.items()
                if record.expires_at is None or record.expires_at > now
            }
            removed = len(found.records) - len(records)
            if removed:
                self._write(locked, records, found.names)
            return removed

    def close(self) -> None:
        self._snapshot = None

    def _now(self) -> _Snapshot:
        """The records as they are: one look at the file's stamp, and the file only if that has changed."""
        snapshot = self._snapshot
        if snapshot is not None and self._file.leads_to(snapshot.pin):
            return snapshot
        found = self._load(self._file)
        if isinstance(found, _Snapshot):
            return found
        with self._file.locked() as locked:
            return self._open(locked)

    def _open(self, locked: LockedFile) -> _Snapshot:
        """The records under the lock. A file that is missing is begun, an old one moved to this format."""
        found = self._load(locked)
        if isinstance(found, _Snapshot):
            return found
        if found is None:
            return self._write(locked, {}, frozenset())
        data, old = found
        return self._import(locked, data, old)

    def _load(self, file: WholeFile | LockedFile) -> _Snapshot | tuple[bytes, Old] | None:
        # One thread reads what has changed, the others take what it read.
        with self._loading:
            snapshot = self._snapshot
            if snapshot is not None and file.leads_to(snapshot.pin):
                return snapshot
            # Asked before the look: another thread may write the first file between the two.
            seen = self._seen
            found = file.read()
            if found is None:
                if seen:
                    raise RegistryError(
                        f"registry {self._path}: the file was deleted while in use; put it back, "
                        "or restart the server to begin with an empty registry"
                    )
                return None
            pin, data = found
            try:
                content = decode(data, frozenset() if snapshot is None else snapshot.names)
            except ValueError as error:
                raise RegistryError(f"registry {self._path}: {error}") from error
            if isinstance(content, Old):
                return data, content
            return self._take(pin, *content)

    def _import(self, locked: LockedFile, data: bytes, old: Old) -> _Snapshot:
        what = f"registry {self._path}: this is a token file of version {old.version}"
        if self.import_old is None:
            raise RegistryError(
                f"{what}: start the server on it once, which moves it to today's format; it is left as it is"
            )
        records: dict[str, Record] = {}
        try:
            for key, body, expires_at, index in self.import_old(old.content):
                if spell(key) in records:
                    raise ValueError("two of its tokens would have one key")
                records[spell(key)] = record(body, expires_at, frozenset(index))
        except ValueError as error:
            raise RegistryError(
                f"{what} that cannot be imported: {error}: mend the file; it is left as it is"
            ) from error
        kept = locked.keep(data, f"v{old.version}")
        snapshot = self._write(locked, records, frozenset())
        logger.warning(
            "registry %s: moved from version %d to today's format, %d records; the original is kept as %s",
            self._path,
            old.version,
            len(records),
            kept,
        )
        return snapshot

    def _write(self, locked: LockedFile, records: dict[str, Record], names: frozenset[str]) -> _Snapshot:
        return self._take(locked.replace(encode(records)), records, names)

    def _take(self, pin: Pin, records: dict[str, Record], names: frozenset[str]) -> _Snapshot:
        snapshot = self._snapshot = _Snapshot(pin, records, names)
        self._seen = True
        return snapshot

    def _after_fork(self) -> None:
        self._loading = Lock()  # a thread that does not exist in the child may have held it


class _Snapshot:
    """The content of one file. Nothing in it changes; `names` are keys and terms known to be well spelled."""

    __slots__ = ("_named", "names", "pin", "records")

    def __init__(self, pin: Pin, records: dict[str, Record], names: frozenset[str]) -> None:
        self.pin = pin
        self.records = records
        self.names = names
        self._named: dict[str, list[str]] | None = None

    def named(self, term: str) -> list[str]:
        """The names of the records that have the term. The first question makes an index."""
        named = self._named
        if named is None:
            named = {}
            for name, found in self.records.items():
                for each in found.index:
                    named.setdefault(each, []).append(name)
            self._named = named
        return named.get(term, [])


def open_url(url: str, *, base_dir: str | None = None) -> Backend:
    """Option: `timeout` (seconds, at most 600)."""
    place, options = split_url(url, ("timeout",))
    timeout = _seconds(options.get("timeout", "5"))
    problems = []
    if place.startswith("//") and not place.startswith("///"):
        problems.append("two slashes are ambiguous; write file:relative.json or file:///absolute/path.json")
    if not place.strip("/"):
        problems.append("file: needs the path of a file")
    if timeout is None:
        problems.append(f"timeout={options['timeout']}: allowed are 0 to {TIMEOUT_MAX:.0f} seconds")
    if problems or timeout is None:
        raise ConfigurationError(f"OAUTH_REGISTRY: {problem}" for problem in problems)
    if place.startswith("//"):
        place = "/" + place.lstrip("/")
    path = os.path.abspath(os.path.join(base_dir or "", place))
    return JSONFileBackend(path, timeout=timeout)


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if 0 <= seconds <= TIMEOUT_MAX else None


_backends = renewed_in_children(JSONFileBackend._after_fork)
