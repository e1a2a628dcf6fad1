"""Where the values of settings come from, and which of them wins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from .setting_files import read_settings_file
from .setting_values import PATH, Refused, optional

Pair = tuple[str, object]


class Given(NamedTuple):
    """A value as its layer holds it, not read yet. `key` and `origin` are what an error line calls it."""

    value: object
    key: str
    origin: str


class Layers:
    """The layers laid so far. `given` holds the winner for each setting that any of them names."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = tuple(names)
        self.given: dict[str, Given] = {}
        self.problems: list[str] = []
        self.warnings: list[str] = []

    def lay(self, pairs: Iterable[Pair], origin: str, *, strict: bool = True) -> None:
        """Let `pairs` win over what lies below. An unknown key is a problem if `strict`, else a warning."""
        layer: dict[str, Given] = {}
        for key, value in pairs:
            name = _name(key)
            if name not in self._names:
                complaint = f"{key} ({origin}): there is no such setting{self._suggestion(key, name)}"
                (self.problems if strict else self.warnings).append(complaint)
            elif name in layer:
                self.problems.append(f"OAUTH_{name.upper()} ({origin}): is given twice")
            else:
                layer[name] = Given(value, f"OAUTH_{name.upper()}", origin)
        self.given.update(layer)

    def look_for_strays(self, scopes: Mapping[str, object], origin: str) -> None:
        """What was meant as a setting and stands in the table [scopes] would be a scope, and be shown."""
        for key, description in scopes.items():
            name = _name(key)
            if name in self._names and ("_" in key or not _is_prose(description)):
                self.problems.append(
                    f"{key} ({origin}): stands in the table [scopes], where every name is a scope; settings "
                    "stand above the first table, and a scope of such a name is described in several words"
                )

    def lay_flask_secrets(self, config: Mapping[str, object]) -> None:
        """Let the application's own secrets serve where no layer has one for us."""
        if "secret_key" in self.given and self.given["secret_key"].value is not None:
            return
        if not config.get("SECRET_KEY"):
            return
        self.given["secret_key"] = Given(config["SECRET_KEY"], "SECRET_KEY", "config")
        fallbacks = config.get("SECRET_KEY_FALLBACKS")
        if fallbacks and "secret_key_fallbacks" not in self.given:
            self.given["secret_key_fallbacks"] = Given(fallbacks, "SECRET_KEY_FALLBACKS", "config")

    def _suggestion(self, key: str, name: str) -> str:
        from difflib import get_close_matches

        near = get_close_matches(name, self._names, n=1, cutoff=0.76)
        if not near:
            return ""
        return f"; did you mean {'OAUTH_' + near[0].upper() if key.isupper() else near[0]}?"


def lay_all(
    names: Iterable[str],
    *,
    defaults: Mapping[str, object],
    environ: Mapping[str, str],
    config: Mapping[str, object],
    keywords: Mapping[str, object],
) -> Layers:
    """All layers, the lowest first. The file is the one that the highest layer with `config_file` names.

    An environment variable that is empty counts as not set: that is what `VARIABLE=${OTHER:-}` in a
    compose file means.
    """
    variables = [(key, value) for key, value in _ours(environ) if isinstance(value, str) and value.strip()]
    layers = Layers(names)
    layers.lay(defaults.items(), "program default")
    path = _file_named(keywords.items(), _ours(config), variables, defaults.items())
    if path is not None:
        _lay_file(layers, path)
    layers.lay(variables, "environment", strict=False)
    layers.lay(_ours(config), "config", strict=False)
    layers.lay(keywords.items(), "keyword")
    layers.lay_flask_secrets(config)
    return layers


def _ours(mapping: Mapping[str, object]) -> list[Pair]:
    """What is meant for us in a mapping that others share."""
    return [
        (key, value) for key, value in mapping.items() if isinstance(key, str) and key.startswith("OAUTH_")
    ]


def _file_named(*layers: Iterable[Pair]) -> str | None:
    """The file that the first of `layers` with a word on it names. What is no path is reported elsewhere."""
    for layer in layers:
        for key, value in layer:
            if _name(key) == "config_file":
                try:
                    return optional(PATH).read(value)
                except Refused:
                    return None
    return None


def _lay_file(layers: Layers, path: str) -> None:
    origin = f"file {path}"
    try:
        pairs = read_settings_file(path)
    except Refused as refusal:
        layers.problems.extend(f"{origin}: {reason}" for reason in refusal.reasons)
        return
    if any(_name(key) == "config_file" for key, _ in pairs):
        layers.problems.append(f"OAUTH_CONFIG_FILE ({origin}): a file cannot name another file")
    for key, value in pairs:
        if _name(key) == "scopes" and isinstance(value, Mapping):
            layers.look_for_strays(value, origin)
    layers.lay([pair for pair in pairs if _name(pair[0]) != "config_file"], origin)


def _is_prose(description: object) -> bool:
    """Whether this describes something to people. Nothing at all may stand for it."""
    text = description.strip() if isinstance(description, str) else "?"
    return not text or (text[0].isalpha() and " " in text and "://" not in text)


def _name(key: str) -> str:
    return key.lower().removeprefix("oauth_")
