"""Which server has a key: the only one, the one that the sentinels name, or one of a cluster's primaries.

Here it is decided what is asked again: what a server refused or never got, where another one has taken over,
and reads once more. A change whose outcome is unknown is never asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from random import sample
from threading import Lock
from time import monotonic
from typing import Any, cast

from redis import exceptions
from redis.crc import key_slot

from oauth_refresh.backends.forking import renewed_in_children
from oauth_refresh.backends.redis_link import Build, Command, Facts, Link, Server, always, connect
from oauth_refresh.backends.redis_trouble import LostError, NotDoneError, refusal
from oauth_refresh.backends.redis_url import Address, Place
from oauth_refresh.errors import RegistryError

_HOPS = 5
_SENTINEL_SECONDS = 5.0
_SLOTS = 16384

_slot_of = cast("Callable[[bytes], int]", key_slot)


class Route:
    """The way to the single server of `place`, and what all ways have in common."""

    follows = False
    """Whether a server sends us on to another one, as those of a cluster do."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._servers: dict[Address, Server] = {}
        self._lock = Lock()
        self._generation = 0
        _routes.add(self)

    def call(self, name: bytes, build: Build, *, again: bool = False) -> tuple[list[Any], Facts]:
        """The replies of the server that has the key `name`, the first of which is no error.

        `again` says that the commands may be carried out twice, as reads may. Raises `RegistryError`.
        """
        server, commands, second = self._owner(name), build, False
        for _ in range(_HOPS):
            seen = self._generation
            trouble: NotDoneError | LostError
            try:
                replies, facts = server.ask(commands, sure=not again)
            except (NotDoneError, LostError) as error:
                trouble = error
            else:
                if commands is not build:
                    del replies[0]
                first = replies[0]
                if not isinstance(first, exceptions.ResponseError):
                    return replies, facts
                if isinstance(first, exceptions.AskError):
                    server, commands = self._redirected(seen, server, first, build)
                    continue
                trouble = refusal(server.label, first)
            found = self._successor(name, seen, server, trouble)
            if isinstance(trouble, LostError) and not again:
                raise RegistryError(f"{trouble} (whether the change was stored is unknown)", retry_after=2)
            if second or found is None:
                raise trouble
            server, commands, second = found, build, True
        raise NotDoneError(
            f"registry {server.label}: sent from server to server; slots are being moved", retry_after=2
        )

    def read_two(self, first: tuple[bytes, Command], second: tuple[bytes, Command]) -> tuple[Any, Any]:
        """The replies to two commands that read the key before each: one trip where one server has both."""
        (name, command), (other, command_of_other) = first, second
        if self._owner(name) is self._owner(other):
            both = (command, command_of_other)
            replies, _ = self.call(name, lambda facts: both, again=True)
            if not isinstance(replies[1], exceptions.ResponseError):
                return replies[0], replies[1]
            one = replies[0]
        else:
            one = self.call(name, always([command]), again=True)[0][0]
        return one, self.call(other, always([command_of_other]), again=True)[0][0]

    def read(self, commands: Sequence[tuple[bytes, Command]]) -> list[Any]:
        """The reply to each command, which reads the key before it."""
        batches: dict[Server, list[int]] = {}
        for number, (name, _) in enumerate(commands):
            batches.setdefault(self._owner(name), []).append(number)
        replies: list[Any] = [None] * len(commands)
        for server, numbers in batches.items():
            batch = [commands[number][1] for number in numbers]
            try:
                answers, _ = server.ask(always(batch), sure=True)
            except (NotDoneError, LostError):
                answers = [exceptions.ResponseError()] * len(batch)
            for number, answer in zip(numbers, answers, strict=True):
                if isinstance(answer, Exception):
                    name, command = commands[number]
                    answer = self.call(name, always([command]), again=True)[0][0]
                replies[number] = answer
        return replies

    def primaries(self) -> Iterable[Server]:
        """Every server that has keys, found out anew."""
        return [self._owner(b"")]

    def close(self) -> None:
        for server in list(self._servers.values()):
            server.close()

    def _owner(self, name: bytes) -> Server:
        return self._server(self._place.addresses[0])

    def _renew(self, seen: int, troubled: Server | None) -> None:
        """Look where the primaries are, unless somebody has looked since `seen` was the generation."""

    def _server(self, address: Address) -> Server:
        server = self._servers.get(address)
        if server is None:
            server = Server(self._place, address, follows=self.follows)
            server = self._servers.setdefault(address, server)
        return server

    def _successor(
        self, name: bytes, seen: int, server: Server, trouble: NotDoneError | LostError
    ) -> Server | None:
        """Where to ask again, None for nowhere."""
        if isinstance(trouble, NotDoneError) and not trouble.elsewhere:
            return None
        with suppress(RegistryError):
            self._renew(seen, server)
            found = self._owner(name)
            # At the same server a read is asked once more if only the link was old.
            if found is not server or (isinstance(trouble, LostError) and not trouble.timed_out):
                return found
        return None

    def _redirected(
        self, seen: int, server: Server, error: exceptions.AskError, build: Build
    ) -> tuple[Server, Build]:
        """The server that a reply points to, and what to ask there."""
        if not self.follows:
            raise NotDoneError(
                f"registry {server.label}: this server is part of a cluster; write redis+cluster:// in "
                "place of redis://"
            )
        target = self._server(Address(error.host or server.address.host, error.port))
        if not isinstance(error, exceptions.MovedError):
            return target, lambda facts: [("ASKING",), *build(facts)]
        with suppress(RegistryError):
            self._renew(seen, server)
        return target, build

    def _forget(self) -> None:
        """In a forked child: the connections are the parent's, and so are the threads that hold locks."""
        self._lock = Lock()
        for server in list(self._servers.values()):
            server.idle = []


