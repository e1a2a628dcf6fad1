"""The demo's folder: private, or refused with a way out."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from oauth_refresh.demo.folder import private_folder
from oauth_refresh.errors import ConfigurationError


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_the_folder_is_created_for_its_owner_alone(temporary: Path) -> None:
    folder = private_folder()
    assert folder.parent == temporary
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_every_process_of_one_user_finds_the_same_folder(temporary: Path) -> None:
    assert private_folder() == private_folder()


def test_a_symbolic_link_in_its_place_is_refused(temporary: Path) -> None:
    folder = private_folder()
    folder.rename(temporary / "elsewhere")
    folder.symlink_to(temporary / "elsewhere")
    with pytest.raises(ConfigurationError, match="a symbolic link is refused too"):
        private_folder()


def test_a_file_in_its_place_is_refused(temporary: Path) -> None:
    folder = private_folder()
    folder.rmdir()
    folder.write_text("")
    with pytest.raises(ConfigurationError, match="is not a folder"):
        private_folder()


def test_a_folder_that_others_can_enter_is_refused(temporary: Path) -> None:
    private_folder().chmod(0o750)
    with pytest.raises(ConfigurationError, match="is open to other users"):
        private_folder()


def test_a_folder_of_somebody_else_is_refused(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = private_folder()
    stranger = os.geteuid() + 1
    folder.rename(folder.with_name(f"oauth-refresh-demo-{stranger}"))
    monkeypatch.setattr(os, "geteuid", lambda: stranger)
    with pytest.raises(ConfigurationError, match="belongs to another user"):
        private_folder()


def test_a_temporary_folder_that_is_gone_is_an_error_that_names_the_way_out(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / "gone"))
    with pytest.raises(ConfigurationError, match="set TMPDIR to a folder of yours"):
        private_folder()
