"""Which requests come through a trusted proxy, and from what address did they come to it?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

_WITH_PORT = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::\d+)?|(\d+\.\d+\.\d+\.\d+):\d+")


UNIX = "unix"
"""What stands for whoever connects by a Unix socket, among the networks of trusted proxies."""

_NO_ADDRESS = ("", "localhost")
"""What servers say of a peer at a Unix socket: gunicorn the first, Waitress the second."""


class Proxies:
    """The proxies in front of this server, as IP addresses and networks, or `UNIX`."""

    def __init__(self, networks: Iterable[str]) -> None:
        named = frozenset(networks)
        self._by_socket = UNIX in named
        self._networks = tuple(ip_network(network, strict=False) for network in named - {UNIX})

    def sent(self, environ: Mapping[str, Any]) -> bool:
        """Whether this request was sent by one of them, so that headers which they set are true."""
        address = environ.get("REMOTE_ADDR", "")
        if self._by_socket and address in _NO_ADDRESS:
            return True
        return self._is_one(_read(address))

    def source_address(self, environ: Mapping[str, Any]) -> str | None:
        """The IP address that the request came from, as the proxies say; None where nobody can know.

        The last one in `X-Forwarded-For` that is no proxy: what stands before it, a client can invent.
        """
        if not self.sent(environ):
            return None
        for hop in reversed(environ.get("HTTP_X_FORWARDED_FOR", "").split(",")):
            address = _read(hop.strip())
            if address is None or not self._is_one(address):
                return None if address is None else str(address)
        return None

    def counted_source(self, environ: Mapping[str, Any]) -> str | None:
        """What limits per address count this request under; None where nobody can know.

        The address of IPv4, the network of 64 bits of IPv6: one host has all of it to draw addresses from.
        """
        address = self.source_address(environ)
        if address is None or ":" not in address:
            return address
        host = ip_address(address.partition("%")[0])
        return str(ip_network((host, 64), strict=False))

    def _is_one(self, address: IPv4Address | IPv6Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)


def _read(text: str) -> IPv4Address | IPv6Address | None:
    """The address that this text spells, with or without a port, else None."""
    with_port = _WITH_PORT.fullmatch(text)
    try:
        address = ip_address(text if with_port is None else with_port[1] or with_port[2])
    except ValueError:
        return None
    # A server that listens on both protocols writes IPv4 addresses in this way.
    return getattr(address, "ipv4_mapped", None) or address
