"""One Redis or Valkey server: this process's connections to it, and what it says of itself.

It knows nothing of records: `redis` does. Nothing here is tried twice.
"""

from __future__ import annotations

import logging
import re
import select
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Protocol, cast

from redis import connection as redis_connection
from redis import exceptions

from oauth_refresh.backends.redis_trouble import FOLLOW, LostError, NotDoneError, by_code, refusal
from oauth_refresh.backends.redis_url import Address, Place

try:
    import hiredis
except ImportError:
    _pack: Any = None
else:
    _pack = getattr(hiredis, "pack_command", None)

logger = logging.getLogger("oauth_refresh")

Command = tuple[bytes | str | int, ...]

_CHECK_SECONDS = 1.0
_OLDEST = (7, 0)
_INFO_REPLICATION = ("INFO", "replication")


class Connection(Protocol):
    """What is used of redis-py's connections, in its releases from 5 on."""

    def connect(self) -> None: ...
    def disconnect(self) -> None: ...
    def can_read(self, timeout: float = 0) -> bool: ...
    def pack_commands(self, commands: Sequence[Command]) -> list[bytes]: ...
    def send_packed_command(self, command: list[bytes], check_health: bool = True) -> None: ...
    def read_response(self, disable_decoding: bool = False) -> Any: ...


class Facts:
    """What a server said of itself when a connection was opened; role and replicas are kept fresh."""

    def __init__(self, info: bytes) -> None:
        self.run_id = _field(info, "run_id") or "unnamed"
        self.valkey = _version(info, "valkey_version")
        self.redis = _version(info, "redis_version")
        self.policy = _field(info, "maxmemory_policy") or "unknown"
        # A server that reads its data has its log of changes off until it has read them.
        self.append_only = "1" in (_field(info, "aof_enabled"), _field(info, "loading"))
        self.replace_if_equal = self.valkey >= (8, 1) or (not self.valkey and self.redis >= (8, 4))
        self.delete_if_equal = self.valkey >= (9, 0)
        self.refresh(info)

    def refresh(self, info: bytes) -> None:
        self.primary = _field(info, "role") != "slave"
        self.replicas = int(_field(info, "connected_slaves") or 0)
        self.replicas_online = len(re.findall(rb"^slave\d+:.*\bstate=online\b", info, re.MULTILINE))


Build = Callable[[Facts], Sequence[Command]]
"""The commands of one request, made for the server that will get them."""


def always(commands: Sequence[Command]) -> Build:
    """The same commands, whatever the server is."""
    return lambda facts: commands


class Link:
    """One connection, used by one thread at a time and only in the process that opened it."""

    def __init__(self, connection: Connection, label: str) -> None:
        self.connection = connection
        self.trusted_until = 0.0
        self.facts: Facts
        self._label = label
        self._arrivals = _arrivals(connection)

    def ask(self, commands: Sequence[Command]) -> list[Any]:
        """A reply for each command. The error that a server answers with is a reply too."""
        connection, replies = self.connection, []
        try:
            connection.send_packed_command(_packed(connection, commands), check_health=False)
            for _ in commands:
                try:
                    replies.append(connection.read_response(disable_decoding=True))
                except exceptions.ResponseError as error:
                    replies.append(by_code(error).with_traceback(None))
        except (exceptions.BusyLoadingError, exceptions.AuthenticationError) as error:
            # Answers too, after which redis-py hangs up.
            raise refusal(self._label, error) from error
        except exceptions.TimeoutError as error:
            raise LostError(f"registry {self._label}: no answer in time", timed_out=True) from error
        except (exceptions.RedisError, OSError) as error:
            raise LostError(
                f"registry {self._label}: the connection broke: {error}", timed_out=False
            ) from error
        return replies

    def is_usable(self) -> bool:
        """False if the server has closed it, or has sent what nobody asked for."""
        try:
            if self._arrivals is not None:
                return not self._arrivals(0)
            return not self.connection.can_read(0)
        except (exceptions.RedisError, OSError):
            return False

    def close(self) -> None:
        with suppress(exceptions.RedisError, OSError):
            self.connection.disconnect()


def _arrivals(connection: Connection) -> Callable[[int], list[Any]] | None:
    """What asks the system whether anything has come in. redis-py tries to read it, which is five calls.

    None where there may be bytes that the system has given out already: TLS keeps some.
    """
    plain = getattr(connection, "_sock", None)
    if type(plain) is not socket.socket or not hasattr(select, "poll"):
        return None
    arrivals = select.poll()
    arrivals.register(plain.fileno(), select.POLLIN)
    return arrivals.poll


