"""What makes a registration acceptable."""

from __future__ import annotations

from typing import Any

import pytest

from oauth_refresh.errors import InvalidClientMetadata, InvalidRedirectUri, OAuthError
from oauth_refresh.redirects import PRIVATE_SCHEMES
from oauth_refresh.registration import Registration
from oauth_refresh.registration import accept as accept_registration

CALLBACK = "https://app.example/cb"
CURSOR = [
    "cursor://anysphere.cursor-mcp/oauth/callback",
    "https://www.cursor.com/agents/mcp/oauth/callback",
    "http://localhost:8787/callback",
]


def accept(**members: Any) -> Registration:
    return accept_registration(
        {"redirect_uris": [CALLBACK], **members},
        known_scopes=["notes:read", "notes:write"],
        private_schemes=PRIVATE_SCHEMES,
    )


def refused(**members: Any) -> OAuthError:
    with pytest.raises(OAuthError) as raised:
        accept(**members)
    return raised.value


@pytest.mark.requirement("DCR-04")
def test_the_least_that_can_be_sent_gets_the_defaults_and_may_refresh() -> None:
    assert accept() == Registration(
        redirect_uris=(CALLBACK,),
        auth_method="client_secret_basic",
        grant_types=("authorization_code", "refresh_token"),
        response_types=("code",),
        scopes=None,
        metadata={},
    )


@pytest.mark.requirement("DCR-03")
@pytest.mark.requirement("DCR-12")
def test_members_that_are_unknown_null_or_empty_do_not_count() -> None:
    ignored = {
        "foo": 1,
        "client_id": "mine",
        "client_secret": "mine",
        "client_id_issued_at": 1,
        "client_uri": None,
        "logo_uri": "",
        "client_name": "",
        "scope": None,
        "token_endpoint_auth_method": None,
        "grant_types": None,
        "jwks": {"keys": []},
    }
    assert accept(**ignored) == accept()


@pytest.mark.requirement("DCR-05")
@pytest.mark.parametrize("method", ["none", "client_secret_basic", "client_secret_post"])
def test_the_auth_method_is_the_one_asked_for(method: str) -> None:
    assert accept(token_endpoint_auth_method=method).auth_method == method


@pytest.mark.requirement("DCR-09")
@pytest.mark.parametrize(
    ("asked", "granted"),
    [
        (["authorization_code"], ("authorization_code",)),
        (["refresh_token", "authorization_code"], ("authorization_code", "refresh_token")),
        (["authorization_code", "implicit"], ("authorization_code",)),
        (
            ["authorization_code", "password", "urn:x", "refresh_token"],
            ("authorization_code", "refresh_token"),
        ),
        ([], ("authorization_code", "refresh_token")),
    ],
)
def test_grant_types_beyond_ours_are_dropped(asked: list[str], granted: tuple[str, ...]) -> None:
    assert accept(grant_types=asked).grant_types == granted


@pytest.mark.requirement("DCR-10")
@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ("notes:write notes:read", ("notes:read", "notes:write")),
        ("notes:read admin openid", ("notes:read",)),
        ("admin", None),
        ("  ", None),
    ],
)
def test_unknown_scopes_are_dropped_and_none_left_means_no_restriction(
    asked: str, kept: tuple[str, ...] | None
) -> None:
    assert accept(scope=asked).scopes == kept


@pytest.mark.requirement("DCR-07")
@pytest.mark.requirement("DCR-11")
@pytest.mark.parametrize("application_type", ["web", "native"])
def test_a_desktop_client_registers_its_mixed_list(application_type: str) -> None:
    registration = accept(redirect_uris=CURSOR, application_type=application_type)
    assert registration.redirect_uris == tuple(CURSOR)
    assert registration.metadata == {"application_type": application_type}


def test_the_limits_are_the_last_that_is_accepted() -> None:
    uris = [f"https://app.example/{number}" for number in range(50)]
    longest = "https://app.example/" + "x" * (2048 - 20)
    accepted = accept(
        redirect_uris=uris,
        client_name="x" * 200,
        client_uri=longest,
        contacts=["x" * 200] * 50,
        response_types=["token", "code"],
    )
    assert accepted.redirect_uris == tuple(uris)
    assert accepted.response_types == ("code",)
    assert accepted.metadata == {
        "client_name": "x" * 200,
        "client_uri": longest,
        "contacts": ["x" * 200] * 50,
    }


