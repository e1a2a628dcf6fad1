"""Whose word counts about where a request came from."""

from __future__ import annotations

import pytest

from oauth_refresh.proxies import Proxies

PROXIES = Proxies(["10.0.0.0/8", "192.168.1.1", "fd00::/8"])


@pytest.mark.requirement("WSGI-01")
@pytest.mark.parametrize(
    ("remote", "sent"),
    [
        ("10.1.2.3", True),
        ("192.168.1.1", True),
        ("fd00::1", True),
        ("::ffff:10.1.2.3", True),
        ("192.168.1.2", False),
        ("::ffff:192.168.1.2", False),
        ("8.8.8.8", False),
        ("", False),
        ("unix:", False),
        ("10.1.2.3, 8.8.8.8", False),
    ],
)
def test_a_proxy_is_known_by_its_address(remote: str, sent: bool) -> None:
    assert PROXIES.sent({"REMOTE_ADDR": remote}) is sent


def test_nobody_is_a_proxy_unless_configured() -> None:
    assert not Proxies([]).sent({"REMOTE_ADDR": "127.0.0.1"})
    assert not PROXIES.sent({})


@pytest.mark.parametrize(
    ("remote", "sent"), [("", True), ("localhost", True), ("8.8.8.8", False), ("x", False)]
)
def test_whoever_comes_by_a_unix_socket_can_be_trusted(remote: str, sent: bool) -> None:
    environ = {"REMOTE_ADDR": remote, "HTTP_X_FORWARDED_FOR": "203.0.113.7"}
    proxies = Proxies(["unix", "10.0.0.0/8"])
    assert proxies.sent(environ) is sent
    assert proxies.source_address(environ) == ("203.0.113.7" if sent else None)
    assert proxies.sent({"REMOTE_ADDR": "10.1.2.3"})
    assert proxies.sent({})


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.7, 10.9.9.9", "203.0.113.7"),
        ("198.51.100.1, 203.0.113.7", "203.0.113.7"),
        ("198.51.100.1, 203.0.113.7 , 10.9.9.9,192.168.1.1", "203.0.113.7"),
        ("203.0.113.7:41234", "203.0.113.7"),
        ("[2001:db8::7]:41234", "2001:db8::7"),
        ("2001:DB8::0007", "2001:db8::7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("198.51.100.1, unknown", None),
        ("198.51.100.1, ", None),
        ("10.9.9.9", None),
        ("", None),
    ],
)
def test_the_source_is_the_last_address_that_is_no_proxy(forwarded: str, address: str | None) -> None:
    environ = {"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": forwarded}
    assert PROXIES.source_address(environ) == address


@pytest.mark.parametrize(
    ("forwarded", "counted"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:0:1::7", "2001:db8:0:1::/64"),
        ("[2001:db8:0:1:ffff:ffff:ffff:ffff]:41234", "2001:db8:0:1::/64"),
        ("2001:db8:0:2::7", "2001:db8:0:2::/64"),
        ("fe80::7%eth0", "fe80::/64"),
        ("unknown", None),
    ],
)
def test_a_host_of_ipv6_counts_as_the_network_that_it_has_for_itself(
    forwarded: str, counted: str | None
) -> None:
    environ = {"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": forwarded}
    assert PROXIES.counted_source(environ) == counted


def test_the_source_is_unknown_where_no_proxy_speaks() -> None:
    forged = {"REMOTE_ADDR": "198.51.100.1", "HTTP_X_FORWARDED_FOR": "203.0.113.7"}
    assert PROXIES.source_address(forged) is None
    assert PROXIES.source_address({"REMOTE_ADDR": "10.0.0.1"}) is None
