"""How are the settings read? From all layers, checked as a whole, and every mistake told at once."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from .errors import ConfigurationError
from .setting_agreement import disagreements, misgivings
from .setting_layers import Given, lay_all
from .setting_values import Refused, shown
from .settings import Declaration, Settings, declarations

logger = logging.getLogger(__name__)


def load_settings(
    *,
    config: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    keywords: Mapping[str, object] | None = None,
    defaults: Mapping[str, object] | None = None,
    config_file: str | None = None,
    quietly: bool = False,
    for_server: bool = True,
) -> Settings:
    """Read and check the settings of all layers; the later ones win, key by key.

    The layers: built-in defaults; `defaults`, those of a program that embeds this package; the settings
    file, named by `config_file` or by OAUTH_CONFIG_FILE in any other layer; the environment (`environ`,
    normally the process's own); `config`, Flask's or a WSGI server's mapping; `keywords`. Keys are
    OAUTH_NAME; all layers but the environment and `config` take the lower-case name too. Where no layer
    has OAUTH_SECRET_KEY, SECRET_KEY and SECRET_KEY_FALLBACKS of `config` serve.

    Raises ConfigurationError with all mistakes at once, one line each, none with a secret in it. Unknown
    OAUTH_ keys in the environment and in `config`, where applications keep their own, are logged instead,
    and so is what is more likely a mistake; not if `quietly`, for who loads them once more. Only `for_server`
    has the users file to be there, for who signs nobody in has no need of it.
    """
    layers = lay_all(
        (about.name for about in declarations()),
        defaults=defaults or {},
        environ=os.environ if environ is None else environ,
        config=config or {},
        keywords={**(keywords or {}), **({} if config_file is None else {"config_file": config_file})},
    )
    given = layers.given
    chosen, problems = _read(given)
    settings = Settings(
        **chosen,
        origins=MappingProxyType({about.name: _origin(about, given) for about in declarations()}),
        warnings=tuple(layers.warnings),
    )
    unread = frozenset(given).difference(chosen) | (frozenset() if for_server else {"users_file"})
    problems = [*layers.problems, *problems, *_judge(settings, given, unread)]
    if problems:
        raise ConfigurationError(problems)
    settings = replace(settings, warnings=(*settings.warnings, *misgivings(settings)))
    for warning in () if quietly else settings.warnings:
        logger.warning("%s", warning)
    return settings


def look_up(name: str, *, config_file: str | None = None) -> Any:
    """What file and environment say of one setting, whatever is wrong with the others.

    For commands that make what the settings ask for. Raises ConfigurationError if the value is refused.
    """
    keywords = {} if config_file is None else {"config_file": config_file}
    names = [about.name for about in declarations()]
    layers = lay_all(names, defaults={}, environ=os.environ, config={}, keywords=keywords)
    chosen, problems = _read({key: given for key, given in layers.given.items() if key == name})
    if problems:
        raise ConfigurationError(problems)
    return chosen.get(name, next(about.default for about in declarations() if about.name == name))


def _read(given: Mapping[str, Given]) -> tuple[dict[str, Any], list[str]]:
    """The values of the settings that were given one, and the problems of those whose value is refused."""
    chosen: dict[str, Any] = {}
    problems: list[str] = []
    for about in declarations():
        if about.name in given:
            try:
                chosen[about.name] = about.kind.read(given[about.name].value)
            except Refused as refusal:
                problems.extend(_line(about, given[about.name], reason) for reason in refusal.reasons)
    return chosen, problems


def _origin(about: Declaration, given: Mapping[str, Given]) -> str:
    return given[about.name].origin if about.name in given else "default"


def _line(about: Declaration, given: Given, reason: str) -> str:
    hidden = about.secret or isinstance(given.value, (Mapping, list, tuple))
    value = "" if hidden else f" = {shown(given.value)}"
    return f"{given.key}{value} ({given.origin}): {reason}; allowed: {about.kind.allowed}"


def _judge(settings: Settings, given: Mapping[str, Given], unread: frozenset[str]) -> Iterator[str]:
    """The problems of settings that are right by themselves and wrong together."""
    abouts = {about.name: about for about in declarations()}
    for name, reason in disagreements(settings, unread):
        about = abouts[name]
        yield _line(about, given.get(name, Given(about.default, about.key, "default")), reason)
