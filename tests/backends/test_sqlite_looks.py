"""When does a writer look whether its file is still there?"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from oauth_refresh.backends import sqlite_file
from oauth_refresh.backends.sqlite import SQLiteBackend
from oauth_refresh.backends.sqlite_file import Link, SQLiteFile
from oauth_refresh.errors import RegistryError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it looks before each write")

KEY, BACKUP = b"g" + b"k" * 16, b"of the backup"


class Stage:
    """A registry whose clock stands still, a connection of somebody else's, and how often it looked."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.looks = 0
        monkeypatch.setattr(sqlite_file, "monotonic", lambda: self.now)
        look = SQLiteFile._is_sure

        def counted(file: SQLiteFile, link: Link, now: float) -> bool:
            self.looks += 1
            return look(file, link, now)

        monkeypatch.setattr(SQLiteFile, "_is_sure", counted)
        self.path = path
        self.backend = SQLiteBackend(str(path), synchronous="normal")
        for number in range(2):
            self.write(f"first {number}")
        self.other = sqlite3.connect(path, isolation_level=None)

    def write(self, text: str) -> int:
        """How often it has looked for this one."""
        before = self.looks
        entry = self.backend.get(KEY)
        looks_of_get = self.looks - before
        assert self.backend.swap(KEY, entry, text.encode().ljust(20))
        return self.looks - before - looks_of_get

    def empty_the_log(self, mode: str) -> None:
        assert self.other.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()[0] == 0

    def put_another_there(self) -> None:
        restored = self.path.with_name("restored.db")
        backup = SQLiteBackend(str(restored))
        for number in range(200):
            backup.swap(b"g%16d" % number, None, BACKUP)
        backup.close()
        restored.rename(self.path)


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    stage = Stage(tmp_path / "oauth.db", monkeypatch)
    yield stage
    stage.other.close()
    stage.backend.close()


def test_who_writes_all_the_time_looks_every_20_ms(stage: Stage) -> None:
    assert [stage.write(str(number)) for number in range(3)] == [0, 0, 0]
    stage.now += 0.0199
    assert stage.write("just before") == 0
    stage.now += 0.0001
    assert stage.write("then") == 1
    assert stage.write("after it") == 0


def test_a_file_that_was_taken_away_is_missed_20_ms_later(stage: Stage) -> None:
    stage.path.rename(stage.path.with_name("away.db"))
    assert stage.write("lost like what came just before") == 0
    stage.now += 0.02
    with pytest.raises(RegistryError, match="the file was deleted or emptied while in use"):
        stage.write("not any more")


@pytest.mark.parametrize("mode", ["PASSIVE", "TRUNCATE"])
def test_who_would_be_the_first_in_a_log_looks(stage: Stage, mode: str) -> None:
    stage.empty_the_log(mode)
    # The second is the first that has another one of its own process before it.
    assert [stage.write(str(number)) for number in range(4)] == [1, 1, 0, 0]


@pytest.mark.parametrize("mode", ["PASSIVE", "TRUNCATE"])
def test_nothing_gets_into_a_file_that_was_put_in_the_place_of_ours(stage: Stage, mode: str) -> None:
    stage.empty_the_log(mode)
    log = stage.path.with_name("oauth.db-wal")
    before = log.read_bytes()
    stage.put_another_there()
    entry = stage.backend.get(KEY)
    if before:
        with pytest.raises(RegistryError, match="the file was replaced while in use"):
            stage.backend.swap(KEY, entry, b"of the old file")
    else:
        assert not stage.backend.swap(KEY, entry, b"of the old file")
    assert log.read_bytes() == before
    stage.other.close()
    if before:  # the operator does what the error says
        log.unlink()
        stage.path.with_name("oauth.db-shm").unlink()
    new = sqlite3.connect(stage.path)
    assert new.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert new.execute("SELECT count(*), min(body), max(body) FROM record").fetchone() == (
        200,
        BACKUP,
        BACKUP,
    )
    new.close()


def test_who_is_not_alone_looks(stage: Stage) -> None:
    entry = stage.backend.get(KEY)
    stage.other.execute("CREATE TABLE of_somebody_else (a)")
    before = stage.looks
    assert stage.backend.swap(KEY, entry, b"after another's commit")
    assert stage.looks == before + 1
    assert [stage.write(str(number)) for number in range(3)] == [1, 0, 0]


def test_who_has_read_what_somebody_else_committed_looks(stage: Stage) -> None:
    stage.other.execute("CREATE TABLE of_somebody_else (a)")
    assert stage.write("after another's commit, which it has read") == 1
    assert stage.write("alone again") == 0
