"""Which JSON file a URL means, and what is said of one that means none."""

from __future__ import annotations

from pathlib import Path

import pytest

from oauth_refresh.backends.json_file import open_url
from oauth_refresh.errors import ConfigurationError


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("file:///srv/app/tokens.json", "/srv/app/tokens.json"),
        ("file:/srv/app/tokens.json", "/srv/app/tokens.json"),
        ("file:////srv/app/tokens.json", "/srv/app/tokens.json"),
        ("file:tokens.json", "/instance/tokens.json"),
        ("file:data/../tokens.json", "/instance/tokens.json"),
        ("FILE:tokens.json", "/instance/tokens.json"),
        ("file:my%20data/100%25%3F.json", "/instance/my data/100%?.json"),
        ("file:tokens#1.json?timeout=0.5", "/instance/tokens#1.json"),
    ],
)
def test_absolute_and_relative_paths(url: str, path: str) -> None:
    assert open_url(url, base_dir="/instance").beside == path


def test_without_a_base_folder_it_starts_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    backend = open_url("file:tokens.json")
    monkeypatch.chdir("/")
    backend.swap(b"k", None, b"1")
    assert (tmp_path / "tokens.json").is_file()


def test_opening_touches_nothing(tmp_path: Path) -> None:
    open_url("file:tokens.json", base_dir=str(tmp_path))
    open_url("file:no/such/folder/tokens.json", base_dir=str(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "problems"),
    [
        ("file:a.json?sync=full", ["file: has no option 'sync'; allowed are timeout"]),
        (
            "file:?timeout=soon",
            ["file: needs the path of a file", "timeout=soon: allowed are 0 to 600 seconds"],
        ),
        ("file:///", ["file: needs the path of a file"]),
        ("file:a.json?timeout=-1", ["timeout=-1: allowed are 0 to 600 seconds"]),
        ("file:a.json?timeout=601", ["timeout=601: allowed are 0 to 600 seconds"]),
        ("file:a.json?timeout=nan", ["timeout=nan: allowed are 0 to 600 seconds"]),
        (
            "file://tokens.json",
            ["two slashes are ambiguous; write file:relative.json or file:///absolute/path.json"],
        ),
    ],
)
def test_a_url_that_means_nothing_is_refused_with_every_reason(url: str, problems: list[str]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        open_url(url)
    assert refused.value.problems == tuple(f"OAUTH_REGISTRY: {problem}" for problem in problems)
