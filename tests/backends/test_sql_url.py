"""What a URL of a SQL registry means, and what is said of one that cannot be meant."""

from __future__ import annotations

import gc
import logging
import os
import sys
from pathlib import Path

import pytest

from oauth_refresh.backends.sql import SQLBackend, open_url
from oauth_refresh.backends.sql_address import OPTIONS, Address, read_address
from oauth_refresh.errors import ConfigurationError, RegistryError

UNREADABLE = (
    "the {0}: URL cannot be read; write {0}://user:password@host:port/database, and in the password "
    "/ : @ ? # & % as %2F %3A %40 %3F %23 %26 %25"
)


def address(**changes: object) -> Address:
    usual = Address(
        family="postgresql",
        user="u",
        password="p",
        hosts=(("host", 5432),),
        socket=None,
        database="db",
        timeout=5.0,
        connect_timeout=5.0,
        pool_size=10,
        pool_recycle=240.0,
        prefix="oauth_refresh",
        pooler=False,
        synchronous_commit="on",
        sslmode=None,
        files={},
    )
    return usual._replace(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgresql://u:p@host/db", address()),
        ("postgres://u:p@host/db", address()),
        ("PostgreSQL://u:p@host/db", address()),
        ("postgresql://host/db", address(user=None, password=None)),
        ("postgresql://u@host/db", address(password=None)),
        ("postgresql://u:@host/db", address(password="")),
        ("postgresql:///db", address(user=None, password=None, hosts=(("localhost", 5432),))),
        ("postgresql://u:p@host:6432/db", address(hosts=(("host", 6432),))),
        ("postgresql://u:p@[::1]:6432/db", address(hosts=(("::1", 6432),))),
        ("postgresql://u:p@a,b:5433/db", address(hosts=(("a", 5432), ("b", 5433)))),
        (
            "postgresql://u%40x:a%2Fb%3Ac%25@host/d%20b",
            address(user="u@x", password="a/b:c%", database="d b"),
        ),
        ("postgresql://u:p@ss#w;o=rd@host/db", address(password="p@ss#w;o=rd")),
        (
            "postgresql://u:p@%2Frun%2Fpg/db",
            address(hosts=(("/run/pg", 5432),), socket="/run/pg"),
        ),
        (
            "postgresql://u:p@/db?host=/run/pg&port=5433",
            address(hosts=(("/run/pg", 5433),), socket="/run/pg"),
        ),
        (
            "postgresql://u:p@host/db?timeout=0.5&connect_timeout=3&pool_size=2&pool_recycle=60&prefix=a_1",
            address(timeout=0.5, connect_timeout=3.0, pool_size=2, pool_recycle=60.0, prefix="a_1"),
        ),
        (
            (
                "postgresql://u:p@host/db?pooler=yes&synchronous_commit=remote_apply&sslmode=verify-full"
                "&sslrootcert=/etc/ca.pem"
            ),
            address(
                pooler=True,
                synchronous_commit="remote_apply",
                sslmode="verify-full",
                files={"sslrootcert": "/etc/ca.pem"},
            ),
        ),
        ("mysql://u:p@host/db", address(family="mysql", hosts=(("host", 3306),))),
        ("mariadb://u:p@host:3307/db", address(family="mysql", hosts=(("host", 3307),))),
        (
            "mysql://u:p@/db?unix_socket=/run/mysqld.sock",
            address(family="mysql", hosts=(("/run/mysqld.sock", 3306),), socket="/run/mysqld.sock"),
        ),
    ],
)
def test_a_url_names_server_database_and_options(url: str, expected: Address) -> None:
    assert read_address(url) == expected


