"""In which words do the pages speak? Every sentence by its English text, in the language of the browser.

A catalogue is a TOML file named by its language, `de.toml`, with lines of `"English" = "translation"`. Values
stand in braces and are escaped; a sentence is text, never HTML. There are no plurals, which each language
makes in its own way: numbers stand beside a unit or after a colon.
"""

from __future__ import annotations

import os
import pkgutil
import re
import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import NamedTuple

from markupsafe import Markup, escape
from werkzeug.datastructures import LanguageAccept

from .errors import ConfigurationError
from .events import log

SHIPPED = ("en", "de")

_TAG = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_VALUE = re.compile(r"\{(\w+)\}")
_FROM_RIGHT_TO_LEFT = frozenset({"ar", "dv", "fa", "he", "ku", "ps", "sd", "ug", "ur", "yi"})


class Sentence(NamedTuple):
    """A sentence that is put into words when it is shown."""

    english: str
    values: Mapping[str, object]


Words = str | Sentence
"""What code hands to a page: a sentence in English, to be translated there."""


def say(english: str, **values: object) -> Sentence:
    """A sentence with values, which may be sentences themselves."""
    return Sentence(english, values)


class Wording:
    """The sentences of one language. Called with a sentence it answers what to show, safe in HTML.

    What the catalogue lacks is shown in English.
    """

    def __init__(self, language: str, catalogue: Mapping[str, str] = MappingProxyType({})) -> None:
        self.language = language
        self.direction = "rtl" if language.partition("-")[0].lower() in _FROM_RIGHT_TO_LEFT else "ltr"
        self._catalogue = catalogue

    def __call__(self, words: Words, /, **values: object) -> Markup:
        english, given = (words, values) if isinstance(words, str) else words
        text = escape(self._catalogue.get(english, english))
        # Text without values is not looked into: a scope's description may well hold braces.
        return text.format(**{name: self._shown(value) for name, value in given.items()}) if given else text

    def _shown(self, value: object) -> object:
        return self(value) if isinstance(value, Sentence) else value


def choose(languages: tuple[str, ...], accepted: LanguageAccept, asked: str = "") -> str:
    """One of `languages`: the first that the client asks for (`ui_locales`), else the browser's favourite.

    Where there is none of these, the first of them.
    """
    # Not `best_match`: to it "en-GB, de" is German, for that is the one that it finds to the letter.
    tags = [*asked.split(" ")[:20], *(tag for tag, quality in accepted if quality > 0)]
    return next((found for tag in tags if (found := _match(languages, tag))), languages[0])


def _match(languages: tuple[str, ...], tag: str) -> str | None:
    """This very language, else its own without the country, else one of another country."""
    wanted = tag.lower()
    primary = wanted.partition("-")[0]
    for language in languages:
        if language.lower() == wanted:
            return language
    return next((other for other in languages if other.lower().partition("-")[0] == primary), None)


def load(folder: str | None = None, wanted: Iterable[str] = ()) -> Mapping[str, Wording]:
    """The wordings by language, the first of them for whoever asks for another.

    Those shipped, and those of the files in `folder`, which also replace single sentences of the shipped
    ones; or the `wanted` ones alone. Raises `ConfigurationError` with every mistake in the files.
    """
    problems: list[str] = []
    files = {} if folder is None else _files(folder, problems)
    languages = tuple(wanted) or tuple(dict.fromkeys((*SHIPPED, *sorted(files))))
    every = frozenset(_shipped("de"))
    found = {}
    for language in languages:
        own = _read_file(files[language], problems) if language in files else {}
        if language not in SHIPPED and language not in files:
            problems.append(f"OAUTH_LANGUAGES: there is no {language}.toml in OAUTH_TRANSLATION_FOLDER")
        catalogue = {**_shipped(language), **own}
        if language != "en" and (missing := len(every.difference(catalogue))):
            log.warning("the translation %s lacks %d sentences, shown in English", language, missing)
        found[language] = Wording(language, catalogue)
    if problems:
        raise ConfigurationError(problems)
    return found


def _files(folder: str, problems: list[str]) -> dict[str, str]:
    if not os.path.isdir(folder):
        problems.append(f"translation folder {folder}: there is no such folder")
        return {}
    names = (name.removesuffix(".toml") for name in os.listdir(folder) if name.endswith(".toml"))
    return {name: os.path.join(folder, f"{name}.toml") for name in names if _TAG.fullmatch(name)}


def _shipped(language: str) -> dict[str, str]:
    if language not in SHIPPED or language == "en":
        return {}
    data = pkgutil.get_data(__package__, f"translations/{language}.toml") or b""
    return {str(english): str(words) for english, words in _toml(data.decode()).items()}


def _read_file(path: str, problems: list[str]) -> dict[str, str]:
    try:
        with open(path, "rb") as file:
            content = _toml(file.read().decode("utf-8-sig"))
    except (OSError, ValueError) as error:
        problems.append(f"translation {path}: {error}")
        return {}
    found: dict[str, str] = {}
    for english, words in content.items():
        if not isinstance(words, str):
            problems.append(f'translation {path}: "{english}" is no text')
        elif problem := problem_of(english, words):
            problems.append(f"translation {path}: {problem}")
        else:
            found[english] = words
    return found


def problem_of(english: str, words: str) -> str | None:
    """Why this translation of a sentence cannot be shown, if so."""
    if not _VALUE.search(english):
        return None
    values = set(_VALUE.findall(english))
    rest = _VALUE.sub("", words)
    if set(_VALUE.findall(words)) != values or "{" in rest or "}" in rest:
        named = ", ".join(f"{{{name}}}" for name in sorted(values))
        return f'"{english}": the translation must name {named} and nothing else in braces'
    return None


def _toml(text: str) -> dict[str, object]:
    toml = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    content: dict[str, object] = toml.loads(text)
    return content
