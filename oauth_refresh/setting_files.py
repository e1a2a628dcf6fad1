"""How a settings file is read: TOML, or a section of an INI file."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from .setting_values import Refused

_INI_ENDINGS = (".ini", ".cfg", ".conf")
_TABLES = ("oauth", "oauth_refresh")


def read_settings_file(path: str) -> list[tuple[str, object]]:
    """The keys of the file at `path` with their values, as they are written there.

    Files that end in .ini, .cfg or .conf are INI: only the section [oauth] or [oauth_refresh] counts.
    All others are TOML: what is at the top and in the table [oauth] or [oauth_refresh]. Raises `Refused`
    if there is no such file or it cannot be understood; the reason never quotes the file, which may
    hold secrets.
    """
    try:
        with open(path, "rb") as file:
            text = file.read().decode("utf-8-sig")
    except OSError as error:
        raise Refused(f"cannot be read ({error.strerror})") from None
    except ValueError:
        raise Refused("is not UTF-8") from None
    return _read_ini(text) if path.lower().endswith(_INI_ENDINGS) else _read_toml(text)


def _read_toml(text: str) -> list[tuple[str, object]]:
    from importlib import import_module

    toml = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        content: dict[str, object] = toml.loads(text)
    except ValueError as error:
        raise Refused(f"is not TOML: {error}") from None
    pairs: list[tuple[str, object]] = []
    for key, value in content.items():
        if key in _TABLES and isinstance(value, Mapping):
            pairs.extend(value.items())
        else:
            pairs.append((key, value))
    return pairs


def _read_ini(text: str) -> list[tuple[str, object]]:
    import configparser

    # No interpolation: a "%" in a password is a "%". No default section: what an application keeps in
    # [DEFAULT] is not meant for us.
    parser = configparser.RawConfigParser(default_section="")
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise Refused(f"is not INI{_where(error)}") from None
    sections = [section for section in _TABLES if parser.has_section(section)]
    if not sections:
        raise Refused("has no section [oauth]")
    return [pair for section in sections for pair in parser.items(section)]


def _where(error: Exception) -> str:
    line = getattr(error, "lineno", None)
    errors = getattr(error, "errors", None)
    if line is None and errors:
        line = errors[0][0]
    return f" (line {line})" if line is not None else ""
