"""What a `postgresql:` or `mysql:` URL means: which server, which database, and the options."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import unquote

from oauth_refresh.backends import split_url
from oauth_refresh.errors import ConfigurationError

FAMILIES = {"postgresql": "postgresql", "postgres": "postgresql", "mysql": "mysql", "mariadb": "mysql"}
SYNCHRONOUS_COMMIT = ("on", "off", "local", "remote_write", "remote_apply")
SSL_MODES = ("disable", "prefer", "require", "verify-ca", "verify-full")
SSL_FILES = ("sslrootcert", "sslcert", "sslkey")

_DEFAULT_PORTS = {"postgresql": 5432, "mysql": 3306}
_PREFIX = re.compile(r"[a-z][a-z0-9_]{0,39}")
_OPTION_NAME = re.compile(r"[a-z_]*")
_HOST = re.compile(r"(?:(?P<name>[^:\[\]\s]*)|\[(?P<six>[0-9a-fA-F:.%]+)\])(?::(?P<port>[0-9]{1,5}))?")


class Address(NamedTuple):
    """A server and how to use it. Times are in seconds; None is the driver's own default."""

    family: str
    user: str | None
    password: str | None
    hosts: tuple[tuple[str, int], ...]
    socket: str | None
    database: str
    timeout: float
    connect_timeout: float
    pool_size: int
    pool_recycle: float
    prefix: str
    pooler: bool
    synchronous_commit: str
    sslmode: str | None
    files: dict[str, str]

    @property
    def place(self) -> str:
        """For logs and errors: without user and password."""
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        return f"{self.family}://{self.socket or hosts}/{self.database}"


class _Option(NamedTuple):
    default: Any
    read: Callable[[str], Any]
    allowed: str


def _seconds(least: float, most: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        seconds = float(text)
        if not least <= seconds <= most:
            raise ValueError
        return seconds

    return read


def _one_of(*allowed: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError
        return text

    return read


def _size(text: str) -> int:
    if not 1 <= int(text) <= 1000:
        raise ValueError
    return int(text)


def _prefix(text: str) -> str:
    if not _PREFIX.fullmatch(text):
        raise ValueError
    return text


def _path(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError
    return text


_BOTH = {
    "timeout": _Option(5.0, _seconds(0.1, 3600), "0.1 to 3600 seconds"),
    "connect_timeout": _Option(5.0, _seconds(2, 600), "2 to 600 seconds"),
    "pool_size": _Option(10, _size, "1 to 1000 connections"),
    "pool_recycle": _Option(240.0, _seconds(1, 86400), "1 to 86400 seconds"),
    "prefix": _Option("oauth_refresh", _prefix, "a letter, then letters, digits and _, 40 at most"),
    "sslmode": _Option(None, _one_of(*SSL_MODES), ", ".join(SSL_MODES)),
    **{name: _Option(None, _path, "an absolute path") for name in SSL_FILES},
}
OPTIONS: dict[str, dict[str, _Option]] = {
    "postgresql": {
        **_BOTH,
        "host": _Option(None, _path, "the folder of the server's Unix socket"),
        "port": _Option(5432, lambda text: _port(text), "1 to 65535"),
        "pooler": _Option("no", _one_of("yes", "no"), "yes, no"),
        "synchronous_commit": _Option("on", _one_of(*SYNCHRONOUS_COMMIT), ", ".join(SYNCHRONOUS_COMMIT)),
    },
    "mysql": {**_BOTH, "unix_socket": _Option(None, _path, "the path of the server's Unix socket")},
}
"""What may follow the `?`, by family."""


def read_address(url: str) -> Address:
    """Raises `ConfigurationError` with every problem, and nothing of user and password in its text."""
    scheme, _, rest = url.partition(":")
    family = FAMILIES[scheme.lower()]
    place, _, query = rest.partition("?")
    names = [part.partition("=")[0] for part in query.split("&")]
    if not place.startswith("//") or not all(_OPTION_NAME.fullmatch(name) for name in names):
        raise ConfigurationError(_unreadable(scheme))
    _, given = split_url(url, OPTIONS[family])
    authority, _, database = place[2:].partition("/")
    account, _, hosts = authority.rpartition("@")
    user, colon, password = account.partition(":")
    values, problems = _values(family, given)
    socket = values.pop("host", None) or values.pop("unix_socket", None)
    port = values.pop("port", _DEFAULT_PORTS[family])
    if hosts.lower().startswith("%2f"):
        socket, hosts = unquote(hosts), ""
    servers = _servers(hosts, _DEFAULT_PORTS[family])
    if servers is None or "@" in database or "/" in database:
        problems.append(_unreadable(scheme))
    elif not database:
        problems.append(
            f"OAUTH_REGISTRY: {scheme}: name the database: {scheme}://user:password@host/database"
        )
    elif len(servers) > 1 and family == "mysql":
        problems.append(f"OAUTH_REGISTRY: {scheme}: takes one host; put a proxy in front of several")
    if socket and hosts:
        problems.append(f"OAUTH_REGISTRY: {scheme}: a host and a socket are given; one of them is enough")
    if problems:
        raise ConfigurationError(problems)
    return Address(
        family=family,
        user=unquote(user) or None,
        password=unquote(password) if colon else None,
        hosts=((socket, port),) if socket else servers or (),
        socket=socket,
        database=unquote(database),
        files={name: values.pop(name) for name in SSL_FILES if values[name]},
        **{name: value for name, value in values.items() if name not in SSL_FILES},
    )


def _values(family: str, given: dict[str, str]) -> tuple[dict[str, Any], list[str]]:
    values: dict[str, Any] = {"pooler": "no", "synchronous_commit": "on"}
    problems = []
    for name, option in OPTIONS[family].items():
        values[name] = option.default
        if name in given:
            try:
                values[name] = option.read(given[name])
            except ValueError:
                problems.append(f"OAUTH_REGISTRY: {name}={given[name]}: allowed are {option.allowed}")
    values["pooler"] = values["pooler"] == "yes"
    return values, problems


def _servers(hosts: str, default_port: int) -> tuple[tuple[str, int], ...] | None:
    servers = []
    for text in hosts.split(","):
        found = _HOST.fullmatch(text)
        if found is None:
            return None
        try:
            port = _port(found["port"]) if found["port"] else default_port
        except ValueError:
            return None
        servers.append((unquote(found["six"] or found["name"]) or "localhost", port))
    return tuple(servers)


def _port(text: str) -> int:
    if not 1 <= int(text) <= 65535:
        raise ValueError
    return int(text)


def _unreadable(scheme: str) -> str:
    # What cannot be read may be a part of the password, so none of it is repeated.
    return (
        f"OAUTH_REGISTRY: the {scheme}: URL cannot be read; write "
        f"{scheme}://user:password@host:port/database, and in the password "
        "/ : @ ? # & % as %2F %3A %40 %3F %23 %26 %25"
    )
