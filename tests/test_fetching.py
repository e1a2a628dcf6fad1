"""A URL that a stranger chose is fetched from where it may lead, within bounds, or not at all."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from oauth_refresh import fetching
from oauth_refresh.client_metadata import BYTES_MAX, Location, locate
from oauth_refresh.errors import FetchError
from oauth_refresh.fetching import AT_ONCE_MAX, Fetcher

from .document_host import NAME, PUBLIC, URL, DocumentHost, document_host, make_authority

NOT_PUBLIC = "its host name leads to an address that is not public"


def place(url: str, *, loopback: bool = False) -> Location:
    found = locate(url, loopback=loopback)
    assert isinstance(found, Location), found
    return found


HERE = place(URL)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DocumentHost]:
    with document_host(tmp_path_factory.mktemp("host")) as host:
        yield host


@pytest.fixture(autouse=True)
def _anew(host: DocumentHost) -> None:
    host.publish(b"{}")
    host.addresses = (PUBLIC,)
    for seen in (host.requests, host.connected, host.looked_up):
        seen.clear()


def refused(fetch: Fetcher, location: Location = HERE) -> FetchError:
    with pytest.raises(FetchError) as caught:
        fetch(location)
    return caught.value


@pytest.mark.requirement("CIMD-05")
@pytest.mark.requirement("CIMD-07")
def test_the_request_is_plain_and_names_the_host(host: DocumentHost) -> None:
    host.publish(b'{"a": 1}', headers={"Cache-Control": "max-age=60"})
    fetched = host.fetcher()(HERE)
    assert fetched.body == b'{"a": 1}'
    assert fetched.headers["cache-control"] == "max-age=60"
    (request,) = host.requests
    first, *lines = request.strip().split("\r\n")
    assert first == "GET /oauth/client.json HTTP/1.1"
    assert sorted(lines) == [
        "Accept-Encoding: identity",
        "Accept: application/json",
        "Connection: close",
        f"Host: {NAME}",
        "User-Agent: oauth-refresh",
    ]
    assert host.looked_up == [NAME]
    assert host.connected == [(PUBLIC, 443)]


@pytest.mark.requirement("CIMD-04")
@pytest.mark.parametrize(
    "addresses",
    [
        ("10.0.0.1",),
        ("127.0.0.1",),
        ("169.254.169.254",),
        ("::ffff:127.0.0.1",),
        ("64:ff9b::a00:1",),
        ("fe80::1%1",),
        (PUBLIC, "10.0.0.1"),
        ("10.0.0.1", PUBLIC),
        ("2130706433",),
    ],
)
def test_a_name_with_one_address_that_is_not_public_is_not_connected_to(
    host: DocumentHost, addresses: Sequence[str]
) -> None:
    host.addresses = addresses
    error = refused(host.fetcher())
    assert (str(error), error.lasting) == (NOT_PUBLIC, True)
    assert host.connected == []


@pytest.mark.requirement("CIMD-05")
def test_a_name_that_changes_its_answer_does_not_lead_to_the_second_address(
    host: DocumentHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the system's look-up and the route to the public address are replaced, underneath the fetcher."""
    inside = socket.create_server(("127.0.0.1", 0))
    inside.settimeout(0)
    answers = iter([PUBLIC])
    tried: list[Any] = []

    def look_up(name: Any, port: Any, *_: Any, **__: Any) -> list[Any]:
        address = next(answers, "127.0.0.1") if name == NAME else name
        reached = inside.getsockname()[1] if address == "127.0.0.1" else port
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, reached))]

    class Line(socket.socket):
        def connect(self, address: Any) -> None:
            tried.append(address)
            super().connect(("127.0.0.1", host.port) if address[0] == PUBLIC else address)

    context = host.fetcher().context
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(socket, "socket", Line)
    with closing(inside):
        assert Fetcher(context=context)(HERE).body == b"{}"
        # What asks again is led inside by now.
        assert fetching.resolve(NAME, 443) == ["127.0.0.1"]
        with pytest.raises(BlockingIOError):
            inside.accept()
    assert tried == [(PUBLIC, 443)]


def test_the_listening_socket_of_the_test_before_could_have_been_reached() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as inside:
        socket.create_connection(inside.getsockname()).close()
        inside.accept()[0].close()


def test_the_next_address_is_tried_where_one_does_not_answer(host: DocumentHost) -> None:
    host.addresses = ("1.1.1.1", PUBLIC)

    def connect(address: str, port: int, seconds: float) -> socket.socket:
        if address != PUBLIC:
            raise TimeoutError
        return host.connect(address, port, seconds)

    assert host.fetcher(connect=connect)(HERE).body == b"{}"


