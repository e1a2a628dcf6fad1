"""Which redirect URIs can be registered, which match, and what is made of them."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_refresh.redirects import (
    MAX_LENGTH,
    add_query,
    check_redirect_uri,
    display_host,
    find_redirect,
    form_action_source,
    is_loopback_redirect,
    redirect_matches,
)

LOOPBACK = {"127.0.0.1", "::1", "localhost"}

ACCEPTED = [
    "https://app.example/cb",
    "https://app.example",
    "https://app.example/",
    "https://app.example:8443/cb?tenant=1",
    "https://app.example/a;b/@c:d/~e(f)!$&'+,=",
    "https://app.example/cb?",
    "https://app.example/caf%C3%A9",
    "https://app.example//cb",
    "https://app.example/.well-known/cb",
    "https://app.example/a..b/c.",
    "https://app.example:0/cb",
    "https://app.example:65535/cb",
    "https://xn--bcher-kva.example/cb",
    "https://APP.example/cb",
    "HTTPS://app.example/cb",
    "https://my_host.example/cb",
    "https://localhost/cb",
    "https://192.0.2.7/cb",
    "https://[2001:db8::7]:8443/cb",
    "https://" + ".".join(["a" * 63] * 3) + "/cb",
    "https://app.example/" + "a" * (MAX_LENGTH - len("https://app.example/")),
    "http://127.0.0.1/cb",
    "http://127.0.0.1",
    "http://127.0.0.1:51004/cb",
    "http://[::1]:51004/cb",
    "http://[::1]/cb",
    "http://localhost/callback",
    "http://localhost:8787/callback",
    "http://LOCALHOST:8787/callback",
    "com.example.app:/cb",
    "com.example.app:///cb",
    "com.example.app://cb",
    "com.example.app:/",
    "COM.example.app:/cb",
    "com.googleusercontent.apps.12-ab:/oauth2redirect",
    "cursor://anysphere.cursor-mcp/oauth/callback",
    "Cursor://anysphere.cursor-mcp/oauth/callback",
    "vscode://vendor.extension/cb",
    "vscode-insiders://vendor.extension/cb?windowId=1",
]

REFUSED = [
    ("", "it is empty"),
    ("https://app.example/" + "a" * (MAX_LENGTH + 1 - len("https://app.example/")), "longer than 2048"),
    ("https://app.example/caf\u00e9", "not ASCII"),
    ("https://\u0430pp.example/cb", "not ASCII"),
    ("http://127.0.0.\uff11/cb", "not ASCII"),
    ("http://localhost:\u0663000/cb", "not ASCII"),
    ("https://app.example\u3002evil.example/cb", "not ASCII"),
    ("https://app.example/c b", "whitespace"),
    (" https://app.example/cb", "whitespace"),
    ("https://app.example/cb\n", "control character"),
    ("https://app.example/cb\r\nX: y", "control character"),
    ("https://app\t.example/cb", "control character"),
    ("java\tscript:alert(1)", "control character"),
    ("https://app.example/cb\x00", "control character"),
    ("https://app.example/cb\x7f", "control character"),
    ("https://app.example/cb%0d%0aX:y", "control character"),
    ("https://app.example/cb%7F", "control character"),
    ("https://app.example\\@evil.example/cb", "backslash"),
    ("https:\\\\app.example/cb", "backslash"),
    ("https://app.example/cb#", "fragment"),
    ("https://app.example/cb#f", "fragment"),
    ("https://app.example/<cb>", "percent-encoded"),
    ('https://app.example/"', "percent-encoded"),
    ("https://app.example/%", "percent-encoded"),
    ("https://app.example/%zz", "percent-encoded"),
    ("https://app.example/{id}", "percent-encoded"),
    ("https://app.example/cb?a[]=1", "bracket"),
    ("https://app.example/[cb", "bracket"),
    ("https://app.example/cb]", "bracket"),
    ("/cb", "not absolute"),
    ("//app.example/cb", "not absolute"),
    ("app.example/cb", "not absolute"),
    ("1https://app.example/cb", "not absolute"),
    ("127.0.0.1:3000/cb", "not absolute"),
    ("https://app.example/a/../cb", "dot segment"),
    ("https://app.example/a/./cb", "dot segment"),
    ("https://app.example/..", "dot segment"),
    ("https://app.example/a/%2e%2e/cb", "dot segment"),
    ("https://app.example/a/.%2E/cb", "dot segment"),
    ("https://app.example/%2e", "dot segment"),
    ("http://127.0.0.1:1/../cb", "dot segment"),
    ("com.example.app:/../cb", "dot segment"),
    ("https://app.example/*", "wildcard"),
    ("https://*.app.example/cb", "host is malformed"),
    ("https://user@app.example/cb", "user information"),
    ("https://app.example:pw@evil.example/cb", "user information"),
    ("http://127.0.0.1@evil.example/cb", "user information"),
    ("http://127.0.0.1:80@evil.example/cb", "user information"),
    ("http://@127.0.0.1/cb", "user information"),
    ("cursor://user@host/cb", "user information"),
    ("https:///cb", "no host"),
    ("https:/cb", "no host"),
    ("https:cb", "no host"),
    ("https://", "no host"),
    ("https://:443/cb", "port is malformed"),
    ("http://127.0.0.1:/", "port is malformed"),
    ("http://127.0.0.1:65536/", "port is malformed"),
    ("http://127.0.0.1:000080/", "port is malformed"),
    ("http://127.0.0.1:-1/", "port is malformed"),
    ("http://127.0.0.1:+1/", "port is malformed"),
    ("http://127.0.0.1:80:90/", "port is malformed"),
    ("http://127.0.0.1:8o/", "port is malformed"),
    ("https://app..example/cb", "host is malformed"),
    ("https://app.example./cb", "host is malformed"),
    ("https://.app.example/cb", "host is malformed"),
    ("https://app%2eexample/cb", "host is malformed"),
    ("https://app.example,evil.example/cb", "host is malformed"),
    ("https://" + "a" * 64 + ".example/cb", "host is malformed"),
    ("https://" + ".".join(["a" * 63] * 4) + "/cb", "host is malformed"),
    ("https://[::1/cb", "host is malformed"),
    ("https://[]/cb", "host is malformed"),
    ("https://[::g]/cb", "host is malformed"),
    ("https://[127.0.0.1]/cb", "host is malformed"),
    ("https://[fe80::1%25eth0]/cb", "host is malformed"),
    ("https://[::1]x/cb", "host is malformed"),
    ("https://::1/cb", "port is malformed"),
    ("https://127.1/cb", "host is malformed"),
    ("https://0x7f.0.0.1/cb", "host is malformed"),
    ("https://2130706433/cb", "host is malformed"),
    ("https://127.0.0.0x1/cb", "host is malformed"),
    ("https://256.0.0.1/cb", "host is malformed"),
    ("http://127.1/cb", "host is malformed"),
    ("http://app.example/cb", "http is allowed"),
    ("HTTP://app.example/cb", "http is allowed"),
    ("http://localhost.evil.example/cb", "http is allowed"),
    ("http://evil-localhost/cb", "http is allowed"),
    ("http://127.0.0.1.nip.io/cb", "http is allowed"),
    ("http://127.0.0.2/cb", "http is allowed"),
    ("http://0.0.0.0/cb", "http is allowed"),
    ("http://[::ffff:127.0.0.1]/cb", "http is allowed"),
    ("http://[0:0:0:0:0:0:0:1]/cb", "http is allowed"),
    ("http://[::]/cb", "http is allowed"),
    ("myapp:/cb", "reversed domain name"),
    ("localhost:/cb", "reversed domain name"),
    ("com.example.:/cb", "reversed domain name"),
    ("com..example:/cb", "reversed domain name"),
    ("myapp:cb", "neither a host nor a path"),
    ("com.example.app:", "neither a host nor a path"),
    ("com.example.app://", "neither a host nor a path"),
    ("app.example:8443/cb", "neither a host nor a path"),
    ("com.example.app:cb", "neither a host nor a path"),
    ("localhost:3000/cb", "neither a host nor a path"),
]

NEVER = [
    "javascript:alert(1)",
    "javascript://app.example/%250aalert(1)",
    "data:text/html,x",
    "data:/text",
    "vbscript:/x",
    "file:///etc/passwd",
    "blob:https://app.example/1",
    "about:blank",
    "ftp://app.example/cb",
    "ws://app.example/cb",
    "wss://app.example/cb",
    "view-source:https://app.example/cb",
    "mailto:a@app.example",
    "filesystem:https://app.example/temporary/x",
    "intent://x/y",
    "urn:ietf:wg:oauth:2.0:oob",
]


def shortened(text):
    return text[:60]


@pytest.mark.requirement("REDIR-02")
@pytest.mark.requirement("REDIR-03")
@pytest.mark.requirement("REDIR-09")
@pytest.mark.requirement("REDIR-10")
@pytest.mark.requirement("REDIR-14")
@pytest.mark.parametrize("uri", ACCEPTED, ids=shortened)
def test_a_complete_uri_can_be_registered_and_matches_itself(uri):
    assert check_redirect_uri(uri) is None
    assert redirect_matches(uri, uri)
    assert find_redirect([uri], None) == uri


@pytest.mark.requirement("BCP-13")
@pytest.mark.requirement("MCP-08")
@pytest.mark.requirement("REDIR-02")
@pytest.mark.requirement("REDIR-03")
@pytest.mark.requirement("REDIR-08")
@pytest.mark.requirement("REDIR-09")
@pytest.mark.parametrize(("uri", "reason"), REFUSED, ids=shortened)
def test_a_defect_is_refused_by_its_kind(uri, reason):
    found = check_redirect_uri(uri)
    assert found is not None
    assert reason in found


@pytest.mark.requirement("REDIR-02")
@pytest.mark.parametrize(
    "uri", [uri for uri, reason in REFUSED if reason != "reversed domain name"], ids=shortened
)
def test_a_defective_uri_matches_nothing_even_if_it_was_registered(uri):
    assert not redirect_matches(uri, uri)
    assert find_redirect([uri], uri) is None
    assert find_redirect([uri], None) is None


@pytest.mark.requirement("REDIR-04")
@pytest.mark.parametrize("respell", [str.lower, str.upper, str.title])
@pytest.mark.parametrize("uri", NEVER)
def test_schemes_that_browsers_act_upon_are_refused_whatever_the_operator_allows(uri, respell):
    scheme, colon, rest = uri.partition(":")
    spelled = respell(scheme) + colon + rest
    assert check_redirect_uri(spelled, private_schemes=(scheme,)) == "this scheme is never allowed"
    assert not redirect_matches(spelled, spelled)


@pytest.mark.requirement("REDIR-04")
def test_a_forbidden_scheme_cannot_hide_behind_other_defects():
    assert check_redirect_uri("data:text/html,<script>alert(1)</script>") is not None
    assert check_redirect_uri("javascript:alert(1)//\nhttps://app.example/") is not None


@pytest.mark.requirement("REDIR-09")
def test_the_operator_decides_about_schemes_without_a_dot():
    assert check_redirect_uri("myapp://cb", private_schemes=("MyApp",)) is None
    assert check_redirect_uri("cursor://cb", private_schemes=("myapp",)) is not None
    assert check_redirect_uri("com.example.app:/cb", private_schemes=()) is None


@pytest.mark.requirement("MCP-08")
def test_the_operator_may_allow_no_private_scheme_at_all():
    for uri in ("cursor://cb", "com.example.app:/cb"):
        assert check_redirect_uri(uri) is None
        assert check_redirect_uri(uri, None) == "only https and loopback are allowed here"
    for uri in ("https://app.example/cb", "http://127.0.0.1/cb"):
        assert check_redirect_uri(uri, None) is None
    assert check_redirect_uri("javascript:x", None) == "this scheme is never allowed"


@pytest.mark.requirement("Q-16")
@pytest.mark.requirement("Q-19")
def test_what_editors_register_in_one_go_is_accepted():
    cursor = [
        "cursor://anysphere.cursor-mcp/oauth/callback",
        "https://www.cursor.com/agents/mcp/oauth/callback",
        "http://localhost:8787/callback",
    ]
    vscode = [
        "http://127.0.0.1/",
        "http://127.0.0.1:33418/",
        "http://127.0.0.1:33418",
        "https://vscode.dev/redirect",
        "https://insiders.vscode.dev/redirect",
    ]
    assert [check_redirect_uri(uri) for uri in cursor + vscode] == [None] * 8


@given(st.text(max_size=40))
def test_a_reason_never_quotes_the_uri(text):
    marked = f"qqq{text}"
    reason = check_redirect_uri(marked)
    assert reason is None or "qqq" not in reason
    assert reason is None or (reason.isascii() and reason.isprintable() and not set(reason) & set('"\\'))


MATCHES = [
    ("other port", "http://127.0.0.1:3000/cb", "http://127.0.0.1:51004/cb", True),
    ("port registered, none requested", "http://127.0.0.1:3000/cb", "http://127.0.0.1/cb", True),
    ("none registered, port requested", "http://127.0.0.1/cb", "http://127.0.0.1:51004/cb", True),
    ("highest port", "http://127.0.0.1/cb", "http://127.0.0.1:65535/cb", True),
    ("IPv6", "http://[::1]:3000/cb", "http://[::1]:51004/cb", True),
    ("localhost", "http://localhost/callback", "http://localhost:58135/callback", True),
    ("empty path requested", "http://127.0.0.1:1/", "http://127.0.0.1:2", True),
    ("empty path registered", "http://localhost", "http://localhost:2/", True),
    ("empty path and query", "http://127.0.0.1/?a=1", "http://127.0.0.1:2?a=1", True),
    ("same query", "http://127.0.0.1/cb?a=1", "http://127.0.0.1:2/cb?a=1", True),
    ("port beyond 65535", "http://127.0.0.1/cb", "http://127.0.0.1:65536/cb", False),
    ("empty port", "http://127.0.0.1/cb", "http://127.0.0.1:/cb", False),
    ("two ports", "http://127.0.0.1/", "http://127.0.0.1:80:90/", False),
    ("localhost for 127.0.0.1", "http://127.0.0.1:1/cb", "http://localhost:1/cb", False),
    ("127.0.0.1 for localhost", "http://localhost:1/cb", "http://127.0.0.1:1/cb", False),
    ("IPv6 for IPv4", "http://127.0.0.1:1/cb", "http://[::1]:1/cb", False),
    ("mapped IPv4", "http://127.0.0.1:1/cb", "http://[::ffff:127.0.0.1]:1/cb", False),
    ("short IPv4", "http://127.0.0.1:1/cb", "http://127.1:1/cb", False),
    ("name that starts so", "http://localhost/cb", "http://localhost.evil.example/cb", False),
    ("name that starts so, numbers", "http://127.0.0.1/cb", "http://127.0.0.1.nip.io/cb", False),
    ("user information", "http://127.0.0.1/cb", "http://127.0.0.1@evil.example/cb", False),
    ("user information and port", "http://127.0.0.1/cb", "http://127.0.0.1:1@evil.example/cb", False),
    ("upper-case host", "http://localhost/cb", "http://LOCALHOST:1/cb", False),
    ("upper-case scheme", "http://localhost/cb", "HTTP://localhost:1/cb", False),
    ("https for http", "http://localhost/cb", "https://localhost/cb", False),
    ("https port", "https://localhost:1/cb", "https://localhost:2/cb", False),
    ("https port on 127.0.0.1", "https://127.0.0.1:1/cb", "https://127.0.0.1:2/cb", False),
    ("other path", "http://127.0.0.1:1/cb", "http://127.0.0.1:1/cb2", False),
    ("slash more", "http://127.0.0.1:1/cb", "http://127.0.0.1:1/cb/", False),
    ("path in other case", "http://127.0.0.1:1/cb", "http://127.0.0.1:1/CB", False),
    ("encoded path", "http://127.0.0.1:1/cb", "http://127.0.0.1:1/c%62", False),
    ("dot segments", "http://127.0.0.1:1/cb", "http://127.0.0.1:1/a/../cb", False),
    ("encoded dot segments", "http://127.0.0.1:1/cb", "http://127.0.0.1:1/a/%2e%2e/cb", False),
    ("backslash", "http://127.0.0.1:1/cb", "http://127.0.0.1:1\\cb", False),
    ("query more", "http://127.0.0.1:1/cb", "http://127.0.0.1:1/cb?a=1", False),
    ("empty query more", "http://127.0.0.1:1/cb", "http://127.0.0.1:1/cb?", False),
    ("query less", "http://127.0.0.1:1/cb?a=1", "http://127.0.0.1:1/cb", False),
    ("fragment", "http://127.0.0.1:1/cb", "http://127.0.0.1:1/cb#f", False),
    ("tab", "http://127.0.0.1:1/cb", "http://127.0.0.1:1/c\tb", False),
    ("default port", "https://app.example/cb", "https://app.example:443/cb", False),
    ("https empty path", "https://app.example", "https://app.example/", False),
    ("prefix", "https://app.example/cb", "https://app.example/cb/more", False),
    ("sub-domain", "https://app.example/cb", "https://a.app.example/cb", False),
    ("host in other case", "https://app.example/cb", "https://APP.example/cb", False),
    ("private port", "cursor://host:1/cb", "cursor://host:2/cb", False),
    ("private empty path", "com.example.app://cb", "com.example.app://cb/", False),
    (
        "loopback host in private scheme",
        "com.example.app://localhost:1/",
        "com.example.app://localhost:2/",
        False,
    ),
]


@pytest.mark.requirement("GEN-17")
@pytest.mark.requirement("BCP-01")
@pytest.mark.requirement("REDIR-01")
@pytest.mark.requirement("REDIR-05")
@pytest.mark.requirement("REDIR-06")
@pytest.mark.requirement("REDIR-07")
@pytest.mark.requirement("REDIR-08")
@pytest.mark.requirement("Q-17")
@pytest.mark.requirement("Q-18")
@pytest.mark.requirement("Q-19")
@pytest.mark.parametrize(
    ("registered", "requested", "expected"),
    [row[1:] for row in MATCHES],
    ids=[row[0] for row in MATCHES],
)
def test_only_the_port_of_a_loopback_address_is_free(registered, requested, expected):
    assert redirect_matches(registered, requested) is expected
    assert find_redirect(["https://other.example/cb", registered], requested) == (
        requested if expected else None
    )
    assert redirect_matches(registered, registered)


@given(st.text(alphabet="127.0localhost:@/\\[]?#%&evil. \t", max_size=30))
def test_what_is_accepted_as_http_leads_to_this_device_for_every_parser(rest):
    uri = "http://" + rest
    if check_redirect_uri(uri) is None:
        assert urlsplit(uri).hostname in LOOPBACK
        assert urlsplit(uri).username is None
        assert is_loopback_redirect(uri)


@given(
    st.sampled_from(["127.0.0.1", "[::1]", "localhost"]),
    st.one_of(st.none(), st.integers(0, 65535)),
    st.one_of(st.none(), st.integers(0, 65535)),
)
def test_any_two_ports_of_one_loopback_host_match_both_ways(host, one, other):
    first, second = (f"http://{host}{'' if port is None else f':{port}'}/callback" for port in (one, other))
    assert redirect_matches(first, second)
    assert redirect_matches(second, first)
    assert find_redirect([first], second) == second


@pytest.mark.requirement("AUTHZ-04")
@pytest.mark.requirement("Q-17")
@pytest.mark.parametrize(
    ("registered", "expected"),
    [
        ([], None),
        (["https://app.example/cb"], "https://app.example/cb"),
        (["https://app.example/cb", "https://app.example/cb"], "https://app.example/cb"),
        (["http://localhost/callback"], "http://localhost/callback"),
        (["https://app.example/cb", "https://app.example/cb2"], None),
        (["http://localhost/callback", "http://127.0.0.1/callback"], None),
    ],
)
def test_a_redirect_uri_may_be_left_out_only_where_there_is_one(registered, expected):
    assert find_redirect(registered, None) == expected


def test_an_empty_redirect_uri_is_no_absent_one():
    assert find_redirect(["https://app.example/cb"], "") is None


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("https://app.example/cb", "https://app.example/cb?code=c%2B1&state=a%20b%26%C3%A9"),
        ("https://app.example/cb?", "https://app.example/cb?code=c%2B1&state=a%20b%26%C3%A9"),
        ("https://app.example/cb?x=%7e+1", "https://app.example/cb?x=%7e+1&code=c%2B1&state=a%20b%26%C3%A9"),
        ("https://app.example/cb?x&", "https://app.example/cb?x&code=c%2B1&state=a%20b%26%C3%A9"),
        ("https://app.example/a&", "https://app.example/a&?code=c%2B1&state=a%20b%26%C3%A9"),
        ("https://app.example", "https://app.example?code=c%2B1&state=a%20b%26%C3%A9"),
        ("http://[::1]:51004/cb", "http://[::1]:51004/cb?code=c%2B1&state=a%20b%26%C3%A9"),
        ("com.example:/path", "com.example:/path?code=c%2B1&state=a%20b%26%C3%A9"),
        ("cursor://host/path", "cursor://host/path?code=c%2B1&state=a%20b%26%C3%A9"),
    ],
)
@pytest.mark.requirement("GEN-19")
def test_an_answer_is_added_behind_the_existing_query(uri, expected):
    assert add_query(uri, [("code", "c+1"), ("state", "a b&\u00e9")]) == expected
    assert add_query(uri, []) == uri


@pytest.mark.requirement("AUTHZ-08")
@given(
    st.sampled_from([uri for uri in ACCEPTED if len(uri) < 100]),
    st.lists(st.tuples(st.text(min_size=1), st.text()), min_size=1, max_size=4),
)
def test_an_answer_survives_its_way_through_the_uri(uri, params):
    answer = add_query(uri, params)
    assert answer.startswith(uri)
    query = urlsplit(answer).query
    assert parse_qsl(query, keep_blank_values=True)[-len(params) :] == params
    assert len(answer) > MAX_LENGTH or check_redirect_uri(answer) in (None, "it contains a control character")


SHOWN = [
    ("https://app.example/cb", "app.example", "https://app.example"),
    ("HTTPS://App.Example:8443/cb", "app.example:8443", "https://app.example:8443"),
    ("https://xn--bcher-kva.example/", "xn--bcher-kva.example", "https://xn--bcher-kva.example"),
    ("https://localhost/cb", "localhost", "https://localhost"),
    ("https://[2001:db8::7]:8443/", "[2001:db8::7]:8443", "https:"),
    ("http://127.0.0.1:51004/cb", "127.0.0.1:51004", "http://127.0.0.1:51004"),
    ("http://localhost/cb", "localhost", "http://localhost"),
    ("http://[::1]:51004/cb", "[::1]:51004", "http:"),
    ("com.example.app:/cb", "com.example.app:", "com.example.app:"),
    ("Cursor://host.example/cb", "cursor:", "cursor:"),
]


@pytest.mark.requirement("UI-03")
@pytest.mark.requirement("HTTP-07")
@pytest.mark.parametrize(("uri", "shown", "source"), SHOWN)
def test_a_page_names_and_permits_the_target_of_its_own_request(uri, shown, source):
    assert display_host(uri) == shown
    assert form_action_source(uri) == source
    assert is_loopback_redirect(uri) is uri.startswith(
        ("http://127.0.0.1", "http://localhost/", "http://[::1]")
    )


@pytest.mark.parametrize(
    "uri", ["", "https://a.example; script-src *", "javascript:alert(1)", "http://a.example/"]
)
def test_nothing_is_shown_or_permitted_for_an_unacceptable_uri(uri):
    with pytest.raises(ValueError, match="not an acceptable redirect URI"):
        display_host(uri)
    with pytest.raises(ValueError, match="not an acceptable redirect URI"):
        form_action_source(uri)
    assert not is_loopback_redirect(uri)
