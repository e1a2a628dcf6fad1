"""What a SQL server's or driver's error means, and what the operator should do about it."""

from __future__ import annotations

from oauth_refresh.errors import RegistryError

_TEXT_MAX = 500

_ACCOUNT = "check user and password in OAUTH_REGISTRY, and what the server lets in from this host"
_DATABASE = "create the database, or name another in OAUTH_REGISTRY"
_RIGHTS = (
    "give this account SELECT, INSERT, UPDATE and DELETE on the tables; where it may not create them, "
    "run the DDL of docs/registry-sql.md as another"
)
_TABLES = "the tables are missing or of something else; restore them, or run the DDL of docs/registry-sql.md"
_READ_ONLY = "it takes no writes, so it is a standby or was set read-only; name the primary in OAUTH_REGISTRY"
_FULL = "make room on the server's disk, then it goes on by itself"
_CONNECTIONS = "allow more connections on the server, or lower pool_size in OAUTH_REGISTRY"
_SLOW = "look on the server for locks, long transactions and load; the option timeout says how long to wait"
_RESTARTING = "the server is starting or stopping; it goes on by itself"
_REACH = "check that the server runs and can be reached from here, and host and port in OAUTH_REGISTRY"
_DRIVER = "see the message; the server's log may say more"

_ADVICE = {
    # PostgreSQL: SQLSTATE
    "28000": _ACCOUNT,
    "28P01": _ACCOUNT,
    "3D000": _DATABASE,
    "42501": _RIGHTS,
    "42P01": _TABLES,
    "42P07": _TABLES,
    "42703": _TABLES,
    "25006": _READ_ONLY,
    "53100": _FULL,
    "53200": "give the server more memory",
    "53300": _CONNECTIONS,
    "55P03": _SLOW,
    "57014": _SLOW,
    "57P01": _RESTARTING,
    "57P02": _RESTARTING,
    "57P03": _RESTARTING,
    "26000": "a pooler gives away sessions; add pooler=yes to OAUTH_REGISTRY",
    "42P05": "a pooler gives away sessions; add pooler=yes to OAUTH_REGISTRY",
    # MySQL and MariaDB: error numbers
    "1044": _DATABASE,
    "1045": _ACCOUNT,
    "1049": _DATABASE,
    "1050": _TABLES,
    "1054": _TABLES,
    "1142": _RIGHTS,
    "1146": _TABLES,
    "1290": _READ_ONLY,
    "1792": _READ_ONLY,
    "1836": _READ_ONLY,
    "1021": _FULL,
    "1041": "give the server more memory",
    "1114": _FULL,
    "1030": _FULL,
    "1040": _CONNECTIONS,
    "1203": _CONNECTIONS,
    "1226": _CONNECTIONS,
    "1205": _SLOW,
    "1317": _SLOW,
    "1969": _SLOW,
    "3024": _SLOW,
    "1047": _RESTARTING,
    "1053": _RESTARTING,
    "1927": _RESTARTING,
}

# What PyMySQL says by itself, of connections: its text tells more.
_UNREACHED = ("2002", "2003", "2006", "2013")

# libpq gives no code to what happens while it connects, only a text.
_ADVICE_BY_TEXT = (
    ("password authentication failed", _ACCOUNT),
    ("no password supplied", _ACCOUNT),
    ("no pg_hba.conf entry", _ACCOUNT),
    ('role "', _ACCOUNT),
    ('database "', _DATABASE),
    ("hot standby", _READ_ONLY),
    ("read-only", _READ_ONLY),
    ("too many clients", _CONNECTIONS),
    ("connection slots", _CONNECTIONS),
    ("starting up", _RESTARTING),
    ("shutting down", _RESTARTING),
    ("recovery", _RESTARTING),
    ("QueuePool limit", "all connections of the engine are in use; raise its pool_size"),
    ("timed out", _SLOW),
    ("startup parameter", "a pooler is between; add pooler=yes to OAUTH_REGISTRY"),
    ("certificate", "check sslmode, sslrootcert and the server's certificate"),
    ("SSL", "check sslmode, and whether the server offers TLS"),
)

_DUPLICATE = ("1062",)
_CONFLICTS = frozenset(("40001", "40P01", "1213"))
_ABSENT = frozenset(("42P01", "1146"))
_ALREADY = frozenset(("1050", "1060", "1061"))

# MySQL repeats in these what was to be stored.
_ECHOES = frozenset(("1062", "1064", "1264", "1292", "1366", "1406"))


class ConnectionLostError(RegistryError):
    """The connection broke, so nobody knows what became of the statement. `timed_out`: it was too slow."""

    timed_out = False


def code_of(error: BaseException) -> str:
    """A PostgreSQL driver's SQLSTATE, a MySQL driver's number, or "" where there is none."""
    error = driver_error(error)
    if isinstance(error, OSError):
        return ""
    first = error.args[0] if error.args else None
    if isinstance(first, dict):
        first = first.get("C")
    # MySQL's drivers have a SQLSTATE too, which tells less than their number.
    if not isinstance(first, int):
        first = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    return "" if first is None else str(first)


def is_duplicate(error: BaseException) -> bool:
    """A record of this key is there already. Only MySQL says it by an error."""
    return code_of(error) in _DUPLICATE


def is_conflict(error: BaseException) -> bool:
    """The server chose this statement to give way to another one, and undid it whole."""
    return code_of(error) in _CONFLICTS


def is_absent(error: BaseException) -> bool:
    """There is no such table."""
    return code_of(error) in _ABSENT


def is_already_there(error: BaseException) -> bool:
    """A table, column or index of this name is there, in a MySQL that cannot undo half an upgrade."""
    return code_of(error) in _ALREADY


def trouble(place: str, error: BaseException, *, lost: bool = False) -> RegistryError:
    """What is wrong and what to do, with no value that a statement carried and no password in it."""
    error = driver_error(error)
    if isinstance(error, RegistryError):
        return error
    text, code = _message(error), code_of(error)
    if code in _UNREACHED:
        code = ""
    advice = _ADVICE.get(code) or next((advice for part, advice in _ADVICE_BY_TEXT if part in text), "")
    advice = advice or (_REACH if lost or not code else _DRIVER)
    if not lost:
        return RegistryError(f"registry {place}: {text}: {advice}")
    raised = ConnectionLostError(f"registry {place}: {text}: {advice}")
    raised.timed_out = "timed out" in text
    return raised


def driver_error(error: BaseException) -> BaseException:
    """The driver's own error in SQLAlchemy's, whose text repeats the values of the statement."""
    return getattr(error, "orig", None) or error


def _message(error: BaseException) -> str:
    code = code_of(error)
    if code in _ECHOES:
        return f"error {code}"
    diagnosis = getattr(error, "diag", None)
    text = getattr(diagnosis, "message_primary", None)
    if not text:
        text = str(error.args[1] if len(error.args) > 1 and isinstance(error.args[0], int) else error)
    text = "; ".join(line.strip() for line in text.splitlines() if line.strip()) or type(error).__name__
    return text[:_TEXT_MAX].rstrip(".:;, ")
