"""Making the tables, once among racing processes, and bringing those of an older release up to date."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import blake2b
from typing import Any

from oauth_refresh.backends.sql_tables import SCHEMA_VERSION, Tables, is_mysql
from oauth_refresh.backends.sql_trouble import is_absent, is_already_there
from oauth_refresh.errors import RegistryError

logger = logging.getLogger("oauth_refresh")

_LOCK_SECONDS = 3

UPGRADES: dict[int, tuple[str, ...]] = {}
"""By version, the statements that lead to the next one; `{prefix}` stands in them.

MySQL cannot undo a half of them, and runs all again where a step was cut off: a table or index that is there
already does no harm, and every other statement must be harmless the second time. Older processes still run
while they do, so what they read and write must go on working, or fail.
"""


def schema_version(cursor: Any, tables: Tables) -> int | None:
    """The version of the tables, None if there are none. Anything else is the driver's exception."""
    try:
        cursor.execute(tables.version.text)
    except Exception as error:
        if is_absent(error):
            return None
        raise
    row = cursor.fetchone()
    return None if row is None else int(row[0])


def check_schema(place: str, version: int | None) -> None:
    """Raises `RegistryError` for tables that this release does not understand."""
    if version is not None and version > SCHEMA_VERSION:
        raise RegistryError(
            f"registry {place}: its tables have layout {version}, newer than this release's "
            f"({SCHEMA_VERSION}); install the release that made them, or a later one"
        )


def create_schema(cursor: Any, tables: Tables, place: str) -> None:
    """Create the tables if there are none, upgrade them if they are old.

    Of any number of processes at once, one does it, and the others wait. In PostgreSQL it is all or nothing.
    """
    with _alone(cursor, tables, place):
        version = schema_version(cursor, tables) if not _is_missing(cursor, tables) else None
        check_schema(place, version)
        if version is None:
            _run(cursor, tables, tables.ddl())
            logger.info("registry %s: tables created", place)
            return
        for step in range(version, SCHEMA_VERSION):
            _run(cursor, tables, UPGRADES[step])
            cursor.execute(tables.set_version.text, tables.set_version.values({"new_version": step + 1}))
            logger.info("registry %s: tables upgraded from layout %d to %d", place, step, step + 1)


def _run(cursor: Any, tables: Tables, statements: Any) -> None:
    for statement in statements:
        try:
            cursor.execute(statement.replace("{prefix}", tables.prefix))
        except Exception as error:
            if not is_already_there(error):
                raise


def _is_missing(cursor: Any, tables: Tables) -> bool:
    # Asking for the version of a table that is not there would end PostgreSQL's transaction.
    if is_mysql(tables.dialect):
        return False
    cursor.execute(f"SELECT to_regclass('{tables.prefix}_schema') IS NULL")
    return bool(cursor.fetchone()[0])


@contextmanager
def _alone(cursor: Any, tables: Tables, place: str) -> Iterator[None]:
    name = f" {tables.prefix}"
    if is_mysql(tables.dialect):
        # MySQL's locks are the server's, and their names have 64 characters at most.
        lock = f"SHA2(CONCAT(DATABASE(), '{name}'), 224)"
        cursor.execute(f"SELECT GET_LOCK({lock}, {_LOCK_SECONDS})")
        if cursor.fetchone()[0] != 1:
            raise RegistryError(
                f"registry {place}: another process makes or upgrades the tables; wait for it"
            )
        # An application's engine is in a transaction: it must see what others did, and they what it does.
        cursor.execute("COMMIT")
        try:
            yield
            cursor.execute("COMMIT")
        finally:
            with suppress(Exception):
                cursor.execute(f"SELECT RELEASE_LOCK({lock})")
                cursor.fetchall()
        return
    number = int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)
    cursor.execute("BEGIN")
    try:
        cursor.execute(f"SELECT pg_advisory_xact_lock({number})")
        yield
    except BaseException:
        with suppress(Exception):
            cursor.execute("ROLLBACK")
        raise
    cursor.execute("COMMIT")
