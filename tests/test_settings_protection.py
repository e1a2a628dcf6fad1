"""How scopes and protected paths are written in the settings."""

from __future__ import annotations

from typing import Any

import pytest

from .settings_loading import load, problems_with, reason, settings, value


@pytest.mark.parametrize(
    ("given", "scopes"),
    [
        (
            "notes:read=Read your notes; notes:write=Change them",
            {"notes:read": "Read your notes", "notes:write": "Change them"},
        ),
        ("\n read = Read\n write = Write\n", {"read": "Read", "write": "Write"}),
        ("read; write=", {"read": "", "write": ""}),
        ("read=a=b, c", {"read": "a=b, c"}),
        ({"read": "Read; and more"}, {"read": "Read; and more"}),
        (["read", "write=Write"], {"read": "", "write": "Write"}),
        ({"!#[]~,": ""}, {"!#[]~,": ""}),
        ("none", {}),
        (None, {}),
    ],
)
def test_scopes_are_names_with_descriptions(given: object, scopes: dict[str, str]) -> None:
    read = value("scopes", given)
    assert list(read.items()) == list(scopes.items())


@pytest.mark.requirement("GEN-13")
@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"a b": ""}, "'a b' is no scope name"),
        ({'a"b': ""}, "'a\"b' is no scope name"),
        ({"a\\b": ""}, "'a\\\\b' is no scope name"),
        ({"ä": ""}, "'ä' is no scope name"),
        ({"": ""}, "'' is no scope name"),
        ("=Read", "'' is no scope name"),
        ("read, write", 'scopes are separated by ";"'),
        ("read,write", 'scopes are separated by ";"'),
        ("read; read=x", "'read' is named twice"),
        ({"public": "Everything"}, "'public' is no scope name: \"public\" marks public paths"),
        ({"Public": "Everything"}, "'Public' is no scope name: \"public\" marks public paths"),
        ({"read": None}, "None is no text"),
        ({5: "x"}, "5 is no text"),
        (5, "5 is no list"),
    ],
)
def test_what_is_no_scope_is_refused(given: object, why: str) -> None:
    assert reason("scopes", given) == why


def test_every_wrong_scope_has_its_own_line() -> None:
    lines = problems_with(scopes={"a b": "", "ok": "", "c d": ""})
    assert [line.split(" (keyword): ")[1].split(";")[0] for line in lines] == [
        "'a b' is no scope name",
        "'c d' is no scope name",
    ]


def test_default_scopes_are_every_scope_some_or_none() -> None:
    def default(given: object) -> object:
        return settings(scopes="a; b", default_scopes=given).default_scopes

    assert default(None) is None
    assert default("b, a, b") == ("b", "a")
    assert default(["a"]) == ("a",)
    assert default("none") == ()
    assert default([]) == ()


@pytest.mark.parametrize(
    ("given", "rules"),
    [
        (
            "/api=notes:read, POST /api=notes:write, /mcp, /api/health=public",
            {"/api": "notes:read", "POST /api": "notes:write", "/mcp": "", "/api/health": "public"},
        ),
        ("\n/api = a b\n/mcp\n", {"/api": "a b", "/mcp": ""}),
        (
            {"/api": ["a", "b", "a"], "/mcp": [], "/x": " public "},
            {"/api": "a b", "/mcp": "", "/x": "public"},
        ),
        (["/api=a", "/mcp"], {"/api": "a", "/mcp": ""}),
        ({"/": ""}, {"/": ""}),
        ("none", {}),
        (None, {}),
    ],
)
def test_protection_is_paths_and_the_scopes_they_need(given: object, rules: dict[str, str]) -> None:
    assert list(value("protect", given).items()) == list(rules.items())


@pytest.mark.parametrize(
    ("given", "start"),
    [
        ({"api": ""}, "'api': must be a path"),
        ("api=read", "'api': must be a path"),
        ({"P0ST /api": ""}, "'P0ST /api': must be a path"),
        ({"https://a.example/api": ""}, "'https://a.example/api': must be a path"),
        ({"/api/*": ""}, "'/api/*': there are no patterns"),
        ({"/notes/<id>": ""}, "'/notes/<id>': there are no patterns"),
        ({"/caf%C3%A9": ""}, "'/caf%C3%A9': write the path plainly"),
        ({"/a//b": ""}, "'/a//b': write the path plainly"),
        ({"/a/../b": ""}, "'/a/../b': write the path plainly"),
        ({"/a?b": ""}, "'/a?b': write the path plainly"),
        ({"/api": 'a"b'}, "'/api': 'a\"b' is no scope name"),
        ({"/api": "public read"}, "'/api': 'public' is no scope name"),
        ("/api=a # all of it", "'/api': path and scopes are parted by"),
        ({"/api": "Public"}, "'/api': 'Public' is no scope name"),
        ("/api: r", "'/api: r': path and scopes are parted by \"=\""),
        ("/api POST=r", "'/api POST': the method stands before the path, as in POST /api"),
        ({"/api/beds POST": "r"}, "'/api/beds POST': the method stands before the path"),
        ({"/api:POST": "r"}, "'/api:POST': the method stands before the path"),
        ({"/api [POST]": "r"}, "'/api [POST]': the method stands before the path"),
        ({"/api GET,POST": "r"}, "'/api GET,POST': the method stands before the path"),
        ({"/api/:id": "r"}, "'/api/:id': there are no patterns"),
        ("/api r", "'/api r': path and scopes are parted by \"=\""),
        ("POST /api r", "'POST /api r': path and scopes are parted by \"=\""),
        ("/api:r", "'/api:r': path and scopes are parted by \"=\""),
        ("/api:=r", "'/api:': path and scopes are parted by \"=\""),
        ("/api=r; POST /api=w", "'/api': path and scopes are parted by \"=\""),
        ({"/api": "r, w"}, "'/api': path and scopes are parted by \"=\""),
        ({"/api": 5}, "'/api': 5 is no list"),
        ("/api=a, /api=b", "'/api' is named twice"),
        ({"/api": "a", "/api/": "b"}, "'/api/': there is a second rule"),
        ({5: ""}, "5 is no text"),
        ("nonsense.module.name:x", "cannot be imported"),
    ],
)
def test_a_rule_that_would_protect_nothing_is_refused(given: object, start: str) -> None:
    assert reason("protect", given).startswith(start)


def test_protection_may_be_a_callable() -> None:
    def judge(environ: dict[str, Any]) -> str:
        return ""

    assert value("protect", judge) is judge
    assert load(environ={"OAUTH_PROTECT": "builtins:len"}).protect is len


def test_implied_scopes_are_read_from_text_and_tables() -> None:
    scopes = {"admin": "", "write": "", "read": ""}
    for given in ("admin=write read; write=read", {"admin": ["write", "read"], "write": "read"}):
        read = settings(scopes=scopes, scope_implies=given).scope_implies
        assert read == {"admin": "write read", "write": "read"}


def test_a_scope_that_is_reserved_or_implied_has_to_be_known() -> None:
    lines = problems_with(scopes={"read": ""}, reserved_scopes=["raed"], scope_implies={"admin": "read"})
    assert [line.split("; allowed")[0] for line in lines] == [
        "OAUTH_SCOPE_IMPLIES (keyword): 'admin' is neither in OAUTH_SCOPES nor in OAUTH_PROTECT",
        "OAUTH_RESERVED_SCOPES (keyword): 'raed' is neither in OAUTH_SCOPES nor in OAUTH_PROTECT",
    ]
