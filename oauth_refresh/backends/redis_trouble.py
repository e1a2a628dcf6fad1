"""What goes wrong with a Redis or Valkey server: was anything done, may it be asked elsewhere, what helps."""

from __future__ import annotations

from redis import exceptions

from oauth_refresh.errors import RegistryError


class NotDoneError(RegistryError):
    """The request was not sent, or the server refused it: nothing was changed.

    `elsewhere` says that another server may have to be asked now.
    """

    def __init__(self, message: str, *, retry_after: int = 5, elsewhere: bool = False) -> None:
        super().__init__(message, retry_after=retry_after)
        self.elsewhere = elsewhere


class LostError(RegistryError):
    """The request was sent and no answer came: it was carried out or not."""

    def __init__(self, message: str, *, timed_out: bool) -> None:
        super().__init__(message, retry_after=2)
        self.timed_out = timed_out


def refusal(label: str, error: Exception) -> NotDoneError:
    """What is wrong and what to do, for the operator."""
    text = str(error)
    advice, elsewhere = next(
        (advice, elsewhere)
        for kind, fragment, advice, elsewhere in _ADVICE
        if isinstance(error, kind) and fragment in text
    )
    return NotDoneError(
        f"registry {label}: {text}: {advice}", retry_after=2 if elsewhere else 5, elsewhere=elsewhere
    )


_SOON = "it goes on by itself"
FOLLOW = "set OAUTH_REGISTRY to the primary, or use redis+sentinel: or redis+cluster:, which follow it"
_ADVICE: tuple[tuple[type[Exception], str, str, bool], ...] = (
    (exceptions.AuthenticationError, "", "check user and password in OAUTH_REGISTRY", False),
    (exceptions.BusyLoadingError, "", f"it has just started and reads its data; {_SOON}", True),
    (exceptions.ConnectionError, "max number of clients", "raise maxclients, or run fewer workers", False),
    (exceptions.ConnectionError, "CERTIFICATE_VERIFY", "check the certificate, and ssl_ca_certs", False),
    (exceptions.ConnectionError, "SSL", "check that this port speaks TLS, and the certificates", False),
    (exceptions.ConnectionError, "", "check that it runs, and host and port in OAUTH_REGISTRY", True),
    (exceptions.TimeoutError, "", "check that it runs, and what is between here and there", True),
    (
        exceptions.ReadOnlyError,
        "",
        f"it is a replica, or has become one; if this lasts, {FOLLOW}",
        True,
    ),
    (exceptions.MasterDownError, "", f"it is a replica that waits for its primary; {_SOON}", True),
    (
        exceptions.ClusterDownError,
        "",
        f"after a failover {_SOON}; if this lasts, a primary has no replica that could take over",
        True,
    ),
    (exceptions.TryAgainError, "", f"a slot is being moved; {_SOON}", True),
    (
        exceptions.NoPermissionError,
        "",
        "see the documentation for what the user of OAUTH_REGISTRY must be allowed",
        False,
    ),
    (Exception, "maxmemory", "it is full: raise maxmemory, or free memory; nothing was forgotten", False),
    (Exception, "NOREPLICAS", f"min-replicas-to-write is not met; when replicas are back {_SOON}", True),
    (Exception, "MISCONF", "it cannot save its data: see its disk, and its log", False),
    (Exception, "BUSY", "a script of another user keeps it busy: SCRIPT KILL", False),
    (Exception, "WRONGTYPE", "another program uses the same keys; set another ?prefix=", False),
    (
        Exception,
        "cluster support disabled",
        "it is no cluster; write redis: in place of redis+cluster:",
        False,
    ),
    (Exception, "DB index is out of range", "it has no database of that number", False),
    (Exception, "", "see the server's log", False),
)


_CODES = {
    "ASK": exceptions.AskError,
    "MOVED": exceptions.MovedError,
    "TRYAGAIN": exceptions.TryAgainError,
    "CLUSTERDOWN": exceptions.ClusterDownError,
    "MASTERDOWN": exceptions.MasterDownError,
}


def by_code(error: exceptions.ResponseError) -> exceptions.ResponseError:
    """The class that redis-py 5 knows in clusters only, and later releases everywhere."""
    code, _, text = str(error).partition(" ")
    return _CODES[code](text) if code in _CODES else error
