"""What the server is called from outside: configured, or a loopback host's own name."""

from __future__ import annotations

from typing import Any

import pytest

from oauth_refresh.addresses import AddressBook, Addresses, from_issuer

from .driving import InProcess


def environ(host: str | None, *, mount: str = "", scheme: str = "http") -> dict[str, Any]:
    made = {
        "wsgi.url_scheme": scheme,
        "SCRIPT_NAME": mount,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "5000",
    }
    return made if host is None else {**made, "HTTP_HOST": host}


@pytest.mark.requirement("DISC-02")
@pytest.mark.parametrize(
    ("issuer", "base", "origin", "path"),
    [
        ("https://as.example", "https://as.example", "https://as.example", ""),
        ("https://as.example/", "https://as.example", "https://as.example", ""),
        ("https://as.example/t1", "https://as.example/t1", "https://as.example", "/t1"),
        ("https://as.example/t1/", "https://as.example/t1", "https://as.example", "/t1"),
        ("https://AS.example:8443", "https://AS.example:8443", "https://AS.example:8443", ""),
        ("http://[::1]:5000", "http://[::1]:5000", "http://[::1]:5000", ""),
    ],
)
def test_the_issuer_is_kept_byte_for_byte(issuer: str, base: str, origin: str, path: str) -> None:
    assert from_issuer(issuer) == Addresses(issuer, base, origin, path)


def test_a_resource_is_the_base_and_a_prefix() -> None:
    addresses = from_issuer("https://as.example/t1/")
    assert addresses.resource("") == "https://as.example/t1"
    assert addresses.resource("/") == "https://as.example/t1"
    assert addresses.resource("/größe x") == "https://as.example/t1/gr%C3%B6%C3%9Fe%20x"


@pytest.mark.requirement("PRM-02")
def test_a_metadata_document_lies_before_the_prefix_and_inside_the_mount() -> None:
    assert from_issuer("https://as.example").resource_metadata("/mcp") == (
        "https://as.example/.well-known/oauth-protected-resource/mcp"
    )
    assert from_issuer("https://as.example").resource_metadata("") == (
        "https://as.example/.well-known/oauth-protected-resource"
    )
    assert from_issuer("https://as.example/t1").resource_metadata("/mcp") == (
        "https://as.example/t1/.well-known/oauth-protected-resource/mcp"
    )


@pytest.mark.requirement("WSGI-01")
def test_a_configured_issuer_is_the_only_one() -> None:
    book = AddressBook("https://as.example")
    for host in ("evil.example", "localhost:5000", None):
        assert book.of(environ(host)) == from_issuer("https://as.example")


@pytest.mark.parametrize(
    ("host", "issuer"),
    [
        ("localhost", "http://localhost"),
        ("localhost:5000", "http://localhost:5000"),
        ("LocalHost:5000", "http://localhost:5000"),
        ("127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("127.8.9.1", "http://127.8.9.1"),
        ("[::1]:5000", "http://[::1]:5000"),
        (None, "http://localhost:5000"),
    ],
)
def test_a_loopback_host_is_its_own_issuer(host: str | None, issuer: str) -> None:
    addresses = AddressBook(None).of(environ(host))
    assert addresses is not None
    assert addresses.issuer == issuer


@pytest.mark.requirement("WSGI-01")
@pytest.mark.parametrize(
    "host",
    [
        "as.example",
        "localhost.as.example",
        "127.0.0.1.nip.io",
        "127.0.0.1@evil.example",
        "localhost:",
        "localhost:5000:80",
        "localhost:5000/x",
        'localhost", error="x',
        "localhost\n",
        "localhost\r\nX: y",
        "[::1",
        "[::2]:80",
        "0.0.0.0:80",
        "2130706433",
        "1270.0.0.1",
        "x127.0.0.1",
        "lOcalhost\u0130",
    ],
)
def test_any_other_host_has_no_address_without_an_issuer(host: str) -> None:
    assert AddressBook(None).of(environ(host)) is None


def test_the_mount_is_a_part_of_the_address() -> None:
    addresses = AddressBook(None).of(environ("localhost:5000", mount="/app/"))
    assert addresses == Addresses(
        "http://localhost:5000/app", "http://localhost:5000/app", "http://localhost:5000", "/app"
    )


@pytest.mark.requirement("WSGI-02")
@pytest.mark.parametrize(
    ("mount", "written"),
    [
        ('/a", error="x', "/a%22,%20error=%22x"),
        ("/a\r\nSet-Cookie: x", "/a%0D%0ASet-Cookie:%20x"),
        ("/gr\xc3\xb6\xc3\x9fe", "/gr%C3%B6%C3%9Fe"),
        ("/a?b#c", "/a%3Fb%23c"),
        ("//evil.example", "/evil.example"),
        ("/\\evil.example/", "/%5Cevil.example"),
    ],
)
def test_a_hostile_mount_cannot_break_out_of_a_header(mount: str, written: str) -> None:
    addresses = AddressBook(None).of(environ("localhost", mount=mount))
    assert addresses is not None
    assert addresses.issuer == "http://localhost" + written


@pytest.mark.requirement("WSGI-02")
def test_the_challenge_below_a_hostile_mount_is_well_formed() -> None:
    server = InProcess()
    made = {**server.environ("GET", server.base + "/api"), "SCRIPT_NAME": '/a", error="x'}
    challenge = server.call(made).headers["WWW-Authenticate"]
    assert challenge == (
        'Bearer realm="oauth", resource_metadata='
        '"http://localhost:8000/a%22,%20error=%22x/.well-known/oauth-protected-resource/api"'
    )


def test_https_on_loopback_is_another_issuer() -> None:
    addresses = AddressBook(None).of(environ("localhost", scheme="https"))
    assert addresses is not None
    assert addresses.https
    assert addresses.issuer == "https://localhost"


def test_no_more_than_a_few_addresses_are_remembered() -> None:
    book = AddressBook(None)
    for port in range(1, 200):
        addresses = book.of(environ(f"localhost:{port}"))
        assert addresses is not None
        assert addresses.issuer == f"http://localhost:{port}"
    assert len(book._seen) == 64
