"""How the settings for scopes and for protected paths are written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from .errors import ConfigurationError, InvalidScope
from .paths import PUBLIC, SEPARATORS, Protection
from .scopes import parse_scope
from .setting_values import (
    Hook,
    Kind,
    Refused,
    is_nothing,
    list_of,
    looks_importable,
    read_each,
    read_hook,
    read_text,
    shown,
    split_list,
)


def read_scope_name(name: str) -> str:
    """One scope. The word that marks public paths cannot be one."""
    try:
        names = parse_scope(name)
    except InvalidScope:
        names = ()
    if names != (name,):
        raise Refused(f"{shown(name)} is no scope name")
    if name.lower() == PUBLIC:
        raise Refused(f'{shown(name)} is no scope name: "{PUBLIC}" marks public paths')
    return name


def read_scope_text(value: object) -> str:
    """Scope names separated by single spaces, each once, in the order given; from text or a list of names."""
    names = value.split() if isinstance(value, str) else split_list(value)
    scopes: dict[str, None] = {}
    read_each(names, lambda name: scopes.setdefault(read_scope_name(read_text(name))))
    return " ".join(scopes)


def named_scopes(protect: Mapping[str, str]) -> tuple[str, ...]:
    """The scopes that the rules of `protect` ask for, in order, each once."""
    wanted = (scope for scopes in protect.values() if scopes != PUBLIC for scope in scopes.split())
    return tuple(dict.fromkeys(wanted))


def rule_problems(rules: Mapping[str, str], *, ignore_case: bool = False) -> tuple[str, ...]:
    """What `Protection` has against these rules, one line each, beginning with the rule."""
    try:
        Protection(rules, ignore_case=ignore_case)
    except ConfigurationError as error:
        return tuple(line.removeprefix("OAUTH_PROTECT: ") for line in error.problems)
    return ()


def _read_scopes(value: object) -> Mapping[str, str]:
    scopes: dict[str, str] = {}

    def read(item: tuple[object, object]) -> None:
        name = read_scope_name(read_text(item[0]))
        if name in scopes:
            raise Refused(f"{shown(name)} is named twice")
        scopes[name] = read_text(item[1])

    if isinstance(value, Mapping):
        read_each(value.items(), read)
    else:
        read_each(_described(split_list(value, separators=";")), read)
    return MappingProxyType(scopes)


def _described(items: tuple[object, ...]) -> Iterator[tuple[object, object]]:
    """Each "name=description" apart. A comma in a name that stands alone is a mistaken separator."""
    for item in items:
        name, equals, description = read_text(item).partition("=")
        if not equals and "," in name:
            raise Refused('scopes are separated by ";"')
        yield name.strip(), description


def _read_protect(value: object) -> Mapping[str, str] | Hook:
    if callable(value) or looks_importable(value):
        return read_hook(value, "environ")
    rules: dict[str, str] = {}

    def read(item: tuple[object, object]) -> None:
        rule = read_text(item[0])
        if rule in rules:
            raise Refused(f"{shown(rule)} is named twice")
        rules[rule] = _read_needed(rule, item[1])

    if isinstance(value, Mapping):
        read_each(value.items(), read)
    else:
        read_each(_assigned(split_list(value)), read)
    problems = rule_problems(rules)
    if problems:
        raise Refused(*problems)
    return MappingProxyType(rules)


def _assigned(items: tuple[object, ...]) -> Iterator[tuple[object, object]]:
    for item in items:
        rule, equals, scopes = read_text(item).partition("=")
        if not equals and " " in rule[rule.find("/") :]:
            # Read as a path with a space in it, it would leave open what it was meant for.
            raise Refused(f"{shown(rule)}: {SEPARATORS}")
        yield rule, scopes


def _read_needed(rule: str, value: object) -> str:
    if is_nothing(value):
        return ""
    if isinstance(value, str) and value.strip() == PUBLIC:
        return PUBLIC
    try:
        return read_scope_text(value)
    except Refused as refusal:
        raise Refused(*(f"{shown(rule)}: {reason}" for reason in refusal.reasons)) from None


def _read_default_scopes(value: object) -> tuple[str, ...] | None:
    if value is None:
        return None
    scopes: dict[str, None] = {}
    read_each(split_list(value), lambda name: scopes.setdefault(read_scope_name(read_text(name))))
    return tuple(scopes)


def _read_scope_implies(value: object) -> Mapping[str, str]:
    implied: dict[str, str] = {}

    def read(item: tuple[object, object]) -> None:
        name = read_scope_name(read_text(item[0]))
        if name in implied:
            raise Refused(f"{shown(name)} is named twice")
        implied[name] = read_scope_text(item[1])

    items = value.items() if isinstance(value, Mapping) else _described(split_list(value, separators=";"))
    read_each(items, read)
    return MappingProxyType(implied)


RESERVED_SCOPES = list_of(read_scope_name, "a list of scopes that are known here")
SCOPE_IMPLIES = Kind(
    _read_scope_implies,
    "a table of a scope and those it contains, "
    'as text "admin=notes:read notes:write; notes:write=notes:read"',
)
SCOPES = Kind(
    _read_scopes,
    'a table of scope name and description, as text "notes:read=Read your notes; notes:write=Change them"',
)
DEFAULT_SCOPES = Kind(_read_default_scopes, "a list of scopes that are known here, or none")
PROTECT = Kind(
    _read_protect,
    'a table of "/path" or "METHOD /path" and the scopes needed, as text '
    '"/api=notes:read, POST /api=notes:write, /mcp, /api/health=public"; or a callable',
)
