"""What each setting accepts and refuses, on both sides of every boundary."""

from __future__ import annotations

import logging
from datetime import timedelta
from pathlib import Path

import pytest

from oauth_refresh.setting_values import shown

from .settings_loading import load, reason, settings, value

TTLS = ("access_token_ttl", "refresh_token_ttl", "code_ttl", "grant_max_age", "catch_up_window")
PERIODS = ("refresh_grace", "last_used_interval", "housekeeping_interval")
SWITCHES = (
    "allow_http",
    "root_aliases",
    "roll_forward",
    "ignore_case",
    "set_remote_user",
    "trust_remote_user",
)
HOOKS = ("user_loader", "password_check", "subject_check")


class Store:
    """Has the methods of a backend."""

    def get(self) -> None: ...
    def swap(self) -> None: ...
    def find(self) -> None: ...
    def keys(self) -> None: ...
    def purge(self) -> None: ...
    def close(self) -> None: ...

    shared = False
    beside = None


@pytest.mark.parametrize("name", TTLS)
@pytest.mark.parametrize(
    ("given", "seconds"),
    [(1, 1.0), ("1s", 1.0), (timedelta(days=30), 2592000.0), ("720h", 2592000.0), (1.5, 1.5), ("3", 3.0)],
)
def test_a_lifetime_is_at_least_one_second(name: str, given: object, seconds: float) -> None:
    assert value(name, given) == seconds


@pytest.mark.parametrize("name", TTLS)
@pytest.mark.parametrize("given", [0.999, 0, "0s", -1, timedelta(milliseconds=999)])
def test_a_lifetime_under_one_second_is_refused(name: str, given: object) -> None:
    assert reason(name, given) in {"is less than one second", "is below zero"}


@pytest.mark.parametrize("name", [*TTLS, *PERIODS])
@pytest.mark.parametrize(
    "given", [True, False, float("nan"), float("inf"), float("-inf"), "1y", [1], 10**400]
)
def test_what_is_no_finite_number_of_seconds_is_refused(name: str, given: object) -> None:
    assert reason(name, given) in {"is no length of time", "is not finite"}


@pytest.mark.parametrize("never", [None, "never", "none", "Never"])
def test_only_the_absolute_end_of_a_grant_may_be_never(never: object) -> None:
    assert value("grant_max_age", never) is None
    for name in {*TTLS, *PERIODS} - {"grant_max_age"}:
        assert reason(name, never) == "is no length of time"


@pytest.mark.parametrize("name", PERIODS)
def test_a_period_may_be_zero_but_not_less(name: str) -> None:
    assert value(name, 0) == 0
    assert reason(name, -0.001) == "is below zero"


@pytest.mark.parametrize("name", SWITCHES)
def test_a_switch_is_on_or_off(name: str) -> None:
    assert [value(name, on) for on in (True, 1, "true", "Yes", " on ", "1")] == [True] * 6
    assert [value(name, off) for off in (False, 0, "false", "No", "off", "0")] == [False] * 6
    for neither in ("", "maybe", 2, None, 1.0, "2"):
        assert reason(name, neither) == "is neither true nor false"


@pytest.mark.parametrize("policy", ["revoke", "refuse", "catch-up"])
def test_the_reuse_policy_is_one_of_three(policy: str) -> None:
    assert value("reuse_policy", f" {policy.upper()} ") == policy


@pytest.mark.parametrize("policy", ["", "catch_up", None, True, "forgive"])
def test_no_other_reuse_policy_is_accepted(policy: object) -> None:
    assert reason("reuse_policy", policy) == "is none of them"


def test_registration_is_open_by_token_or_off() -> None:
    assert (value("registration", "open"), value("registration", "off")) == ("open", "off")
    assert load(
        keywords={"registration": "token", "registration_tokens": ["AB" * 32]}
    ).registration_tokens == ("ab" * 32,)
    assert reason("registration", "token") == (
        "is for those with a token, and OAUTH_REGISTRATION_TOKENS has none"
    )
    assert reason("registration_tokens", ["a token itself"]) == "is no SHA-256 in 64 hex digits"
    assert reason("registration", "closed") == "is none of them"


@pytest.mark.parametrize(("given", "number"), [(1, 1), (64, 64), ("8", 8), (" 64 ", 64)])
def test_catching_up_looks_back_one_to_sixty_four_generations(given: object, number: int) -> None:
    assert value("catch_up_generations", given) == number


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (0, "is out of range"),
        (65, "is out of range"),
        ("65", "is out of range"),
        (10**400, "is out of range"),
        (True, "is no whole number"),
        (8.0, "is no whole number"),
        ("8.0", "is no whole number"),
        ("-1", "is no whole number"),
        (None, "is no whole number"),
    ],
)
def test_no_other_number_of_generations_is_accepted(given: object, why: str) -> None:
    assert reason("catch_up_generations", given) == why


