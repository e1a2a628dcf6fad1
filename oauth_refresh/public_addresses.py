"""Is this an address on the public Internet? Nothing else may a stranger's URL lead this server to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

# The lists are our own: what `ipaddress` calls global has changed from one version of Python to the next.
_SPECIAL_V4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.31.196.0/24",
            "192.52.193.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "192.175.48.0/24",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/3",
        ),
    )
)

# Of IPv6 only this block was ever given out to the public. Mapped and compatible forms of IPv4, local, link
# and multicast addresses all lie outside of it.
_UNICAST_V6 = IPv6Network("2000::/3")
# Tunnels among them (Teredo in 2001::/23, 6to4 in 2002::/16): they hide an IPv4 address, and nobody who
# publishes a document needs them.
_SPECIAL_V6 = tuple(
    map(
        IPv6Network,
        ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"),
    )
)
_NAT64 = IPv6Network("64:ff9b::/96")


def is_public(text: str) -> bool:
    """Whether this address, in its usual notation, is one that anybody on the Internet could reach.

    An address of the well-known NAT64 prefix, which hosts without IPv4 get for every name, is judged by the
    IPv4 address inside. False for what is no address.
    """
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address in _NAT64:
        address = IPv4Address(int(address) & 0xFFFFFFFF)
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _SPECIAL_V4)
    return address in _UNICAST_V6 and not any(address in network for network in _SPECIAL_V6)


def is_loopback(text: str) -> bool:
    """Whether this address is of this very machine. False for what is no address."""
    try:
        return ip_address(text).is_loopback
    except ValueError:
        return False
