"""Which parameters a request carries, read to the letter."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder

from oauth_refresh.errors import InvalidRequest, LengthRequired, RequestTooLarge
from oauth_refresh.parameters import (
    BODY_BYTES_MAX,
    FORM,
    QUERY_BYTES_MAX,
    gather,
    printable,
    read_body,
    read_form,
    read_query,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


def posted(body: bytes, content_type: str | None = FORM, query: str = "") -> WSGIEnvironment:
    builder = EnvironBuilder(method="POST", query_string=query, data=body, content_type=content_type)
    return builder.get_environ()


def streamed(body: Any, length: str | None) -> WSGIEnvironment:
    environ = {**EnvironBuilder(method="POST").get_environ(), "wsgi.input": body, "CONTENT_LENGTH": length}
    if length is None:
        del environ["CONTENT_LENGTH"]
    return environ


def chunked(body: BytesIO) -> WSGIEnvironment:
    more = {"wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"}
    return {**streamed(body, None), **more}


# --- decoding -------------------------------------------------------------------------------------


@pytest.mark.requirement("GEN-01")
@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"a=b+c", "b c"),
        (b"a=b%20c", "b c"),
        (b"a=b%2Bc", "b+c"),
        (b"a=%2525", "%25"),
        (b"a=b=c", "b=c"),
        (b"a=%C3%BC", "ü"),
        (b"a=%zz", "%zz"),
        (b"a=b;c=d", "b;c=d"),
        (b"%61=b", "b"),
        (b"a", None),
        (b"", None),
    ],
)
def test_values_are_decoded_once(raw: bytes, value: str | None) -> None:
    assert read_query(raw).get("a") == value
    assert read_form(posted(raw)).get("a") == value


BODY = st.lists(st.sampled_from([*"ab=&%+2046FeEcC3;_~ ", "%20", "%C3%BC", "%00", "resource="]), max_size=40)


@given(BODY.map("".join))
@example("a=http%3A%2F%2Fas.example%2Fmcp&b=notes%3Aread+notes%3Awrite")
def test_the_usual_body_says_the_same_by_either_way(text: str) -> None:
    """What needs little decoding is read by a short way: here beside the one for everything."""
    try:
        long = read_query(text.encode())
    except InvalidRequest:
        with pytest.raises(InvalidRequest, match="the body is not UTF-8"):
            read_form(posted(text.encode()))
        return
    quick = read_form(posted(text.encode()))
    assert (quick.values, quick.several) == (long.values, long.several)
    assert not quick.plain or all(map(printable, quick.values.values()))


@pytest.mark.parametrize(
    "raw",
    [
        b"grant_type=refresh_token&resource=http%3A%2F%2Fas.example%2Fmcp",
        b"grant_type=refresh_token&resource=http://as.example/mcp",
        b"scope=notes%3Aread+notes%3Awrite",
    ],
)
def test_what_clients_send_every_day_goes_the_short_way(raw: bytes) -> None:
    assert read_form(posted(raw)).plain


@pytest.mark.requirement("GEN-04")
@pytest.mark.parametrize(
    "raw", [b"a=%ff%fe", b"%ff=x", b"a=\xff", b"a=\xc3\xbc", b"a=%ED%A0%80", b"a=%C0%AF"]
)
def test_what_is_not_utf_8_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidRequest, match="the query is not UTF-8"):
        read_query(raw)
    with pytest.raises(InvalidRequest, match="the body is not UTF-8"):
        read_form(posted(raw))


@pytest.mark.requirement("GEN-09")
def test_an_empty_value_counts_as_absent() -> None:
    parameters = read_query(b"a=&b=&b=x&resource=&resource=y")
    assert parameters.get("a") is None
    assert parameters.get("b") == "x"
    assert parameters.all("resource") == ("y",)
    assert parameters.all("a") == ()


@pytest.mark.requirement("GEN-06")
@pytest.mark.requirement("GEN-10")
@pytest.mark.parametrize("raw", [b"a=1&a=2", b"a=1&a=1", b"a=&a=1", b"a=&a=", b"a&a", b"a=1&%61=2"])
def test_a_known_parameter_may_occur_only_once(raw: bytes) -> None:
    with pytest.raises(InvalidRequest) as raised:
        read_query(raw).require_single(["b", "a"])
    assert raised.value.description == "a: must occur only once"


@pytest.mark.requirement("GEN-05")
@pytest.mark.requirement("GEN-06")
def test_unknown_ones_and_resources_may_repeat() -> None:
    read_query(b"x=1&x=2&resource=1&resource=1&a=1").require_single(["a", "resource"])


@pytest.mark.requirement("GEN-13")
@pytest.mark.parametrize("value", ["ü", "\n", "\x7f", "\0", "\u2028"])
def test_a_value_outside_of_printable_ascii_is_refused_where_it_matters(value: str) -> None:
    parameters = gather([("a", value), ("b", " ~")])
    parameters.require_printable(["b", "c"])
    with pytest.raises(InvalidRequest, match="a: only printable ASCII"):
        parameters.require_printable(["b", "a"])


def test_parameters_do_not_show_what_they_carry() -> None:
    assert repr(read_query(b"client_secret=hidden&a=b&hidden=1")) == "<3 parameters>"
    assert repr(read_query(b"client_secret=hid%64en")) == "<1 parameters>"


# --- bodies ---------------------------------------------------------------------------------------


@pytest.mark.requirement("GEN-02")
@pytest.mark.parametrize(
    "content_type",
    [FORM, FORM + ";charset=UTF-8", "Application/X-WWW-Form-Urlencoded; charset=utf-8", f" {FORM} ;"],
)
def test_the_content_type_is_read_in_any_case_and_with_parameters(content_type: str) -> None:
    assert read_form(posted(b"a=b", content_type)).get("a") == "b"


@pytest.mark.requirement("GEN-03")
@pytest.mark.parametrize(
    "content_type",
    [None, "", "application/json", "text/plain", "multipart/form-data; boundary=x", FORM + "s", f"x;{FORM}"],
)
def test_another_content_type_is_refused(content_type: str | None) -> None:
    with pytest.raises(InvalidRequest, match="the content type must be " + FORM):
        read_form(posted(b"a=b", content_type))


@pytest.mark.requirement("GEN-11")
def test_the_query_of_a_post_does_not_count() -> None:
    parameters = read_form(posted(b"a=body", query="a=query&b=query&%ff"))
    assert (parameters.get("a"), parameters.get("b")) == ("body", None)


@pytest.mark.requirement("GEN-12")
@pytest.mark.parametrize(
    "query", ["client_secret=s", "x=1&client_secret=s", "client%5fsecret=s", "client_secret=&client_secret=s"]
)
def test_a_secret_in_the_url_is_refused(query: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        read_form(posted(b"a=b", query=query))
    told = "client_secret: never in the URL, send it in the body or as HTTP Basic"
    assert raised.value.description == told
    assert "s=s" not in str(raised.value)


def test_a_parameter_that_only_ends_like_a_secret_is_unknown() -> None:
    assert read_form(posted(b"a=b", query="no_client_secret=s")).get("a") == "b"


@pytest.mark.requirement("HTTP-12")
def test_a_body_of_64_kib_is_the_largest() -> None:
    largest = b"a=" + b"x" * (BODY_BYTES_MAX - 2)
    assert len(read_form(posted(largest)).get("a") or "") == BODY_BYTES_MAX - 2
    with pytest.raises(RequestTooLarge):
        read_form(posted(largest + b"x"))


class Endless(BytesIO):
    """A body without an end, that says how much of it was read."""

    taken = 0

    def read(self, size: int | None = -1) -> bytes:
        assert size is not None
        assert size >= 0
        self.taken += size
        return b"x" * size

    def readinto(self, buffer: Any) -> int:
        self.taken += len(buffer)
        buffer[:] = b"x" * len(buffer)
        return len(buffer)


@pytest.mark.requirement("HTTP-12")
def test_a_chunked_body_is_read_no_further_than_the_limit() -> None:
    body = Endless()
    with pytest.raises(RequestTooLarge):
        read_body(chunked(body))
    assert body.taken <= 2 * BODY_BYTES_MAX
    assert len(read_body(chunked(BytesIO(b"x" * BODY_BYTES_MAX)))) == BODY_BYTES_MAX
    with pytest.raises(RequestTooLarge):
        read_body(chunked(BytesIO(b"x" * (BODY_BYTES_MAX + 1))))


def test_chunks_that_the_server_does_not_take_apart_are_not_an_empty_body() -> None:
    environ = {**chunked(BytesIO(b"grant_type=refresh_token")), "CONTENT_TYPE": FORM}
    del environ["wsgi.input_terminated"]
    with pytest.raises(LengthRequired, match="send Content-Length") as refused:
        read_form(environ)
    assert (refused.value.status, refused.value.code) == (411, "invalid_request")
    # Without any body there is nothing whose length is missing.
    assert read_body(streamed(BytesIO(b""), None)) == b""


@pytest.mark.requirement("HTTP-12")
def test_an_announced_body_that_is_too_large_is_not_read_at_all() -> None:
    body = Endless()
    with pytest.raises(RequestTooLarge):
        read_body(streamed(body, str(10**9)))
    assert body.taken == 0


def test_a_body_of_unknown_length_is_empty_where_the_server_gives_no_end() -> None:
    assert read_body(streamed(Endless(), None)) == b""
    assert read_body(streamed(Endless(), "many")) == b""


def test_a_body_that_ends_early_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="shorter than announced"):
        read_body(streamed(BytesIO(b"a=b"), "10"))


class Resetting:
    """The body of a client that has hung up."""

    def read(self, size: int = -1) -> bytes:
        raise ConnectionResetError(104, "Connection reset by peer")


@pytest.mark.parametrize("announced", ["10", None])
def test_a_client_that_hangs_up_in_the_midst_of_its_body_is_no_fault_of_ours(announced: str | None) -> None:
    environ = streamed(Resetting(), announced) | {"wsgi.input_terminated": True}
    for read in (read_body, read_form):
        with pytest.raises(InvalidRequest, match="shorter than announced"):
            read(environ | {"CONTENT_TYPE": "application/x-www-form-urlencoded"})


def test_an_announced_length_of_thousands_of_digits_is_no_fault_of_ours() -> None:
    form = {"CONTENT_TYPE": "application/x-www-form-urlencoded"}
    for digits, body in (("0" * 5000 + "3", b"a=b"), ("9" * 5000, b"")):
        for read in (read_body, read_form):
            with suppress(InvalidRequest, RequestTooLarge):
                read(streamed(BytesIO(body), digits) | form)


@pytest.mark.requirement("HTTP-12")
def test_a_query_of_16_kib_is_the_longest() -> None:
    longest = b"a=" + b"x" * (QUERY_BYTES_MAX - 2)
    assert read_query(longest).get("a") is not None
    with pytest.raises(RequestTooLarge, match="the query is longer than 16384 bytes"):
        read_query(longest + b"x")


def test_too_many_parameters_are_refused() -> None:
    assert read_query(b"&".join([b"a=b"] * 200)).repeated("a")
    with pytest.raises(InvalidRequest, match="more than 200 parameters"):
        read_query(b"&".join([b"a=b"] * 201))


@pytest.mark.parametrize(
    "body",
    [
        b"grant_type=refresh_token&refresh_token=ort_a-b_c&client_id=x",
        b"a=&b=1",
        b"a=1&a=2",
        b"a=b=c",
        b"a",
        b"a&b=1",
        b"a=1&",
        b"&a=1",
        b"=1",
        b"a=%31&b=+",
        b"a=1;b=2",
        b"",
        b"a=1&&b=2",
        b"&".join(b"n%d=1" % number for number in range(40)),
    ],
)
def test_the_short_way_reads_a_form_as_the_long_way_does(body: bytes) -> None:
    expected: dict[str, list[str]] = {}
    for name, value in parse_qsl(body.decode(), keep_blank_values=True):
        expected.setdefault(name, []).append(value)
    parameters = read_query(body)
    assert {name: parameters.all(name) for name in expected} == {
        name: tuple(value for value in values if value) for name, values in expected.items()
    }


class Dripping:
    """A body that comes in small pieces, as from some servers, and then breaks off."""

    def __init__(self, body: bytes) -> None:
        self.body = body

    def read(self, size: int = -1) -> bytes:
        piece, self.body = self.body[:3], self.body[3:]
        return piece


@pytest.mark.parametrize(("announced", "whole"), [(9, True), (10, False)])
def test_a_body_in_pieces_is_read_to_its_announced_end(announced: int, whole: bool) -> None:
    environ = {
        "REQUEST_METHOD": "POST",
        "CONTENT_TYPE": "application/x-www-form-urlencoded",
        "CONTENT_LENGTH": str(announced),
        "wsgi.input": Dripping(b"name=text"),
        "wsgi.url_scheme": "http",
    }
    if whole:
        assert read_form(environ).get("name") == "text"
    else:
        with pytest.raises(InvalidRequest, match="shorter than announced"):
            read_form(environ)
