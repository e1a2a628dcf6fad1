"""Which protection rule covers a request's path, however the path is written?

An application behind the middleware may read a path in more ways than one: decode it again, resolve dot
segments, cut path parameters off. A path is protected if any of these readings is; where they fall under
different rules, the scopes of all of them are required.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple
from urllib.parse import unquote

from .errors import ConfigurationError, InvalidScope
from .scopes import parse_scope

PUBLIC = "public"
"""The value of a rule that exempts its prefix."""

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_RARE_METHODS = (
    *(
        "ACL",
        "BIND",
        "CHECKIN",
        "CHECKOUT",
        "CONNECT",
        "COPY",
        "LABEL",
        "LINK",
        "LOCK",
        "MERGE",
        "MKACTIVITY",
    ),
    *("MKCALENDAR", "MKCOL", "MOVE", "ORDERPATCH", "PROPFIND", "PROPPATCH", "PURGE", "QUERY", "REBIND"),
    *("REPORT", "SEARCH", "TRACE", "UNBIND", "UNCHECKOUT", "UNLINK", "UNLOCK", "UPDATE"),
)
"""Of IANA's list and of caches, so that they are not taken for misspelt. An application may have more."""

# Characters read in all. Enough for every reading of a path with all the tricks at once, as long as it has
# an ordinary length, and for the few readings of a long one with a single trick.
_WORK = 16_384

