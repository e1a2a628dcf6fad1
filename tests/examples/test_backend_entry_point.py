"""The example of a backend: it keeps to the contract, and an installed copy is found by its scheme."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from oauth_refresh.backends.base import Backend
from oauth_refresh.backends.contract import SharedBackendContract
from oauth_refresh.errors import ConfigurationError, RegistryError

from .conftest import EXAMPLES, ROOT, RunClient, Serve

EXAMPLE = EXAMPLES / "backend_entry_point"


def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("oauth_refresh_folder", EXAMPLE / "oauth_refresh_folder.py")
    assert spec
    assert spec.loader
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


folder = module()


class TestFolderBackend(SharedBackendContract):
    @pytest.fixture(autouse=True)
    def _quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # What a loss of power leaves, these tests cannot see, and thousands of records are written.
        monkeypatch.setattr(os, "fsync", lambda descriptor: None)

    def open_store(self, place: Path) -> Backend:
        backend: Backend = folder.open_folder(f"folder://{place}/store")
        return backend


def test_a_relative_folder_starts_at_the_base(tmp_path: Path) -> None:
    backend = folder.open_folder("folder:tokens", base_dir=str(tmp_path))
    assert backend.beside == str(tmp_path / "tokens")
    assert not (tmp_path / "tokens").exists()


def test_a_url_without_a_folder_makes_no_sense() -> None:
    with pytest.raises(ConfigurationError, match="needs a folder"):
        folder.open_folder("folder:")


def test_a_damaged_record_is_trouble_and_not_a_missing_record(tmp_path: Path) -> None:
    backend = folder.open_folder(f"folder://{tmp_path}")
    assert backend.swap(b"k", None, b"1")
    (damaged,) = tmp_path.glob("*.json")
    damaged.write_text('{"key"')
    with pytest.raises(RegistryError, match="check owner, mode and room"):
        backend.get(b"k")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to import the example from, installed there from a copy: a build leaves files behind."""
    place = tmp_path_factory.mktemp("installed")
    source = shutil.copytree(EXAMPLE, place / "source", ignore=shutil.ignore_patterns("__pycache__"))
    how = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(place / "site"))
    command = [sys.executable, "-m", "pip", "install", "--root-user-action=ignore", *how, str(source)]
    subprocess.run(command, check=True, timeout=120)
    return place / "site"


@pytest.mark.slow
def test_the_demo_keeps_its_registry_in_the_installed_backend(
    installed: Path, serve: Serve, run_client: RunClient, tmp_path: Path
) -> None:
    store = tmp_path / "records"
    base = serve(
        [sys.executable, "-m", "oauth_refresh", "demo", "--port", "0"],
        r"The notes demo is at (http://\S+)",
        PYTHONPATH=f"{installed}:{ROOT}",
        OAUTH_REGISTRY=f"folder://{store}",
    )
    ran = run_client(f"{base}/api/notes", "--username", "alice", "--password", "wonderland")
    assert ran.returncode == 0, ran.stderr
    assert len(list(store.glob("*.json"))) >= 2  # a client and a grant at the least
