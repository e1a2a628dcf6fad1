"""A registry backend of one file per record, for the processes of one host: `folder:///var/lib/tokens`.

Small enough to read at once, and it keeps every promise of the contract. `find` reads all records, so it is
for hundreds of them.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from oauth_refresh.backends import split_url
from oauth_refresh.backends.base import Copies, Entry
from oauth_refresh.errors import ConfigurationError, RegistryError


def open_folder(url: str, *, base_dir: str | None = None) -> FolderBackend:
    """The backend for a URL of our scheme. It touches no file yet: it may run before a fork."""
    place, _ = split_url(url, ())
    if not place.strip("/"):
        raise ConfigurationError("OAUTH_REGISTRY: folder: needs a folder, as in folder:///var/lib/tokens")
    return FolderBackend(Path(base_dir or ".") / place.replace("//", "", 1))


class FolderBackend:
    shared = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self.beside: str | None = str(self._folder)

    def get(self, key: bytes) -> Entry | None:
        with self._trouble():
            record = _read(self._path(key))
            # The body is its own version: a body that comes back is the same state.
            return None if record is None else Entry(body := bytes.fromhex(record["body"]), body)

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
        with self._trouble(), self._locked():
            found = _read(self._path(key))
            if (found and found["body"]) != (old and old.version.hex()):
                return False
            terms = [term.hex() for term in index]
            new = {"key": key.hex(), "until": expires_at, "index": terms, "body": (body or b"").hex()}
            self._write(self._path(key), None if body is None else new)
            return True

    def find(self, term: bytes) -> Iterator[bytes]:
        return iter([key for key, record in self._records() if term.hex() in record["index"]])

    def keys(self, prefix: bytes = b"") -> Iterator[bytes]:
        return iter(sorted(key for key, _ in self._records() if key.startswith(prefix)))

    def purge(self, now: float) -> int:
        with self._trouble(), self._locked():
            dead = [key for key, record in self._records() if (record["until"] or now + 1) <= now]
            for key in dead:
                self._write(self._path(key), None)
            return len(dead)

    def close(self) -> None:
        """Nothing stays open between two calls."""

    def _path(self, key: bytes) -> Path:
        # A hash, because a key may be longer than the name of a file, and hold any bytes.
        return self._folder / f"{sha256(key).hexdigest()}.json"

    def _records(self) -> list[tuple[bytes, dict[str, Any]]]:
        with self._trouble():
            read = [_read(path) for path in self._folder.glob("*.json")]
        return [(bytes.fromhex(record["key"]), record) for record in read if record is not None]

    def _write(self, path: Path, record: object) -> None:
        if record is None:
            path.unlink()
        else:
            with path.with_suffix(".new").open("w") as file:
                json.dump(record, file)
                file.flush()
                os.fsync(file.fileno())
            path.with_suffix(".new").replace(path)  # readers see the old record or the new one
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)  # so that the new name outlives a loss of power
        finally:
            os.close(folder)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time. Opened anew each time, so that threads exclude each other too."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                yield
            finally:
                # Not left to closing the file: a process that was forked meanwhile has it open too.
                fcntl.flock(lock, fcntl.LOCK_UN)

    @contextmanager
    def _trouble(self) -> Iterator[None]:
        try:
            yield
        except (OSError, KeyError, json.JSONDecodeError) as error:
            raise RegistryError(f"registry {self._folder}: {error}: check owner, mode and room") from error


def _read(path: Path) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return record
