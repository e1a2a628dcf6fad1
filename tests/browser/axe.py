"""axe-core finds what keeps people from using a page. Fetched once, pinned, and run in the real page."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

VERSION = "4.10.3"
SHA256 = "0f2b4d7dcdf7d1219df8d1959ad68e565f51d14c3f0d88bb71cd59abeb956292"
FOLDER = Path(__file__).parents[2] / ".cache" / "axe"

_RUN = """async () => {
  const found = await axe.run(document, {resultTypes: ["violations", "incomplete"]});
  return found.violations.map(each => [each.id, each.nodes.map(node => node.html)]);
}"""


@cache
def source() -> str:
    """The script, from the cache of this checkout or from the registry of packages."""
    archive = FOLDER / f"axe-core-{VERSION}.tgz"
    if not archive.exists():
        if shutil.which("npm") is None:
            pytest.skip("npm is needed to fetch axe-core")
        FOLDER.mkdir(parents=True, exist_ok=True)
        command = ["npm", "pack", "--silent", f"axe-core@{VERSION}", "--pack-destination", str(FOLDER)]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == SHA256, (
        "this is not the axe-core that was pinned"
    )
    with tarfile.open(archive) as package:
        member = package.extractfile("package/axe.min.js")
        assert member
        return member.read().decode()


def violations(page: Page) -> Any:
    """What axe-core objects to. The page's own policy stays as it is: the script is evaluated, not loaded."""
    page.evaluate(source())
    return page.evaluate(_RUN)
