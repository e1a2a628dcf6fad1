"""Static clients in the settings: their shape, and the words for what is wrong with it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from oauth_refresh import registration, setting_clients
from oauth_refresh.clients import configured_client, hash_secret

from .settings_loading import load, problems_with, settings

SECRET = "a secret of this client"
URI = "https://ci.example.org/callback"


def client(**members: object) -> dict[str, object]:
    return dict(settings(clients={"ci": members}).clients["ci"])


def reasons(clients: object) -> list[str]:
    lines = problems_with(clients=clients)
    assert all(line.startswith("OAUTH_CLIENTS (keyword): ") and "; allowed: " in line for line in lines)
    return [line.removeprefix("OAUTH_CLIENTS (keyword): ").split("; allowed: ")[0] for line in lines]


def test_a_public_client_needs_a_redirect_uri_and_nothing_else() -> None:
    assert client(redirect_uris=[URI]) == {"redirect_uris": (URI,)}


def test_every_member_is_read_as_what_it_is() -> None:
    assert client(
        client_secret=SECRET,
        redirect_uris=f"{URI}, http://127.0.0.1/cb",
        client_name=" Continuous integration ",
        scope="b a b",
        grant_types=["authorization_code"],
        access_token_ttl="15m",
        refresh_token_ttl=60,
        token_endpoint_auth_method="client_secret_post",
        trusted="yes",
        introspect="/api/, /mcp",
        dead_refresh_token_status="401",
    ) == {
        "client_secret": SECRET,
        "redirect_uris": (URI, "http://127.0.0.1/cb"),
        "client_name": "Continuous integration",
        "scope": "b a",
        "grant_types": ("authorization_code",),
        "access_token_ttl": 900.0,
        "refresh_token_ttl": 60.0,
        "token_endpoint_auth_method": "client_secret_post",
        "trusted": True,
        "introspect": ("/api", "/mcp"),
        "dead_refresh_token_status": 401,
    }


@pytest.mark.parametrize(
    ("value", "read"), [(True, True), ("yes", True), (False, False), (["/api"], ("/api",)), ("/", ("/",))]
)
def test_introspect_is_all_or_nothing_or_some_paths(value: object, read: object) -> None:
    assert client(client_secret=SECRET, grant_types=[], introspect=value)["introspect"] == read


def test_the_environment_says_it_in_json() -> None:
    clients = {"ci": {"redirect_uris": [URI], "access_token_ttl": "1h", "trusted": False}}
    assert load(environ={"OAUTH_CLIENTS": json.dumps(clients)}) == settings(clients=clients)
    assert dict(load(environ={"OAUTH_CLIENTS": "none"}, keywords={}).clients) == {}


def test_a_client_without_grant_types_needs_no_redirect_uri() -> None:
    members = client(client_secret_hash=hash_secret(SECRET).hex().upper(), grant_types=[])
    assert members == {"client_secret_hash": hash_secret(SECRET).hex(), "grant_types": ()}
    assert configured_client("rs", members).secret_hash == hash_secret(SECRET)


@pytest.mark.parametrize(
    ("members", "why"),
    [
        pytest.param({}, "has no redirect_uris, which authorization_code needs", id="empty"),
        pytest.param("x", "is no table", id="text"),
        pytest.param(
            {"redirect_uri": URI}, "'redirect_uri' is no member, did you mean redirect_uris?", id="misspelt"
        ),
        pytest.param(
            {"redirect_uris": [URI], "introspect": True},
            "has no client_secret, which introspect needs",
            id="introspect-public",
        ),
        pytest.param(
            {"redirect_uris": [URI], "introspect": ["api"]},
            "introspect 'api' is no protected path such as /api",
            id="introspect-no-path",
        ),
        pytest.param(
            {"redirect_uris": [URI], "grant_types": ["authorization_code", "client_credentials"]},
            "has no client_secret, which client_credentials needs",
            id="client-credentials-public",
        ),
        pytest.param(
            {"redirect_uris": [URI], "dead_refresh_token_status": 404},
            "dead_refresh_token_status is neither 400 nor 401",
            id="status",
        ),
        pytest.param({"colour": "red"}, "'colour' is no member", id="unknown"),
        pytest.param(
            {"redirect_uris": []}, "has no redirect_uris, which authorization_code needs", id="no-uri"
        ),
        pytest.param({"redirect_uris": 5}, "redirect_uris 5 is no list", id="uris-no-list"),
        pytest.param(
            {"redirect_uris": [URI], "client_secret": ""},
            "client_secret is no text of 1 to 512 printable ASCII characters",
            id="empty-secret",
        ),
        pytest.param(
            {"redirect_uris": [URI], "client_secret": SECRET, "client_secret_hash": "0" * 64},
            "has both client_secret and client_secret_hash",
            id="secret-and-hash",
        ),
        pytest.param(
            {"redirect_uris": [URI], "client_secret_hash": "0" * 63},
            "client_secret_hash is no SHA-256 in 64 hex digits",
            id="hash-too-short",
        ),
        pytest.param(
            {"redirect_uris": [URI], "grant_types": ["password"]},
            "grant_types 'password' is not one of authorization_code, refresh_token, client_credentials",
            id="grant-type",
        ),
        pytest.param(
            {"redirect_uris": [URI], "token_endpoint_auth_method": "private_key_jwt"},
            "token_endpoint_auth_method is not one of none, client_secret_basic, client_secret_post",
            id="method",
        ),
        pytest.param(
            {"redirect_uris": [URI], "token_endpoint_auth_method": "none", "client_secret": SECRET},
            "has a client_secret, but token_endpoint_auth_method none",
            id="public-with-secret",
        ),
        pytest.param(
            {"redirect_uris": [URI], "token_endpoint_auth_method": "client_secret_basic"},
            "has no client_secret, but token_endpoint_auth_method client_secret_basic",
            id="confidential-without-secret",
        ),
        pytest.param(
            {"redirect_uris": [URI], "access_token_ttl": 0},
            "access_token_ttl is less than one second",
            id="ttl",
        ),
        pytest.param(
            {"redirect_uris": [URI], "refresh_token_ttl": "never"},
            "refresh_token_ttl is no length of time",
            id="endless-ttl",
        ),
        pytest.param({"redirect_uris": [URI], "scope": 'a"b'}, "scope 'a\"b' is no scope name", id="scope"),
        pytest.param(
            {"redirect_uris": [URI], "trusted": "perhaps"}, "trusted is neither true nor false", id="trusted"
        ),
    ],
)
def test_a_client_of_another_shape_is_refused(members: Any, why: str) -> None:
    assert reasons({"ci": members}) == [f"client 'ci': {why}"]


@pytest.mark.requirement("OPS-08")
@pytest.mark.parametrize(
    "uri",
    [
        "/callback",
        "https://ci.example.org/*",
        "https://ci.example.org/#top",
        "http://ci.example.org/callback",
        "javascript://ci.example.org/x",
        "https://user:sesame@ci.example.org/",
    ],
)
def test_an_unsafe_redirect_uri_is_refused_at_start(uri: str) -> None:
    (why,) = reasons({"ci": {"redirect_uris": [URI, uri]}})
    assert why.startswith("client 'ci': redirect_uris '")
    assert "sesame" not in why


def test_a_listed_private_scheme_needs_no_other_permission() -> None:
    assert client(redirect_uris=["zed://callback"]) == {"redirect_uris": ("zed://callback",)}


def test_all_that_is_wrong_with_all_clients_is_reported() -> None:
    assert reasons(
        {"a": {"redirect_uris": ["x", "y"], "trusted": 5}, "b c": {}, "ok": {"grant_types": []}}
    ) == [
        "client 'a': redirect_uris 'x': it is not absolute: there is no scheme",
        "client 'a': redirect_uris 'y': it is not absolute: there is no scheme",
        "client 'a': trusted is neither true nor false",
        "'b c' is no client id: at most 255 printable ASCII characters",
    ]


@pytest.mark.parametrize(("length", "fits"), [(255, True), (256, False), (0, False)])
def test_a_client_id_has_1_to_255_characters(length: int, fits: bool) -> None:
    clients: dict[str, object] = {"x" * length: {"grant_types": ()}}
    if fits:
        assert set(settings(clients=clients).clients) == set(clients)
    else:
        assert len(reasons(clients)) == 1


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("{", "is no JSON (line 1, column 2)"),
        ('{"ci": sesame}', "is no JSON (line 1, column 8)"),
        ('{"ci": {}, "ci": {}}', "'ci' is named twice"),
        ("[" * 100_000, "is no JSON that could be read"),
        ("[]", "is no table of clients"),
        (5, "is no table of clients"),
    ],
)
def test_text_that_is_no_table_of_clients_is_refused_without_being_quoted(given: object, why: str) -> None:
    assert reasons(given) == [why]


def test_static_clients_have_the_choices_of_registered_ones() -> None:
    assert setting_clients.GRANT_TYPES == registration.GRANT_TYPES
    assert setting_clients.AUTH_METHODS == registration.AUTH_METHODS


# --- client metadata documents ----------------------------------------------------------------------


def test_documents_that_are_wanted_need_what_fetches_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings().reads_client_documents
    assert not settings(client_id_metadata="off").reads_client_documents
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not settings().reads_client_documents
    (line,) = problems_with(client_id_metadata="on")
    assert line.startswith(
        "OAUTH_CLIENT_ID_METADATA = 'on' (keyword): needs urllib3, which the extra cimd brings; allowed: "
    )


@pytest.mark.requirement("CIMD-04")
def test_documents_on_loopback_are_for_a_server_on_loopback() -> None:
    for issuer in (None, "http://localhost:8000"):
        assert settings(issuer=issuer, client_id_metadata_loopback=True).client_id_metadata_loopback
    (line,) = problems_with(issuer="https://as.example.com", client_id_metadata_loopback=True)
    assert "is for development, and the issuer is not loopback" in line


@pytest.mark.requirement("CAUTH-22")
def test_a_client_may_have_several_secrets_and_no_empty_list_of_them() -> None:
    hashes = [hash_secret(text).hex() for text in ("new", "old")]
    assert client(client_secret_hash=hashes, grant_types=[])["client_secret_hash"] == tuple(hashes)
    assert client(client_secret=["n, e, w", "old"], grant_types=[])["client_secret"] == ("n, e, w", "old")
    assert reasons({"ci": {"client_secret": [], "grant_types": []}}) == [
        "client 'ci': client_secret is an empty list"
    ]
