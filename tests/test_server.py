"""What the endpoints share, and above all who the user is."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from oauth_refresh.addresses import from_issuer
from oauth_refresh.clients import Client
from oauth_refresh.login import Browser
from oauth_refresh.server import Server, User
from oauth_refresh.users import add_user, remove_user

from .driving import PASSWORD, PROTECT, SCOPES, Clock, InProcess
from .settings_loading import settings

NOBODY = Browser(b"s" * 16)
ALICE = Browser(b"s" * 16, "alice", 5.0, 5.0)
PROXY = {"REMOTE_ADDR": "10.0.0.1"}


def server(**keywords: object) -> Server:
    return Server(settings(**{"registry": "memory:", **keywords}), clock=Clock())


# --- the application's own login ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "subject"),
    [
        ("bob", "bob"),
        ("jürgen", "jürgen"),
        (7, "7"),
        (0, "0"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (None, None),
        ("", None),
        (False, None),
    ],
)
def test_the_user_loader_says_who_it_is(answer: object, subject: str | None) -> None:
    user = server(user_loader=lambda environ: answer).user({}, ALICE)
    assert user == (None if subject is None else User(subject))


@pytest.mark.parametrize("answer", [True, object(), ["bob"], {"id": 1}, b"bob", 1.5])
def test_an_answer_that_may_be_the_same_for_two_users_is_refused(answer: object) -> None:
    with pytest.raises(TypeError, match=r"OAUTH_USER_LOADER: the answer is \w+, the subject as"):
        server(user_loader=lambda environ: answer).user({}, NOBODY)


@pytest.mark.requirement("WSGI-07")
def test_the_user_loader_does_not_see_headers_that_anybody_can_send() -> None:
    seen: list[Any] = []
    keywords = {"user_loader": seen.append, "trusted_proxies": ["10.0.0.0/8"]}
    environ = {"HTTP_X_REMOTE_USER": "admin", "HTTP_REMOTE_USER": "admin", "HTTP_COOKIE": "c"}
    server(**keywords).user({**environ, "REMOTE_ADDR": "10.0.0.1"}, NOBODY)
    server(**keywords).user({**environ, "REMOTE_ADDR": "198.51.100.1"}, NOBODY)
    assert [sorted(each.keys() - {"CONTENT_LENGTH", "wsgi.input"}) for each in seen] == [
        ["HTTP_COOKIE", "HTTP_REMOTE_USER", "HTTP_X_REMOTE_USER", "REMOTE_ADDR"],
        ["HTTP_COOKIE", "REMOTE_ADDR"],
    ]


def test_the_application_goes_before_the_server_and_that_before_our_own_login() -> None:
    every = {"trust_remote_user": True, "password_check": lambda name, word: None}
    environ = {"REMOTE_USER": "carol"}
    assert server(user_loader=lambda environ: "bob", **every).user(environ, ALICE) == User("bob")
    assert server(user_loader=lambda environ: None, **every).user(environ, ALICE) == User("carol")
    assert server(user_loader=lambda environ: None, **every).user({}, ALICE) == User("alice", 5.0)
    assert server(user_loader=lambda environ: None, **every).user({}, NOBODY) is None


# --- the server in front --------------------------------------------------------------------------


@pytest.mark.requirement("WSGI-07")
def test_remote_user_counts_only_where_it_is_trusted() -> None:
    environ = {"REMOTE_USER": "carol"}
    assert server(trust_remote_user=True).user(environ, NOBODY) == User("carol")
    assert server(user_loader=lambda environ: None).user(environ, NOBODY) is None


def test_remote_user_is_utf_8() -> None:
    name = "jürgen ☂"
    environ = {"REMOTE_USER": name.encode().decode("latin-1")}
    assert server(trust_remote_user=True).user(environ, NOBODY) == User(name)


@pytest.mark.parametrize("name", ["j\xfcrgen", "j\xf6rgen", "\u2602"])
def test_bytes_that_spell_no_name_are_nobody(name: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert server(trust_remote_user=True).user({"REMOTE_USER": name}, NOBODY) is None
    assert caplog.messages == ["REMOTE_USER is not UTF-8: its user is not believed"]


@pytest.mark.requirement("WSGI-07")
@pytest.mark.requirement("BCP-23")
@pytest.mark.parametrize(
    ("environ", "user"),
    [
        ({**PROXY, "HTTP_X_REMOTE_USER": "dave"}, User("dave")),
        ({**PROXY, "REMOTE_USER": "carol", "HTTP_X_REMOTE_USER": "dave"}, User("carol")),
        ({**PROXY, "HTTP_X_REMOTE_USER": ""}, None),
        ({**PROXY, "HTTP_REMOTE_USER": "dave"}, None),
        ({"REMOTE_ADDR": "198.51.100.1", "HTTP_X_REMOTE_USER": "dave"}, None),
        (
            {"REMOTE_ADDR": "198.51.100.1", "HTTP_X_REMOTE_USER": "d", "HTTP_X_FORWARDED_FOR": "10.0.0.1"},
            None,
        ),
        ({"HTTP_X_REMOTE_USER": "dave"}, None),
    ],
)
def test_an_identity_header_counts_only_from_a_trusted_proxy(
    environ: dict[str, str], user: User | None
) -> None:
    trusting = server(trust_remote_user=True, trusted_proxies=["10.0.0.0/8"])
    assert trusting.user(environ, NOBODY) == user


def test_a_user_named_by_a_stranger_is_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    trusting = server(trust_remote_user=True, trusted_proxies=["10.0.0.0/8"])
    environ = {"HTTP_X_REMOTE_USER": "dave", "REMOTE_ADDR": ""}
    for _ in range(3):
        assert trusting.user(environ, NOBODY) is None
    (told,) = caplog.messages
    assert told.startswith(
        "user_not_believed header='X-Remote-User' address=None reason='a Unix socket has no"
    )
    assert "dave" not in told
    caplog.clear()
    other = server(trust_remote_user=True, trusted_proxies=["unix"])
    assert other.user(environ, NOBODY) == User("dave")
    assert other.user({**environ, "REMOTE_ADDR": "198.51.100.1"}, NOBODY) is None
    assert "address='198.51.100.1' reason='OAUTH_TRUSTED_PROXIES does not name" in caplog.text


@pytest.mark.requirement("WSGI-07")
def test_only_the_first_of_the_identity_headers_is_believed() -> None:
    trusting = server(
        trust_remote_user=True,
        trusted_proxies=["10.0.0.0/8"],
        identity_headers=["Remote-User", "X-Remote-User"],
    )
    forged = {**PROXY, "HTTP_X_REMOTE_USER": "admin"}
    assert trusting.user(forged, NOBODY) is None
    assert trusting.user({**forged, "HTTP_REMOTE_USER": "dave"}, NOBODY) == User("dave")


def test_a_proxy_is_not_believed_unless_told_to() -> None:
    silent = server(trusted_proxies=["10.0.0.0/8"], user_loader=lambda environ: None)
    assert silent.user({**PROXY, "HTTP_X_REMOTE_USER": "dave"}, NOBODY) is None


# --- our own login --------------------------------------------------------------------------------


def test_a_login_of_the_built_in_page_counts_where_there_is_one(tmp_path: Any) -> None:
    users = tmp_path / "users"
    add_user(users, "alice", "x")
    with_file = server(users_file=str(users))
    signed_in = replace(ALICE, proof=with_file.proof_of("alice") or b"")
    assert with_file.user({}, signed_in) == User("alice", 5.0)
    assert with_file.user({}, NOBODY) is None
    assert server(user_loader=lambda environ: None).user({}, signed_in) is None
    remove_user(users, "alice")
    assert with_file.user({}, signed_in) is None


def test_a_login_ends_with_the_password_that_it_was_made_with(tmp_path: Path) -> None:
    users = tmp_path / "users"
    add_user(users, "alice", PASSWORD)
    in_front = InProcess(users_file=str(users), password_check=None)
    client, stolen = in_front.register(), in_front.signed_in("alice")
    assert stolen.get(in_front.authorize_url(client)).form("decision")
    add_user(users, "alice", PASSWORD)
    # Given once more, the same password has another hash.
    assert stolen.get(in_front.authorize_url(client)).form("password")


@pytest.mark.parametrize(
    ("answer", "subject"),
    [(True, "Al"), ("u-1", "u-1"), (None, None), (False, None), ("", None)],
)
def test_a_password_check_answers_the_subject_or_true(answer: object, subject: str | None) -> None:
    asked: list[tuple[str, str]] = []

    def check(username: str, password: str) -> object:
        asked.append((username, password))
        return answer

    assert server(password_check=check).check_password("Al", "secret") == subject
    assert asked == [("Al", "secret")]


@pytest.mark.parametrize("answer", [object(), 0, 1, -1, 7, 1.0, ["al"]])
def test_a_password_check_that_answers_what_is_no_name_lets_nobody_in(answer: object) -> None:
    with pytest.raises(TypeError, match="OAUTH_PASSWORD_CHECK: the answer is"):
        server(password_check=lambda name, word: answer).check_password("al", "x")


def test_without_a_check_no_password_is_right() -> None:
    assert server().check_password("al", "x") is None


@pytest.mark.requirement("OPS-07")
def test_cookies_of_one_issuer_are_not_valid_at_another() -> None:
    shared = server(secret_key="a server secret of enough bytes", password_check=lambda name, word: True)
    one, other = (shared.cookies(from_issuer(f"http://localhost:{port}")) for port in (5000, 5001))
    sealed = one.seal(NOBODY, "consent", {"x": 1})
    assert one.unseal(NOBODY, "consent", sealed, 60) == {"x": 1}
    assert other.unseal(NOBODY, "consent", sealed, 60) is None
    assert shared.cookies(from_issuer("http://localhost:5000")) is one


# --- where requests come from ---------------------------------------------------------------------


def test_the_source_address_is_what_trusted_proxies_say() -> None:
    environ = {**PROXY, "HTTP_X_FORWARDED_FOR": "198.51.100.9, 203.0.113.7"}
    assert server(trusted_proxies=["10.0.0.0/8"]).counted_source(environ) == "203.0.113.7"
    assert server().counted_source(environ) is None


# --- scopes, resources, lifetimes -----------------------------------------------------------------


def test_the_default_scopes_are_those_described_unless_set() -> None:
    assert server(protect={"/api": "x"}, scopes={"a": "A"}).default_scopes == ("a",)
    assert server(protect={"/api": "x"}, scopes={"a": "A"}, default_scopes=["x"]).default_scopes == ("x",)
    assert server(scopes={"a": "A"}, default_scopes=[]).default_scopes == ()


@pytest.mark.requirement("PRM-07")
def test_the_scopes_of_a_prefix_are_those_asked_for_at_or_below_it() -> None:
    built = server(protect={**PROTECT, "/api/x": "x", "/apix": "y", "/api/open": "public", "/a b": "z"})
    assert built.scopes_below("/api") == {"notes:read", "notes:write", "x"}
    assert built.scopes_below("/api/notes") == {"notes:read", "notes:write"}
    assert built.scopes_below("/mcp") == frozenset()
    assert built.scopes_below("/") == {"notes:read", "notes:write", "x", "y", "z"}
    assert built.scopes_below("/a b") == {"z"}
    assert server(protect=lambda environ: None).scopes_below("/") == frozenset()


@pytest.mark.requirement("RES-06")
def test_the_first_resource_is_the_whole_server() -> None:
    built = server(protect=PROTECT, scopes=SCOPES)
    assert built.resources(from_issuer("https://as.example/t")) == (
        "https://as.example/t",
        "https://as.example/t/api",
        "https://as.example/t/api/notes",
        "https://as.example/t/mcp",
    )
    assert server(protect=lambda environ: "").prefixes == ()


@pytest.mark.requirement("RT-01")
def test_a_client_may_have_lifetimes_of_its_own_and_no_refresh_tokens() -> None:
    built = server()
    assert built.policy_for(None) == built.policy
    own = built.policy_for(Client("c", (), access_ttl=60.0, refresh_ttl=90.0))
    assert (own.access_ttl, own.refresh_ttl, own.issue_refresh) == (60.0, 90.0, True)
    none = built.policy_for(Client("c", (), grant_types=("authorization_code",)))
    assert (none.access_ttl, none.refresh_ttl, none.issue_refresh) == (86400.0, 2592000.0, False)


@pytest.mark.requirement("OPS-10")
def test_a_server_where_nobody_can_sign_in_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        server(protect={"/api": ""})
        server(protect={"/api": ""}, login_url="/login")
    does_not_know, nothing_tells = caplog.messages
    assert does_not_know.startswith("Nobody can sign in: this server does not know how its users do so. Set ")
    assert "nothing tells this server who comes back from OAUTH_LOGIN_URL" in nothing_tells
    caplog.clear()
    robot = {"client_secret_hash": "0" * 64, "grant_types": ["client_credentials"]}
    server(protect={"/api": ""}, clients={"robot": robot})
    server(protect={"/api": ""}, trust_remote_user=True)
    assert caplog.messages == []
