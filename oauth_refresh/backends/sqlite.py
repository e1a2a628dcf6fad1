"""The registry in a SQLite file: many threads and processes of one host. The default.

Layout, chosen for at most 650 bytes per record of 450 bytes with two index terms, and for a rotation that
writes one page of 2 KiB (two if the body is of more than 2 kB):

- `record` is a rowid table, so that new records fill pages from end to end; clustered by its random keys
  it would leave a fifth of every page empty.
- `named` says which records have an index term. It keeps 8 bytes of a keyed hash in place of the term;
  the key is random and stays in the file, so nobody can choose terms that collide, and `find` may name a
  record too many once in 2**64 (callers read each record that is named).
- `record.terms` repeats a record's hashes, in order: that a swap brings the same terms is found by the one
  UPDATE itself, which then leaves `named` alone.
- `record.day` is the day of `expires_at`, and indexed in its place: the time changes with every rotation,
  the day seldom.
- `record.expires_at` is the end of its second: SQLite stores whole numbers in half the bytes.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from hashlib import blake2b
from math import ceil
from typing import Any

from oauth_refresh.backends import split_url
from oauth_refresh.backends.base import Backend, Copies, Entry
from oauth_refresh.backends.bulk import Row
from oauth_refresh.backends.sqlite_commits import NOTHING_READ
from oauth_refresh.backends.sqlite_file import Link, SQLiteFile, is_busy
from oauth_refresh.errors import ConfigurationError, RegistryError

logger = logging.getLogger("oauth_refresh")

APPLICATION_ID = 0x4F415546
SCHEMA_VERSION = 1
SYNCHRONOUS = ("normal", "full", "extra")
TIMEOUT_MAX = 600.0

_DAY_SECONDS = 86400
_HASH_BYTES = 8
_PAGE_BYTES = 2048  # of 4096 a rotation takes 3 % longer, of 8192 8 %
_HASHES_MAX = 1024
_KEYS_AT_ONCE = 500
_DEAD_AT_ONCE = 200
_UNREAD: Any = object()
_new_tuple = tuple.__new__
_LOOKS_SLOWLY = sys.version_info < (3, 12)
"""Whether `sqlite3` looks for an adapter for bytes in such a way that an exception tells it of none. For
bytearrays it does not look, which spares a seventh of an UPDATE's time."""

_SCHEMA = (
    "CREATE TABLE setting (name TEXT NOT NULL PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
    (
        "CREATE TABLE record (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, expires_at REAL, day INTEGER,"
        " terms BLOB NOT NULL, body BLOB NOT NULL)"
    ),
    "CREATE INDEX record_day ON record (day) WHERE day IS NOT NULL",
    (
        "CREATE TABLE named (term BLOB NOT NULL, record INTEGER NOT NULL, PRIMARY KEY (term, record))"
        " WITHOUT ROWID"
    ),
    "INSERT INTO setting (name, value) VALUES ('hash key', randomblob(16))",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)
_GET = "SELECT body FROM record WHERE key = ?"
_GET_TWO = "SELECT (SELECT body FROM record WHERE key = ?), (SELECT body FROM record WHERE key = ?)"
_READ = "SELECT id, terms FROM record WHERE key = ? AND body = ?"
_ROTATE = "UPDATE record SET body = ?, expires_at = ? WHERE key = ? AND body = ? AND terms = ? AND +day IS ?"
_REPLACE = "UPDATE record SET body = ?, expires_at = ?, terms = ?, day = ? WHERE id = ?"
_CREATE = (
    "INSERT INTO record (key, body, expires_at, terms, day) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (key) DO NOTHING"
)
_DELETE = "DELETE FROM record WHERE id = ?"
_NAME = "INSERT INTO named (term, record) VALUES (?, ?)"
_UNNAME = "DELETE FROM named WHERE term = ? AND record = ?"
_FIND = (
    "SELECT named.record, record.key FROM named JOIN record ON record.id = named.record"
    " WHERE named.term = ? AND named.record > ? ORDER BY named.record LIMIT ?"
)
_KEYS = "SELECT key FROM record WHERE key >= ? ORDER BY key LIMIT ?"
_DEAD = (
    "SELECT day, id, terms FROM record INDEXED BY record_day"
    " WHERE day <= ? AND (day, id) > (?, ?) AND expires_at <= ? ORDER BY day, id LIMIT ?"
)