@pytest.mark.requirement("CIMD-05")
def test_the_certificate_must_be_for_the_name_and_of_a_trusted_authority(
    host: DocumentHost, tmp_path: Path
) -> None:
    untrusted = "its host has no certificate for this name that is trusted here"
    other = ssl.create_default_context(cafile=str(make_authority(tmp_path, NAME).root))
    assert str(refused(host.fetcher(context=other))) == untrusted
    assert str(refused(host.fetcher(), place("https://other.notes-app.dev/c"))) == untrusted
    assert host.requests == []
    assert host.fetcher()(HERE).body == b"{}"


@pytest.mark.requirement("CIMD-06")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(host: DocumentHost, status: int) -> None:
    host.say(status, b"{}", {"Location": URL})
    error = refused(host.fetcher())
    assert (str(error), error.lasting) == (
        f"the answer has status {status}: a redirect, and none is followed",
        False,
    )
    assert len(host.requests) == 1


@pytest.mark.requirement("CIMD-06")
@pytest.mark.parametrize(
    ("status", "lasting"),
    [(201, False), (203, False), (206, False), (404, True), (410, True), (429, False), (500, False)],
)
def test_only_status_200_counts(host: DocumentHost, status: int, lasting: bool) -> None:
    host.say(status, b"{}")
    error = refused(host.fetcher())
    assert (str(error), error.lasting) == (f"the answer has status {status}: not 200", lasting)


@pytest.mark.requirement("CIMD-08")
@pytest.mark.parametrize(
    ("content_type", "fits"),
    [
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("application/cimd+json", True),
        ("text/html", False),
        ("text/json", False),
        ("application/jsonp", False),
        ("application/x+json+xml", False),
        ("", False),
    ],
)
def test_the_content_type_says_json(host: DocumentHost, content_type: str, fits: bool) -> None:
    host.say(200, b"{}", {"Content-Type": content_type})
    if fits:
        assert host.fetcher()(HERE).body == b"{}"
    else:
        assert "content type" in str(refused(host.fetcher()))


def test_a_document_may_have_five_kilobytes_and_no_more(host: DocumentHost) -> None:
    host.publish(b"x" * BYTES_MAX)
    assert len(host.fetcher()(HERE).body) == BYTES_MAX
    host.publish(b"x" * (BYTES_MAX + 1))
    error = refused(host.fetcher())
    assert (str(error), error.lasting) == (f"the answer is larger than {BYTES_MAX} bytes", True)


@pytest.mark.requirement("CIMD-07")
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity, gzip"])
def test_what_is_compressed_is_not_unpacked(host: DocumentHost, encoding: str) -> None:
    bomb = b"0" * 10_000_000
    body = zlib.compress(bomb) if encoding == "deflate" else gzip.compress(bomb)
    host.say(200, body[:4000], {"Content-Encoding": encoding, "Content-Length": "4000"})
    assert str(refused(host.fetcher())) == "the answer is compressed, which was not asked for"


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def endless(start: bytes, piece: bytes) -> Callable[[ssl.SSLSocket], None]:
    def talk(line: ssl.SSLSocket) -> None:
        line.sendall(start)
        while True:
            line.sendall(piece)

    return talk


def slow(start: bytes, piece: bytes) -> Callable[[ssl.SSLSocket], None]:
    def talk(line: ssl.SSLSocket) -> None:
        line.sendall(start)
        while True:
            time.sleep(0.02)
            line.sendall(piece)

    return talk


@pytest.mark.requirement("CIMD-07")
@pytest.mark.parametrize(
    "talk",
    [
        pytest.param(endless(HEAD + b"\r\n", b"x" * 1000), id="body"),
        pytest.param(
            endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"3e8\r\n" + b"x" * 1000 + b"\r\n"),
            id="chunks",
        ),
        pytest.param(endless(HEAD, b"X-More: " + b"x" * 1000 + b"\r\n"), id="headers"),
        pytest.param(endless(HEAD + b"X-More: ", b"x" * 1000), id="header"),
        pytest.param(endless(b"HTTP/1.1 ", b"2" * 1000), id="status"),
    ],
)
def test_an_endless_answer_is_given_up(host: DocumentHost, talk: Any) -> None:
    host.talk = talk
    refused(host.fetcher())
    host.publish(b"{}")
    assert host.fetcher()(HERE).body == b"{}"


