"""JSON answers and errors, with the headers that belong to every one of them."""

from __future__ import annotations

import json

import pytest
from werkzeug.wrappers import Request

from oauth_refresh.errors import InvalidClient, InvalidRequest, TooManyRequests
from oauth_refresh.responses import error_members, error_response, json_response, prefers_json

HEADERS = {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "Pragma": "no-cache",
    "X-Content-Type-Options": "nosniff",
}


@pytest.mark.requirement("HTTP-01")
@pytest.mark.requirement("HTTP-02")
@pytest.mark.requirement("HTTP-10")
def test_no_json_answer_is_kept_by_a_cache() -> None:
    response = json_response({"a": 1, "b": "ü"}, 201, [("X-Own", "x")])
    assert (response.status_code, json.loads(response.data)) == (201, {"a": 1, "b": "ü"})
    length = {"Content-Length": str(len(response.data))}
    assert dict(response.headers) == {**HEADERS, **length, "X-Own": "x"}


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("application/json", True),
        ("application/json, */*", True),
        ("*/*", False),
        ("text/html", False),
        ("", False),
    ],
)
def test_a_program_says_that_it_reads_no_pages(accept: str, wanted: bool) -> None:
    assert prefers_json(Request({"HTTP_ACCEPT": accept})) is wanted
    assert json_response({}).status_code == 200


@pytest.mark.requirement("TOK-07")
@pytest.mark.requirement("GEN-15")
def test_an_error_has_its_code_its_status_and_its_headers() -> None:
    response = error_response(InvalidClient("who?", headers=(("WWW-Authenticate", 'Basic realm="x"'),)))
    assert (response.status_code, response.data) == (
        401,
        b'{"error":"invalid_client","error_description":"who?"}',
    )
    assert response.headers["WWW-Authenticate"] == 'Basic realm="x"'
    assert error_response(InvalidRequest()).data == b'{"error":"invalid_request"}'
    assert error_response(TooManyRequests(retry_after=7)).headers["Retry-After"] == "7"


@pytest.mark.requirement("GEN-14")
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('a "b" \\c', "a ?b? ?c"),
        ("a\r\nb\tc", "a??b?c"),
        ("ü☂\u2028", "???"),
        ("\x7f!#[]~ ", "?!#[]~ "),
    ],
)
def test_a_description_keeps_to_the_characters_of_the_standard(text: str, told: str) -> None:
    assert error_members(InvalidRequest(text)) == {"error": "invalid_request", "error_description": told}


def test_the_detail_is_for_the_log_alone() -> None:
    error = InvalidRequest("told", detail="secret")
    assert error_members(error) == {"error": "invalid_request", "error_description": "told"}
    assert b"secret" not in error_response(error).data
