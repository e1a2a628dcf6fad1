"""Which URLs may be client ids, and which documents behind them register a client?"""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from oauth_refresh.client_metadata import BYTES_MAX, Location, is_document_url, locate, read_document
from oauth_refresh.errors import DocumentRefused
from oauth_refresh.registration import Registration

from .document_host import URL, document

CHARACTER = "it contains a character that does not belong in a URL"
NOT_HTTPS = "it is no https URL"
NOT_A_NAME = "its host is not a full domain name"
NOT_PUBLIC = "its host has a name that is not public"
DOTS = "it contains a dot segment"
MALFORMED = "its host or port is malformed"


@pytest.mark.parametrize(
    ("url", "location"),
    [
        (URL, Location("https", "client.notes-app.dev", 443, "/oauth/client.json")),
        ("https://App.dev:8443/c?v=1&w", Location("https", "app.dev", 8443, "/c?v=1&w")),
        ("https://xn--bcher-kva.de/c/", Location("https", "xn--bcher-kva.de", 443, "/c/")),
        ("https://a.dev/c%2Fd/..e", Location("https", "a.dev", 443, "/c%2Fd/..e")),
    ],
)
def test_an_https_url_with_a_path_leads_to_its_document(url: str, location: Location) -> None:
    assert locate(url) == location


@pytest.mark.requirement("CIMD-02")
@pytest.mark.requirement("CIMD-03")
@pytest.mark.parametrize(
    ("url", "defect"),
    [
        ("http://a.dev/c", NOT_HTTPS),
        ("HTTPS://a.dev/c", NOT_HTTPS),
        ("https:/a.dev/c", NOT_HTTPS),
        ("ftp://a.dev/c", NOT_HTTPS),
        ("https://a.dev", "it has no path"),
        ("https://a.dev/", "it has no path"),
        ("https://a.dev?c", "it has no path"),
        ("https://a.dev/c#", "it contains a fragment"),
        ("https://a.dev/c#d", "it contains a fragment"),
        ("https://u@a.dev/c", "it contains user information"),
        ("https://u:p@a.dev/c", "it contains user information"),
        ("https://a.dev/../c", DOTS),
        ("https://a.dev/c/.", DOTS),
        ("https://a.dev/c/%2e%2E/d", DOTS),
        ("https://a.dev/c/%2e%2e%2fd", DOTS),
        ("https://a.dev/c/%5c..%5cd", DOTS),
        ("https://a.dev/c d", CHARACTER),
        ("https://a.dev/é", CHARACTER),
        ("https://a.dev\\@b.dev/c", CHARACTER),
        ("https://a.dev/c%zz", CHARACTER),
        ("https://a.dev/c\r\nHost: b", CHARACTER),
        ("https://a.dev:0/c", MALFORMED),
        ("https://a.dev:65536/c", MALFORMED),
        ("https://a.dev:/c", MALFORMED),
        ("https://a.dev:http/c", MALFORMED),
        ("https://a.dev/" + "c" * 2048, "it is longer than 2048 characters"),
        ("https:///c", NOT_A_NAME),
        ("https://dev/c", NOT_A_NAME),
        ("https://a..dev/c", NOT_A_NAME),
        ("https://a.dev./c", NOT_A_NAME),
        ("https://-a.dev/c", NOT_A_NAME),
        ("https://a%2edev/c", NOT_A_NAME),
        ("https://127.0.0.1/c", NOT_A_NAME),
        ("https://1.1.1.1/c", NOT_A_NAME),
        ("https://127.1/c", NOT_A_NAME),
        ("https://2130706433/c", NOT_A_NAME),
        ("https://0x7f000001/c", NOT_A_NAME),
        ("https://0x7f.0.0.1/c", NOT_A_NAME),
        ("https://0177.0.0.1/c", NOT_A_NAME),
        ("https://a.0x7f/c", NOT_A_NAME),
        ("https://[::1]/c", NOT_A_NAME),
        ("https://[::ffff:127.0.0.1]/c", NOT_A_NAME),
        ("https://[2606:4700::1111]/c", NOT_A_NAME),
        ("https://localhost/c", NOT_A_NAME),
        ("https://app.localhost/c", NOT_PUBLIC),
        ("https://printer.local/c", NOT_PUBLIC),
        ("https://metadata.google.internal/c", NOT_PUBLIC),
        ("https://a.test/c", NOT_PUBLIC),
        ("https://A.Example/c", NOT_PUBLIC),
        ("https://a.onion/c", NOT_PUBLIC),
    ],
)
def test_any_other_url_is_refused_before_anything_is_fetched(url: str, defect: str) -> None:
    assert locate(url) == defect


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("http://localhost:4000/c", "localhost", 4000),
        ("http://127.0.0.1/c", "127.0.0.1", 80),
        ("https://[::1]:4000/c", "[::1]", 4000),
        ("https://a.dev/c", "a.dev", 443),
    ],
)
def test_loopback_is_a_place_for_documents_only_in_development(url: str, host: str, port: int) -> None:
    found = locate(url, loopback=True)
    assert isinstance(found, Location)
    assert (found.host, found.port) == (host, port)
    assert is_document_url(url, loopback=True)
    if found.loopback:
        assert isinstance(locate(url), str)


