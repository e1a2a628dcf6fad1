"""Where the demo keeps its files: one folder per user, below the system's temporary folder."""

from __future__ import annotations

import getpass
import os
import stat
import tempfile
from pathlib import Path

from ..errors import ConfigurationError


def private_folder() -> Path:
    """The folder of the user who runs this process, created if it is not there, with mode 0700.

    Every worker process of one user finds the same one. `ConfigurationError` if what stands at its place
    is not a plain folder that belongs to this user and is closed to all others: the temporary folder is
    writable by everybody, so somebody else may have put it there.
    """
    folder = Path(tempfile.gettempdir()).absolute() / f"oauth-refresh-demo-{_who()}"
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        _check(folder)
    except OSError as error:
        raise ConfigurationError(
            f"cannot create {folder}: {error.strerror}; set TMPDIR to a folder of yours"
        ) from error
    return folder


def _who() -> str:
    return str(os.geteuid()) if hasattr(os, "geteuid") else getpass.getuser()


def _check(folder: Path) -> None:
    # lstat, not stat: a symbolic link would lead the demo's secrets to a place of somebody else's choice.
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise ConfigurationError(
            f"{folder} is not a folder (a symbolic link is refused too): remove it, or set TMPDIR"
        )
    if not hasattr(os, "geteuid"):
        return
    if found.st_uid != os.geteuid():
        raise ConfigurationError(f"{folder} belongs to another user: set TMPDIR to a folder of yours")
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise ConfigurationError(
            f"{folder} is open to other users: remove it, or chmod it to 0700 if you trust it"
        )
