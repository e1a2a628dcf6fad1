"""The registry in Redis or Valkey: many hosts; one server, one that sentinels watch over, or a cluster.

How records and index terms lie there, and why, is told in `redis_index`; which server is asked, and what is
asked again, in `redis_route`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from time import monotonic
from typing import Any

from oauth_refresh.backends.base import Backend, Copies, Entry
from oauth_refresh.backends.redis_index import (
    DELETE,
    HEAD_BYTES_MAX,
    MARGIN_SECONDS,
    NAME,
    NEVER_BASE,
    NO_HEAD,
    NO_HORIZON,
    PURGE,
    REPLACE,
    UNNAME,
    Head,
    forget_at,
    hash_term,
    hash_terms,
    head_of,
    head_size,
    needed_horizon,
    next_horizon,
    part_name,
    part_names,
    read_head,
    record_name,
)
from oauth_refresh.backends.redis_url import Place, read_url
from oauth_refresh.errors import ConfigurationError, NotReplicatedError, RegistryError

try:
    from oauth_refresh.backends.redis_link import Build, Command, Facts, Server, always
    from oauth_refresh.backends.redis_route import route_to
    from oauth_refresh.backends.redis_trouble import refusal
except ModuleNotFoundError as missing:
    if missing.name != "redis":
        raise
    raise ConfigurationError(
        "OAUTH_REGISTRY: redis: and valkey: need a package: pip install 'oauth-refresh[redis]'"
    ) from missing

logger = logging.getLogger("oauth_refresh")

_new_tuple = tuple.__new__

_WAIT_SECONDS = 1.0
_WALKS = 3
_DONE = (b"OK", 1)
_KEYS_AT_ONCE = 500


class RedisBackend:
    """Records on the servers of `place`. The version of an entry is the stored value, head and body.

    What a True from `swap` outlives is up to the servers: their appendfsync, and with `copies` a replica.
    Records that may be forgotten are forgotten by the server itself, ten minutes late, because the clocks
    of hosts and servers differ.
    """

    shared = True
    beside: str | None = None

    def __init__(self, place: Place) -> None:
        self._place = place
        self._prefix = place.prefix
        self._route = route_to(place)

    def get(self, key: bytes) -> Entry | None:
        command = ("GET", record_name(self._prefix, key))
        replies, _ = self._route.call(command[1], lambda facts: (command,), again=True)
        return _entry(replies[0])

    def get_two(self, first: bytes, second: bytes) -> tuple[Entry | None, Entry | None]:
        name, other = record_name(self._prefix, first), record_name(self._prefix, second)
        values = self._route.read_two((name, ("GET", name)), (other, ("GET", other)))
        return _entry(values[0]), _entry(values[1])

    def swap(
        self,
        key: bytes,
        old: Entry | None,
        body: bytes | None,
        expires_at: float | None = None,
        index: Iterable[bytes] = (),
        copies: Copies = "none",
    ) -> bool:
        if old is None and body is None:
            raise ValueError("old and body are both None")
        name = record_name(self._prefix, key)
        before = NO_HEAD if old is None else read_head(old.version)
        terms = hash_terms(() if body is None else index)
        if body is None:
            change = _deletion(name, old.version if old else b"")
        else:
            horizon = self._name(key, terms, before, expires_at)
            value = head_of(terms, horizon) + body
            change = _replacement(name, old and old.version, value, forget_at(expires_at))
        done = self._write(name, change, copies)
        if done and before.horizon == NO_HORIZON:
            for term in before.terms - terms:
                self._unname(term, key)
        return done

    def find(self, term: bytes) -> Iterator[bytes]:
        hashed = hash_term(term)
        named = iter(self._named(hashed).items())
        while batch := list(islice(named, _KEYS_AT_ONCE)):
            names = [record_name(self._prefix, key) for key, _ in batch]
            heads = self._route.read([(name, ("GETRANGE", name, 0, HEAD_BYTES_MAX)) for name in names])
            alive = [bool(head) and hashed in read_head(head).terms for head in heads]
            for (key, score), lives in zip(batch, alive, strict=True):
                if score >= NEVER_BASE and not lives:
                    self._unname(hashed, key)
            yield from (key for (key, _), lives in zip(batch, alive, strict=True) if lives)

    def keys(self, prefix: bytes = b"") -> Iterator[bytes]:
        # Sorted here, in memory: a server names its keys in no order.
        size = len(record_name(self._prefix, b""))
        yield from sorted(
            {
                name[size:]
                for server in self._route.primaries()
                for page in self._walk(server, prefix)
                for name in page
            }
        )

    def purge(self, now: float) -> int:
        """The server forgets by itself, so this is quick and returns 0 unless `now` is ahead of its clock."""
        limit, removed = int((now + MARGIN_SECONDS) * 1000), 0
        for server in self._route.primaries():
            if now <= _clock(server) + MARGIN_SECONDS:
                continue  # by the clock of some host: what has expired is gone, or will be in ten minutes
            for names in self._walk(server, b""):
                commands = [("EVAL", PURGE, 1, name, limit) for name in names]
                replies, _ = server.ask(always(commands), sure=True)
                for reply in replies:
                    if isinstance(reply, Exception):
                        raise refusal(server.label, reply)
                    removed += reply
        return removed

    def close(self) -> None:
        self._route.close()

    def _write(self, name: bytes, change: Build, copies: Copies, *, again: bool = False) -> bool:
        """Carry out a change of one key, and wait for replicas on the same connection, as WAIT asks."""
        if copies == "none":
            replies, _ = self._route.call(name, change, again=again)
            return replies[0] in _DONE
        milliseconds = int(min(_WAIT_SECONDS, self._place.timeout / 2) * 1000)
        asked = 0

        def build(facts: Facts) -> Sequence[Command]:
            nonlocal asked
            asked = self._replicas(facts, copies)
            wait: Sequence[Command] = [("WAIT", asked, milliseconds)] if asked else []
            return [*change(facts), *wait]

        replies, _ = self._route.call(name, build, again=again)
        done = replies[0] in _DONE
        if done and asked:
            self._confirm(asked, replies[1], copies)
        return done

    def _replicas(self, facts: Facts, copies: Copies) -> int:
        """How many are to confirm the write."""
        if self._place.replicas is not None:
            return self._place.replicas
        # One that is still fetching all data cannot confirm, but may be promoted, to what it had before.
        return min(1, facts.replicas if copies == "required" else facts.replicas_online)

    def _confirm(self, asked: int, reply: Any, copies: Copies) -> None:
        """`reply` is how many replicas have the write; an error where the server was demoted meanwhile."""
        confirmed = reply if isinstance(reply, int) else 0
        if confirmed >= asked:
            return
        text = (
            f"registry {self._place.label()}: {confirmed} of {asked} replicas confirmed a write in time; a "
            "failover now could undo it; see the replication of the servers (INFO replication)"
        )
        if copies == "required":
            raise NotReplicatedError(text)
        logger.warning(text)

    def _name(self, key: bytes, terms: frozenset[bytes], before: Head, expires_at: float | None) -> int:
        """Put `key` into the sets of terms that do not name it for long enough, and return the horizon."""
        if not terms:
            return 0
        needed = needed_horizon(expires_at)
        if terms <= before.terms and (needed <= before.horizon != NO_HORIZON or needed == before.horizon):
            return before.horizon
        horizon = next_horizon(expires_at)
        end = monotonic() + _WAIT_SECONDS
        for term in terms:
            name = part_name(self._prefix, term, key)
            command = ("EVAL", NAME, 1, name, key, horizon)
            # One second for all of them together, so that a replica that hangs is waited for once.
            self._write(name, always([command]), "wanted" if monotonic() < end else "none", again=True)
        return horizon

    def _unname(self, term: bytes, key: bytes) -> None:
        """Take the key of a dead record without an end out of a term, now or when it is found again."""
        name = part_name(self._prefix, term, key)
        with suppress(RegistryError):
            self._route.call(name, always([("EVAL", UNNAME, 1, name, key)]), again=True)

    def _named(self, term: bytes) -> dict[bytes, float]:
        """All keys of a term, of living records or dead, and their scores."""
        names = part_names(self._prefix, term)
        exist = self._route.read([(name, ("EXISTS", name)) for name in names])
        parts = [self._part(name) for name, exists in zip(names, exist, strict=True) if exists]
        return {key: score for part in parts for key, score in part.items()}

    def _part(self, name: bytes) -> dict[bytes, float]:
        def page(cursor: int) -> tuple[Any, str]:
            commands = [("ZSCAN", name, cursor, "COUNT", _KEYS_AT_ONCE)]
            replies, facts = self._route.call(name, always(commands), again=True)
            return replies[0], facts.run_id

        return {
            members[at]: float(members[at + 1])
            for members in _pages(page, self._place.label())
            for at in range(0, len(members), 2)
        }

    def _walk(self, server: Server, prefix: bytes) -> Iterable[Sequence[bytes]]:
        """The names of all records of one server, in pages, some perhaps twice."""
        pattern = _escape(record_name(self._prefix, prefix)) + b"*"

        def page(cursor: int) -> tuple[Any, str]:
            commands = [("SCAN", cursor, "MATCH", pattern, "COUNT", _KEYS_AT_ONCE)]
            [reply], facts = server.ask(always(commands), sure=True)
            if isinstance(reply, Exception):
                raise refusal(server.label, reply)
            return reply, facts.run_id if facts.primary else ""

        return _pages(page, server.label)


def open_url(url: str, *, base_dir: str | None = None) -> Backend:
    """See `redis_url` for the forms of the URL and docs/registry-redis.md for its options."""
    place = read_url(url, base_dir=base_dir)
    logger.info("registry: %s", place.label())
    return RedisBackend(place)


def _replacement(name: bytes, old: bytes | None, value: bytes, forget: int | None) -> Build:
    until: Command = () if forget is None else ("PXAT", forget)
    if old is None:
        return always([("SET", name, value, "NX", *until)])
    native: Command = ("SET", name, value, "IFEQ", old, *until)
    script: Command = ("EVAL", REPLACE, 1, name, old, value, *until[1:])
    return lambda facts: [native if facts.replace_if_equal else script]


def _entry(value: bytes | None) -> Entry | None:
    # Half the time of `Entry(…)`.
    return None if value is None else _new_tuple(Entry, (value[head_size(value) :], value))


def _deletion(name: bytes, old: bytes) -> Build:
    native: Command = ("DELIFEQ", name, old)
    script: Command = ("EVAL", DELETE, 1, name, old)
    return lambda facts: [native if facts.delete_if_equal else script]


def _clock(server: Server) -> float:
    [reply], _ = server.ask(always([("TIME",)]), sure=True)
    if isinstance(reply, Exception):
        raise refusal(server.label, reply)
    return float(reply[0])


def _pages(page: Callable[[int], tuple[Any, str]], label: str) -> list[Sequence[bytes]]:
    """All pages of a scan. `page` returns, for a cursor, the reply and the name of the process that gave it.

    A scan goes on only in the process that it began in: any other one counts its cursors in another way,
    and would leave records out. Nothing is returned before the end, and no connection is held meanwhile.
    """
    for _ in range(_WALKS):
        pages: list[Sequence[bytes]] = []
        reply, process = page(0)
        asked = process
        while asked == process != "":
            pages.append(reply[1])
            if int(reply[0]) == 0:
                return pages
            reply, asked = page(int(reply[0]))
    raise RegistryError(
        f"registry {label}: another server took over during a walk over its keys", retry_after=2
    )


def _escape(pattern: bytes) -> bytes:
    """`pattern` with its special characters taken literally."""
    return re.sub(rb"([*?\[\]\\^])", rb"\\\1", pattern)