@pytest.mark.requirement("CIMD-07")
@pytest.mark.requirement("OPS-03")
@pytest.mark.parametrize(
    "talk",
    [
        pytest.param(slow(HEAD + b"\r\n", b"x"), id="body"),
        pytest.param(slow(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"), id="chunks"),
        pytest.param(slow(HEAD + b"X-More: ", b"x"), id="header"),
        pytest.param(slow(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), id="continue"),
        pytest.param(slow(b"", b""), id="silence"),
    ],
)
def test_an_answer_that_drips_ends_with_the_time_for_all_of_it_and_so_does_its_thread(
    host: DocumentHost, talk: Any
) -> None:
    host.talk = talk
    fetch = host.fetcher(seconds=0.3)
    assert str(refused(fetch)) == "it was not there within 0.3 seconds"
    assert free_places(fetch) == AT_ONCE_MAX


def free_places(fetch: Fetcher) -> int:
    """How many fetches could begin, once those that were given up have had time to end."""
    end = time.monotonic() + 20
    taken = 0
    while taken < AT_ONCE_MAX and time.monotonic() < end:
        taken += fetch._free.acquire(timeout=0.1)
    return taken


@pytest.mark.requirement("OPS-03")
def test_a_look_up_that_hangs_holds_nobody_longer_than_the_time_limit(host: DocumentHost) -> None:
    hanging = threading.Event()

    def look_up(name: str, port: int) -> Sequence[str]:
        hanging.wait(30)
        return (PUBLIC,)

    fetch = host.fetcher(resolve=look_up, seconds=0.2)
    assert str(refused(fetch)) == "it was not there within 0.2 seconds"
    hanging.set()
    assert free_places(fetch) == AT_ONCE_MAX
    assert host.requests == []


@pytest.mark.requirement("OPS-03")
def test_no_more_than_a_few_are_fetched_at_once(host: DocumentHost) -> None:
    hanging = threading.Event()

    def look_up(name: str, port: int) -> Sequence[str]:
        hanging.wait(30)
        return (PUBLIC,)

    fetch = host.fetcher(resolve=look_up, seconds=0.05)
    for _ in range(AT_ONCE_MAX):
        refused(fetch)
    assert str(refused(fetch)) == "too many documents are being fetched at this moment"
    hanging.set()
    assert free_places(fetch) == AT_ONCE_MAX


@pytest.mark.parametrize("failure", [socket.gaierror, UnicodeError, OSError])
def test_a_name_without_an_address_is_trouble_that_may_pass(
    host: DocumentHost, failure: type[Exception]
) -> None:
    def look_up(name: str, port: int) -> Sequence[str]:
        raise failure

    error = refused(host.fetcher(resolve=look_up))
    assert (str(error), error.lasting) == ("its host name has no address", False)
    host.addresses = ()
    assert str(refused(host.fetcher())) == "its host name has no address"


@pytest.mark.parametrize(
    "said",
    [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", HEAD + b"Content-Length: 9\r\n\r\n{}"],
    ids=["nothing", "nonsense", "no status", "cut off"],
)
def test_an_answer_that_is_no_http_or_breaks_off_is_trouble_that_may_pass(
    host: DocumentHost, said: bytes
) -> None:
    host.talk = lambda line: line.sendall(said)
    error = refused(host.fetcher())
    assert str(error) == "its host broke off, or answered with something else than HTTP"
    assert not error.lasting


def test_a_host_without_tls_is_told_so(host: DocumentHost) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as plain:

        def answer() -> None:
            line = plain.accept()[0]
            line.recv(100)
            line.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            line.close()

        threading.Thread(target=answer, daemon=True).start()
        reach = lambda *_: socket.create_connection(plain.getsockname())  # noqa: E731
        assert str(refused(host.fetcher(connect=reach))) == "its host does not speak TLS as it should"


def test_no_proxy_of_the_environment_is_used(host: DocumentHost, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert host.fetcher()(HERE).body == b"{}"


def test_in_development_a_document_lies_on_loopback_in_clear(host: DocumentHost) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as plain:
        port = plain.getsockname()[1]

        def answer() -> None:
            line = plain.accept()[0]
            line.recv(1000)
            line.sendall(HEAD + b"Content-Length: 2\r\n\r\n{}")
            line.close()

        threading.Thread(target=answer, daemon=True).start()
        here = place(f"http://localhost:{port}/c", loopback=True)
        assert Fetcher(resolve=lambda *_: ["127.0.0.1"])(here).body == b"{}"
    for addresses in (["127.0.0.1", "10.0.0.1"], [PUBLIC]):
        assert str(refused(Fetcher(resolve=lambda *_: addresses), here)) == NOT_PUBLIC  # noqa: B023


def test_the_systems_own_look_up_is_the_default() -> None:
    assert "127.0.0.1" in fetching.resolve("localhost", 80)