@pytest.mark.parametrize(
    ("url", "problems"),
    [
        ("postgresql:u:sesame@host/db", [UNREADABLE.format("postgresql")]),
        ("postgresql://u:se/same@host/db", [UNREADABLE.format("postgresql")]),
        ("postgresql://u:se?same@host/db", [UNREADABLE.format("postgresql")]),
        ("postgresql://u:sesame@host:99999/db", [UNREADABLE.format("postgresql")]),
        ("mysql://u:sesame@host:port/db", [UNREADABLE.format("mysql")]),
        ("mysql://u:sesame@[::1/db", [UNREADABLE.format("mysql")]),
        ("mysql://u:sesame@host", ["mysql: name the database: mysql://user:password@host/database"]),
        (
            "mysql://u:sesame@a,b/db",
            ["mysql: takes one host; put a proxy in front of several"],
        ),
        (
            "postgresql://u:sesame@host/db?host=/run/pg",
            ["postgresql: a host and a socket are given; one of them is enough"],
        ),
        (
            "mysql://u:sesame@host/db?synchronous_commit=on",
            [
                (
                    "mysql: has no option 'synchronous_commit'; allowed are connect_timeout, pool_recycle, "
                    "pool_size, prefix, sslcert, sslkey, sslmode, sslrootcert, timeout, unix_socket"
                )
            ],
        ),
        (
            (
                "postgresql://u:sesame@host/?timeout=0&connect_timeout=soon&pool_size=0&pool_recycle=x&prefix=A-b"
                "&pooler=1&synchronous_commit=never&sslmode=always&sslrootcert=ca.pem&port=0"
            ),
            [
                "timeout=0: allowed are 0.1 to 3600 seconds",
                "connect_timeout=soon: allowed are 2 to 600 seconds",
                "pool_size=0: allowed are 1 to 1000 connections",
                "pool_recycle=x: allowed are 1 to 86400 seconds",
                "prefix=A-b: allowed are a letter, then letters, digits and _, 40 at most",
                "sslmode=always: allowed are disable, prefer, require, verify-ca, verify-full",
                "sslrootcert=ca.pem: allowed are an absolute path",
                "port=0: allowed are 1 to 65535",
                "pooler=1: allowed are yes, no",
                "synchronous_commit=never: allowed are on, off, local, remote_write, remote_apply",
                "postgresql: name the database: postgresql://user:password@host/database",
            ],
        ),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused_with_every_reason(url: str, problems: list[str]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        open_url(url)
    assert refused.value.problems == tuple(f"OAUTH_REGISTRY: {problem}" for problem in problems)


def test_opening_connects_to_nothing_and_logs_where_to(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "oauth_refresh"):
        for url in ("postgresql://u:sesame@a,[::1]:1/db", "mysql://u:sesame@/db?unix_socket=/none"):
            backend = open_url(url)
            assert isinstance(backend, SQLBackend)
            assert (backend.shared, backend.beside) == (True, None)
    assert [record.getMessage() for record in caplog.records] == [
        "registry: postgresql://a:5432,[::1]:1/db, tables oauth_refresh_*",
        "registry: mysql:///none/db, tables oauth_refresh_*",
    ]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files as Linux lists them")
def test_a_server_that_is_down_costs_no_open_socket_for_each_try(tmp_path: Path) -> None:
    backend = open_url(f"mysql://u@/db?unix_socket={tmp_path}/none.sock")
    before = len(os.listdir("/proc/self/fd"))
    gc.disable()
    try:
        for _ in range(5):
            with pytest.raises(RegistryError, match=r"none\.sock"):
                backend.get(b"k")
        assert len(os.listdir("/proc/self/fd")) == before
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("url", "driver", "extra"),
    [("postgresql://h/db", "psycopg", "postgres"), ("mysql://h/db", "pymysql", "mysql")],
)
def test_a_driver_that_is_missing_is_named_with_its_extra(
    url: str, driver: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, driver, None)
    monkeypatch.delitem(sys.modules, f"oauth_refresh.backends.sql_{driver}", raising=False)
    with pytest.raises(ConfigurationError) as refused:
        open_url(url)
    assert f"needs a driver; install oauth-refresh[{extra}]" in str(refused.value)


def test_the_docs_list_every_option() -> None:
    page = (Path(__file__).parents[2] / "docs" / "registry-sql.md").read_text()
    for options in OPTIONS.values():
        assert [name for name in options if f"| `{name}` |" not in page] == []
