"""Which parameters a request carries: RFC 6749 sections 3.1 and 3.2, read to the letter.

Unknown ones are ignored, empty ones count as absent, and a known one that occurs twice is a mistake,
even if both values are equal or empty.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote_to_bytes

from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge
from werkzeug.wrappers import Request

from .errors import InvalidRequest, LengthRequired, RequestTooLarge
from .values import Value

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

BODY_BYTES_MAX = 64 * 1024
QUERY_BYTES_MAX = 16 * 1024
FIELDS_MAX = 200
FORM = "application/x-www-form-urlencoded"
REPEATABLE = frozenset({"resource"})
_DIGITS_MAX = 18
_USUAL_LENGTHS = {str(length): length for length in range(1024)}

_MEANS_ITSELF = b"".join((string.ascii_letters.encode(), string.digits.encode(), b"_.~:/-=&"))
_URL_LENGTH_MAX = 256
_SECRET_IN_URL = re.compile(rb"(?:\A|&)client_secret=")


class Parameters(Value, frozen=True, gc=False):
    """The parameters of one request, decoded once.

    `values` are those that are not empty, of several the first. `several` are all values of each that occurs
    more than once. `plain` says that all of them are printable ASCII.
    """

    values: dict[str, str]
    several: dict[str, list[str]]
    plain: bool = False

    def __repr__(self) -> str:
        # A default repr would carry secrets into tracebacks and logs.
        return f"<{len(self.values)} parameters>"

    def get(self, name: str) -> str | None:
        """The value, or None if the parameter is absent or empty. Of several, the first that is not empty."""
        return self.values.get(name)

    def all(self, name: str) -> tuple[str, ...]:
        if name in self.several:
            return tuple(filter(None, self.several[name]))
        value = self.values.get(name)
        return () if value is None else (value,)

    def repeated(self, name: str) -> bool:
        return name in self.several

    def require_single(self, names: Iterable[str]) -> None:
        """Raises `InvalidRequest` that names the first of these parameters that occurs more than once."""
        if not self.several:
            return
        for name in names:
            if name not in REPEATABLE and self.repeated(name):
                raise InvalidRequest(f"{name}: must occur only once")

    def require_printable(self, names: Iterable[str]) -> None:
        """Raises `InvalidRequest` for characters outside %x20-7E (RFC 6749 appendix A)."""
        if self.plain:
            return
        for name in names:
            value = self.get(name)
            if value is not None and not printable(value):
                raise InvalidRequest(f"{name}: only printable ASCII characters are allowed")


def gather(pairs: Iterable[tuple[str, str]]) -> Parameters:
    """The parameters that these names and values are."""
    found: dict[str, list[str]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    first = {name: next(filter(None, values), "") for name, values in found.items()}
    return Parameters(
        {name: value for name, value in first.items() if value},
        {name: values for name, values in found.items() if len(values) > 1},
    )


def printable(value: str) -> bool:
    return value.isascii() and value.isprintable()


def read_query(query: bytes) -> Parameters:
    """The parameters of a query string.

    Raises `InvalidRequest` if it is not UTF-8, `RequestTooLarge` over 16 KiB.
    """
    if len(query) > QUERY_BYTES_MAX:
        raise RequestTooLarge(f"the query is longer than {QUERY_BYTES_MAX} bytes")
    return _parse(query, "query")


def read_form(environ: WSGIEnvironment) -> Parameters:
    """The parameters of a form body; those of the query string do not count (RFC 6749 section 3.2).

    Raises `InvalidRequest` for another content type, text that is not UTF-8, or a `client_secret` in the
    URL, where it would end up in logs; `RequestTooLarge` over 64 KiB.
    """
    query = environ.get("QUERY_STRING")
    if query and _SECRET_IN_URL.search(unquote_to_bytes(query.encode("latin-1", "replace"))):
        raise InvalidRequest("client_secret: never in the URL, send it in the body or as HTTP Basic")
    content_type = environ.get("CONTENT_TYPE", "")
    if content_type != FORM and content_type.partition(";")[0].strip(" \t").lower() != FORM:
        raise InvalidRequest(f"the content type must be {FORM}")
    # The usual body, spelled out for every renewal: `read_body`, and then little has to be decoded.
    announced = environ.get("CONTENT_LENGTH", "")
    length = _USUAL_LENGTHS.get(announced)
    if length is not None:
        try:
            raw = environ["wsgi.input"].read(length)
        except OSError:
            raise _cut_short() from None
        if len(raw) != length:
            raw = _read_on(environ, raw, length)
    else:
        raw = read_body(environ)
    escapes = raw.translate(None, _MEANS_ITSELF)
    if not escapes or not escapes.strip(b"%+"):
        values, fields = {}, raw.decode().split("&", FIELDS_MAX)
        for field in fields:
            name, _, value = field.partition("=")
            if value:
                values[name] = value
        # What is empty or repeats is left to the long way.
        if len(values) == len(fields) <= FIELDS_MAX and (not escapes or _are_decoded(values, fields)):
            return Parameters(values, {}, True)
    return _parse(raw, "body")


def _are_decoded(values: dict[str, str], fields: list[str]) -> bool:
    """Decode the values of these fields, in place; False where that is left to the long way.

    A URL, as every MCP client sends one (RFC 8707), would make a renewal twice as long there.
    """
    for field in fields:
        if "%" in field or "+" in field:
            name, _, value = field.partition("=")
            if "%" in name or "+" in name:
                return False
            is_url = name in REPEATABLE and len(value) <= _URL_LENGTH_MAX
            text = _decoded_url(value) if is_url else _decoded(value)
            if text is None:
                return False
            values[name] = text
    return True


def _decoded(value: str) -> str | None:
    # What is not ASCII stays so: what it means is left to the long way.
    text = unquote_to_bytes(value.replace("+", " ")).decode("latin-1")
    return text if printable(text) else None


_decoded_url = lru_cache(256)(_decoded)
"""For the few that all clients of a server name. Of other values, some are secrets, none is remembered."""


def read_body(environ: WSGIEnvironment) -> bytes:
    """The body, at most 64 KiB. Raises `RequestTooLarge`, and `LengthRequired` where nobody knows its end."""
    announced = environ.get("CONTENT_LENGTH", "")
    is_number = announced.isdecimal() and announced.isascii() and len(announced) <= _DIGITS_MAX
    if is_number and (length := int(announced)) <= BODY_BYTES_MAX:
        return _read_on(environ, b"", length)
    if not announced and environ.get("HTTP_TRANSFER_ENCODING") and not environ.get("wsgi.input_terminated"):
        # The server hands chunks over only to applications that know its ways: read, it would be empty.
        raise LengthRequired("the body came in chunks, which this server does not take: send Content-Length")
    # One byte more: Werkzeug cuts a body without a length off at its limit and says nothing.
    request = Request(environ)
    request.max_content_length = BODY_BYTES_MAX + 1
    try:
        body = request.get_data(cache=False, parse_form_data=False)
    except RequestEntityTooLarge:
        raise _too_large() from None
    except (ClientDisconnected, OSError):
        raise _cut_short() from None
    if len(body) > BODY_BYTES_MAX:
        raise _too_large()
    return body


def _read_on(environ: WSGIEnvironment, body: bytes, length: int) -> bytes:
    """The rest of a body, of which a server may give one piece at a time."""
    while len(body) < length:
        try:
            more = environ["wsgi.input"].read(length - len(body))
        except OSError:
            more = b""
        if not more:
            raise _cut_short()
        body += more
    return body


def _cut_short() -> InvalidRequest:
    return InvalidRequest("the body is shorter than announced")


def _too_large() -> RequestTooLarge:
    return RequestTooLarge(f"the body is larger than {BODY_BYTES_MAX} bytes")


def _parse(raw: bytes, where: str) -> Parameters:
    try:
        text = raw.decode("ascii", "surrogateescape")
        pairs = parse_qsl(
            text, keep_blank_values=True, encoding="utf-8", errors="strict", max_num_fields=FIELDS_MAX
        )
        for name, value in pairs:
            # Bytes above 127 that came without percent-encoding are still surrogates here.
            (name + value).encode("utf-8")
    except UnicodeError:
        raise InvalidRequest(f"the {where} is not UTF-8") from None
    except ValueError:
        raise InvalidRequest(f"the {where} has more than {FIELDS_MAX} parameters") from None
    return gather(pairs)
