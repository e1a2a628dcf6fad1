"""Which servers a URL means, and what is said of one that means none."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from oauth_refresh.backends.redis import open_url
from oauth_refresh.backends.redis_url import Address, Place, read_url
from oauth_refresh.errors import ConfigurationError

OPTIONS = "connect_timeout, eviction, prefix, replicas, timeout"


def problems(url: str) -> list[str]:
    with pytest.raises(ConfigurationError) as refused:
        open_url(url)
    return [problem.removeprefix("OAUTH_REGISTRY: ") for problem in refused.value.problems]


def summary(place: Place) -> tuple[object, ...]:
    login = place.login
    return (place.way, place.tls, [str(address) for address in place.addresses], login["db"])


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://host", ("single", False, ["host:6379"], 0)),
        ("redis:host", ("single", False, ["host:6379"], 0)),
        ("redis://host/", ("single", False, ["host:6379"], 0)),
        ("REDIS://host:1234/5", ("single", False, ["host:1234"], 5)),
        ("valkey://[::1]:1234", ("single", False, ["[::1]:1234"], 0)),
        ("valkey://[::1]", ("single", False, ["[::1]:6379"], 0)),
        ("rediss://host", ("single", True, ["host:6379"], 0)),
        ("valkeys://host/1", ("single", True, ["host:6379"], 1)),
        ("redis+cluster://one,two:7000", ("cluster", False, ["one:6379", "two:7000"], 0)),
        ("valkeys+cluster://one/0", ("cluster", True, ["one:6379"], 0)),
        ("redis+sentinel://one,two:1/name", ("sentinel", False, ["one:26379", "two:1"], 0)),
        ("rediss+sentinel://one/name/2", ("sentinel", True, ["one:26379"], 2)),
    ],
)
def test_a_url_names_servers(url: str, expected: tuple[object, ...]) -> None:
    assert summary(read_url(url)) == expected


def test_the_options_have_defaults() -> None:
    place = read_url("valkey://host")
    assert place == Place(
        "valkey",
        "single",
        False,
        (Address("host", 6379),),
        login=place.login,
        sentinel_login=place.sentinel_login,
    )
    assert place.login == {
        "socket_timeout": 5.0,
        "socket_connect_timeout": 2.0,
        "username": None,
        "password": None,
        "db": 0,
    }


def test_every_option_is_read() -> None:
    place = read_url(
        "rediss+sentinel://us%40er:p%2F%3F%40%3Aw@host/na%20me?prefix=app:&timeout=0.5&replicas=2&eviction=accept"
        "&ssl_ca_certs=ca.pem&ssl_certfile=/my.pem&ssl_keyfile=../my.key&ssl_cert_reqs=none"
        "&sentinel_username=watch&sentinel_password=dog",
        base_dir="/srv/app",
    )
    assert (place.service, place.prefix, place.timeout, place.replicas) == ("na me", b"app:", 0.5, 2)
    assert place.accept_eviction is True
    connecting = {
        "ssl_ca_certs": "/srv/app/ca.pem",
        "ssl_certfile": "/my.pem",
        "ssl_keyfile": "/srv/my.key",
        "ssl_cert_reqs": "none",
        "ssl_check_hostname": False,
        "socket_timeout": 0.5,
        "socket_connect_timeout": 0.5,
    }
    assert place.login == {**connecting, "username": "us@er", "password": "p/?@:w", "db": 0}
    assert place.sentinel_login == {**connecting, "username": "watch", "password": "dog"}


def test_tls_checks_certificate_and_name_unless_told_otherwise() -> None:
    login = read_url("rediss://host").login
    assert (login["ssl_cert_reqs"], login["ssl_check_hostname"]) == ("required", True)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "redis://",
            ["redis: needs a host: redis://host:6379"],
        ),
        (
            "redis://one,two",
            ["redis: takes one host; for several write redis+cluster: or redis+sentinel:"],
        ),
        ("redis://host/first", ["redis: the number of the database is not a number"]),
        (
            "valkey+cluster://host/1",
            ["valkey+cluster: the path is empty or /0: a cluster has one database"],
        ),
        (
            "redis+sentinel://host",
            ["redis+sentinel: needs the primary's name: redis+sentinel://host/name"],
        ),
        (
            "redis://host?timeout=0&connect_timeout=soon&replicas=10&eviction=yes&prefix=",
            [
                "timeout=0: allowed are more than 0 and at most 600 seconds",
                "connect_timeout=soon: allowed are more than 0 and at most 600 seconds",
                "prefix: allowed are 1 to 64 bytes without braces",
                "replicas=10: allowed are auto and 0 to 9",
                "eviction=yes: allowed are refuse, accept",
            ],
        ),
        ("redis://host?prefix=%7Ba%7D", ["prefix: allowed are 1 to 64 bytes without braces"]),
        (
            "rediss://host?ssl_cert_reqs=optional",
            ["ssl_cert_reqs=optional: allowed are required, none"],
        ),
        (
            "redis://host?ssl_ca_certs=ca.pem",
            [f"redis: has no option 'ssl_ca_certs'; allowed are {OPTIONS}"],
        ),
        ("redis://host?timeout=1&timeout=2", ["the option 'timeout' is given twice"]),
    ],
)
def test_a_url_that_means_nothing_is_refused_with_every_reason(url: str, expected: list[str]) -> None:
    assert problems(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "redis://:qux/ame@host",
        "redis://:qux?ame@host",
        "redis://:qux?ame=@host",
        "redis://user:quxame",
        "redis://:quxame",
        "redis://user:qux,ame@host",
        "redis+sentinel://host/name?sentinel_password=qux@ame",
        "redis://user:quxame@host:port",
        "redis://user:quxame@host/db?timeout=0",
    ],
)
def test_no_problem_repeats_a_password(url: str) -> None:
    try:
        found = repr(read_url(url)) + read_url(url).label()
    except ConfigurationError as refused:
        found = str(refused)
    assert "qux" not in found
    assert "ame@" not in found


def test_opening_connects_to_nothing_and_logs_no_password(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "oauth_refresh"):
        backend = open_url("valkey+cluster://user:sesame@nowhere.invalid:1,elsewhere.invalid", base_dir="/")
    assert [record.getMessage() for record in caplog.records] == [
        "registry: valkey+cluster://nowhere.invalid:1,elsewhere.invalid:6379"
    ]
    assert (backend.shared, backend.beside) == (True, None)


def test_without_the_package_the_error_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['redis'] = None\n"
        "from oauth_refresh.errors import ConfigurationError\n"
        "try:\n    import oauth_refresh.backends.redis\n"
        "except ConfigurationError as error:\n    print(error)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert "pip install 'oauth-refresh[redis]'" in ran.stdout