def _packed(connection: Connection, commands: Sequence[Command]) -> list[bytes]:
    """The commands as they are sent: in one piece, for redis-py sends each piece of a list by itself.

    redis-py looks at every value once more before it packs them.
    """
    if _pack is None:
        return [b"".join(connection.pack_commands(commands))]
    if len(commands) == 1:
        return [_pack(commands[0])]
    return [b"".join(map(_pack, commands))]


class Server:
    """The server at `address` and this process's idle links to it, as many as threads used it at once."""

    def __init__(self, place: Place, address: Address, *, follows: bool) -> None:
        """`follows` False: whether it is a primary must be asked, for it does not send us to another one."""
        self.label = place.label(address)
        self.address = address
        self.idle: list[Link] = []
        self._place = place
        self._follows = follows
        self._warned = False

    def ask(self, build: Build, *, sure: bool) -> tuple[list[Any], Facts]:
        """The replies to one request, and who gave them.

        With `sure`, a link that the server has closed is noticed before anything is sent over it. Raises
        `NotDoneError` or `LostError`; an error in reply to a command is among the replies.
        """
        link = self._take(sure)
        try:
            commands = build(link.facts)
            if monotonic() < link.trusted_until:
                replies = link.ask(commands)
            else:
                info, *replies = link.ask([_INFO_REPLICATION, *commands])
                self._learn(link, info)
        except LostError as error:
            link.close()
            if not error.timed_out:
                self.close()  # the others are broken too, as a rule
            raise
        except BaseException:
            link.close()
            raise
        self.idle.append(link)
        return replies, link.facts

    def close(self) -> None:
        """Close every link but those that other threads use at this moment."""
        with suppress(IndexError):
            while True:
                self.idle.pop().close()

    def _take(self, sure: bool) -> Link:
        while True:
            try:
                link = self.idle.pop()
            except IndexError:
                return self._connect()
            if not sure or link.is_usable():
                return link
            link.close()

    def _connect(self) -> Link:
        link = Link(connect(self._place, self.address, self._place.login, self.label), self.label)
        try:
            [info] = link.ask([("INFO",)])
            if isinstance(info, Exception):
                raise refusal(self.label, info)
            link.facts = Facts(info)
            self._check(link.facts)
        except LostError as error:
            link.close()
            raise NotDoneError(str(error), retry_after=2, elsewhere=True) from error
        except BaseException:
            link.close()
            raise
        link.trusted_until = monotonic() + _CHECK_SECONDS
        return link

    def _learn(self, link: Link, info: Any) -> None:
        if isinstance(info, Exception):
            raise refusal(self.label, info)
        link.facts.refresh(info)
        self._check_role(link.facts)
        link.trusted_until = monotonic() + _CHECK_SECONDS

    def _check(self, facts: Facts) -> None:
        if not facts.valkey and facts.redis < _OLDEST:
            version = ".".join(map(str, facts.redis))
            raise NotDoneError(
                f"registry {self.label}: Redis {version} is too old; 7.0 or any Valkey is needed"
            )
        if facts.policy != "noeviction" and not self._place.accept_eviction:
            raise NotDoneError(
                f"registry {self.label}: maxmemory-policy is {facts.policy}, so a full server would forget "
                "sessions and revocations; set it to noeviction (CONFIG SET maxmemory-policy noeviction, and "
                "in the server's configuration), or accept that with ?eviction=accept"
            )
        self._check_role(facts)
        if not facts.append_only and not self._warned:
            self._warned = True
            logger.warning(
                "registry %s: appendonly is off: what was written since the last snapshot is lost when the "
                "server ends without a replica that takes over; set appendonly yes",
                self.label,
            )

    def _check_role(self, facts: Facts) -> None:
        if not facts.primary and not self._follows:
            raise NotDoneError(
                f"registry {self.label}: this server is a replica, not a primary; {FOLLOW}",
                retry_after=2,
                elsewhere=True,
            )


def connect(place: Place, address: Address, login: Any, label: str) -> Connection:
    """A connection that is logged in. Raises `NotDoneError`."""
    kind = redis_connection.SSLConnection if place.tls else redis_connection.Connection
    connection = cast("Connection", kind(host=address.host, port=address.port, protocol=2, **login))
    try:
        connection.connect()
    except (exceptions.RedisError, OSError) as error:
        connection.disconnect()
        raise refusal(label, error) from error
    return connection


def _field(info: bytes, name: str) -> str:
    found = re.search(rb"^%s:([^\r\n]*)" % name.encode(), info, re.MULTILINE)
    return found.group(1).decode("ascii", "replace") if found else ""


def _version(info: bytes, name: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", _field(info, name))[:2])
