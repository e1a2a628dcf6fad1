"""What makes an authorization request acceptable, as a rule without HTTP."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest

from oauth_refresh.authorization import STATE_MAX, Target, Wanted, read_target, read_wanted
from oauth_refresh.clients import Client
from oauth_refresh.errors import InvalidClient, InvalidRequest, OAuthError
from oauth_refresh.parameters import Parameters, read_query

from .driving import CHALLENGE

BASE = "https://as.example"
CALLBACK = "https://app.example/cb"
CLIENT = Client("c", (CALLBACK,))
TWO = Client("two", (CALLBACK, "https://app.example/other"))
LOCAL = Client("local", ("http://127.0.0.1:3000/cb",))
KNOWN = {client.client_id: client for client in (CLIENT, TWO, LOCAL)}


def query(*pairs: tuple[str, str], **fields: str) -> Parameters:
    return read_query(urlencode([*fields.items(), *pairs]).encode())


def target(*pairs: tuple[str, str], **fields: str) -> Target:
    return read_target(query(*pairs, **fields), KNOWN.get)


def wanted(*pairs: tuple[str, str], **fields: str) -> Wanted:
    return wanted_by(CLIENT, *pairs, **fields)


def wanted_by(client: Client, *pairs: tuple[str, str], **fields: str) -> Wanted:
    request = {
        "response_type": "code",
        "client_id": client.client_id,
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        **fields,
    }
    return read_wanted(
        query(*pairs, **request),
        client,
        known_scopes=["a", "b", "c"],
        default_scopes=lambda resources: ["a"],
        known_resources=[BASE, BASE + "/api", BASE + "/mcp"],
    )


# --- where the answer goes ------------------------------------------------------------------------


@pytest.mark.requirement("AUTHZ-02")
@pytest.mark.parametrize("client_id", ["nobody", "C", "c ", "cé"])
def test_an_unknown_client_is_known_for_what_it_is(client_id: str) -> None:
    with pytest.raises(InvalidClient):
        target(client_id=client_id, redirect_uri=CALLBACK)


@pytest.mark.requirement("AUTHZ-02")
@pytest.mark.requirement("GEN-09")
@pytest.mark.parametrize("fields", [{}, {"client_id": ""}])
def test_a_missing_client_is_a_malformed_request(fields: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest, match="client_id: missing"):
        target(redirect_uri=CALLBACK, **fields)


@pytest.mark.requirement("GEN-07")
@pytest.mark.parametrize("name", ["client_id", "redirect_uri"])
def test_a_second_client_or_address_is_a_malformed_request(name: str) -> None:
    fields = {"client_id": "c", "redirect_uri": CALLBACK}
    for second in (fields[name], "", "x"):
        with pytest.raises(InvalidRequest, match=f"{name}: must occur only once"):
            target((name, second), **fields)


@pytest.mark.requirement("AUTHZ-04")
@pytest.mark.requirement("GEN-09")
def test_the_address_may_be_left_out_where_there_is_only_one() -> None:
    for fields in ({}, {"redirect_uri": ""}):
        assert target(client_id="c", **fields) == Target(CLIENT, CALLBACK, None)
        with pytest.raises(InvalidRequest, match="the client has not registered exactly one"):
            target(client_id="two", **fields)


@pytest.mark.requirement("AUTHZ-03")
@pytest.mark.parametrize(
    "redirect_uri",
    ["https://evil.example/", CALLBACK + "/", CALLBACK + "?x", CALLBACK + "#", "x", CALLBACK.upper()],
)
def test_an_address_that_is_not_registered_is_refused(redirect_uri: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        target(client_id="c", redirect_uri=redirect_uri)
    assert raised.value.description == "redirect_uri: not one of those that the client registered"


@pytest.mark.requirement("REDIR-05")
def test_the_port_of_a_loopback_address_is_the_one_of_the_request() -> None:
    asked = "http://127.0.0.1:51004/cb"
    assert target(client_id="local", redirect_uri=asked).redirect_uri == asked


@pytest.mark.requirement("AUTHZ-08")
@pytest.mark.parametrize(
    "state", ["x", "%", "+", " ", "a/b=c&d#e?", "%2F%2B%3D", '"<>\\', "~" * STATE_MAX], ids=lambda s: s[:9]
)
def test_the_state_is_kept_as_it_is(state: str) -> None:
    assert target(client_id="c", state=state).state == state


@pytest.mark.requirement("GEN-08")
@pytest.mark.requirement("GEN-10")
@pytest.mark.parametrize(
    "states", [["a", "b"], ["a", "a"], ["", "a"], ["ü"], ["a\n"], ["x" * (STATE_MAX + 1)]]
)
def test_a_state_that_cannot_be_echoed_truthfully_is_none(states: list[str]) -> None:
    pairs = [("state", state) for state in states]
    assert target(*pairs, client_id="c").state is None
    with pytest.raises(InvalidRequest, match=r"^state: "):
        wanted(*pairs)


# --- what is asked for ----------------------------------------------------------------------------


def test_a_plain_request_gets_the_defaults() -> None:
    assert wanted() == Wanted(("a",), (BASE,), CHALLENGE)


@pytest.mark.requirement("GEN-05")
@pytest.mark.requirement("GEN-09")
def test_unknown_and_empty_parameters_change_nothing() -> None:
    plain = wanted()
    assert wanted(response_mode="query", state="x" * STATE_MAX, prompt="consent") == plain
    assert wanted(("x", "1"), ("x", "2"), foo="bar", nonce="n", login_hint="me") == plain
    assert wanted(scope="", state="", prompt="", response_mode="", request="", request_uri="") == plain


@pytest.mark.parametrize(
    ("fields", "code", "description"),
    [
        ({"response_type": ""}, "invalid_request", "response_type: missing"),
        ({"response_type": "token"}, "unsupported_response_type", "response_type: only code is supported"),
        (
            {"response_type": "code token"},
            "unsupported_response_type",
            "response_type: only code is supported",
        ),
        ({"response_type": "id_token"}, "unsupported_response_type", "response_type: only code is supported"),
        ({"response_type": "Code"}, "unsupported_response_type", "response_type: only code is supported"),
        ({"response_mode": "fragment"}, "invalid_request", "response_mode: only query is supported"),
        ({"response_mode": "form_post"}, "invalid_request", "response_mode: only query is supported"),
        ({"request": "x.y.z"}, "request_not_supported", "request: not supported"),
        ({"request_uri": "https://x/"}, "request_uri_not_supported", "request_uri: not supported"),
        ({"code_challenge": ""}, "invalid_request", "code_challenge is required"),
        (
            {"code_challenge_method": ""},
            "invalid_request",
            "code_challenge_method is missing and would mean plain: only S256 is supported",
        ),
        (
            {"code_challenge_method": "plain"},
            "invalid_request",
            "this code_challenge_method is not supported: only S256 is",
        ),
        ({"code_challenge": "x" * 42}, "invalid_request", "code_challenge must be 43 base64url characters"),
        ({"scope": 'a"b'}, "invalid_scope", "scope contains a character that is not allowed"),
        (
            {"scope": "x y"},
            "invalid_scope",
            "scope: none of those requested is known; available to this client: a b c",
        ),
        (
            {"resource": "https://other.example"},
            "invalid_target",
            f"resource is not one of this server's: {BASE}, {BASE}/api, {BASE}/mcp",
        ),
        (
            {"resource": BASE + "/api#x"},
            "invalid_target",
            "resource must be an absolute URI without a fragment",
        ),
    ],
)
@pytest.mark.requirement("AUTHZ-05")
@pytest.mark.requirement("AUTHZ-07")
@pytest.mark.requirement("AUTHZ-09")
@pytest.mark.requirement("AUTHZ-10")
@pytest.mark.requirement("AUTHZ-11")
@pytest.mark.requirement("PKCE-03")
def test_each_defect_has_its_own_error(fields: dict[str, str], code: str, description: str) -> None:
    with pytest.raises(OAuthError) as raised:
        wanted(**fields)
    assert (raised.value.code, raised.value.description) == (code, description)
    assert wanted().challenge == CHALLENGE


@pytest.mark.requirement("GEN-06")
@pytest.mark.parametrize(
    "name",
    [
        "response_type",
        "scope",
        "state",
        "code_challenge",
        "code_challenge_method",
        "response_mode",
        "prompt",
        "request",
        "request_uri",
    ],
)
def test_every_known_parameter_may_occur_only_once(name: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        wanted((name, ""), (name, ""))
    assert raised.value.description == f"{name}: must occur only once"


@pytest.mark.requirement("AUTHZ-06")
def test_a_client_that_is_not_registered_for_codes_gets_none() -> None:
    with pytest.raises(OAuthError) as raised:
        wanted_by(Client("c", (CALLBACK,), grant_types=()))
    assert raised.value.code == "unauthorized_client"


@pytest.mark.requirement("SCOPE-01")
@pytest.mark.requirement("SCOPE-02")
@pytest.mark.requirement("SCOPE-03")
@pytest.mark.requirement("SCOPE-04")
@pytest.mark.requirement("SCOPE-05")
@pytest.mark.parametrize(
    ("scope", "allowed", "granted"),
    [
        ("b a a", None, ("a", "b")),
        ("b x", None, ("b",)),
        ("c offline_access openid", None, ("c",)),
        ("offline_access", None, ("a",)),
        ("a b c", ("b", "c"), ("b", "c")),
    ],
)
def test_scopes_are_those_that_can_be_granted(
    scope: str, allowed: tuple[str, ...] | None, granted: tuple[str, ...]
) -> None:
    assert wanted_by(Client("c", (CALLBACK,), scopes=allowed), scope=scope).scopes == granted


@pytest.mark.requirement("RES-01")
@pytest.mark.requirement("RES-12")
def test_several_resources_may_be_asked_for() -> None:
    both = wanted(("resource", BASE + "/mcp"), ("resource", BASE + "/api"), ("resource", ""))
    assert both.resources == (BASE + "/api", BASE + "/mcp")
    with pytest.raises(OAuthError) as raised:
        wanted(("resource", BASE + "/mcp"), ("resource", "https://other.example"))
    assert raised.value.code == "invalid_target"