# Addresses


@pytest.mark.requirement("DISC-01")
@pytest.mark.parametrize(
    "issuer",
    [
        "https://notes.example.org",
        "https://notes.example.org/",
        "https://Notes.Example.org:8443/base/path",
        "https://192.0.2.1",
        "https://[2001:db8::1]:8443",
        "https://my_host.internal",
        "http://localhost:5000",
        "https://notes.example.org/caf%C3%A9",
    ],
)
def test_an_issuer_is_kept_byte_for_byte(issuer: str) -> None:
    assert value("issuer", issuer) == issuer
    assert value("issuer", f" {issuer}\n") == issuer


@pytest.mark.requirement("DISC-01")
@pytest.mark.parametrize(
    ("issuer", "why"),
    [
        ("notes.example.org", "does not begin with https://"),
        ("HTTPS://notes.example.org", "does not begin with https://"),
        ("ftp://notes.example.org", "does not begin with https://"),
        ("https://", "has no valid host and port"),
        ("https:///path", "has no valid host and port"),
        ("https://:8443", "has no valid host and port"),
        ("https://notes.example.org:", "has no valid host and port"),
        ("https://notes.example.org:0", "has no valid host and port"),
        ("https://notes.example.org:65536", "has no valid host and port"),
        ("https://notes.example.org:x", "has no valid host and port"),
        ("https://*.example.org", "has no valid host and port"),
        ("https://notes..example.org", "has no valid host and port"),
        ("https://[fe80::1%25eth0]", "has no valid host and port"),
        ("https://[::1", "has no valid host and port"),
        ("https://[127.0.0.1]", "has no valid host and port"),
        ("https://notes.example.org?", "has a query or a fragment"),
        ("https://notes.example.org?a=b", "has a query or a fragment"),
        ("https://notes.example.org#", "has a query or a fragment"),
        ("https://notes.example.org/#top", "has a query or a fragment"),
        ("https://user@notes.example.org", "contains a user name or password"),
        ("https://user:word@notes.example.org", "contains a user name or password"),
        ("https://notes.example.org/a b", "has a character that a URL cannot have"),
        ("https://nötes.example.org", "has a character that a URL cannot have"),
        ("https://notes.example.org\\path", "has a character that a URL cannot have"),
        ("https://notes.example.org/a\nb", "contains a control character or a line end"),
        ("https://notes.example.org/../a", "has an empty or a dot segment in its path"),
        ("https://notes.example.org/.", "has an empty or a dot segment in its path"),
        ("https://notes.example.org//a", "has an empty or a dot segment in its path"),
        (5, "5 is no text"),
    ],
)
def test_what_cannot_be_an_issuer_is_refused(issuer: object, why: str) -> None:
    assert reason("issuer", issuer) == why


@pytest.mark.parametrize("prefix", ["/oauth", "/auth/v1", "/a", "/~me/o.auth-2_x"])
def test_a_prefix_is_a_path(prefix: str) -> None:
    assert value("prefix", prefix) == prefix


@pytest.mark.parametrize(
    ("prefix", "why"),
    [
        ("", 'does not begin with "/"'),
        ("oauth", 'does not begin with "/"'),
        (None, "None is no text"),
        ("/", 'ends with "/"'),
        ("/oauth/", 'ends with "/"'),
        ("//oauth", "has an empty or a dot segment"),
        ("/a//b", "has an empty or a dot segment"),
        ("/a/../b", "has an empty or a dot segment"),
        ("/a b", "has a character other than letters, digits and . _ ~ -"),
        ("/a%20b", "has a character other than letters, digits and . _ ~ -"),
        ("/a?b", "has a character other than letters, digits and . _ ~ -"),
        ("/é", "has a character other than letters, digits and . _ ~ -"),
        ("/.well-known/oauth", "lies below /.well-known, whose documents have fixed places"),
    ],
)
def test_what_cannot_be_a_prefix_is_refused(prefix: object, why: str) -> None:
    assert reason("prefix", prefix) == why


