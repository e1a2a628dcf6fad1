"""The client file of the Go server that this project descends from: what do its clients become here?

`{"version": 1, "clients": {id: {client_id, redirect_uris, created_at, ttl_seconds, expires_at}}}`. All of
them are public, and keep their ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from .ancestor import Fields, Record
from .clients import Client, record_of
from .parameters import printable
from .redirects import check_redirect_uri


def client_records(
    document: Mapping[str, object], now: float, private_schemes: Sequence[str], warn: Callable[[str], object]
) -> Iterator[Record]:
    """The records that a client file becomes: of every client that has not expired, as it registered.

    A redirect URI that would not be accepted today is left out, and a client that has none left; `warn` is
    told. Raises ValueError naming the client and the field that cannot be read.
    """
    clients = document.get("clients")
    if not isinstance(clients, Mapping):
        raise ValueError("clients: must be an object of clients by id")
    for name, members in clients.items():
        if not isinstance(members, Mapping):
            raise ValueError(f"client {name}: must be an object")
        fields = Fields(str(name), members, "client")
        client_id = fields.text("client_id") or str(name)
        if len(client_id) > 255 or not printable(client_id):
            raise ValueError(f"client {name}: client_id must be at most 255 printable characters")
        ends_at = _ends_at(fields)
        if ends_at is not None and ends_at <= now:
            continue
        uris = tuple(_accepted(fields, private_schemes, warn))
        if not uris:
            warn(f"the client {client_id} is left out: it has no redirect URI that would be accepted")
            continue
        # As one that has been used: it is to stay as long as it was promised.
        begun = fields.time("created_at") or now
        client = Client(client_id, uris, created_at=begun, used=True, forget_at=ends_at)
        yield Record(*record_of(client), ends_at, ())


def _ends_at(fields: Fields) -> float | None:
    """When the registration ends: as it says, else so long after it began; None for never."""
    ends_at, begun, seconds = (
        fields.time("expires_at"),
        fields.time("created_at"),
        fields.seconds("ttl_seconds"),
    )
    if ends_at is None and begun is not None and seconds > 0:
        return begun + seconds
    return ends_at


def _accepted(fields: Fields, private_schemes: Sequence[str], warn: Callable[[str], object]) -> Iterator[str]:
    for uri in fields.texts("redirect_uris"):
        defect = check_redirect_uri(uri, private_schemes=private_schemes)
        if defect is None:
            yield uri
        else:
            warn(f"a redirect URI of the client {fields.token_id} is left out: {defect}")