class SentinelRoute(Route):
    """The way to the primary that the sentinels of `place` name: every few seconds, and at trouble."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._primary: Server | None = None
        self._until = 0.0

    def _owner(self, name: bytes) -> Server:
        primary = self._primary
        if primary is None:
            self._renew(self._generation, None)
            primary = cast("Server", self._primary)
        elif monotonic() > self._until:
            with suppress(RegistryError):
                self._renew(self._generation, None)
            primary = self._primary or primary
        return primary

    def _renew(self, seen: int, troubled: Server | None) -> None:
        with self._lock:
            if seen != self._generation:
                return
            self._until = monotonic() + _SENTINEL_SECONDS
            before, self._primary = self._primary, self._server(self._ask_sentinels())
            self._generation += 1
        if before and before is not self._primary:
            before.close()

    def _ask_sentinels(self) -> Address:
        place, problems = self._place, []
        for address in place.addresses:
            label = place.label(address)
            try:
                link = Link(connect(place, address, place.sentinel_login, label), label)
                [found] = link.ask([("SENTINEL", "GET-MASTER-ADDR-BY-NAME", place.service)])
                link.close()
            except (NotDoneError, LostError) as error:
                problems.append(str(error))
                continue
            if isinstance(found, list):
                return Address(found[0].decode(), int(found[1]))
            what = f"{found}" if found else f"knows no primary named {place.service}"
            problems.append(f"registry {label}: the sentinel {what}: check the name in OAUTH_REGISTRY")
        raise NotDoneError("; ".join(problems), retry_after=2)


class ClusterRoute(Route):
    """The ways to the primaries of a cluster, some nodes of which `place` names."""

    follows = True

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._table: list[Server | None] = []

    def primaries(self) -> Iterable[Server]:
        self._renew(self._generation, None)
        return {server: None for server in self._table if server}

    def _owner(self, name: bytes) -> Server:
        slot = _slot_of(name)
        if not self._table or self._table[slot] is None:
            self._renew(self._generation, None)
        server = self._table[slot]
        if server is None:
            raise NotDoneError(
                f"registry {self._place.label()}: no primary serves slot {slot}; see CLUSTER INFO",
                retry_after=2,
            )
        return server

    def _renew(self, seen: int, troubled: Server | None) -> None:
        with self._lock:
            if seen != self._generation:
                return
            self._table = self._ask_nodes(troubled)
            self._generation += 1

    def _ask_nodes(self, troubled: Server | None) -> list[Server | None]:
        nodes = set(self._servers.values()) | {self._server(address) for address in self._place.addresses}
        # The one in trouble comes last: it may be the one that does not know better, or hangs.
        problem: Exception | None = None
        for node in sorted(sample(list(nodes), len(nodes)), key=lambda node: node is troubled):
            try:
                [reply], _ = node.ask(always([("CLUSTER", "SLOTS")]), sure=True)
            except (NotDoneError, LostError) as error:
                problem = error
                continue
            if not isinstance(reply, Exception):
                return self._read_slots(node, reply)
            problem = refusal(node.label, reply)
        raise NotDoneError(str(problem), retry_after=2)

    def _read_slots(self, node: Server, ranges: list[Any]) -> list[Server | None]:
        table: list[Server | None] = [None] * _SLOTS
        known = set(self._place.addresses)
        for first, last, *nodes in ranges:
            addresses = [
                Address(host.decode() if host else node.address.host, port) for host, port, *_ in nodes
            ]
            table[first : last + 1] = [self._server(addresses[0])] * (last + 1 - first)
            known.update(addresses)
        for address in self._servers.keys() - known:
            self._servers.pop(address).close()
        return table


def route_to(place: Place) -> Route:
    """The route that fits `place`. Nothing is connected yet."""
    return {"single": Route, "sentinel": SentinelRoute, "cluster": ClusterRoute}[place.way](place)


_routes = renewed_in_children(Route._forget)
