"""Which rule protects a path, however it is written."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from oauth_refresh.errors import ConfigurationError
from oauth_refresh.paths import Protection, Requirement

NOTES = Protection(
    {
        "/api": "notes:read",
        "POST /api": "notes:write",
        "/mcp": "",
        "/api/health": "public",
        "/api/admin/keys": "admin notes:read",
    }
)

API = ("/api",)
KEYS = ("/api/admin/keys", "/api")
READ = Requirement(API, ("notes:read",))
WRITE = Requirement(API, ("notes:write",))
BOTH = Requirement(API, ("notes:read", "notes:write"))
MCP = Requirement(("/mcp",), ())

PLAIN = [
    ("GET", "/api", READ),
    ("GET", "/api/", READ),
    ("GET", "/api/notes/1", READ),
    ("HEAD", "/api", READ),
    ("DELETE", "/api", READ),
    ("PROPFIND", "/api", READ),
    ("POST", "/api", WRITE),
    ("POST", "/api/notes", WRITE),
    ("post", "/api", WRITE),
    ("Post", "/api", WRITE),
    ("GET", "/apix", None),
    ("GET", "/ap", None),
    ("GET", "/xapi", None),
    ("GET", "/x/api", None),
    ("GET", "/API", None),
    ("GET", "/", None),
    ("GET", "/.well-known/openid-configuration", None),
    ("GET", "/static/app.v1.css", None),
    ("GET", "/caf\u00c3\u00a9", None),
    ("GET", "/mcp", MCP),
    ("POST", "/mcp/tools/x", MCP),
    ("GET", "/api/health", None),
    ("POST", "/api/health/db", None),
    ("GET", "/api/healthy", READ),
    ("POST", "/api/healthy", WRITE),
    ("GET", "/api/admin", READ),
    ("GET", "/api/admin/keys", Requirement(KEYS, ("admin", "notes:read"))),
    ("POST", "/api/admin/keys/1", Requirement(KEYS, ("admin", "notes:read"))),
]


@pytest.mark.requirement("WSGI-10")
@pytest.mark.requirement("WSGI-11")
@pytest.mark.parametrize(("method", "path", "expected"), PLAIN)
def test_the_longest_rule_by_whole_segments_decides(method, path, expected):
    assert NOTES.match(method, path) == expected


def test_an_ordinary_request_gets_the_same_object_each_time():
    one, other = NOTES.match("GET", "/api/a"), NOTES.match("DELETE", "/api/b/c")
    assert one is other
    assert hash(one) == hash(READ)


def test_prefixes_and_scopes_are_those_that_protect():
    assert NOTES.prefixes == ("/api", "/api/admin/keys", "/mcp")
    assert NOTES.scopes == ("admin", "notes:read", "notes:write")
    assert Protection({}).prefixes == ()
    assert Protection({"/a/": "", "/": "public", "/b": "public"}).prefixes == ("/a",)


METHODS = [
    ("HEAD follows GET", {"GET /a": "r", "POST /a": "w"}, "HEAD", ("r",)),
    ("HEAD has its own", {"GET /a": "r", "HEAD /a": "h"}, "HEAD", ("h",)),
    ("HEAD without GET", {"POST /a": "w", "PUT /a": "p"}, "HEAD", ("p", "w")),
    ("HEAD without GET beside the plain rule", {"POST /a": "w", "/a": "r"}, "HEAD", ("r",)),
    ("HEAD does not stand for GET", {"HEAD /a": "h", "/a": "r"}, "GET", ("r",)),
    ("other method gets the union", {"GET /a": "r", "POST /a": "w x"}, "DELETE", ("r", "w", "x")),
    ("unknown method gets the union", {"GET /a": "r", "POST /a": "w x"}, "BREW", ("r", "w", "x")),
    ("one method named protects all", {"POST /a": "w"}, "GET", ("w",)),
    ("the plain rule before the union", {"/a": "r", "POST /a": "w"}, "DELETE", ("r",)),
    ("its own rule only", {"/a": "r", "POST /a": "w"}, "POST", ("w",)),
    ("a method written small", {"/a": "r", "post /a": "w"}, "POST", ("w",)),
    ("a method with a dash", {"/a": "r", "M-SEARCH /a": "w"}, "m-search", ("w",)),
    ("several blanks", {"POST \t /a": "w"}, "POST", ("w",)),
    ("no scope", {"/a": "", "POST /a": "w"}, "GET", ()),
    ("public for one method", {"GET /a": "public", "POST /a": "w"}, "GET", None),
    ("public for GET is for HEAD too", {"GET /a": "public", "POST /a": "w"}, "HEAD", None),
    ("public adds nothing to the union", {"GET /a": "public", "POST /a": "w"}, "PUT", ("w",)),
    ("public but for one method", {"/a": "public", "POST /a": "w"}, "PUT", None),
    ("public but for this method", {"/a": "public", "POST /a": "w"}, "POST", ("w",)),
    ("public methods only, another", {"GET /a": "public"}, "POST", ()),
    ("public methods only, below a rule", {"/": "r", "GET /a": "public"}, "POST", ("r",)),
    ("public methods only, below public", {"/": "public", "GET /a": "public"}, "POST", ()),
]


@pytest.mark.parametrize(
    ("rules", "method", "scopes"), [row[1:] for row in METHODS], ids=[row[0] for row in METHODS]
)
def test_a_path_named_with_a_method_is_protected_for_every_method(rules, method, scopes):
    found = Protection(rules).match(method, "/a/b")
    assert (found and found.scopes) == scopes


@pytest.mark.parametrize("path", ["/", "", "/a", "a", "*", "//", "/a/../..", "http://host", "/%"])
def test_a_rule_for_the_root_protects_everything(path):
    assert Protection({"/": "r"}).match("GET", path) == Requirement(("/",), ("r",))
    assert Protection({"/": "r", "/a": "s"}).match("GET", "/b") == Requirement(("/",), ("r",))
    assert Protection({"/": "r", "/a": "s"}).match("GET", "/a") == Requirement(("/a", "/"), ("s",))


def test_a_slash_at_the_end_of_a_rule_means_nothing():
    protection = Protection({"/api/": "r"})
    assert protection.match("GET", "/api") == protection.match("GET", "/api/x") == Requirement(API, ("r",))


def test_without_rules_everything_is_open():
    for path in ("/", "/api", "/%2e%2e/api", "", "/.." * 20_000):
        assert Protection({}).match("GET", path) is None
        assert Protection({"/api/health": "public"}).match("GET", path) is None


def test_rules_are_compared_as_utf8():
    protection = Protection({"/caf\u00e9": "r"})
    found = Requirement(("/caf\u00e9",), ("r",))
    assert protection.match("GET", "/caf\u00e9/x".encode().decode("latin-1")) == found
    assert protection.match("GET", "/caf%C3%A9/x") == Requirement((), ("r",))
    assert protection.match("GET", "/caf\u00e9") is None
    assert protection.match("GET", "/\u65e5\u672c".encode().decode("latin-1")) is None


OTHER_READINGS = {
    "dot segments": "/public/../api",
    "dot segments with a slash at the end": "/public/../api/",
    "dot segments at the end": "/api/notes/..",
    "dot segments that leave it": "/api/../public",
    "dot segments above the root": "/../../api",
    "a single dot": "/./api",
    "dot segments over a doubled slash": "/x//../api",
    "dot segments that count doubled slashes": "/x/y//../../api",
    "encoded dot segments": "/public/%2e%2E/api",
    "dot segments encoded twice": "/public/%252e%252e/api",
    "an encoded slash": "/public/..%2Fapi",
    "an encoded letter": "/%61pi",
    "everything encoded": "%2f%61%70%69",
    "a letter encoded four times": "/%25252561pi",
    "a doubled slash": "//api",
    "many slashes": "/////api///notes",
    "an encoded doubled slash": "/%2fapi",
    "a backslash": "\\api",
    "backslashes and dots": "/public\\..\\api",
    "an encoded backslash": "/public%5c..%5capi",
    "a path parameter": "/api;v=1",
    "a path parameter on dots": "/public/..;x/api",
    "an encoded path parameter": "/api%3bv=1/notes",
    "a parameter that hides the slash": "/;x/api",
    "no slash": "api/notes",
    "a whole URL": "http://host.example/api",
    "a whole URL in upper case": "HTTPS://host.example:443/api/x",
    "a URL without scheme": "//host.example/api",
    "a URL without scheme, backslashes": "\\\\host.example\\api",
    "a NUL at the end": "/api\x00",
    "a NUL and more": "/api\x00.png",
    "an encoded NUL": "/api%00.png",
    "a line feed": "/api\n/x",
    "a line feed and more": "/api\nx",
    "a tab within": "/a\tpi",
    "a tab within and a NUL": "/a\tpi\x00.png",
    "a query in the path": "/api?x=/../..",
    "a fragment in the path": "/api#x",
    "a trailing dot": "/api./notes",
    "a trailing space": "/api ",
    "trailing dots and spaces": "/api. ./notes",
    "a space before dots": "/public/.. /api",
    "invalid UTF-8": "/\xc0\xaf/../api",
    "invalid UTF-8 that is left out": "/a\xffpi/notes",
    "invalid UTF-8 at the end": "/api\x80",
    "invalid UTF-8 at the beginning": "\xff/api",
    "encoded invalid UTF-8": "/a%ff%c0pi",
    "a surrogate": "/a\xed\xa0\x80pi",
    "half a letter": "/api\xc3/notes",
}


@pytest.mark.requirement("WSGI-09")
@pytest.mark.parametrize("path", OTHER_READINGS.values(), ids=OTHER_READINGS)
def test_a_path_is_protected_if_any_reading_of_it_is(path):
    found = NOTES.match("GET", path)
    assert found is not None
    assert found.scopes == ("notes:read",)


@pytest.mark.parametrize("path", OTHER_READINGS.values(), ids=OTHER_READINGS)
def test_the_same_trick_on_an_open_path_changes_nothing(path):
    assert NOTES.match("GET", path.replace("pi", "pp").replace("%69", "%70")) is None


@pytest.mark.requirement("WSGI-09")
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api/health/../notes", READ),
        ("/api/health/..%2fnotes", READ),
        ("/api/notes/../health", READ),
        ("/api/health;x", READ),
        ("/api//health", READ),
        ("//api//health", Requirement((), ("notes:read",))),
        ("/api/health/", None),
        ("/api/health/%20", None),
        ("/api/health//x", None),
        ("/api/health/./x", None),
    ],
)
def test_an_exempt_path_is_open_only_if_every_reading_is(path, expected):
    assert NOTES.match("GET", path) == expected


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/api/admin/keys/..", Requirement(API, ("admin", "notes:read"))),
        ("POST", "/api/admin/keys/../x", Requirement(API, ("admin", "notes:read", "notes:write"))),
        ("GET", "/api/../mcp", Requirement((), ("notes:read",))),
        ("POST", "/mcp/../api", Requirement((), ("notes:write",))),
        ("GET", "/open/../api", Requirement((), ("notes:read",))),
        ("GET", "/api/a;b", READ),
        ("GET", "api/a", READ),
        ("GET", "/api/100%", READ),
        ("GET", "/mcp/https://host/x", MCP),
    ],
)
def test_readings_that_differ_need_the_scopes_of_all_and_share_few_prefixes(method, path, expected):
    assert NOTES.match(method, path) == expected


def test_a_prefix_above_all_readings_stays():
    protection = Protection({"/": "any", "/a": "a", "/b": "b"})
    assert protection.match("GET", "/a/../b") == Requirement(("/",), ("a", "b"))


CASE = [
    ("/API/notes", ("r",)),
    ("/Api", ("r",)),
    ("/api/HEALTH", None),
    ("/%41PI", ("r",)),
    ("/x/..%2FAPI", ("r",)),
    ("/apix", None),
    ("/CAF\u00c9".encode().decode("latin-1"), ("c",)),
    ("/caf\u00e9/x".encode().decode("latin-1"), ("c",)),
    ("/CAF%C3%89", ("c",)),
    ("/\u212aey".encode().decode("latin-1"), ("k",)),
    ("/ma\u00dfe".encode().decode("latin-1"), ("m",)),
    ("/MASSE", ("m",)),
    ("/ap\u0131".encode().decode("latin-1"), ("r",)),
    ("/\xff\xfe", None),
]


@pytest.mark.requirement("WSGI-09")
@pytest.mark.parametrize(("path", "scopes"), CASE)
def test_case_is_ignored_where_the_application_ignores_it(path, scopes):
    rules = {"/Api": "r", "/api/health": "public", "/Caf\u00e9": "c", "/KEY": "k", "/masse": "m"}
    found = Protection(rules, ignore_case=True).match("GET", path)
    assert (found and found.scopes) == scopes
    assert Protection(rules, ignore_case=True).prefixes == ("/Api", "/Caf\u00e9", "/KEY", "/masse")


HOSTILE = {
    "percent signs": "/%25" * 16_384,
    "percent signs in a row": "/" + "%25" * 21_000,
    "deep encoding": "/%" + "25" * 32_000,
    "deep encoding, shorter": "/%" + "25" * 1_000,
    "dot segments": "/.." * 21_000,
    "slashes": "/" * 65_536,
    "backslashes": "\\" * 65_536,
    "parameters": "/;" * 32_768,
    "NULs": "\x00" * 65_536,
    "everything": "/" + "%2525;a\\.. /./\x00//?#" * 120,
}


@pytest.mark.parametrize("path", HOSTILE.values(), ids=HOSTILE)
def test_a_path_with_too_many_readings_is_under_all_rules_at_once(path):
    started = time.process_time()
    found = NOTES.match("GET", path)
    assert found == Requirement((), ("admin", "notes:read", "notes:write"))
    assert Protection({"/": "r", "/a": "s"}).match("GET", path) == Requirement(("/",), ("r", "s"))
    assert time.process_time() - started < 0.5
    assert NOTES.match("GET", "/api") == READ


@pytest.mark.parametrize("path", ["/a" * 32_768, "/" + "a" * 65_536, "/api" + "/a" * 32_768])
def test_an_ordinary_path_may_be_long(path):
    assert NOTES.match("GET", path) == (READ if path.startswith("/api") else None)


def test_a_long_path_with_one_trick_is_still_read():
    assert NOTES.match("GET", "//app/" + "a" * 3_000) is None
    assert NOTES.match("GET", "//api/" + "a" * 3_000) is not None


MISTAKES = [
    ("api", "r", "must be a path"),
    ("", "r", "must be a path"),
    ("POST", "r", "must be a path"),
    ("P0ST /api", "r", "must be a path"),
    ("https://as.example/api", "r", "must be a path"),
    ("/api/*", "r", "there are no patterns"),
    ("/api/<id>", "r", "there are no patterns"),
    ("/api/{id}", "r", "there are no patterns"),
    ("/api//x", "r", "write the path plainly"),
    ("/api/../x", "r", "write the path plainly"),
    ("/api/.", "r", "write the path plainly"),
    ("/api%20x", "r", "write the path plainly"),
    ("/api?x", "r", "write the path plainly"),
    ("/api#x", "r", "write the path plainly"),
    ("/api;x", "r", "write the path plainly"),
    ("/api\\x", "r", "write the path plainly"),
    ("/api\nx", "r", "write the path plainly"),
    ("/api\ud800", "r", "write the path plainly"),
    ("/api:", "r", 'parted by "="'),
    ("/api:/x", "r", 'parted by "="'),
    ("/api=r", "", 'parted by "="'),
    ("/api:r", "", 'parted by "="'),
    ("/api:notes:read", "", 'parted by "="'),
    ("/api", "r;", "scopes by spaces"),
    ("/api", "r, w", "scopes by spaces"),
    ("/api", "r;/b=w", "scopes by spaces"),
    ("/api", "r /b", "scopes by spaces"),
    ("/api,/b", "r", 'parted by "="'),
    ("/api", 'r"x', "not allowed"),
    ("/api", "public r", "cannot stand beside scopes"),
    ("/api", ["r"], "must be scopes"),
]


@pytest.mark.requirement("OPS-08")
@pytest.mark.parametrize(("rule", "value", "problem"), MISTAKES)
def test_a_rule_that_makes_no_sense_is_a_configuration_error(rule, value, problem):
    with pytest.raises(ConfigurationError, match=problem):
        Protection({rule: value})


@pytest.mark.requirement("OPS-08")
def test_all_mistakes_are_reported_together():
    with pytest.raises(ConfigurationError) as refusal:
        Protection({"/a/*": "r", "/b": "r", "b": "r", "/b/": "s"})
    assert refusal.value.problems == (
        "OAUTH_PROTECT: '/a/*': there are no patterns: a path covers everything below it",
        "OAUTH_PROTECT: 'b': must be a path such as /api, or a method and a path such as POST /api",
        "OAUTH_PROTECT: '/b/': there is a second rule for the same path and method",
    )


def test_rules_that_differ_in_case_clash_only_where_case_is_ignored():
    rules = {"/a": "r", "/A": "s"}
    assert Protection(rules).match("GET", "/A") == Requirement(("/A",), ("s",))
    with pytest.raises(ConfigurationError, match="second rule"):
        Protection(rules, ignore_case=True)


# Properties: each trick rewrites a path so that some server, proxy or framework would undo it.


def _spots(draw, text, wanted):
    return draw(st.sampled_from([spot for spot, letter in enumerate(text) if wanted(letter)]))


def _insert(draw, path, before, what):
    spot = _spots(draw, path, before)
    return path[:spot] + what + path[spot:]


def _encode(draw, path):
    spot = _spots(draw, path, lambda letter: True)
    code = format(ord(path[spot]), draw(st.sampled_from(["02x", "02X"])))
    return f"{path[:spot]}%{code}{path[spot + 1 :]}"


def _backslash(draw, path):
    if "/" not in path:
        return path
    spot = _spots(draw, path, "/".__eq__)
    return path[:spot] + "\\" + path[spot + 1 :]


def _before_slash(what):
    return lambda draw, path: _insert(draw, path, "/".__eq__, what) if "/" in path else path


TRICKS = {
    "encode": _encode,
    "backslash": _backslash,
    "double": _before_slash("/"),
    "dot": _before_slash("/."),
    "up": _before_slash("/zz/.."),
    "parameter": _before_slash(";p=1"),
    "parameter at the end": lambda draw, path: path + ";p",
    "tab": lambda draw, path: _insert(draw, path, lambda letter: True, "\t"),
    "NUL": lambda draw, path: path + "\x00.png",
    "no UTF-8": lambda draw, path: _insert(draw, path, lambda letter: True, "\xff"),
    "query": lambda draw, path: path + "?q=1",
    "fragment": lambda draw, path: path + "#f",
    "origin": lambda draw, path: "http://h" + path if path.startswith("/") else path,
    "no slash": lambda draw, path: path[1:] if path[:1] == "/" != path[1:2] else path,
}


@st.composite
def obfuscated(draw):
    path = draw(st.sampled_from(["/api/admin/keys", "/api/admin/keys/7/", "/api/admin/keys/a.b"]))
    # What takes the path's first slash away or puts something before it comes last, as it does on the wire.
    inner = st.sampled_from([name for name in TRICKS if name not in ("origin", "no slash")])
    for name in draw(st.lists(inner, max_size=5)):
        path = TRICKS[name](draw, path)
    return TRICKS[draw(st.sampled_from(["origin", "no slash", "encode"]))](draw, path)


@pytest.mark.requirement("WSGI-09")
@given(obfuscated())
@example("/api/admin/keys")
def test_no_combination_of_tricks_escapes_a_rule(path):
    protection = Protection({"/api/admin/keys": "admin", "/": "public"})
    found = protection.match("GET", path)
    assert found is not None
    assert found.scopes == ("admin",)


segments = st.lists(
    st.sampled_from(["api", "health", "admin", "keys", "mcp", "x", "a.b", ".c", "apix"]), max_size=5
)


@given(segments, st.sampled_from(["GET", "POST", "HEAD", "BREW"]), st.booleans())
def test_a_plain_path_has_the_rule_that_counting_segments_gives(names, method, slash):
    rules = {
        ("api",): WRITE if method == "POST" else READ,
        ("mcp",): MCP,
        ("api", "health"): None,
        ("api", "admin", "keys"): Requirement(KEYS, ("admin", "notes:read")),
    }
    covering = [rule for rule in rules if tuple(names[: len(rule)]) == rule]
    expected = rules[max(covering, key=len)] if covering else None
    path = "/" + "/".join(names) + ("/" if slash and names else "")
    assert NOTES.match(method, path) is NOTES.match(method, path)
    assert NOTES.match(method, path) == expected


@given(st.text(alphabet=st.characters(max_codepoint=255), max_size=80), st.booleans())
def test_any_bytes_get_an_answer(path, ignore_case):
    protection = Protection({"/": "r", "/a": "s"}, ignore_case=ignore_case)
    found = protection.match("GET", path)
    assert found is not None
    assert found.prefixes[-1] == "/"


@pytest.mark.parametrize(("written", "meant"), [("PSOT", "POST"), ("GETS", "GET"), ("delet", "DELETE")])
def test_a_method_that_is_misspelt_is_named_with_the_one_that_was_meant(written: str, meant: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{written.upper()} is no method .* {meant} was meant"):
        Protection({f"{written} /api": "notes:read"})


@pytest.mark.parametrize("method", ["PROPFIND", "PURGE", "PATCH", "XYZZY"])
def test_a_method_that_is_rare_or_the_applications_own_is_taken_as_it_is(method: str) -> None:
    needed = Protection({f"{method} /dav": "notes:read", "/dav": ""}).match(method, "/dav")
    assert needed is not None
    assert needed.scopes == ("notes:read",)
