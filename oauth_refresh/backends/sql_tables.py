"""The tables of a SQL registry, their DDL, and every statement on them.

Layout, chosen for at most 800 bytes per record of 450 bytes with its index terms, and so that one statement
is all of a swap, whatever changes with it:

- The index terms stand in the record's own row, a column each with 8 bytes of a hash, in place of a second
  table: changing them is part of the same UPDATE. Unused ones are NULL and, in PostgreSQL, in no index.
  There are as few as are needed: PostgreSQL opens every index of a row that it changes. The hash has no
  key, so `find` may name a stranger's record once in 2**64; callers read each one.
- `id` orders the pages of `find`. It stays the same while its record does, so a walk misses no record whose
  terms change places.
- `due` is an hour at or before that of `expires_at`, and indexed in its place. A swap never moves it on: a
  rotation then changes no indexed column, and PostgreSQL writes neither an index nor another page. `purge`
  moves it on, for records that turn out to have been renewed: once in a record's lifetime, not once a
  rotation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import zip_longest
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    UniqueConstraint,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    select,
    true,
    union_all,
    update,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.engine import Dialect
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlalchemy.sql import ClauseElement, Select, Subquery

from oauth_refresh.backends.base import INDEX_TERMS_MAX, KEY_BYTES_MAX
from oauth_refresh.backends.bulk import Row

SCHEMA_VERSION = 1
KEYS_AT_ONCE = 500
DEAD_AT_ONCE = 200
ROWS_AT_ONCE = 100

_HOUR_SECONDS = 3600.0
_TERMS = tuple(f"term{number}" for number in range(1, INDEX_TERMS_MAX + 1))
_NEW_TERMS = tuple(f"new_{name}" for name in _TERMS)
_STATE = ("body", "expires_at", "due", *_TERMS)
_HASH_BYTES = 8
_HASH_NAME = b"oauth_refresh"

_KEY = LargeBinary().with_variant(mysql.VARBINARY(KEY_BYTES_MAX), "mysql", "mariadb")
_BODY = LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb")


def is_mysql(dialect: Dialect) -> bool:
    return dialect.name in ("mysql", "mariadb")


class Statement:
    """One statement in the spelling of one driver."""

    def __init__(self, clause: ClauseElement, dialect: Dialect) -> None:
        compiled: Any = clause.compile(dialect=dialect)
        self.text = str(compiled)
        self._order: tuple[str, ...] | None = tuple(compiled.positiontup) if compiled.positional else None

    def values(self, given: Mapping[str, object]) -> Any:
        return given if self._order is None else tuple([given[name] for name in self._order])


class Tables:
    """The two tables, whose names begin with `prefix`, and the statements on them for one driver."""

    def __init__(self, dialect: Dialect, prefix: str) -> None:
        self.dialect = dialect
        self.prefix = prefix
        metadata = MetaData()
        self._record = record = _record_table(metadata, dialect, prefix)
        self._schema = Table(
            f"{prefix}_schema",
            metadata,
            Column("version", Integer, primary_key=True, autoincrement=False),
            mysql_engine="InnoDB",
        )

        def statement(clause: ClauseElement) -> Statement:
            return Statement(clause, dialect)

        key, body, due, expires_at = record.c.key, record.c.body, record.c.due, record.c.expires_at
        is_old = (key == bindparam("at"), body == bindparam("old"))
        new: dict[str, Any] = {name: bindparam(f"new_{name}") for name in _STATE}
        earlier = func.coalesce(func.least(due, new["due"]), new["due"], due)
        there, other = (
            select(body).where(key == bindparam(name)).scalar_subquery().label(f"body_{name}")
            for name in ("at", "other")
        )
        self.get = statement(select(there, _takes_no_writes(dialect)))
        self.get_two = statement(select(there, other, _takes_no_writes(dialect)))
        self.create = statement(_insert(record, dialect, {"key": bindparam("at"), **new}))
        self.create_rows = statement(_insert(record, dialect, _numbered_rows()))
        self.replace = statement(update(record).where(*is_old).values({**new, "due": earlier}))
        self.delete = statement(delete(record).where(*is_old))
        self.keys = statement(_page(_keys(record), dialect, "key"))
        self.find = statement(_page(_named(record, dialect), dialect, "id"))
        overdue = select(key).where(due < bindparam("hour")).order_by(due)
        self.overdue = statement(_first(overdue, DEAD_AT_ONCE))
        dead = (due == bindparam("hour"), expires_at <= bindparam("now"))
        self.dead_this_hour = statement(_first(select(key).where(*dead), DEAD_AT_ONCE))
        # The times are asked again: a record may have been renewed since it was named.
        named = key.in_([bindparam(name) for name in _NAMED])
        bodies = select(key, body).where(named).subquery("page")
        self.bodies = statement(_beside_server(bodies, dialect))
        self.remove = statement(delete(record).where(named, expires_at <= bindparam("now")))
        renewed = (named, due < bindparam("hour"))
        self.postpone = statement(
            update(record).where(*renewed).values(due=func.floor(expires_at / literal_column("3600.0")))
        )
        self.version = statement(select(self._schema.c.version))
        self.set_version = statement(update(self._schema).values(version=bindparam("new_version")))

    def ddl(self) -> list[str]:
        """The statements that make the tables, the version of their layout last."""
        record, schema = (self._ddl(CreateTable(table)) for table in (self._record, self._schema))
        indexes = [self._ddl(CreateIndex(index)) for index in sorted(self._record.indexes, key=_name)]
        if is_mysql(self.dialect):
            # Inside, because each statement is durable by itself: a table is there with its indexes or not.
            inner = [
                ",\n    " + text.removeprefix("CREATE ").replace(f"ON {self._record.name} ", "")
                for text in indexes
            ]
            statements = [record.replace("\n)", "".join(inner) + "\n)")]
        else:
            # Room on each page for a record's next version: in the same page, it leaves the indexes alone.
            statements = [record, *indexes, f"ALTER TABLE {self._record.name} SET (fillfactor = 90)"]
        version = f"INSERT INTO {self._schema.name} (version) VALUES ({SCHEMA_VERSION})"  # noqa: S608
        return [*statements, schema, version]

    def _ddl(self, element: ClauseElement) -> str:
        text = str(element.compile(dialect=self.dialect)).strip().replace("\t", "    ")
        return "\n".join(line.rstrip() for line in text.splitlines()).replace(")ENGINE=", ") ENGINE=")


_NAMED = tuple(f"key_{number}" for number in range(DEAD_AT_ONCE))


def state_values(body: bytes, expires_at: float | None, terms: Iterable[bytes]) -> dict[str, object]:
    """What `create` and `replace` store. More than INDEX_TERMS_MAX terms are a ValueError."""
    return {
        "new_body": body,
        "new_expires_at": expires_at,
        "new_due": None if expires_at is None else hour_of(expires_at),
        **_term_values(tuple(terms)),
    }


@lru_cache(1024)
def _term_values(terms: tuple[bytes, ...]) -> dict[str, object]:
    hashes = sorted(set(map(term_hash, terms)))
    if len(hashes) > INDEX_TERMS_MAX:
        raise ValueError(f"a record has at most {INDEX_TERMS_MAX} index terms")
    return dict(zip_longest(_NEW_TERMS, hashes))


def rows_values(rows: Sequence[Row]) -> dict[str, object]:
    """For `create_rows`, which takes ROWS_AT_ONCE of them."""
    values: dict[str, object] = {}
    for number, (key, body, expires_at, terms) in enumerate(rows):
        values[f"at_{number}"] = key
        values.update((f"{name}_{number}", v) for name, v in state_values(body, expires_at, terms).items())
    return values


def _numbered_rows() -> list[dict[str, Any]]:
    return [
        {"key": bindparam(f"at_{row}"), **{name: bindparam(f"new_{name}_{row}") for name in _STATE}}
        for row in range(ROWS_AT_ONCE)
    ]


def named_values(keys: list[bytes]) -> dict[str, object]:
    """For `remove` and `postpone`, which always take as many keys: the last one again and again."""
    return {name: keys[min(number, len(keys) - 1)] for number, name in enumerate(_NAMED)}


@lru_cache(1024)
def term_hash(term: bytes) -> int:
    digest = blake2b(term, digest_size=_HASH_BYTES, person=_HASH_NAME).digest()
    return int.from_bytes(digest, "big", signed=True)


def hour_of(time: float) -> int:
    return int(time // _HOUR_SECONDS)


def _record_table(metadata: MetaData, dialect: Dialect, prefix: str) -> Table:
    # InnoDB keeps rows in the order of their primary key: in that of random keys pages would stay half empty.
    by_id = is_mysql(dialect)
    identity: tuple[Any, ...] = () if by_id else (Identity(),)
    record = Table(
        f"{prefix}_record",
        metadata,
        Column("id", BigInteger, *identity, primary_key=by_id, nullable=False),
        Column("expires_at", Double),
        *(Column(name, BigInteger) for name in _TERMS),
        Column("due", Integer),
        Column("key", _KEY, primary_key=not by_id, nullable=False),
        Column("body", _BODY, nullable=False),
        *((UniqueConstraint("key", name=f"{prefix}_record_key"),) if by_id else ()),
        mysql_engine="InnoDB",
    )
    due = record.c.due
    Index(f"{prefix}_record_due", due, postgresql_where=due.is_not(None))
    for name in _TERMS:
        term = record.c[name]
        Index(f"{prefix}_record_{name}", term, record.c.id, postgresql_where=term.is_not(None))
    return record


def _insert(record: Table, dialect: Dialect, values: dict[str, Any] | list[dict[str, Any]]) -> ClauseElement:
    if is_mysql(dialect):
        # INSERT IGNORE would ignore every other error too.
        return insert(record).values(values).inline()
    return postgresql_insert(record).values(values).on_conflict_do_nothing(index_elements=["key"]).inline()


def _takes_no_writes(dialect: Dialect) -> Any:
    """A column that tells a standby from the primary, read with each answer: a server may change its role."""
    if is_mysql(dialect):
        return literal_column("@@global.read_only").label("takes_no_writes")
    return func.pg_is_in_recovery().label("takes_no_writes")


def _page(rows: Subquery, dialect: Dialect, order: str) -> ClauseElement:
    return _beside_server(rows, dialect).order_by(rows.c[order])


def _beside_server(rows: Subquery, dialect: Dialect) -> Select[Any]:
    """The rows, beside the word on whether this server may be asked; a row of NULLs if there are none."""
    server = select(_takes_no_writes(dialect)).subquery("server")
    return select(server.c.takes_no_writes, *rows.c).select_from(server.outerjoin(rows, true()))


def _keys(record: Table) -> Subquery:
    wanted = select(record.c.key).where(record.c.key >= bindparam("start")).order_by(record.c.key)
    return _first(wanted, KEYS_AT_ONCE).subquery("page")


def _named(record: Table, dialect: Dialect) -> Subquery:
    def in_place(name: str) -> Select[Any]:
        column, id_ = record.c[name], record.c.id
        wanted = select(record.c.key, id_).where(column == bindparam("term"), id_ > bindparam("after"))
        if is_mysql(dialect):
            # Left to itself it may begin each page at the first record that has the term.
            wanted = wanted.with_hint(record, f"FORCE INDEX ({record.name}_{name})")
        return _first(wanted.order_by(id_), KEYS_AT_ONCE)

    # All places in one statement: one snapshot of a record whose terms change places meanwhile.
    named = union_all(*(in_place(name) for name in _TERMS)).subquery("named")
    return _first(select(named.c.key, named.c.id).order_by(named.c.id), KEYS_AT_ONCE).subquery("page")


def _first(wanted: Select[Any], count: int) -> Select[Any]:
    return wanted.limit(literal_column(str(count)))


def _name(index: Index) -> str:
    return str(index.name)
