"""Which scopes a request gets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_refresh.errors import InvalidScope
from oauth_refresh.scopes import grantable, join, parse_scope

KNOWN = ("notes:read", "notes:write", "notes:admin")
DEFAULT = ("notes:read",)


@pytest.mark.requirement("SCOPE-01")
@pytest.mark.parametrize(
    ("text", "scopes"),
    [
        ("", ()),
        (" ", ()),
        ("a", ("a",)),
        ("b a a", ("a", "b")),
        ("  b   a ", ("a", "b")),
        ("a A", ("A", "a")),
        ("notes:read https://x.example/y!#[]^~", ("https://x.example/y!#[]^~", "notes:read")),
    ],
)
def test_scopes_are_a_set_of_case_sensitive_names(text, scopes):
    assert parse_scope(text) == scopes


@pytest.mark.requirement("GEN-13")
@pytest.mark.parametrize(
    "text",
    ['a"b', "a\\b", "a\tb", "a\nb", "a\n", "a\x00", "a\x1fb", "a\x7f", "\u00e9", "a\u00a0b", "a\u2003b"],
)
def test_a_character_that_no_scope_can_have_is_refused(text):
    with pytest.raises(InvalidScope, match="not allowed") as refusal:
        parse_scope(text)
    assert text not in refusal.value.description
    assert parse_scope("a b") == ("a", "b")


@pytest.mark.requirement("GEN-13")
def test_exactly_the_characters_of_the_grammar_are_allowed():
    allowed = {chr(code) for code in range(0x100) if _parses(chr(code))}
    assert allowed == {chr(code) for code in range(0x20, 0x7F)} - {'"', "\\"}


def _parses(text: str) -> bool:
    try:
        parse_scope(text)
    except InvalidScope:
        return False
    return True


OIDC = ("email", "offline_access", "openid", "profile")

GRANTABLE = [
    ("nothing requested", None, None, DEFAULT),
    ("an empty parameter", (), None, DEFAULT),
    ("one", ("notes:write",), None, ("notes:write",)),
    ("all", KNOWN, None, tuple(sorted(KNOWN))),
    ("unknown beside known", ("notes:write", "nope"), None, ("notes:write",)),
    ("unknown only", ("nope",), None, InvalidScope),
    ("other case", ("Notes:Read",), None, InvalidScope),
    ("tolerated only", OIDC, None, DEFAULT),
    ("offline_access only", ("offline_access",), None, DEFAULT),
    ("tolerated beside known", ("notes:write", *OIDC), None, ("notes:write",)),
    ("tolerated beside unknown", ("nope", "openid"), None, InvalidScope),
    ("client without scope", ("notes:admin",), (), ("notes:admin",)),
    ("client with scope, nothing requested", None, ("notes:read", "notes:write"), DEFAULT),
    ("client with scope, inside", ("notes:write",), ("notes:read", "notes:write"), ("notes:write",)),
    ("client with scope, partly", ("notes:read", "notes:admin"), ("notes:read",), ("notes:read",)),
    ("client with scope, outside", ("notes:admin",), ("notes:read",), InvalidScope),
    ("client without the default", None, ("notes:write",), InvalidScope),
    ("client registered for unknown", ("notes:read",), ("nope",), InvalidScope),
]


@pytest.mark.requirement("SCOPE-02")
@pytest.mark.requirement("SCOPE-03")
@pytest.mark.requirement("SCOPE-04")
@pytest.mark.requirement("SCOPE-05")
@pytest.mark.requirement("AUTHZ-07")
@pytest.mark.requirement("Q-22")
@pytest.mark.parametrize(
    ("requested", "allowed", "expected"), [row[1:] for row in GRANTABLE], ids=[row[0] for row in GRANTABLE]
)
def test_a_request_gets_what_is_known_and_open_to_its_client(requested, allowed, expected):
    if expected is InvalidScope:
        with pytest.raises(InvalidScope):
            grantable(requested, KNOWN, DEFAULT, allowed)
    else:
        assert grantable(requested, KNOWN, DEFAULT, allowed) == expected


@pytest.mark.requirement("SCOPE-04")
def test_an_application_may_have_a_scope_called_email():
    known = (*KNOWN, "email")
    assert grantable(("email", "openid"), known, DEFAULT, None) == ("email",)
    assert grantable(("openid",), known, DEFAULT, None) == DEFAULT


def test_an_application_without_scopes_grants_none():
    assert grantable(None, (), (), None) == ()
    assert grantable(("openid", "offline_access"), (), (), None) == ()
    with pytest.raises(InvalidScope):
        grantable(("read",), (), (), None)


names = st.sets(st.sampled_from([*KNOWN, *OIDC, "nope"]))


@given(names, names, names, st.none() | names)
def test_a_grant_never_has_what_is_unknown_or_not_for_its_client(requested, known, default, allowed):
    try:
        granted = grantable(tuple(requested), tuple(known), tuple(default), allowed)
    except InvalidScope:
        return
    assert set(granted) <= known
    assert set(granted) <= requested | default
    assert not allowed or set(granted) <= allowed
    assert granted == parse_scope(join(granted))


def test_the_text_of_scopes_is_sorted_and_without_duplicates():
    assert join(["b", "a", "b"]) == "a b"
    assert join([]) == ""