_State = tuple[bytes, "int | None", bytes, "int | None"]
"""Of one record: body, expires_at, hashes of its terms, day."""


class SQLiteBackend:
    """Records in the SQLite file at `path`, in WAL mode. The version of an entry is its body.

    `synchronous` is SQLite's setting of that name ("full": a swap that returned True outlives a power
    failure; "normal": it outlives the process, a power failure may undo the last ones). `timeout` is how
    many seconds a call waits for other threads, and then again for other processes, before it raises.

    The file is created at the first call, with mode 0600. A file that is deleted, emptied or replaced while
    in use is noticed by swaps within 20 ms, and by reads within a second; a new file is then opened, a
    missing one is an error and never silently begun anew. Nothing of the old one is written into a new one.

    `get` answers from memory what was read since the last commit, whoever made it: `sqlite_commits`.
    """

    shared = True
    beside: str | None
    schema = f"format {SCHEMA_VERSION}"

    def __init__(self, path: str, *, synchronous: str = "full", timeout: float = 5.0) -> None:
        self.beside = os.path.abspath(path)
        self._file = SQLiteFile(self.beside, timeout, partial(_prepare, synchronous))

    def get(self, key: bytes) -> Entry | None:
        # The hot path: `reading` and `patiently` only where the plain way fails.
        file = self._file
        link = file.take()
        commit = link.commit
        if commit is not None:
            state = commit.state
            head = commit.head()
            if head == state[0]:
                entry: Entry | None = state[1].get(key, _UNREAD)
                if entry is not _UNREAD:
                    file.idle.append(link)
                    return entry
            else:
                state = commit.begin_again(head)
        try:
            row = link.execute(_GET, (link.bound(key),)).fetchone()
        except sqlite3.Error:
            link.close()
            row = self._get_again(key)
            return None if row is None else _entry(row[0])
        file.idle.append(link)
        entry = None if row is None else _entry(row[0])
        if commit is not None:
            commit.remember(state, key, entry)
        return entry

    def get_two(self, first: bytes, second: bytes) -> tuple[Entry | None, Entry | None]:
        file = self._file
        link = file.take()
        commit = link.commit
        if commit is not None:
            state, head = commit.state, commit.head()
            if head == state[0]:
                known = state[1]
                try:
                    both = known[first], known[second]
                except KeyError:
                    pass
                else:
                    file.idle.append(link)
                    return both
            else:
                state = commit.begin_again(head)
        try:
            one, other = link.execute(_GET_TWO, (link.bound(first), link.bound(second))).fetchone()
        except sqlite3.Error:
            link.close()
            return self.get(first), self.get(second)
        file.idle.append(link)
        one, other = _entry(one), _entry(other)
        if commit is not None:
            commit.remember(state, first, one)
            commit.remember(state, second, other)
        return one, other

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
        terms, file = tuple(index), self._file
        link = file.begin_writing()
        try:
            if body is None:
                done = old is not None and self._delete(link, key, old[1])
            elif old is None:
                done = self._create(link, key, _state(link, body, expires_at, terms))
            else:
                # The hot path, with `_state` spelled out.
                hashes, end, day = link.hashes.get(terms) or _hashes(link, terms), None, None
                if expires_at is not None:
                    end = ceil(expires_at)
                    day = end // _DAY_SECONDS
                version, commit = old[1], link.commit
                before = NOTHING_READ if commit is None else commit.state
                bound = link.bound
                values = (bound(body), end, bound(key), bound(version), bound(hashes), day)
                try:
                    link.execute(_ROTATE, values)
                except sqlite3.OperationalError as error:
                    if not is_busy(error):
                        raise
                    file.patiently(link, _ROTATE, values)
                done = link.cursor.rowcount == 1
                if not done:
                    done = self._replace(link, key, version, (body, end, hashes, day))
                elif commit is not None and body != version:
                    # What changed nothing was no commit: the one since may be another process's.
                    commit.wrote(before, key, _new_tuple(Entry, (body, body)))
        except BaseException as error:
            file.give_up_writing(link, error)
            raise
        file.end_writing(link)
        return done

    def create_many(self, rows: Sequence[Row]) -> int:
        """Create those that are not there, in one transaction: one wait for the disk."""
        created = 0
        with self._file.writing() as link, self._file.transaction(link):
            for key, body, expires_at, terms in rows:
                state = _state(link, body, expires_at, terms)
                if link.execute(_CREATE, (key, *state)).rowcount == 1:
                    _name(link, link.cursor.lastrowid or 0, b"", state[2])
                    created += 1
        return created

    def find(self, term: bytes) -> Iterator[bytes]:
        last = 0
        while True:
            with self._file.reading() as link:
                rows = self._file.patiently(link, _FIND, (_hashes(link, (term,)), last, _KEYS_AT_ONCE))
            yield from (key for _, key in rows)
            if len(rows) < _KEYS_AT_ONCE:
                return
            last = rows[-1][0]

    def keys(self, prefix: bytes = b"") -> Iterator[bytes]:
        start = prefix
        while True:
            with self._file.reading() as link:
                rows = self._file.patiently(link, _KEYS, (start, _KEYS_AT_ONCE))
            for (key,) in rows:
                if not key.startswith(prefix):
                    return
                yield key
            if len(rows) < _KEYS_AT_ONCE:
                return
            start = rows[-1][0] + b"\0"

    def purge(self, now: float) -> int:
        removed, last = 0, (-1, 0)
        while True:
            with self._file.writing() as link, self._file.transaction(link):
                rows = link.execute(_DEAD, (int(now // _DAY_SECONDS), *last, now, _DEAD_AT_ONCE)).fetchall()
                for _, record, terms in rows:
                    link.execute(_DELETE, (record,))
                    _name(link, record, terms, b"")
            removed += len(rows)
            if len(rows) < _DEAD_AT_ONCE:
                return removed
            last = rows[-1][:2]

    def close(self) -> None:
        self._file.close()

    def _get_again(self, key: bytes) -> Any:
        with self._file.reading() as link:
            return next(iter(self._file.patiently(link, _GET, (key,))), None)

    def _create(self, link: Link, key: bytes, state: _State) -> bool:
        with self._file.transaction(link):
            if link.execute(_CREATE, (key, *state)).rowcount != 1:
                return False
            _name(link, link.cursor.lastrowid or 0, b"", state[2])
        return True

    def _replace(self, link: Link, key: bytes, old: bytes, state: _State) -> bool:
        with self._file.transaction(link):
            row = link.execute(_READ, (key, old)).fetchone()
            if row is None:
                return False
            link.execute(_REPLACE, (*state, row[0]))
            _name(link, row[0], row[1], state[2])
        return True

    def _delete(self, link: Link, key: bytes, old: bytes) -> bool:
        with self._file.transaction(link):
            row = link.execute(_READ, (key, old)).fetchone()
            if row is None:
                return False
            link.execute(_DELETE, (row[0],))
            _name(link, row[0], row[1], b"")
        return True


def _entry(body: bytes | None) -> Entry | None:
    return None if body is None else _new_tuple(Entry, (body, body))  # half the time of `Entry(…)`


def open_url(url: str, *, base_dir: str | None = None) -> Backend:
    """Options: `synchronous` (normal, full, extra) and `timeout` (seconds, at most 600)."""
    place, options = split_url(url, ("synchronous", "timeout"))
    synchronous, timeout = options.get("synchronous", "full").lower(), _seconds(options.get("timeout", "5"))
    problems = []
    if place.startswith("//") and not place.startswith("///"):
        problems.append("two slashes are ambiguous; write sqlite:relative.db or sqlite:///absolute/path.db")
    if place.strip("/") in ("", ":memory:"):
        problems.append("sqlite: needs the path of a file; a registry in memory is memory:")
    if synchronous not in SYNCHRONOUS:
        problems.append(f"synchronous={synchronous}: allowed are {', '.join(SYNCHRONOUS)}")
    if timeout is None:
        problems.append(f"timeout={options['timeout']}: allowed are 0 to {TIMEOUT_MAX:.0f} seconds")
    if problems or timeout is None:
        raise ConfigurationError(f"OAUTH_REGISTRY: {problem}" for problem in problems)
    if place.startswith("//"):
        place = "/" + place.lstrip("/")
    path = os.path.abspath(os.path.join(base_dir or "", place))
    return SQLiteBackend(path, synchronous=synchronous, timeout=timeout)


def _prepare(synchronous: str, file: SQLiteFile, link: Link) -> None:
    # The tables are asked for first: they and the application id are committed together.
    empty = not file.patiently(link, "SELECT 1 FROM sqlite_master LIMIT 1")
    application_id = _pragma(file, link, "application_id")
    if empty and application_id == 0:
        _create_schema(file, link)
    elif application_id != APPLICATION_ID:
        raise RegistryError(f"registry {file.path}: this is a database of something else; set another path")
    version = _pragma(file, link, "user_version")
    if version > SCHEMA_VERSION:
        raise RegistryError(
            f"registry {file.path}: its format {version} is newer than this release's ({SCHEMA_VERSION}); "
            "install the release that wrote it, or a later one"
        )
    _use_wal(file, link)
    if link.replaces_another and not file.patiently(link, "SELECT 1 FROM record LIMIT 1"):
        # To go on with it would tell every client that its grant is unknown.
        raise RegistryError(
            f"registry {file.path}: the file was replaced by one without any record while in use; stop the "
            "server, put the right one back and start again, or restart the server to begin with this one"
        )
    link.execute(f"PRAGMA synchronous = {synchronous}")
    link.bound = bytearray if _LOOKS_SLOWLY and _comes_back(link, bytearray(b"\0a")) else bytes
    if not _comes_back(link, b"\0a"):
        raise RegistryError(
            f"registry {file.path}: this process has an adapter for bytes that changes them "
            "(sqlite3.register_adapter), so nothing can be stored; keep it to a type of its own"
        )
    key = file.patiently(link, "SELECT value FROM setting WHERE name = 'hash key'")[0][0]
    link.hasher = blake2b(digest_size=_HASH_BYTES, key=key)


def _create_schema(file: SQLiteFile, link: Link) -> None:
    link.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
    _use_wal(file, link)
    with file.transaction(link):
        if _pragma(file, link, "application_id") == 0:
            for statement in _SCHEMA:
                link.execute(statement)


def _use_wal(file: SQLiteFile, link: Link) -> None:
    if _pragma(file, link, "journal_mode = WAL") != "wal":
        raise RegistryError(f"registry {file.path}: no write-ahead log works here; keep it on a local disk")


def _comes_back(link: Link, value: bytes | bytearray) -> bool:
    """Whether SQLite is given these bytes: an application's adapters are those of the whole process."""
    try:
        return bool(link.execute("SELECT ? = x'0061'", (value,)).fetchone()[0])
    except Exception:
        return False


def _pragma(file: SQLiteFile, link: Link, pragma: str) -> Any:
    return file.patiently(link, f"PRAGMA {pragma}")[0][0]


def _name(link: Link, record: int, before: bytes, after: bytes) -> None:
    """Bring `named` from the hashes `before` to those `after`."""
    old, new = _split(before), _split(after)
    for term in old - new:
        link.execute(_UNNAME, (term, record))
    for term in new - old:
        link.execute(_NAME, (term, record))


def _state(link: Link, body: bytes, expires_at: float | None, terms: tuple[bytes, ...]) -> _State:
    hashes = link.hashes.get(terms) or _hashes(link, terms)
    if expires_at is None:
        return body, None, hashes, None
    end = ceil(expires_at)
    return body, end, hashes, end // _DAY_SECONDS


def _hashes(link: Link, terms: tuple[bytes, ...]) -> bytes:
    known = link.hashes.get(terms)
    if known is not None:
        return known
    found = []
    for term in frozenset(terms):
        hashed = link.hasher.copy()  # to begin with the key anew would take as long as the rest
        hashed.update(term)
        found.append(hashed.digest())
    found.sort()
    if len(link.hashes) >= _HASHES_MAX:
        link.hashes.clear()
    return link.hashes.setdefault(terms, b"".join(found))


def _split(hashes: bytes) -> frozenset[bytes]:
    return frozenset(hashes[at : at + _HASH_BYTES] for at in range(0, len(hashes), _HASH_BYTES))


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if 0 <= seconds <= TIMEOUT_MAX else None