@pytest.mark.parametrize(
    "url", ["/login", "/", "/login?next=x", "https://login.example.org/a?b", "http://localhost:5000/login"]
)
def test_a_login_page_is_a_path_or_a_safe_url(url: str) -> None:
    assert value("login_url", url) == url


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("login", 'a path begins with "/"'),
        ("//evil.example/login", "is no path on this host"),
        ("/\\evil.example", "is no path on this host"),
        ("/log in", "is no path on this host"),
        ("/login#top", "has a fragment"),
        ("http://login.example.org/", "is neither a path nor https"),
        ("javascript://localhost/", "is neither a path nor https"),
        ("https://user:word@login.example.org/", "contains a user name or password"),
    ],
)
def test_no_other_login_page_is_accepted(url: str, why: str) -> None:
    assert reason("login_url", url) == why


@pytest.mark.parametrize(
    ("given", "origins"),
    [
        ("*", ("*",)),
        ("https://a.example, http://localhost:6274", ("https://a.example", "http://localhost:6274")),
        (["https://a.example", "https://a.example"], ("https://a.example",)),
        ("capacitor://localhost", ("capacitor://localhost",)),
        ("https://[::1]:8443", ("https://[::1]:8443",)),
        ("", ()),
        ("none", ()),
        (None, ()),
        ([], ()),
    ],
)
def test_cors_origins_are_all_or_those_listed(given: object, origins: tuple[str, ...]) -> None:
    assert value("cors_origins", given) == origins


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("*, https://a.example", '"*" already means every origin'),
        (
            "https://a.example/",
            "'https://a.example/' has more than scheme, host and port (not even a \"/\" at its end)",
        ),
        ("null", "'null' has no valid host and port"),
        ("a.example", "'a.example' has no valid host and port"),
        ("https://*.example", "'https://*.example' has no valid host and port"),
        (
            "https://A.example",
            "'https://A.example' is not what browsers send: lower case, without the default port",
        ),
        (
            "https://a.example:443",
            "'https://a.example:443' is not what browsers send: lower case, without the default port",
        ),
        (5, "5 is no list"),
        ([5], "5 is no text"),
    ],
)
def test_what_no_browser_sends_as_origin_is_refused(given: object, why: str) -> None:
    assert reason("cors_origins", given) == why


def test_trusted_proxies_are_addresses_and_networks() -> None:
    assert value("trusted_proxies", "127.0.0.1, 10.0.0.0/8, 2001:DB8::/32") == (
        "127.0.0.1/32",
        "10.0.0.0/8",
        "2001:db8::/32",
    )
    for wrong in ("10.0.0.1/8", "10.0.0.0/33", "proxy.example", "*"):
        assert reason("trusted_proxies", wrong).startswith(f"'{wrong}' is no network")


def test_private_schemes_are_schemes_that_no_browser_runs() -> None:
    assert value("private_schemes", "cursor, zed+x") == ("cursor", "zed+x")
    for wrong in ("Cursor", "cursor:", "1password", "zed_x"):
        assert reason("private_schemes", wrong).startswith(f"'{wrong}' is no scheme in lower case")
    for wrong in ("http", "https", "javascript", "data", "file", "vbscript"):
        assert reason("private_schemes", wrong) == f"'{wrong}' is a scheme that browsers handle themselves"


def test_identity_headers_are_header_names() -> None:
    assert value("identity_headers", "X-User, X_Forwarded_User") == ("X-User", "X_Forwarded_User")
    for wrong in ("X User", "X-User:", "Ü"):
        assert reason("identity_headers", wrong) == f"'{wrong}' is no header name"


# Registry, files, names


@pytest.mark.parametrize(
    "url", ["memory:", "sqlite:oauth.db", "sqlite:///var/lib/oauth.db", "file:tokens.json"]
)
def test_a_registry_is_named_by_a_url(url: str) -> None:
    assert value("registry", url) == url


def test_a_registry_may_be_an_object() -> None:
    store = Store()
    assert value("registry", store) is store


@pytest.mark.parametrize("given", ["", "none", "oauth.db", "/var/oauth.db"])
def test_text_without_a_scheme_is_no_registry(given: str) -> None:
    assert reason("registry", given) == "does not begin with a backend's name and a colon"


@pytest.mark.parametrize("given", [None, {}, 5, Store])
def test_what_lacks_the_methods_of_a_backend_is_no_registry(given: object) -> None:
    assert reason("registry", given).endswith("is no backend: it lacks one of get, swap, find, keys, purge")


def test_a_registry_that_no_backend_serves_is_refused() -> None:
    assert reason("registry", "nosuch://h/db").startswith("there is no backend for the scheme 'nosuch'")
    assert reason("registry", "sqlite:oauth.db?wall=1") == (
        "sqlite: has no option 'wall'; allowed are synchronous, timeout"
    )


