"""What a client reads: JSON answers and errors, with the headers that belong to every one of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec
from werkzeug.wrappers import Request, Response

from .errors import OAuthError

_NOT_FOR_DESCRIPTIONS = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]")


Answer = bytes
"""200 and a JSON object: tokens, or what one is good for, which is most of what is asked here.

The same on the wire as a `json_response`; a quarter of a renewal's time went into building one of those.
"""

ANSWER_HEADERS = (
    ("Content-Type", "application/json"),
    ("Cache-Control", "no-store"),
    ("Pragma", "no-cache"),
    ("X-Content-Type-Options", "nosniff"),
)
"""What goes with an answer, beside its length and the headers for browsers."""


def json_response(
    data: Mapping[str, object], status: int = 200, headers: Iterable[tuple[str, str]] = ()
) -> Response:
    """A JSON object that no cache keeps (RFC 6749 section 5.1)."""
    response = Response(msgspec.json.encode(data), status, mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    response.headers["Pragma"] = "no-cache"
    response.headers["X-Content-Type-Options"] = "nosniff"
    for name, value in headers:
        response.headers[name] = value
    return response


def prefers_json(request: Request) -> bool:
    """Whether a page would be lost on this client: some programs fetch the URLs of pages by themselves."""
    return request.accept_mimetypes.best_match(["text/html", "application/json"]) == "application/json"


def error_response(error: OAuthError) -> Response:
    """RFC 6749 section 5.2."""
    return json_response(error_members(error), error.status, error.headers)


def error_members(error: OAuthError) -> dict[str, str]:
    """`error` and `error_description`, in the characters that the standard allows for them."""
    members = {"error": error.code}
    if error.description:
        members["error_description"] = _NOT_FOR_DESCRIPTIONS.sub("?", error.description)
    return members
