"""What a registry URL says of Redis or Valkey servers: where they are, how to log in, what to insist on.

    redis://user:password@host:6379/0           rediss:// is the same over TLS
    redis+cluster://host1:7000,host2:7000       some nodes; the others are asked for
    redis+sentinel://host1,host2/name/0         the sentinels, and the name they have for the primary

`valkey` and `valkeys` mean the same as `redis` and `rediss`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple
from urllib.parse import unquote

from oauth_refresh.backends import split_url
from oauth_refresh.errors import ConfigurationError

Way = Literal["single", "cluster", "sentinel"]

PREFIX = "oauth_refresh:"
TIMEOUT_MAX = 600.0
REPLICAS_MAX = 9

_OPTIONS = ("connect_timeout", "eviction", "prefix", "replicas", "timeout")
_TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_TLS_OPTIONS = (*_TLS_FILES, "ssl_cert_reqs")
_SENTINEL_OPTIONS = ("sentinel_password", "sentinel_username")


class Address(NamedTuple):
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Place:
    """All that is known before the first connection. Its `repr` holds no password."""

    scheme: str
    way: Way
    tls: bool
    addresses: tuple[Address, ...]
    """One for a single server; the sentinels; some nodes of the cluster."""
    service: str = ""
    """The name that the sentinels have for the primary."""
    prefix: bytes = PREFIX.encode()
    timeout: float = 5.0
    """Seconds to wait for an answer."""
    replicas: int | None = None
    """How many replicas must confirm a write that waits for them; None: one, if the server has any."""
    accept_eviction: bool = False
    login: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Arguments of redis-py's connections to the servers."""
    sentinel_login: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Arguments of redis-py's connections to the sentinels."""

    def label(self, address: Address | None = None) -> str:
        """What log lines call a server, or all of them."""
        return f"{self.scheme}://{address or ','.join(map(str, self.addresses))}"


def read_url(url: str, *, base_dir: str | None = None) -> Place:
    """The place that `url` names. Raises `ConfigurationError` with every problem, and never with a password.

    Paths of certificates start from `base_dir`, None for the working directory.
    """
    scheme, _, rest = url.partition(":")
    scheme = scheme.lower()
    engine, _, way = scheme.partition("+")
    before, _, query = rest.removeprefix("//").partition("?")
    authority, _, path = before.partition("/")
    if "@" in path or "@" in query:
        # Checked first: what follows would print parts of such a password.
        raise ConfigurationError(
            "OAUTH_REGISTRY: the characters / ? @ of a user, password or option must be percent-encoded"
        )
    tls = engine in ("rediss", "valkeys")
    allowed = _OPTIONS + (_TLS_OPTIONS if tls else ()) + (_SENTINEL_OPTIONS if way == "sentinel" else ())
    _, texts = split_url(f"{scheme}:?{query}", allowed)
    login, _, hosts = authority.rpartition("@")
    user, _, password = login.partition(":")
    reading = _Reading(scheme, texts)
    timeout = reading.seconds("timeout", 5.0)
    connecting = reading.tls_arguments(base_dir) if tls else {}
    connecting |= {
        "socket_timeout": timeout,
        "socket_connect_timeout": reading.seconds("connect_timeout", min(2.0, timeout)),
    }
    service, db = reading.service_and_db(unquote(path), way)
    place = Place(
        scheme=scheme,
        way=_WAYS[way],
        tls=tls,
        addresses=reading.addresses(hosts, 26379 if way == "sentinel" else 6379, several=bool(way)),
        service=service,
        prefix=reading.prefix(),
        timeout=timeout,
        replicas=reading.replicas(),
        accept_eviction=reading.choice("eviction", ("refuse", "accept")) == "accept",
        login=connecting
        | {"username": unquote(user) or None, "password": unquote(password) or None, "db": db},
        sentinel_login=connecting
        | {name: texts.get(f"sentinel_{name}") or None for name in ("username", "password")},
    )
    if reading.problems:
        raise ConfigurationError(f"OAUTH_REGISTRY: {problem}" for problem in reading.problems)
    return place


