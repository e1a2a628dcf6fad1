"""The wheel holds everything that runs, and works where nothing else of the checkout is."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import urllib.request
import venv
import zipfile
from pathlib import Path

import pytest

import oauth_refresh

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "oauth_refresh"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: a build leaves files in the folder that it works in."""
    source = tmp_path_factory.mktemp("source")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(PACKAGE, source / "oauth_refresh", ignore=shutil.ignore_patterns("__pycache__"))
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of a fresh virtual environment with the wheel.

    What it depends on is lent from the environment of the tests: a registry of packages may be far away.
    """
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(folder)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    pip("--python", programs / "python", "install", "--no-deps", "--no-index", wheel)
    asked = "import sysconfig; print(sysconfig.get_path('purelib'))"
    libraries = Path(subprocess.check_output([str(programs / "python"), "-c", asked], text=True).strip())
    (libraries / "lent.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return programs


def pip(*arguments: str | Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments],
        check=True,
        env={**os.environ, "PIP_ROOT_USER_ACTION": "ignore"},
    )


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    files = [path.relative_to(ROOT) for path in PACKAGE.rglob("*") if path.is_file()]
    # Caches of tools are no part of it.
    assert held == {file.as_posix() for file in files if not any(part[0] in "._" for part in file.parts[:-1])}
    assert {
        "oauth_refresh/py.typed",
        "oauth_refresh/templates/login.html",
        "oauth_refresh/templates/style.css",
        "oauth_refresh/demo/notes.py",
        "oauth_refresh/demo/templates/walk.txt",
    } <= held


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    version = oauth_refresh.__version__
    with zipfile.ZipFile(wheel) as archive:
        info = f"oauth_refresh-{version}.dist-info"
        metadata = archive.read(f"{info}/METADATA").decode()
        commands = archive.read(f"{info}/entry_points.txt").decode()
        assert any(name.endswith("/LICENSE") for name in archive.namelist())
    assert f"Name: oauth-refresh\nVersion: {version}\n" in metadata
    assert "BSD-3-Clause" in metadata
    assert "Requires-Python: >=3.10" in metadata
    assert set(re.findall(r"^Provides-Extra: (\S+)", metadata, re.MULTILINE)) == {
        "cimd",
        "demo",
        "docs",
        "lint",
        "metrics",
        "mcp",
        "mysql",
        "postgres",
        "redis",
        "sql",
        "test",
    }
    assert "oauth-refresh = oauth_refresh.cli:main" in commands


def test_the_package_and_its_metadata_agree_on_the_version() -> None:
    metadata = configparser.ConfigParser()
    metadata.read(ROOT / "setup.cfg")
    assert metadata["metadata"]["version"] == oauth_refresh.__version__


def test_the_installed_wheel_answers_to_its_command(installed: Path, tmp_path: Path) -> None:
    asked = [str(installed / "oauth-refresh"), "--version"]
    said = subprocess.check_output(asked, text=True, cwd=tmp_path, env=away_from_here(tmp_path))
    assert said == f"oauth-refresh {oauth_refresh.__version__}\n"


def test_the_installed_wheel_serves_the_demo(installed: Path, tmp_path: Path) -> None:
    demo = subprocess.Popen(
        [installed / "oauth-refresh", "demo", "--port", "0"],
        cwd=tmp_path,
        env=away_from_here(tmp_path),
        stdout=subprocess.PIPE,
        text=True,
    )
    with demo:
        assert demo.stdout is not None
        base = demo.stdout.readline().removeprefix("The notes demo is at ").strip()
        try:
            for path in ("/", "/oauth/login", "/.well-known/oauth-authorization-server"):
                with urllib.request.urlopen(base + path) as answer:
                    assert answer.status == 200
        finally:
            demo.terminate()
            demo.communicate(timeout=15)


def test_the_installed_copy_is_the_one_that_ran(installed: Path, tmp_path: Path) -> None:
    program = "import oauth_refresh.demo; print(oauth_refresh.demo.__file__)"
    asked = [str(installed / "python"), "-c", program]
    found = subprocess.check_output(asked, text=True, cwd=tmp_path, env=away_from_here(tmp_path)).strip()
    assert Path(found).is_relative_to(installed.parent)


def away_from_here(folder: Path) -> dict[str, str]:
    """An environment in which the checkout cannot be imported, and no setting of this machine counts."""
    dropped = ("OAUTH_", "PYTHONPATH", "VIRTUAL_ENV")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
    return {**kept, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}
