"""How a connection to MySQL or MariaDB is opened: PyMySQL, and how long it waits for an answer."""

from __future__ import annotations

import ssl
import traceback
from collections.abc import Callable
from typing import Any

import pymysql
from pymysql.constants import CLIENT
from sqlalchemy.dialects.mysql.pymysql import MySQLDialect_pymysql
from sqlalchemy.engine import Dialect

from oauth_refresh.backends.sql_address import Address

SERVER_FIRST = 1.0
"""Seconds longer than the server that the driver waits: the server's own word on what was slow is better."""


def driver(address: Address) -> tuple[Dialect, Callable[[], Any]]:
    """SQLAlchemy's dialect, and what opens a connection in autocommit."""
    options = _options(address)

    def connect() -> Any:
        try:
            return pymysql.connect(**options, **_tls(address))
        except pymysql.err.OperationalError as error:
            # PyMySQL leaves a Unix socket open that it could not connect, and its error holds it in a cycle:
            # while the server is down, each request would leave one more until they are collected.
            original = getattr(error, "original_exception", None)
            if original is not None:
                traceback.clear_frames(original.__traceback__)
            raise

    return MySQLDialect_pymysql(dbapi=pymysql), connect


def _options(address: Address) -> dict[str, Any]:
    (host, port), *_ = address.hosts
    return {
        "user": address.user,
        # As bytes: PyMySQL would encode text as Latin-1.
        "password": (address.password or "").encode(),
        "host": None if address.socket else host,
        "port": port,
        "unix_socket": address.socket,
        "database": address.database,
        "charset": "utf8mb4",
        "connect_timeout": address.connect_timeout,
        "read_timeout": address.timeout + SERVER_FIRST,
        "write_timeout": address.timeout + SERVER_FIRST,
        "init_command": _session(address.timeout),
        "autocommit": True,
        # An UPDATE then counts the rows that it found, also those that have these values already.
        "client_flag": CLIENT.FOUND_ROWS,
        "program_name": "oauth_refresh",
    }


def _session(timeout: float) -> str:
    # Each server skips the other's comment, and would refuse the other's name for the limit.
    return (
        "SET SESSION autocommit=1, sql_mode='STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', "
        f"innodb_lock_wait_timeout={max(1, round(timeout))} "
        f"/*M! , max_statement_time={timeout} */ /*!50708 , max_execution_time={timeout * 1000:.0f} */"
    )


def _tls(address: Address) -> dict[str, Any]:
    """PyMySQL's words for libpq's `sslmode`."""
    mode, files = address.sslmode, address.files
    if mode == "disable":
        return {"ssl_disabled": True}
    if mode in (None, "prefer") and not files:
        return {}
    context = ssl.create_default_context(cafile=files.get("sslrootcert"))
    context.check_hostname = mode == "verify-full"
    if mode not in ("verify-ca", "verify-full"):
        context.verify_mode = ssl.CERT_NONE
    if "sslcert" in files:
        context.load_cert_chain(files["sslcert"], files.get("sslkey"))
    return {"ssl": context}