_WAYS: Mapping[str, Way] = {"": "single", "cluster": "cluster", "sentinel": "sentinel"}


class _Reading:
    """The parts of one URL, read one by one; what is wrong with them is gathered in `problems`."""

    def __init__(self, scheme: str, texts: Mapping[str, str]) -> None:
        self.problems: list[str] = []
        self._scheme = scheme
        self._texts = texts

    def addresses(self, hosts: str, port: int, *, several: bool) -> tuple[Address, ...]:
        addresses = tuple(self._address(host, port) for host in hosts.split(","))
        if len(addresses) > 1 and not several:
            self.problems.append(
                f"{self._scheme}: takes one host; for several write redis+cluster: or redis+sentinel:"
            )
        return addresses

    def service_and_db(self, path: str, way: str) -> tuple[str, int]:
        service, db = path.partition("/")[::2] if way == "sentinel" else ("", path)
        if way == "sentinel" and not service:
            self.problems.append(f"{self._scheme}: needs the primary's name: {self._scheme}://host/name")
        if not db:
            return service, 0
        if way == "cluster" and db != "0":
            self.problems.append(f"{self._scheme}: the path is empty or /0: a cluster has one database")
        elif not (db.isascii() and db.isdigit()):
            self.problems.append(f"{self._scheme}: the number of the database is not a number")
        else:
            return service, int(db)
        return service, 0

    def prefix(self) -> bytes:
        prefix = self._texts.get("prefix", PREFIX)
        if not prefix or len(prefix.encode()) > 64 or "{" in prefix or "}" in prefix:
            # Braces would put all records of a cluster on one of its servers.
            self.problems.append("prefix: allowed are 1 to 64 bytes without braces")
        return prefix.encode()

    def replicas(self) -> int | None:
        text = self._texts.get("replicas", "auto")
        if text in map(str, range(REPLICAS_MAX + 1)):
            return int(text)
        if text != "auto":
            self.problems.append(f"replicas={text}: allowed are auto and 0 to {REPLICAS_MAX}")
        return None

    def seconds(self, name: str, default: float) -> float:
        text = self._texts.get(name)
        if text is None:
            return default
        try:
            seconds = float(text)
        except ValueError:
            seconds = 0.0
        if 0 < seconds <= TIMEOUT_MAX:
            return seconds
        self.problems.append(f"{name}={text}: allowed are more than 0 and at most {TIMEOUT_MAX:.0f} seconds")
        return default

    def choice(self, name: str, allowed: tuple[str, ...]) -> str:
        text = self._texts.get(name, allowed[0])
        if text not in allowed:
            self.problems.append(f"{name}={text}: allowed are {', '.join(allowed)}")
        return text

    def tls_arguments(self, base_dir: str | None) -> dict[str, Any]:
        files = {
            name: os.path.abspath(os.path.join(base_dir or "", self._texts[name]))
            for name in _TLS_FILES
            if name in self._texts
        }
        verify = self.choice("ssl_cert_reqs", ("required", "none"))
        # Said in so many words, because redis-py 5 checks no name of its own accord.
        return {**files, "ssl_cert_reqs": verify, "ssl_check_hostname": verify == "required"}

    def _address(self, text: str, port: int) -> Address:
        host, colon, number = text.rpartition(":")
        if not colon or text.endswith("]"):
            host, number = text, str(port)
        # Whatever stands here may be a password whose @ was forgotten: it is not repeated.
        if not (number.isascii() and number.isdigit() and 0 < int(number) < 65536):
            self.problems.append(f"{self._scheme}: a port is not a number from 1 to 65535")
            number = str(port)
        if not host:
            self.problems.append(f"{self._scheme}: needs a host: {self._scheme}://host:{port}")
        return Address(unquote(host.removeprefix("[").removesuffix("]")), int(number))
