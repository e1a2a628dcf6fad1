"""The environment in which the peers live: made once, with pinned versions, under `.cache`."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]

PACKAGES = {
    "oauthlib": "4.0.1",
    "Authlib": "1.9.10",
    "django-oauth-toolkit": "3.4.1",
    "Django": "5.2.19",
    "Flask": "3.1.3",
    "SQLAlchemy": "2.1.9",
    "psycopg[binary]": "3.3.9",
    # For what calls them: benchmarks/calling.py.
    "msgspec": "0.22.0",
}


def python() -> str:
    """The interpreter of that environment. It is made when it is missing or has other versions."""
    wanted = "\n".join(f"{name}=={version}" for name, version in PACKAGES.items())
    named = hashlib.sha256(f"{sys.version}\n{wanted}".encode()).hexdigest()[:12]
    folder = ROOT / ".cache" / f"peers-{named}"
    found, done = folder / "bin" / "python", folder / "complete"
    if not done.exists():
        venv.create(folder, with_pip=True, clear=True)
        install = [str(found), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        ran = subprocess.run([*install, *wanted.split("\n")], capture_output=True, text=True)
        if ran.returncode:
            raise SystemExit(f"the environment of the peers cannot be made:\n{ran.stderr[-4000:]}")
        done.touch()
    return str(found)


def variables() -> dict[str, str]:
    """For a program of that environment: it finds `benchmarks`, and nothing of this one."""
    return {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT)}
