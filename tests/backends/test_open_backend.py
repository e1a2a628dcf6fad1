"""Which backend a URL means, and what is said of one that means none."""

from __future__ import annotations

import logging
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from oauth_refresh import backends
from oauth_refresh.backends import open_backend, split_url
from oauth_refresh.backends.base import Backend
from oauth_refresh.backends.memory import MemoryBackend
from oauth_refresh.errors import ConfigurationError


def open_mine(url: str, *, base_dir: str | None = None) -> Backend:
    place, options = split_url(url, ["colour"])
    assert (place, options, base_dir) == ("//user:pw@host/a b", {"colour": "red"}, "/base")
    return MemoryBackend()


def test_an_object_is_taken_as_it_is() -> None:
    backend = MemoryBackend()
    assert open_backend(backend) is backend


def test_an_object_that_is_no_backend_is_refused() -> None:
    with pytest.raises(ConfigurationError) as refused:
        open_backend({"a": "dict"})  # type: ignore[arg-type]
    lacks = "swap, find, purge, close, shared, beside"
    assert str(refused.value) == f"OAUTH_REGISTRY: dict is neither a URL nor a backend: it lacks {lacks}"


@pytest.mark.parametrize("url", ["memory:", "memory://", "MEMORY:"])
def test_memory_is_a_new_store_each_time(url: str) -> None:
    one, other = open_backend(url), open_backend(url)
    one.swap(b"k", None, b"1")
    assert other.get(b"k") is None


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///srv/app/oauth.db", "/srv/app/oauth.db"),
        ("sqlite:/srv/app/oauth.db", "/srv/app/oauth.db"),
        ("sqlite:////srv/app/oauth.db", "/srv/app/oauth.db"),
        ("sqlite:oauth.db", "/instance/oauth.db"),
        ("sqlite:data/../oauth.db", "/instance/oauth.db"),
        ("SQLite:oauth.db", "/instance/oauth.db"),
        ("sqlite:my%20data/100%25%3F.db", "/instance/my data/100%?.db"),
        ("sqlite:oauth#1.db?timeout=0.5&synchronous=normal", "/instance/oauth#1.db"),
    ],
)
def test_sqlite_takes_absolute_and_relative_paths(
    url: str, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "oauth_refresh"):
        assert open_backend(url, base_dir="/instance").beside == path
    assert [record.getMessage() for record in caplog.records] == [f"registry: {path}"]


def test_without_a_base_folder_sqlite_starts_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    backend = open_backend("sqlite:oauth.db")
    monkeypatch.chdir("/")
    backend.swap(b"k", None, b"1")
    assert backend.beside == str(tmp_path / "oauth.db")
    assert (tmp_path / "oauth.db").is_file()
    backend.close()


def test_opening_touches_nothing(tmp_path: Path) -> None:
    open_backend("sqlite:oauth.db", base_dir=str(tmp_path))
    open_backend("sqlite:no/such/folder/oauth.db", base_dir=str(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "problems"),
    [
        (
            "sqlite:a.db?sync=full&wal=1",
            [
                "sqlite: has no option 'sync'; allowed are synchronous, timeout",
                "sqlite: has no option 'wal'; allowed are synchronous, timeout",
            ],
        ),
        ("memory:?size=1", ["memory: has no option 'size'; it takes none"]),
        ("sqlite:a.db?timeout=1&timeout=2", ["the option 'timeout' is given twice"]),
        (
            "sqlite:?synchronous=off&timeout=soon",
            [
                "sqlite: needs the path of a file; a registry in memory is memory:",
                "synchronous=off: allowed are normal, full, extra",
                "timeout=soon: allowed are 0 to 600 seconds",
            ],
        ),
        ("sqlite:a.db?timeout=-1", ["timeout=-1: allowed are 0 to 600 seconds"]),
        ("sqlite:a.db?timeout=601", ["timeout=601: allowed are 0 to 600 seconds"]),
        ("sqlite:a.db?timeout=nan", ["timeout=nan: allowed are 0 to 600 seconds"]),
        ("sqlite::memory:", ["sqlite: needs the path of a file; a registry in memory is memory:"]),
        ("sqlite:///:memory:", ["sqlite: needs the path of a file; a registry in memory is memory:"]),
        (
            "sqlite://oauth.db",
            ["two slashes are ambiguous; write sqlite:relative.db or sqlite:///absolute/path.db"],
        ),
        ("memory:name", ["memory: takes no name or path; every memory: is a store of its own"]),
        ("oauth.db", ["a URL is needed: sqlite:relative.db, sqlite:///absolute/path.db or memory:"]),
        ("", ["a URL is needed: sqlite:relative.db, sqlite:///absolute/path.db or memory:"]),
        (
            "mongodb://user:sesame@host/db",
            [
                (
                    "there is no backend for the scheme 'mongodb'; known are memory, file, sqlite, "
                    "postgresql, mysql, redis, redis+cluster, redis+sentinel (valkey too) "
                    "and entry points of the group oauth_refresh.backends"
                )
            ],
        ),
    ],
)
def test_a_url_that_means_nothing_is_refused_with_every_reason(url: str, problems: list[str]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        open_backend(url)
    assert refused.value.problems == tuple(f"OAUTH_REGISTRY: {problem}" for problem in problems)


def test_a_third_party_registers_a_scheme_by_an_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = EntryPoint("mine", f"{__name__}:open_mine", "oauth_refresh.backends")
    monkeypatch.setattr(backends, "entry_points", lambda group: [ours] if group == ours.group else [])
    backend = open_backend("mine://user:pw@host/a%20b?colour=red", base_dir="/base")
    assert isinstance(backend, MemoryBackend)


def test_an_entry_point_that_does_not_load_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = EntryPoint("mine", "no_such_package:open", "oauth_refresh.backends")
    monkeypatch.setattr(backends, "entry_points", lambda group: [broken])
    with pytest.raises(ConfigurationError) as refused:
        open_backend("mine://user:sesame@host")
    assert str(refused.value) == (
        "OAUTH_REGISTRY: the backend no_such_package:open for mine: does not load: "
        "No module named 'no_such_package'"
    )


def test_only_the_backend_in_use_is_imported() -> None:
    program = (
        "import sys, oauth_refresh.backends as backends; backends.open_backend('memory:');"
        "print([name for name in ('sqlite3', 'oauth_refresh.backends.sqlite') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
