"""Which answers a browser may read across origins."""

from __future__ import annotations

from typing import Any

import pytest

from oauth_refresh import cors

ORIGIN = "https://app.example"
EXPOSED = (
    "Access-Control-Expose-Headers",
    "WWW-Authenticate, DPoP-Nonce, Mcp-Session-Id, MCP-Protocol-Version, Retry-After",
)
PREFLIGHT = {
    "REQUEST_METHOD": "OPTIONS",
    "HTTP_ORIGIN": ORIGIN,
    "HTTP_ACCESS_CONTROL_REQUEST_METHOD": "POST",
}


def environ(origin: str | None = ORIGIN, **more: Any) -> dict[str, Any]:
    return {**({} if origin is None else {"HTTP_ORIGIN": origin}), **more}


@pytest.mark.requirement("CORS-04")
@pytest.mark.requirement("CORS-07")
def test_with_a_star_every_answer_can_be_read_by_every_origin() -> None:
    for origin in (ORIGIN, None, "null"):
        assert cors.actual(environ(origin), ["*"]) == [("Access-Control-Allow-Origin", "*"), EXPOSED]


@pytest.mark.requirement("CORS-04")
@pytest.mark.parametrize(
    ("origin", "headers"),
    [
        (ORIGIN, [("Access-Control-Allow-Origin", ORIGIN), ("Vary", "Origin"), EXPOSED]),
        ("https://other.example", [("Vary", "Origin")]),
        ("https://app.example.evil.example", [("Vary", "Origin")]),
        ("HTTPS://APP.EXAMPLE", [("Vary", "Origin")]),
        ("null", [("Vary", "Origin")]),
        (None, [("Vary", "Origin")]),
    ],
)
def test_with_a_list_only_its_origins_are_echoed(origin: str | None, headers: list[tuple[str, str]]) -> None:
    assert cors.actual(environ(origin), [ORIGIN]) == headers


def test_with_an_empty_list_there_are_no_headers() -> None:
    assert cors.actual(environ(), []) == []
    assert cors.preflight(environ(), [], ["GET"]) == []


@pytest.mark.requirement("CORS-05")
@pytest.mark.requirement("CORS-06")
@pytest.mark.requirement("CORS-08")
def test_a_preflight_allows_the_methods_and_the_headers_asked_for() -> None:
    asked = environ(HTTP_ACCESS_CONTROL_REQUEST_HEADERS="authorization,mcp-protocol-version , Mcp-Param-x")
    assert cors.preflight(asked, ["*"], ["GET", "OPTIONS"]) == [
        ("Access-Control-Allow-Origin", "*"),
        ("Access-Control-Allow-Methods", "GET, OPTIONS"),
        ("Access-Control-Allow-Headers", "authorization,mcp-protocol-version , Mcp-Param-x"),
        ("Access-Control-Max-Age", "3600"),
    ]


@pytest.mark.requirement("CORS-05")
def test_the_longest_list_of_headers_is_1024_characters() -> None:
    asked = environ(HTTP_ACCESS_CONTROL_REQUEST_HEADERS="x" * 1024)
    assert ("Access-Control-Allow-Headers", "x" * 1024) in cors.preflight(asked, ["*"], ["GET"])


@pytest.mark.requirement("CORS-05")
@pytest.mark.parametrize(
    "asked", ["", "a b", "a,", ",a", "a\r\nX: y", "é", "a;b", "x" * 1025, "a," * 600 + "a"]
)
def test_a_list_of_headers_that_is_malformed_is_not_echoed(asked: str) -> None:
    answer = dict(cors.preflight(environ(HTTP_ACCESS_CONTROL_REQUEST_HEADERS=asked), ["*"], ["GET"]))
    assert answer["Access-Control-Allow-Headers"] == (
        "Authorization, Content-Type, Accept, MCP-Protocol-Version, Mcp-Session-Id, Mcp-Method, Mcp-Name, "
        "Last-Event-ID, DPoP"
    )


@pytest.mark.requirement("CORS-04")
def test_no_preflight_ever_allows_credentials_or_a_foreign_origin() -> None:
    assert cors.preflight(environ("https://evil.example"), [ORIGIN], ["GET"]) == [("Vary", "Origin")]
    for origins in (["*"], [ORIGIN]):
        assert "Credentials" not in str(cors.preflight(environ(), origins, ["GET"]))


@pytest.mark.requirement("CORS-03")
@pytest.mark.parametrize(
    ("change", "answer"),
    [
        ({}, True),
        ({"CONTENT_LENGTH": ""}, True),
        ({"CONTENT_LENGTH": "0"}, True),
        ({"HTTP_ORIGIN": "null"}, True),
        ({"REQUEST_METHOD": "GET"}, False),
        ({"REQUEST_METHOD": "options"}, False),
        ({"CONTENT_LENGTH": "1"}, False),
        ({"HTTP_TRANSFER_ENCODING": "chunked"}, False),
        ({"HTTP_X_HTTP_METHOD_OVERRIDE": "DELETE"}, False),
        ({"HTTP_X_HTTP_METHOD_OVERRIDE": ""}, False),
        ({"HTTP_X_METHOD_OVERRIDE": "DELETE"}, False),
        ({"HTTP_X_HTTP_METHOD": "DELETE"}, False),
    ],
)
def test_a_preflight_is_what_browsers_send_and_nothing_more(change: dict[str, str], answer: bool) -> None:
    assert cors.is_preflight({**PREFLIGHT, **change}) is answer


def test_a_preflight_has_an_origin_and_a_method() -> None:
    for name in ("HTTP_ORIGIN", "HTTP_ACCESS_CONTROL_REQUEST_METHOD"):
        assert not cors.is_preflight({key: value for key, value in PREFLIGHT.items() if key != name})


@pytest.mark.requirement("CORS-10")
def test_a_page_of_the_internet_gets_no_leave_to_enter_a_private_network() -> None:
    environ = {
        "REQUEST_METHOD": "OPTIONS",
        "HTTP_ORIGIN": "https://app.example",
        "HTTP_ACCESS_CONTROL_REQUEST_METHOD": "POST",
        "HTTP_ACCESS_CONTROL_REQUEST_PRIVATE_NETWORK": "true",
    }
    names = {name for name, _ in cors.preflight(environ, ("*",), ("POST",))}
    assert "Access-Control-Allow-Origin" in names
    assert "Access-Control-Allow-Private-Network" not in names
