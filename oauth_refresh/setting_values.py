"""How the value of one setting is read, whatever layer it comes from: the plain kinds of value."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from .callables import takes
from .durations import parse_duration

if TYPE_CHECKING:
    from .backends.base import Backend

T = TypeVar("T")
Word = TypeVar("Word", bound=str)

Hook = Callable[..., Any]

_SHOWN_MAX = 80
_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_IMPORTABLE = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_APPLICATION = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*(?::[^\W\d]\w*(?:\.[^\W\d]\w*)*(?:\(\))?)?")
_COLOR = re.compile(r"#(?:[0-9a-f]{3}|[0-9a-f]{6})")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*")
_REGISTRY_URL = re.compile(r"[a-z][a-z0-9+.-]*:.*", re.DOTALL)
_BACKEND_METHODS = ("get", "swap", "find", "keys", "purge")


class Refused(ValueError):
    """A value that its setting may not have. `reasons` are lines for the operator, without any secret."""

    def __init__(self, *reasons: str) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = reasons


@dataclass(frozen=True)
class Kind(Generic[T]):
    """One kind of value: how it is read, and what is allowed, in words that follow "allowed:".

    `read` takes what a layer holds (text, or what Python, TOML or JSON can say), returns the value and
    raises `Refused`.
    """

    read: Callable[[object], T]
    allowed: str


def shown(value: object) -> str:
    """`value` as an error line may show it: one line, short, and without the user and password of a URL."""
    if isinstance(value, str):
        text = repr(re.sub(r"//.*@", "//***@", value, flags=re.DOTALL))
        return text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "…"
    if value is None or isinstance(value, (bool, float, timedelta)):
        return repr(value)
    if isinstance(value, int):
        return repr(value) if abs(value) < 10**20 else "a huge number"
    return f"({type(value).__name__})"


def read_text(value: object) -> str:
    """Text on one line, without white space around it."""
    if not isinstance(value, str):
        raise Refused(f"{shown(value)} is no text")
    text = value.strip()
    if _CONTROL.search(text):
        raise Refused("contains a control character or a line end")
    return text


def is_nothing(value: object) -> bool:
    """None, and the texts "" and "none", by which a layer takes back what a lower one says."""
    return value is None or (isinstance(value, str) and value.strip().lower() in {"", "none"})


def optional(kind: Kind[T]) -> Kind[T | None]:
    def read(value: object) -> T | None:
        return None if is_nothing(value) else kind.read(value)

    return Kind(read, kind.allowed)


def read_each(values: Iterable[T], read: Callable[[T], object]) -> None:
    """Read all of `values`, so that the reasons of every mistake are raised together."""
    reasons = [reason for value in values for reason in _reasons(value, read)]
    if reasons:
        raise Refused(*reasons)


def _reasons(value: T, read: Callable[[T], object]) -> tuple[str, ...]:
    try:
        read(value)
    except Refused as refusal:
        return refusal.reasons
    return ()


def split_list(value: object, separators: str = ",") -> tuple[object, ...]:
    """The items of a list, or of text with `separators` or line ends between them; of nothing, none."""
    if is_nothing(value):
        return ()
    if isinstance(value, str):
        parts = re.split(rf"[{separators}\r\n]", value)
        return tuple(part.strip() for part in parts if part.strip())
    if isinstance(value, (set, frozenset)):
        return tuple(sorted(value, key=str))
    if isinstance(value, (list, tuple)):
        return tuple(value)
    raise Refused(f"{shown(value)} is no list")


def list_of(read_one: Callable[[str], str], allowed: str) -> Kind[tuple[str, ...]]:
    """Items in the order given, each once."""

    def read(value: object) -> tuple[str, ...]:
        items: dict[str, None] = {}
        read_each(split_list(value), lambda item: items.setdefault(read_one(read_text(item))))
        return tuple(items)

    return Kind(read, allowed)


def choice(*words: Word) -> Kind[Word]:
    def read(value: object) -> Word:
        for word in words:
            if value == word or (isinstance(value, str) and value.strip().lower() == word):
                return word
        raise Refused("is none of them")

    return Kind(read, " or ".join(f'"{word}"' for word in words))


def integer(lowest: int, highest: int) -> Kind[int]:
    def read(value: object) -> int:
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value.strip()):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise Refused("is no whole number")
        if not lowest <= value <= highest:
            raise Refused("is out of range")
        return value

    return Kind(read, f"a whole number from {lowest} to {highest}")


def _read_boolean(value: object) -> bool:
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _TRUE or word in _FALSE:
            return word in _TRUE
    elif isinstance(value, bool) or (isinstance(value, int) and value in (0, 1)):
        return bool(value)
    raise Refused("is neither true nor false")


def read_period(value: object) -> float:
    try:
        return parse_duration(value)
    except ValueError as error:
        raise Refused(str(error)) from None


def read_lifetime(value: object) -> float:
    """Seconds, at least one: less than a whole second left counts as expired, so it could never be used."""
    seconds = read_period(value)
    if seconds < 1:
        raise Refused("is less than one second")
    return seconds


def _read_lifetime_or_never(value: object) -> float | None:
    if value is None or (isinstance(value, str) and value.strip().lower() in {"none", "never"}):
        return None
    return read_lifetime(value)


def _read_path(value: object) -> str:
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    return read_text(text)


def read_secret(value: object) -> str:
    """Text as it is, not even stripped. Bytes that are no UTF-8 become surrogates: see `encode_secret`."""
    text = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
    if not isinstance(text, str):
        raise Refused("is neither text nor bytes")
    if not text:
        raise Refused("is empty")
    try:
        encode_secret(text)
    except UnicodeEncodeError:
        raise Refused("contains half a character") from None
    return text


def encode_secret(text: str) -> bytes:
    """The bytes of a secret: UTF-8, or the very bytes it was given as."""
    return text.encode("utf-8", "surrogateescape")


def _read_secret_or_none(value: object) -> str | None:
    return None if value is None else read_secret(value)


def _read_secrets(value: object) -> tuple[str, ...]:
    secrets: dict[str, None] = {}
    items = (value,) if isinstance(value, bytes) else split_list(value)
    read_each(items, lambda item: secrets.setdefault(read_secret(item)))
    return tuple(secrets)


def looks_importable(value: object) -> bool:
    return isinstance(value, str) and _IMPORTABLE.fullmatch(value.strip()) is not None


def read_hook(value: object, *arguments: str) -> Hook:
    """A callable, or the callable that `package.module:name` names, which is imported here.

    It must take as many arguments as there are names for them, if there are any.
    """
    if isinstance(value, str):
        if not looks_importable(value):
            raise Refused("does not have the form package.module:name")
        value = _import(*value.strip().split(":"))
    if not callable(value):
        raise Refused("is not callable")
    if arguments and not takes(value, *arguments):
        raise Refused(called_with(*arguments))
    return cast(Hook, value)


def called_with(*arguments: str) -> str:
    """What is wrong with a callable that does not take these arguments."""
    return f"cannot be called as the setting is, with ({', '.join(arguments)})"


def _read_hook_of_environ(value: object) -> Hook:
    # A framework has the request at hand and may call it without: what is left to be called by us is looked
    # at once more by `OAuthMiddleware`.
    hook = read_hook(value)
    return hook if takes(hook) else read_hook(hook, "environ")


def _hook(*arguments: str) -> Kind[Hook]:
    return Kind(
        lambda value: read_hook(value, *arguments),
        f"a callable ({', '.join(arguments)}), or package.module:name",
    )


def _import(module_name: str, attribute: str) -> object:
    from importlib import import_module

    try:
        found: object = import_module(module_name)
        for name in attribute.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError, SyntaxError) as error:
        raise Refused(f"cannot be imported ({_CONTROL.sub(' ', str(error))})") from error
    except Exception as error:
        # Not its text, which may quote a password, say from a database URL.
        raise Refused(f"cannot be imported ({type(error).__name__} {_place(error)})") from error
    return found


def _place(error: Exception) -> str:
    from traceback import extract_tb

    last = extract_tb(error.__traceback__)[-1]
    return f"in {os.path.basename(last.filename)}, line {last.lineno}"


def _read_application(value: object) -> str:
    text = read_text(value)
    if not _APPLICATION.fullmatch(text):
        raise Refused("does not have the form package.module:name")
    return text


def _read_registry(value: object) -> str | Backend:
    if isinstance(value, str):
        text = read_text(value)
        if not _REGISTRY_URL.fullmatch(text):
            raise Refused("does not begin with a backend's name and a colon")
        return text
    if isinstance(value, type) or not all(callable(getattr(value, name, None)) for name in _BACKEND_METHODS):
        raise Refused(f"{shown(value)} is no backend: it lacks one of {', '.join(_BACKEND_METHODS)}")
    return cast("Backend", value)


def _read_color(value: object) -> str:
    text = read_text(value).lower()
    if not _COLOR.fullmatch(text):
        raise Refused("is no colour such as #0b5a8f")
    return text


def _read_language(text: str) -> str:
    if not _LANGUAGE.fullmatch(text):
        raise Refused(f"{shown(text)} is no language tag")
    return text


def _read_subject(text: str) -> str:
    if ";" in text:
        raise Refused(f"{shown(text)} has a semicolon: a comma parts two subjects")
    return text


def _read_name(value: object) -> str:
    text = "" if value is None else read_text(value)
    if len(text) > 100:
        raise Refused("is longer than 100 characters")
    return text


BOOLEAN = Kind(_read_boolean, "true or false (also yes and no, on and off, 1 and 0)")
LIFETIME = Kind(read_lifetime, 'a duration of at least one second, such as "15m", "24h", "30d" or 90')
LIFETIME_OR_NEVER = Kind(_read_lifetime_or_never, f'"never", or {LIFETIME.allowed}')
PERIOD = Kind(read_period, 'a duration, such as "90s", "5m" or 0')
PATH = Kind(_read_path, "the path of a file")
COLOR = Kind(_read_color, '"#" and three or six hex digits')
LANGUAGES = list_of(_read_language, 'a list of language tags such as "en, de, pt-BR"')
SUBJECTS = list_of(_read_subject, 'a list of subjects such as "alice, bob"')
NAME = Kind(_read_name, "text on one line, at most 100 characters")
SECRET = Kind(_read_secret_or_none, "text or bytes, at least 16 bytes outside loopback")
SECRETS = Kind(_read_secrets, "a list of secrets, each at least 16 bytes outside loopback")
ASKED_OF_ENVIRON = Kind(_read_hook_of_environ, "a callable (environ), or package.module:name")
PASSWORD_CHECK = _hook("user name", "password")
ASKED_OF_GRANT = _hook("subject", "client_id", "scopes")
APPLICATION = Kind(_read_application, "package.module:name of a WSGI application")
REGISTRY = Kind(_read_registry, 'a registry URL such as "sqlite:oauth.db", or a backend object')