@pytest.mark.parametrize("url", ["http://a.dev/c", "https://127.0.0.2/c", "http://192.168.1.1/c"])
def test_development_opens_no_other_place(url: str) -> None:
    assert isinstance(locate(url, loopback=True), str)


def read(body: bytes | Mapping[str, object], url: str = URL) -> Registration:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_document(url, sent, known_scopes=("notes:read",), private_schemes=())


@pytest.mark.requirement("CIMD-10")
@pytest.mark.requirement("CIMD-12")
@pytest.mark.requirement("CIMD-25")
def test_a_document_registers_a_public_client_that_may_refresh() -> None:
    least = {"client_id": URL, "client_name": "N", "redirect_uris": ["https://a.dev/cb"], "foo": [1]}
    assert read(least) == Registration(
        ("https://a.dev/cb",),
        "none",
        ("authorization_code", "refresh_token"),
        ("code",),
        None,
        {"client_name": "N"},
    )


@pytest.mark.requirement("CIMD-25")
def test_a_document_that_lists_grant_types_gets_no_others() -> None:
    assert read(document(grant_types=["authorization_code"])).grant_types == ("authorization_code",)


@pytest.mark.requirement("CIMD-13")
@pytest.mark.requirement("Q-26")
def test_a_client_that_could_do_without_authentication_does_without() -> None:
    both = document(
        token_endpoint_auth_method="private_key_jwt",
        token_endpoint_auth_methods_supported=["private_key_jwt", "none"],
        jwks_uri="https://a.dev/keys",
    )
    assert read(both).auth_method == "none"


DEFECTS = [
    pytest.param(
        {"client_id": URL + "/"}, "client_id", id="another id", marks=pytest.mark.requirement("CIMD-09")
    ),
    pytest.param({"client_id": URL.upper()}, "client_id", id="the id in capitals"),
    pytest.param({"client_id": None}, "client_id", id="no id"),
    pytest.param({"client_name": None}, "client_name: missing", id="no name"),
    pytest.param({"client_name": " "}, "client_name: missing", id="an empty name"),
    pytest.param({"client_name": "N" * 201}, "client_name: at most", id="an endless name"),
    pytest.param({"redirect_uris": []}, "redirect_uris", id="no redirect"),
    pytest.param({"redirect_uris": "https://a.dev/cb"}, "redirect_uris", id="a redirect that is no list"),
    pytest.param({"redirect_uris": ["http://a.dev/cb"]}, "redirect_uris, number 1", id="a redirect in clear"),
    pytest.param({"redirect_uris": ["javascript:alert(1)"]}, "redirect_uris, number 1", id="a script"),
    pytest.param({"client_secret": "s"}, "client_secret", id="a secret"),
    pytest.param({"client_secret": None}, "client_secret", id="a secret that is null"),
    pytest.param({"client_secret_expires_at": 0}, "client_secret_expires_at", id="the end of a secret"),
    *(
        pytest.param({"token_endpoint_auth_method": method}, "must be none", id=method)
        for method in ("client_secret_basic", "client_secret_post", "client_secret_jwt", "whatever")
    ),
    pytest.param({"token_endpoint_auth_method": "private_key_jwt"}, "not supported", id="private_key_jwt"),
    pytest.param({"token_endpoint_auth_method": ["none"]}, "must be none", id="a list of methods"),
    pytest.param({"grant_types": ["client_credentials"]}, "grant_types", id="no code"),
    pytest.param({"response_types": ["token"]}, "response_types", id="the implicit flow"),
]


@pytest.mark.requirement("CIMD-11")
@pytest.mark.parametrize(("members", "said"), DEFECTS)
def test_a_document_with_a_defect_is_refused_by_the_name_of_its_member(
    members: dict[str, object], said: str
) -> None:
    with pytest.raises(DocumentRefused) as refused:
        read(document(**members))
    assert refused.value.description.startswith(f"the client metadata document at {URL}: ")
    assert said in refused.value.description
    assert read(document())


GOOD = json.dumps(document()).encode()


@pytest.mark.requirement("CIMD-09")
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[" + GOOD + b"]", id="a list"),
        pytest.param(GOOD + GOOD, id="two"),
        pytest.param(b"\xef\xbb\xbf" + GOOD, id="a byte order mark"),
        pytest.param(GOOD.decode().encode("utf-16"), id="UTF-16"),
        pytest.param(GOOD[:-1] + b', "x": "\xff"}', id="not UTF-8"),
        pytest.param(GOOD[:-1] + b', "client_uri": "\\ud800"}', id="half a character"),
        pytest.param(GOOD[:-1] + b', "x": NaN}', id="not a number"),
        pytest.param(GOOD[:-1] + b', "x": ' + b"9" * 4500 + b"}", id="an endless number"),
        pytest.param(GOOD[:-1] + b', "client_name": "Other"}', id="a member twice"),
        pytest.param(GOOD[:-1] + b', "x": {"y": 1, "y": 1}}', id="an inner member twice"),
        pytest.param(GOOD[:-1] + b', "x": ' + b"[" * 2000 + b"]" * 2000 + b"}", id="nested"),
        pytest.param(GOOD[:-1] + b', "x": "' + b"x" * BYTES_MAX + b'"}', id="too large"),
    ],
)
def test_what_two_readers_could_read_in_two_ways_or_choke_on_is_refused(body: bytes) -> None:
    with pytest.raises(DocumentRefused):
        read(body)