_RULE = re.compile(r"(?:([A-Za-z-]+)\s+)?(/.*)", re.DOTALL)
_PATTERN = re.compile(r"[*<>{}]|/:")
_METHOD_BEHIND = re.compile(r"[\s:,[(]([A-Z]+)[\])]?$")
_RUN_TOGETHER = re.compile(r":/|,\s*/")
_WITH_SCOPES = re.compile(r"[=,:]")
SEPARATORS = 'path and scopes are parted by "=", as in /api=notes:read, rules by commas, scopes by spaces'
_NO_SCOPE = re.compile(r"^[/#]|[,;=]")
_ORIGIN = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//[^/]*")
_PARAMETERS = re.compile(r";[^/]*")
_SLASHES = re.compile(r"/{2,}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Requirement(NamedTuple):
    """What a request must bring.

    `prefixes` are the protected prefixes, as configured and deepest first, that cover every reading of the
    path: a token is good for it if its audience is the base URL or the resource of one of them. Empty where
    the readings have none in common. `scopes` are sorted, and all of them are needed.
    """

    prefixes: tuple[str, ...]
    scopes: tuple[str, ...]


class Protection:
    """The rules of `OAUTH_PROTECT`, looked up by method and path.

    A rule maps "/path" or "METHOD /path" to scopes separated by spaces, "" (any valid token) or "public".
    It covers everything below its path by whole segments, and the longest path decides. A path named with
    any method is protected for every method: HEAD follows GET unless it is named itself; a method without
    a rule of its own needs what the rule without method says, else the scopes of all rules of that path,
    and where these are all public, what the path above needs, at least a valid token.

    `ignore_case` is for applications that do. Raises ConfigurationError with one line for each mistake.
    """

    prefixes: tuple[str, ...]
    """All protected prefixes, sorted, as they were configured but without a slash at the end."""

    scopes: tuple[str, ...]
    """All scopes that any rule names, sorted."""

    def __init__(self, rules: Mapping[str, str], *, ignore_case: bool = False) -> None:
        self._ignore_case = ignore_case
        self._rules: dict[str, _Rule] = {}
        self._root: _Rule | None = None
        self._longest_key = 0
        declared = _read_rules(rules, ignore_case)
        methods = {"", *_METHODS, *(method for path in declared.values() for method in path.needs)}
        interned: dict[Requirement, Requirement] = {}
        # Shorter ones first, so that a path finds the one above, from which it may inherit.
        for key in sorted(declared, key=len):
            rule = _compile(declared[key], methods, self._longest(key), interned)
            if key:
                self._rules[key] = rule
                self._longest_key = len(key)
            else:
                self._root = rule
        self._heads = frozenset("/" + key.split("/")[1] for key in self._rules)
        compiled = [*self._rules.values(), *([self._root] if self._root else [])]
        self.prefixes = _union(rule.prefixes for rule in compiled)
        self.scopes = _union(scopes for path in declared.values() for scopes in path.needs.values() if scopes)
        self._everything = Requirement(self._root.prefixes if self._root else (), self.scopes)

    def match(self, method: str, path: str) -> Requirement | None:
        """What `method` on `path` (the environ's PATH_INFO) needs; None if it is open.

        An ordinary path gets the same object each time. A path with more readings than can be looked at
        in bounded time counts as being under all rules at once.
        """
        if self._ignore_case:
            path = _fold(path)
        if not has_one_reading(path):
            return self._match_readings(method, path)
        end = path.find("/", 1)
        head = path if end < 0 else path[:end]
        rule = self._longest(path) if head in self._heads else self._root
        return None if rule is None else rule.need(method)

    def _longest(self, path: str) -> _Rule | None:
        """The rule whose path is the longest above or at `path`, which starts with a slash or is empty."""
        if len(path) > self._longest_key:
            path = path[: path.rfind("/", 0, self._longest_key + 1)]
        while path:
            if path in self._rules:
                return self._rules[path]
            path = path[: path.rfind("/")]
        return self._root

    def _match_readings(self, method: str, path: str) -> Requirement | None:
        if not self.prefixes:
            return None
        readings = _readings(path, self._ignore_case)
        if readings is None:
            return self._everything
        # What does not start with a slash has been read with one as well.
        rules = {self._longest(reading) for reading in readings if reading.startswith("/")}
        needs = {need for rule in rules if rule and (need := rule.need(method))}
        if not needs:
            return None
        covering = [rule.prefixes if rule else () for rule in rules]
        shared = tuple(prefix for prefix in covering[0] if all(prefix in others for others in covering))
        return Requirement(shared, _union(need.scopes for need in needs))


class _Declared(NamedTuple):
    """What was configured for one path: method ("" for none) to scopes, None for public."""

    prefix: str
    needs: dict[str, tuple[str, ...] | None]


class _Rule:
    """What each method needs on a path. `prefixes` are the protected ones at and above it, deepest first."""

    __slots__ = ("by_method", "otherwise", "prefixes")

    def __init__(self, prefixes: tuple[str, ...], by_method: dict[str, Requirement | None]) -> None:
        self.prefixes = prefixes
        self.by_method = by_method
        self.otherwise = by_method[""]

    def need(self, method: str) -> Requirement | None:
        try:
            return self.by_method[method]
        except KeyError:
            # Frameworks take "post" for "POST".
            return self.by_method.get(method.upper(), self.otherwise)


def _compile(
    declared: _Declared,
    methods: Iterable[str],
    above: _Rule | None,
    interned: dict[Requirement, Requirement],
) -> _Rule:
    inherited = above.prefixes if above else ()
    protected = "" not in declared.needs or any(scopes is not None for scopes in declared.needs.values())
    prefixes = (declared.prefix, *inherited) if protected else inherited
    by_method: dict[str, Requirement | None] = {}
    for method in methods:
        scopes = _scopes_of(method, declared.needs, above)
        if scopes is None:
            by_method[method] = None
        else:
            need = Requirement(prefixes, scopes)
            by_method[method] = interned.setdefault(need, need)
    return _Rule(prefixes, by_method)


def _scopes_of(
    method: str, needs: dict[str, tuple[str, ...] | None], above: _Rule | None
) -> tuple[str, ...] | None:
    for name in (method, "GET" if method == "HEAD" else "", ""):
        if name in needs:
            return needs[name]
    protecting = [scopes for scopes in needs.values() if scopes is not None]
    if protecting:
        return _union(protecting)
    inherited = above.need(method) if above else None
    return inherited.scopes if inherited else ()


def _union(groups: Iterable[Iterable[str]]) -> tuple[str, ...]:
    return tuple(sorted({name for group in groups for name in group}))


def _read_rules(rules: Mapping[str, str], ignore_case: bool) -> dict[str, _Declared]:
    """The configured rules by the form in which paths are compared: PATH_INFO without a slash at the end."""
    declared: dict[str, _Declared] = {}
    problems: list[str] = []
    for text, value in rules.items():
        try:
            method, prefix = _read_rule(text, value)
            scopes = _read_scopes(value)
        except ValueError as error:
            problems.append(f"OAUTH_PROTECT: {text!r}: {error}")
            continue
        key = prefix.rstrip("/").encode().decode("latin-1")
        path = declared.setdefault(_fold(key) if ignore_case else key, _Declared(prefix, {}))
        if method in path.needs:
            problems.append(f"OAUTH_PROTECT: {text!r}: there is a second rule for the same path and method")
        path.needs[method] = scopes
    if problems:
        raise ConfigurationError(problems)
    return declared


def _read_rule(text: str, value: str) -> tuple[str, str]:
    """Method ("" if none is named) and prefix of a rule, which asks for `value`. Raises ValueError."""
    parts = _RULE.fullmatch(text.strip())
    if parts is None:
        raise ValueError("must be a path such as /api, or a method and a path such as POST /api")
    method, path = parts[1] or "", parts[2]
    if _PATTERN.search(path):
        raise ValueError("there are no patterns: a path covers everything below it")
    if not _is_plain(path):
        raise ValueError(
            "write the path plainly: decoded, without dot segments, doubled slashes, parameters or a query"
        )
    behind = _METHOD_BEHIND.search(path)
    if behind and behind[1] in (*_METHODS, *_RARE_METHODS):
        raise ValueError(f"the method stands before the path, as in {behind[1]} /api, in a rule of its own")
    if path.endswith(":") or _RUN_TOGETHER.search(path) or (not value and _WITH_SCOPES.search(path)):
        # Taken for a path it would protect nothing, and leave open what it was meant for.
        raise ValueError(SEPARATORS)
    method = method.upper()
    if method and method not in (*_METHODS, *_RARE_METHODS):
        from difflib import get_close_matches  # takes long to import, and is seldom needed

        meant = get_close_matches(method, _METHODS, 1, 0.7)
        if meant:
            raise ValueError(f"{method} is no method that anybody sends; {meant[0]} was meant, perhaps")
    return method, path.removesuffix("/") or "/"


def _read_scopes(value: str) -> tuple[str, ...] | None:
    """None for public. Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError('must be scopes separated by spaces, "" or "public"')
    if value.strip() == PUBLIC:
        return None
    try:
        scopes = parse_scope(value.strip())
    except InvalidScope:
        raise ValueError("a scope contains a character that is not allowed") from None
    if PUBLIC in scopes:
        raise ValueError('"public" cannot stand beside scopes')
    if any(map(_NO_SCOPE.search, scopes)):
        # RFC 6749 allows such names. Here they come from a rule that was ended with something else.
        raise ValueError(SEPARATORS)
    return scopes


def has_one_reading(path: str) -> bool:
    """Whether everybody reads `path` (the environ's PATH_INFO) alike."""
    return _is_plain(path) and (path.isascii() or _in_utf8(path) == path)


def _in_utf8(path: str) -> str:
    """The path as it looks to who leaves out the bytes that are not UTF-8."""
    return path.encode("latin-1", "ignore").decode("utf-8", "ignore").encode().decode("latin-1")


def _is_plain(path: str) -> bool:
    """Whether nothing in it can be read otherwise. Spelled out because it is asked for every request."""
    return not (
        path[:1] != "/"
        or "%" in path
        or "//" in path
        or "./" in path
        or path[-1] in ". "
        or ";" in path
        or "\\" in path
        or "?" in path
        or "#" in path
        or " /" in path
        or not path.isprintable()
    )


def _readings(path: str, ignore_case: bool) -> set[str] | None:
    """All readings of `path`, by any number of steps in any order; None if they are too many to look at."""
    readings = [path]
    seen = {path}
    work = 0
    for text in readings:
        work += len(text)
        if work > _WORK:
            return None
        for reading in _steps(text):
            folded = _fold(reading) if ignore_case else reading
            if folded not in seen:
                seen.add(folded)
                readings.append(folded)
    return seen


def _steps(text: str) -> Iterator[str]:
    """`text` as it looks after each single thing that servers, proxies and frameworks do to paths."""
    if not text.isascii():
        yield _in_utf8(text)
    if "%" in text:
        yield unquote(text, "latin-1")
    if "\\" in text:
        yield text.replace("\\", "/")
    if ";" in text:
        yield _PARAMETERS.sub("", text)
    if "//" in text:
        yield _SLASHES.sub("/", text)
        yield "/" + text.lstrip("/")
    if "./" in text or " /" in text or text.endswith((".", " ")):
        yield _without_dot_segments(text)
        yield _without_trailing_dots(text)
    if not text.startswith("/"):
        yield "/" + text
    # A whole URL in place of the path, or what a URL parser takes for "//host/path".
    origin = _ORIGIN.match(text)
    if origin:
        yield text[origin.end() :]
    for end in "?#\0":
        if end in text:
            yield text.partition(end)[0]
    control = _CONTROL.search(text)
    if control:
        yield text[: control.start()]
        yield _CONTROL.sub("", text)


def _without_dot_segments(text: str) -> str:
    """RFC 3986 section 5.2.4, but for the first slash: it is lost where ".." climbs above the root."""
    kept: list[str] = []
    for segment in text.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    return "/".join(kept)


def _without_trailing_dots(text: str) -> str:
    """Windows opens "name" for "name." and "name "."""
    return "/".join(segment.rstrip(". ") or segment.rstrip(" ") for segment in text.split("/"))


def _fold(path: str) -> str:
    if path.isascii():
        return path.lower()
    text = path.encode("latin-1").decode("utf-8", "surrogateescape")
    # Applications compare lower or upper case; this joins what either of them joins.
    return text.upper().casefold().encode("utf-8", "surrogateescape").decode("latin-1")
