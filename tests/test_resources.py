"""Which resources a token is good for."""

from __future__ import annotations

import pytest

from oauth_refresh.errors import InvalidTarget
from oauth_refresh.resources import (
    MAX_LENGTH,
    covers,
    known_resources,
    parse_resource,
    resource_url,
    select,
)

BASE = "https://as.example"
API = "https://as.example/api"
HEALTH = "https://as.example/api/health"
MCP = "https://as.example/mcp"
KNOWN = known_resources(BASE, ("/api", "/api/health", "/mcp"))


@pytest.mark.requirement("RES-02")
@pytest.mark.parametrize(
    "text",
    [
        BASE,
        "https://as.example/",
        "https://as.example:8443/a%20b?c=d",
        "HTTPS://AS.EXAMPLE",
        "http://[::1]:8000",
        "urn:example:resource",
        BASE + "/" + "a" * (MAX_LENGTH - len(BASE) - 1),
    ],
)
def test_an_absolute_uri_is_taken_as_it_is(text):
    assert parse_resource(text) == text


@pytest.mark.requirement("RES-02")
@pytest.mark.parametrize(
    "text",
    [
        "",
        "#x",
        BASE + "#",
        BASE + "/mcp#f",
        "/mcp",
        "//as.example/mcp",
        "as.example",
        "https:",
        "1https://as.example",
        " https://as.example",
        "https://as.example\n",
        "https://as.example/a b",
        "https://as.example\\mcp",
        "https://\u0430s.example",
        "https://as.example/%zz",
        BASE + "/" + "a" * (MAX_LENGTH - len(BASE)),
    ],
)
def test_anything_else_is_an_invalid_target(text):
    with pytest.raises(InvalidTarget, match="absolute URI without a fragment"):
        parse_resource(text)
    with pytest.raises(InvalidTarget, match="absolute URI without a fragment"):
        select([BASE, text], KNOWN)
    assert select([BASE], KNOWN) == (BASE,)


@pytest.mark.parametrize(
    ("base", "prefix", "url"),
    [
        (BASE, "/mcp", MCP),
        (BASE, "/", BASE),
        ("https://as.example/", "/", "https://as.example/"),
        ("https://as.example/", "/mcp", MCP),
        ("https://as.example/app", "/mcp", "https://as.example/app/mcp"),
        ("http://[::1]:8000", "/mcp", "http://[::1]:8000/mcp"),
        (BASE, "/caf\u00e9 1", "https://as.example/caf%C3%A9%201"),
        (BASE, "/~u/a@b,c=d:e", "https://as.example/~u/a@b,c=d:e"),
    ],
)
def test_a_protected_prefix_has_a_url(base, prefix, url):
    assert resource_url(base, prefix) == url
    assert parse_resource(url) == url


def test_the_base_comes_first_and_every_resource_once():
    assert KNOWN == (BASE, API, HEALTH, MCP)
    assert known_resources(BASE, ()) == (BASE,)
    assert known_resources(BASE, ("/", "/mcp")) == (BASE, MCP)


SELECTED = [
    ("none", [], (BASE,)),
    ("the base", [BASE], (BASE,)),
    ("a prefix", [MCP], (MCP,)),
    ("several, sorted, once", [MCP, API, MCP], (API, MCP)),
    ("a slash after the host", ["https://as.example/"], (BASE,)),
    ("both spellings", [BASE, "https://as.example/"], (BASE,)),
    ("upper-case host", ["https://AS.Example/mcp"], (MCP,)),
    ("upper-case scheme and slash", ["HTTPS://AS.EXAMPLE/"], (BASE,)),
    ("default port", ["https://as.example:443/mcp"], (MCP,)),
    ("default port and slash", ["https://as.example:443/"], (BASE,)),
]


@pytest.mark.requirement("RES-01")
@pytest.mark.requirement("RES-04")
@pytest.mark.requirement("RES-05")
@pytest.mark.requirement("RES-06")
@pytest.mark.requirement("Q-09")
@pytest.mark.parametrize(
    ("requested", "audience"), [row[1:] for row in SELECTED], ids=[row[0] for row in SELECTED]
)
def test_a_request_selects_resources_by_their_canonical_strings(requested, audience):
    assert select(requested, KNOWN) == audience


@pytest.mark.requirement("GEN-17")
@pytest.mark.requirement("Q-28")
@pytest.mark.requirement("RES-03")
@pytest.mark.requirement("RES-05")
@pytest.mark.requirement("RES-12")
@pytest.mark.parametrize(
    "text",
    [
        "https://other.example",
        "https://as.example.evil.example",
        "https://as.example@evil.example",
        "https://user@as.example",
        "http://as.example",
        "https://as.example:8443",
        "https://as.example:80",
        "https://as.example:0443",
        "https://as.example:",
        "https://as.example//",
        "https://as.example/mcp/",
        "https://as.example/mcp/tools",
        "https://as.example/mcpx",
        "https://as.example/MCP",
        "https://as.example/%6dcp",
        "https://as.example/x/../mcp",
        "https://as.example/mcp?",
        "https://as.example?",
        "https://as.example/nothing",
        "urn:example:resource",
    ],
)
def test_what_is_not_a_known_resource_is_an_invalid_target(text):
    with pytest.raises(InvalidTarget) as refusal:
        select([text], KNOWN)
    assert text not in str(refusal.value)
    with pytest.raises(InvalidTarget):
        select([MCP, text], KNOWN)
    assert select([MCP], KNOWN) == (MCP,)


@pytest.mark.requirement("RES-05")
def test_a_base_is_echoed_with_the_slash_and_the_port_that_it_was_configured_with():
    known = known_resources("https://as.example:443/", ("/mcp",))
    assert select([], known) == ("https://as.example:443/",)
    assert select([BASE], known) == ("https://as.example:443/",)
    assert select([MCP], known) == ("https://as.example:443/mcp",)


def test_port_80_is_the_default_of_http_only():
    known = known_resources("http://localhost", ())
    assert select(["http://LOCALHOST:80/"], known) == ("http://localhost",)
    with pytest.raises(InvalidTarget):
        select(["http://localhost:443/"], known)


def test_whoever_asks_for_another_hears_which_there_are() -> None:
    with pytest.raises(InvalidTarget) as refusal:
        select(["https://other.example/"], (MCP, *KNOWN))
    assert str(refusal.value) == f"resource is not one of this server's: {MCP}, {BASE}, {API}, {API}/health"
    many = [BASE, *(f"{BASE}/{number}" for number in range(100))]
    with pytest.raises(InvalidTarget) as refusal:
        select(["https://other.example/"], many)
    assert str(refusal.value) == f"resource is not one of this server's, such as {BASE}"


@pytest.mark.parametrize(
    ("audience", "resource", "expected"),
    [
        (BASE, BASE, True),
        (BASE, MCP, True),
        ("https://as.example/", MCP, True),
        (API, HEALTH, True),
        (MCP, BASE, False),
        (MCP, "https://as.example/mcpx", False),
        (BASE, "https://as.example.evil.example/mcp", False),
        (BASE, "https://as.example:8443/mcp", False),
    ],
)
def test_a_token_is_good_below_its_audience_by_whole_segments(audience, resource, expected):
    assert covers(audience, resource) is expected