def test_a_users_file_is_the_path_of_one(tmp_path: Path) -> None:
    path = tmp_path / "users"
    assert reason("users_file", path) == (
        f"users file {path}: No such file or directory; oauth-refresh user add NAME makes it"
    )
    path.write_text("alice\n")
    assert reason("users_file", path).startswith(f"users file {path}, line 1: ")
    path.write_text("# nobody yet\n")
    assert value("users_file", path) == value("users_file", str(path)) == str(path)
    assert value("users_file", "") is None
    assert reason("users_file", 5) == "5 is no text"


def test_a_service_name_is_one_short_line() -> None:
    assert value("service_name", " Notes ") == "Notes"
    assert value("service_name", None) == ""
    assert value("service_name", "x" * 100) == "x" * 100
    assert reason("service_name", "x" * 101) == "is longer than 100 characters"
    assert reason("service_name", "a\nb") == "contains a control character or a line end"


@pytest.mark.parametrize("given", ["app", "package.wsgi:app", "package.wsgi:create_app()", "a:b.c"])
def test_the_application_to_wrap_is_named_not_imported(given: str) -> None:
    assert value("refresh_app", given) == given


@pytest.mark.parametrize("given", ["a/b.py", "a:", ":app", "a:b(x)", "a b"])
def test_what_names_no_application_is_refused(given: str) -> None:
    assert reason("refresh_app", given) == "does not have the form package.module:name"


# Callables


@pytest.mark.parametrize("name", HOOKS)
def test_a_callable_is_given_or_named(name: str) -> None:
    assert value(name, print) is print
    assert value(name, "os.path:join") is __import__("os").path.join
    assert value(name, "logging:root.info") == logging.root.info
    assert load(environ={f"OAUTH_{name.upper()}": "builtins:print"}) == settings(**{name: print})
    assert value(name, "none") is None


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (5, "is not callable"),
        ("os:sep", "is not callable"),
        ("os.path.join", "does not have the form package.module:name"),
        ("os:path:join", "does not have the form package.module:name"),
        ("os:", "does not have the form package.module:name"),
        ("os:path.nothing", "cannot be imported (module 'posixpath' has no attribute 'nothing')"),
        ("no_such_module:x", "cannot be imported (No module named 'no_such_module')"),
    ],
)
def test_what_is_no_callable_is_a_mistake_of_its_key(given: object, why: str) -> None:
    assert reason("user_loader", given) == why


@pytest.mark.parametrize(
    ("name", "given", "arguments"),
    [
        ("user_loader", lambda request, session: "ada", "environ"),
        ("admin_check", lambda environ, more: True, "environ"),
        ("protect", lambda method, path: "", "environ"),
        ("password_check", lambda name: True, "user name, password"),
        ("password_check", "builtins:len", "user name, password"),
        ("subject_check", lambda subject: (), "subject, client_id, scopes"),
        ("grant_lifetimes", lambda subject, client_id: None, "subject, client_id, scopes"),
    ],
)
def test_a_callable_that_takes_other_arguments_is_told_at_start(
    name: str, given: object, arguments: str
) -> None:
    assert reason(name, given) == f"cannot be called as the setting is, with ({arguments})"


def test_a_callable_that_tells_nothing_of_its_arguments_is_taken() -> None:
    # Written in C, and without a signature that could be read.
    assert value("user_loader", max) is max


def test_a_module_that_breaks_at_import_is_named_by_place_not_by_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "breaks_at_import.py").write_text("x = 1\nraise RuntimeError('sesame')\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert reason("user_loader", "breaks_at_import:x") == (
        "cannot be imported (RuntimeError in breaks_at_import.py, line 2)"
    )


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("plain", "'plain'"),
        ("a\nb", "'a\\nb'"),
        ("https://user:sesame@host/path", "'https://***@host/path'"),
        ("postgresql://user:ses/@me@host", "'postgresql://***@host'"),
        ("x" * 200, "'" + "x" * 79 + "…"),
        (None, "None"),
        (True, "True"),
        (10**30, "a huge number"),
        ({"a": 1}, "(dict)"),
        (b"sesame", "(bytes)"),
    ],
)
def test_a_value_is_shown_on_one_short_line_without_credentials(given: object, text: str) -> None:
    assert shown(given) == text


def test_subjects_are_parted_by_commas() -> None:
    assert value("admins", "alice, bob smith") == ("alice", "bob smith")
    assert reason("admins", "alice; bob") == "'alice; bob' has a semicolon: a comma parts two subjects"