def test_a_uri_that_is_listed_twice_is_kept_once() -> None:
    assert accept(redirect_uris=[CALLBACK, CALLBACK]).redirect_uris == (CALLBACK,)


@pytest.mark.requirement("DCR-06")
@pytest.mark.requirement("REDIR-11")
@pytest.mark.parametrize(
    "uris",
    [None, [], "https://app.example/cb", {}, [1], [None], [CALLBACK, 7], [[CALLBACK]], [CALLBACK] * 51],
)
def test_redirect_uris_are_a_list_of_text(uris: Any) -> None:
    error = refused(redirect_uris=uris)
    assert (type(error), error.code, error.status) == (InvalidRedirectUri, "invalid_redirect_uri", 400)


@pytest.mark.requirement("DCR-07")
@pytest.mark.requirement("DCR-06")
@pytest.mark.requirement("REDIR-04")
@pytest.mark.parametrize(
    "uri",
    [
        "http://app.example/cb",
        "https://app.example/cb#f",
        "https://user@app.example/cb",
        "javascript:alert(1)",
        "data:text/html,x",
        "myapp:/cb",
        "/cb",
        "",
        "https://app.example/cb\r\nLocation: x",
        "https://app.example/*",
    ],
)
def test_one_bad_uri_refuses_the_list_and_its_number_is_told(uri: str) -> None:
    error = refused(redirect_uris=[CALLBACK, uri])
    assert isinstance(error, InvalidRedirectUri)
    assert error.description.startswith("redirect_uris, number 2: ")
    assert "app.example" not in error.description


@pytest.mark.requirement("DCR-08")
@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("response_types", ["token"]),
        ("response_types", "code"),
        ("grant_types", ["implicit"]),
        ("grant_types", ["refresh_token"]),
        ("grant_types", "authorization_code"),
        ("grant_types", [1]),
        ("grant_types", ["x"] * 51),
        ("grant_types", ["x" * 201]),
        ("token_endpoint_auth_method", "private_key_jwt"),
        ("token_endpoint_auth_method", ["none"]),
        ("scope", ["notes:read"]),
        ("scope", 1),
        ("client_name", 1),
        ("client_name", {"en": "x"}),
        ("client_name", "x" * 201),
        ("client_name#de", 1),
        ("contacts", "me@app.example"),
        ("contacts", [1]),
        ("client_uri", 1),
        ("client_uri", "https://a.example/" + "x" * 2048),
    ],
)
def test_other_defects_name_their_member(member: str, value: Any) -> None:
    error = refused(**{member: value})
    assert (type(error), error.code, error.status) == (InvalidClientMetadata, "invalid_client_metadata", 400)
    assert error.description.startswith(member.partition("#")[0])


@pytest.mark.requirement("DCR-08")
def test_keys_may_not_be_given_in_two_ways() -> None:
    assert refused(jwks={"keys": []}, jwks_uri="https://app.example/k").description == (
        "jwks, jwks_uri: only one of the two"
    )


@pytest.mark.requirement("DCR-15")
def test_what_is_shown_is_kept_with_its_languages() -> None:
    shown = {
        "client_name": "Probe",
        "client_name#de": "Sonde",
        "client_uri": "https://app.example/",
        "policy_uri#fr": "https://app.example/fr",
        "logo_uri": "https://app.example/logo",
        "tos_uri": "https://app.example/terms",
        "software_id": "probe",
        "software_version": "1",
        "contacts": ["me@app.example"],
    }
    assert accept(**shown).metadata == shown


@pytest.mark.requirement("DCR-16")
@pytest.mark.parametrize("member", ["client_uri", "logo_uri", "tos_uri", "policy_uri", "logo_uri#de"])
@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "http://app.example/logo",
        "https:///logo",
        "https://",
        "//app.example/logo",
        "https://app.example/lo go",
        "https://app.example/\nlogo",
        "https://[::1/logo",
        "data:image/png;base64,x",
        "https://äpp.example/",
    ],
)
def test_a_link_that_is_not_plain_https_is_left_out(member: str, url: str) -> None:
    assert accept(**{member: url}).metadata == {}
