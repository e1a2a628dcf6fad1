"""How a client presents itself: by its id, or with a secret in body or HTTP Basic (RFC 6749 section 2.3)."""

from __future__ import annotations

import base64
import binascii
from urllib.parse import unquote_plus

from .errors import InvalidClient, InvalidRequest
from .parameters import Parameters
from .values import Value


class Credentials(Value, frozen=True, gc=False):
    """How a client presents itself. `pairs` are the (id, secret) readings of it; none for a public client,
    whose id may have been meant as `other_id` instead.
    """

    client_id: str | None
    pairs: tuple[tuple[str, str], ...] = ()
    other_id: str | None = None

    def __repr__(self) -> str:
        return f"<credentials of {self.client_id!r}>"


def read_credentials(authorization: str | None, form: Parameters) -> Credentials:
    """What the request says of its client.

    Raises `InvalidRequest` if it authenticates in two ways or names two clients, `InvalidClient` if the
    Basic credentials cannot be read.
    """
    if form.several:
        form.require_single(("client_id", "client_secret"))
    if not form.plain:
        form.require_printable(("client_id",))
    named, secret = form.values.get("client_id"), form.values.get("client_secret")
    if not authorization and secret is None:
        return Credentials(named)
    scheme, _, rest = (authorization or "").strip().partition(" ")
    if scheme.lower() != "basic":
        if secret is None:
            return Credentials(named)
        if named is None:
            raise InvalidRequest("client_id: missing")
        return Credentials(named, ((named, secret),))
    if secret is not None:
        raise InvalidRequest("client_secret: sent both in the body and as HTTP Basic")
    pairs = _basic_pairs(rest)
    if named is None:
        return _of_pairs(pairs)
    meant = tuple(pair for pair in pairs if pair[0] == named)
    if not meant:
        raise InvalidRequest("client_id: another one than in the Authorization header")
    return _of_pairs(meant)


def _of_pairs(pairs: tuple[tuple[str, str], ...]) -> Credentials:
    # Some libraries send a public client's id as Basic too, with nothing after the colon.
    other = pairs[-1][0] if pairs[-1][0] != pairs[0][0] else None
    return Credentials(pairs[0][0], tuple(pair for pair in pairs if pair[1]), other)


def _basic_pairs(encoded: str) -> tuple[tuple[str, str], ...]:
    """The pair form-decoded as RFC 6749 section 2.3.1 says, then raw, as many clients send it."""
    try:
        raw = base64.b64decode(encoded.strip(), validate=True).decode("utf-8")
    except (ValueError, binascii.Error):
        raise _unreadable() from None
    name, colon, secret = raw.partition(":")
    if not colon:
        raise _unreadable()
    try:
        decoded = (unquote_plus(name, errors="strict"), unquote_plus(secret, errors="strict"))
    except UnicodeDecodeError:
        return ((name, secret),)
    return (decoded,) if decoded == (name, secret) else (decoded, (name, secret))


def _unreadable() -> InvalidClient:
    return invalid_client("the Authorization header is not HTTP Basic of client id and secret")


def invalid_client(description: str, detail: str = "") -> InvalidClient:
    """The refusal of a client, with the challenge that every 401 needs (RFC 9110 section 15.5.2)."""
    return InvalidClient(description, detail=detail, headers=(("WWW-Authenticate", 'Basic realm="oauth"'),))
