"""Whose name and password does the built-in login accept? A users file, or a mapping in memory.

The file holds one user per line, `name:hash`, the hash made by `werkzeug.security`. Blank lines and lines
that begin with `#` mean nothing. Names are compared exactly, after Unicode normalization (NFC).

A line that is wrong counts for nobody, and is told; the others count. So one slip of an editor keeps one user
out, and neither the others nor a worker that starts.
"""

from __future__ import annotations

import os
import stat
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple

from werkzeug.security import check_password_hash, generate_password_hash

from .errors import ConfigurationError
from .events import log

NAME_LENGTH_MAX = 255
_PROOF_BYTES = 12
_TOLD_MAX = 8

_DEFAULT_METHOD = "scrypt:32768:8:1"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class UsersFile:
    """The users of one file, which is read again when it changes. Safe to use from many threads.

    Lines that are wrong are logged once, as an error. Raises `ConfigurationError` if the file cannot be read
    or has nothing but mistakes; if that comes later, it is logged once, and the users of before stay.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        stamp, found = _usable(self._path)
        self._state: tuple[_Stamp | None, _Users] = (stamp, _Users.of(found.hashes))
        _tell(found.problems)

    def check(self, name: str, password: str) -> str | None:
        """The subject, which is the user's name as the file spells it, or None. An unknown name costs as much
        time as a known one with a wrong password."""
        return self._users().check(name, password)

    def proof(self, subject: str) -> bytes | None:
        """What stands for this user's password, None if there is no such user now.

        A login made before the user was removed, or with another password, is worth nothing.
        """
        hashed = self._users().hashes.get(subject)
        return None if hashed is None else sha256(hashed.encode()).digest()[:_PROOF_BYTES]

    def names(self) -> list[str]:
        """The users in the file now, in its order."""
        return list(self._users().hashes)

    def _users(self) -> _Users:
        seen, users = self._state
        stamp = _stamp_of(self._path)
        if stamp != seen:
            users = self._reload(stamp, users)
        return users

    def _reload(self, stamp: _Stamp | None, users: _Users) -> _Users:
        problems: Sequence[str] = ()
        try:
            stamp, found = _usable(self._path)
            users, problems = _Users.of(found.hashes), found.problems
            if users.hashes == {} != self._state[1].hashes:
                log.warning("users file %s: there is no user in it any more", self._path)
        except ConfigurationError as error:
            log.error("the users of before stay: %s", _some(error.problems))
        # The bad version is remembered too: it is reported once, not at every login.
        self._state = (stamp, users)
        _tell(problems)
        return users


def users_in(path: str | os.PathLike[str]) -> tuple[list[str], tuple[str, ...]]:
    """The names in this users file, and what is wrong with single lines. Raises as `UsersFile` does."""
    _, found = _usable(os.fspath(path))
    return list(found.hashes), found.problems


def check_from_mapping(users: Mapping[str, str]) -> Callable[[str, str], str | None]:
    """A password check, as of `UsersFile.check`, for users in memory: name to hash by `werkzeug.security`.

    Raises `ConfigurationError` with every name and hash that is wrong.
    """
    problems = []
    hashes = {}
    for name, hashed in users.items():
        problem = _problem_of(name, hashed)
        if problem is not None:
            problems.append(f"user {name!r}: {problem}")
        hashes[_normal(name)] = hashed
    if problems:
        raise ConfigurationError(problems)
    return _Users.of(hashes).check


def add_user(path: str | os.PathLike[str], name: str, password: str) -> bool:
    """Add this user to the file, or give a user of it another password. True if the user is new.

    A file that is absent is made, with mode 0600; one that is there keeps its owner, and its group
    may read it if it could. Readers see the file before or after, never between. Raises `ConfigurationError`
    for a bad name, an empty password, a file with mistakes, a folder that cannot be written to, or while
    another process changes the file; `OSError` if the disk refuses it.
    """
    if not password:
        raise ConfigurationError("the password is empty")
    hashed = generate_password_hash(password)
    if problem := _problem_of(name, hashed):
        raise ConfigurationError(f"user {name!r}: {problem}")
    with _Change(os.fspath(path), may_be_absent=True) as change:
        is_new = not change.drop(_normal(name))
        change.lines.append(f"{_normal(name)}:{hashed}".encode())
    return is_new


def remove_user(path: str | os.PathLike[str], name: str) -> bool:
    """Take this user out of the file. False if it was not there. Raises as `add_user` does."""
    with _Change(os.fspath(path)) as change:
        return change.drop(_normal(name))


class _Users(NamedTuple):
    hashes: Mapping[str, str]
    decoy: str

    @classmethod
    def of(cls, hashes: Mapping[str, str]) -> _Users:
        # What an unknown name is checked against: a hash that no password has (its digest is no digest),
        # and as slow as most of the others.
        methods = Counter(hashed.partition("$")[0] for hashed in hashes.values()).most_common(1)
        method = methods[0][0] if methods else _DEFAULT_METHOD
        return cls(hashes, f"{method}$decoy$-")

    def check(self, name: str, password: str) -> str | None:
        name = _normal(name)
        is_right = check_password_hash(self.hashes.get(name, self.decoy), password)
        return name if is_right else None


class _Stamp(NamedTuple):
    inode: int
    size: int
    modified: int
    # A copy that keeps the time of its original, and a change of mode that makes the file readable again.
    changed: int


def _stamp_of(path: str) -> _Stamp | None:
    try:
        return _stamp(os.stat(path))
    except OSError:
        return None


def _stamp(status: os.stat_result) -> _Stamp:
    return _Stamp(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _read(path: str) -> tuple[_Stamp, bytes]:
    try:
        with open(path, "rb") as file:
            # Before the text: a write that comes between makes the stamp older than the file, never newer.
            return _stamp(os.fstat(file.fileno())), file.read()
    except FileNotFoundError as error:
        told = f"users file {path}: {error.strerror}; oauth-refresh user add NAME makes it"
        raise ConfigurationError(told) from error
    except OSError as error:
        raise ConfigurationError(f"users file {path}: {error.strerror or error}") from error


class _Found(NamedTuple):
    """What a users file holds: names with their hashes, and what is wrong with the other lines."""

    hashes: dict[str, str]
    problems: tuple[str, ...]


def _usable(path: str) -> tuple[_Stamp, _Found]:
    stamp, text = _read(path)
    found = _parse(text, path)
    if found.problems and not found.hashes:
        raise ConfigurationError(found.problems)
    return stamp, found


def _parse(text: bytes, path: str) -> _Found:
    """No mistake is reported with what the line holds: that could be a password."""
    hashes: dict[str, str] = {}
    lines: dict[str, int] = {}
    problems = []
    for number, text_of_line in enumerate(text.removeprefix(_BYTE_ORDER_MARK).split(b"\n"), 1):
        line = _line(text_of_line)
        problem = line.problem
        if line.name in lines:
            # Nobody knows which of the two passwords is meant.
            problem = f"{line.name!r} is in line {lines[line.name]} as well, and neither counts"
            hashes.pop(line.name, None)
        elif line.name:
            hashes[line.name], lines[line.name] = line.hashed, number
        if problem is not None:
            problems.append(f"users file {path}, line {number}: {problem}")
    return _Found(hashes, tuple(problems))


def _tell(problems: Sequence[str]) -> None:
    if problems:
        log.error("lines that count for nobody, while the others do: %s", _some(problems))


def _some(problems: Sequence[str]) -> str:
    """As many as a line of a log has room for."""
    more = len(problems) - _TOLD_MAX
    return "; ".join(problems[:_TOLD_MAX]) + (f"; and {more} more" if more > 0 else "")


class _Line(NamedTuple):
    """One line of the file: a user, a problem, or neither."""

    name: str = ""
    hashed: str = ""
    problem: str | None = None


def _line(text: bytes) -> _Line:
    try:
        name, colon, hashed = (part.strip() for part in text.decode().partition(":"))
    except UnicodeDecodeError:
        return _Line(problem="not UTF-8")
    if name.startswith("#") or not (name or colon):
        return _Line()
    problem = _problem_of(name, hashed) if colon else 'no colon: a line is "name:hash"'
    return _Line(problem=problem) if problem else _Line(_normal(name), hashed)


def _problem_of(name: str, hashed: str) -> str | None:
    if not name:
        return "the name is empty"
    if len(name) > NAME_LENGTH_MAX:
        return f"the name is longer than {NAME_LENGTH_MAX} characters"
    if not name.isprintable() or ":" in name or name != name.strip() or name.startswith("#"):
        return 'a name has no colon, no control characters, no space around it and no "#" in front'
    if name.endswith((" scrypt", " pbkdf2")):
        return 'a colon separates name and hash: "name:hash"'
    method, _, rest = hashed.partition("$")
    salt, _, digest = rest.partition("$")
    if not salt or not digest or not set(digest) <= set(string.hexdigits):
        return 'no hash by werkzeug.security, such as "scrypt:32768:8:1$salt$digest"'
    if not _works(method):
        return "a hash whose method this Python does not know: use scrypt or pbkdf2 of werkzeug.security"
    return None


@lru_cache(maxsize=64)
def _works(method: str) -> bool:
    """Whether hashes of this method can be checked here, found out by doing it once."""
    try:
        check_password_hash(f"{method}$salt$-", "password")
    except (ValueError, TypeError, AttributeError, OverflowError, MemoryError):
        return False
    return True


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)


class _Change:
    """One change of a users file: `lines` as they are on entry, in place as they are on a clean exit.

    The new text is written beside the file under a name that only one process can create, so two changes at
    once cannot lose one another.
    """

    def __init__(self, path: str, *, may_be_absent: bool = False) -> None:
        # The file behind a symbolic link is replaced, not the link.
        self._path = os.path.realpath(path)
        self._new = f"{self._path}.new"
        self._may_be_absent = may_be_absent
        self.lines: list[bytes] = []

    def __enter__(self) -> _Change:
        try:
            self._file = os.open(self._new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise ConfigurationError(
                f"{self._new} exists: the users file is being changed just now, or a change was interrupted. "
                "Remove it if no other process is at work."
            ) from None
        except OSError as error:
            raise ConfigurationError(
                f"users file {self._path}: {error.strerror}: a new one is written beside it, so its folder "
                "must be there, and writable for this account"
            ) from error
        try:
            self._load()
        except BaseException:
            self._leave()
            raise
        return self

    def _load(self) -> None:
        if self._may_be_absent and not os.path.exists(self._path):
            return
        _, text = _read(self._path)
        if problems := _parse(text, self._path).problems:
            # Which user such a line is meant for is not known.
            raise ConfigurationError(problems)
        self.lines = text.removeprefix(_BYTE_ORDER_MARK).removesuffix(b"\n").split(b"\n")
        self._keep_access(os.stat(self._path))

    def _keep_access(self, old: os.stat_result) -> None:
        # The server may run under another account than the operator who adds a user.
        if hasattr(os, "fchown"):
            new = os.fstat(self._file)
            if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
                os.fchown(self._file, old.st_uid, old.st_gid)
            os.fchmod(self._file, 0o600 | (stat.S_IMODE(old.st_mode) & stat.S_IRGRP))

    def drop(self, name: str) -> bool:
        """Take out the line of this user; whether there was one."""
        kept = [line for line in self.lines if _line(line).name != name]
        is_there = len(kept) < len(self.lines)
        self.lines = kept
        return is_there

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._leave()
            return
        try:
            with os.fdopen(self._file, "wb") as file:
                file.write(b"".join(line + b"\n" for line in self.lines))
                file.flush()
                os.fsync(file.fileno())
            os.replace(self._new, self._path)
        except BaseException:
            os.unlink(self._new)
            raise

    def _leave(self) -> None:
        os.close(self._file)
        os.unlink(self._new)
