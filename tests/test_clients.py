"""Registered clients: where they are kept, and whether credentials are theirs."""

from __future__ import annotations

import base64
from hashlib import sha256
from typing import Any

import msgspec
import pytest

from oauth_refresh.attempts import Attempts
from oauth_refresh.backends.memory import MemoryBackend
from oauth_refresh.clients import Client, Clients, configured_client
from oauth_refresh.errors import InvalidClient, InvalidRequest, RegistryError, TooManyRequests

from .driving import Clock, basic
from .test_credentials import credentials

UNKNOWN_OR_WRONG = "unknown client, or wrong client authentication"
UNKNOWN_OR_SILENT = "unknown client, or one that was registered with a client_secret and sent none"
SECRET = "a:b%c+d é"


def raw(pair: str) -> str:
    return "Basic " + base64.b64encode(pair.encode()).decode()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def backend() -> MemoryBackend:
    return MemoryBackend()


@pytest.fixture
def clients(backend: MemoryBackend, clock: Clock) -> Clients:
    configured = {
        "web": configured_client("web", {"client_secret": "secret", "redirect_uris": ["https://w.example/"]}),
        "odd": configured_client(
            "odd", {"client_secret_hash": sha256(SECRET.encode()).hexdigest(), "grant_types": ()}
        ),
        "cli": configured_client("cli", {"redirect_uris": ["http://127.0.0.1/"]}),
    }
    return Clients(backend, configured, Attempts(backend, clock, limit=100), clock=clock)


def who(clients: Clients, authorization: str | None = None, **form: str) -> str:
    return clients.authenticate(credentials(authorization, **form)).client_id


def refused(clients: Clients, authorization: str | None = None, **form: str) -> InvalidClient:
    with pytest.raises(InvalidClient) as raised:
        clients.authenticate(credentials(authorization, **form))
    return raised.value


# --- reading --------------------------------------------------------------------------------------


@pytest.mark.requirement("CAUTH-01")
@pytest.mark.requirement("CAUTH-02")
def test_a_client_with_a_secret_sends_it_in_the_body_or_as_basic(clients: Clients) -> None:
    assert who(clients, client_id="web", client_secret="secret") == "web"
    assert who(clients, basic("web", "secret")) == "web"


@pytest.mark.requirement("CAUTH-03")
@pytest.mark.requirement("CAUTH-04")
@pytest.mark.parametrize("encode", [True, False], ids=["form-encoded", "raw"])
def test_basic_credentials_are_read_encoded_and_as_they_are(clients: Clients, encode: bool) -> None:
    assert who(clients, basic("odd", SECRET, encode=encode)) == "odd"


@pytest.mark.requirement("CAUTH-03")
@pytest.mark.parametrize(
    "pair", ["odd:a%3Ab%25c%2Bd+%C3%A9", "o%64d:a%3ab%25c%2bd%20%c3%a9", "odd:a:b%25c%2Bd é"]
)
def test_basic_credentials_may_be_encoded_in_every_way_of_forms(clients: Clients, pair: str) -> None:
    assert who(clients, raw(pair)) == "odd"


@pytest.mark.requirement("CAUTH-04")
@pytest.mark.parametrize("name", ["odd%ff", "odd%"])
def test_a_raw_id_that_looks_encoded_is_still_the_id(backend: MemoryBackend, clock: Clock, name: str) -> None:
    client = configured_client(name, {"client_secret": "s"})
    clients = Clients(backend, {name: client}, Attempts(backend, clock), clock=clock)
    assert who(clients, basic(name, "s", encode=False)) == name


@pytest.mark.requirement("CAUTH-04")
@pytest.mark.parametrize("secret", ["100%", "100%zz", "100%ff", "a+b", "%C3%BC", ":", "::"])
def test_a_raw_secret_that_looks_encoded_is_still_the_secret(
    backend: MemoryBackend, clock: Clock, secret: str
) -> None:
    client = configured_client("x", {"client_secret": secret})
    clients = Clients(backend, {"x": client}, Attempts(backend, clock), clock=clock)
    assert who(clients, basic("x", secret, encode=False)) == "x"
    assert who(clients, basic("x", secret)) == "x"


@pytest.mark.requirement("CAUTH-05")
@pytest.mark.parametrize("scheme", ["Basic ", "basic ", "BASIC ", "bAsIc   "])
def test_the_scheme_is_read_in_any_case(clients: Clients, scheme: str) -> None:
    assert who(clients, scheme + basic("web", "secret").partition(" ")[2]) == "web"


@pytest.mark.requirement("CAUTH-05")
@pytest.mark.requirement("CAUTH-11")
@pytest.mark.parametrize(
    "authorization",
    [
        "Basic",
        "Basic ",
        "Basic !!!!",
        "Basic d2Vi",
        "Basic d2ViOnNlY3JldA",
        "Basic d2ViOnNlY3JldA==, Basic d2ViOnNlY3JldA==",
        "Basic /w==",
        "Basic \xe9",
    ],
    ids=["nothing", "empty", "no base64", "no colon", "no padding", "two", "no UTF-8", "no ASCII"],
)
def test_broken_basic_credentials_are_an_invalid_client(clients: Clients, authorization: str) -> None:
    error = refused(clients, authorization)
    assert (error.status, error.code) == (401, "invalid_client")
    assert error.description == "the Authorization header is not HTTP Basic of client id and secret"
    assert error.headers == (("WWW-Authenticate", 'Basic realm="oauth"'),)


@pytest.mark.requirement("CAUTH-06")
def test_the_same_client_id_may_stand_in_the_body_too(clients: Clients) -> None:
    assert who(clients, basic("web", "secret"), client_id="web") == "web"
    with pytest.raises(InvalidRequest, match="client_id: another one than in the Authorization header"):
        credentials(basic("web", "secret"), client_id="odd")


@pytest.mark.requirement("CAUTH-06")
def test_a_header_with_two_readings_proves_only_the_client_that_the_body_names(
    backend: MemoryBackend, clock: Clock
) -> None:
    configured = {name: configured_client(name, {"client_secret": "s"}) for name in ("ab", "a%62")}
    clients = Clients(backend, configured, Attempts(backend, clock), clock=clock)
    assert who(clients, raw("a%62:s")) == "ab"
    assert who(clients, raw("a%62:s"), client_id="a%62") == "a%62"
    assert who(clients, raw("a%62:s"), client_id="ab") == "ab"


# --- judging --------------------------------------------------------------------------------------


@pytest.mark.requirement("CAUTH-07")
@pytest.mark.requirement("CAUTH-09")
def test_a_public_client_is_named_and_has_no_secret(clients: Clients) -> None:
    assert who(clients, client_id="cli") == "cli"
    assert who(clients, client_id="cli", client_secret="") == "cli"
    assert who(clients, basic("cli", "")) == "cli"
    assert refused(clients, client_id="cli", client_secret="x").description == UNKNOWN_OR_WRONG
    assert refused(clients, basic("cli", "x")).description == UNKNOWN_OR_WRONG


@pytest.mark.requirement("REDIR-13")
@pytest.mark.requirement("CAUTH-08")
@pytest.mark.requirement("CAUTH-12")
@pytest.mark.parametrize(
    ("authorization", "form"),
    [
        (None, {"client_id": "web", "client_secret": "wrong"}),
        (None, {"client_id": "web", "client_secret": "Secret"}),
        (None, {"client_id": "Web", "client_secret": "secret"}),
        (None, {"client_id": "nobody", "client_secret": "secret"}),
        (basic("web", "wrong"), {}),
        (basic("nobody", "secret"), {}),
        (basic("", "secret"), {}),
        (basic("cli", "secret"), {}),
        (basic("wéb", "secret"), {}),
        (basic("🙂" * 255, "secret"), {}),
    ],
)
def test_whoever_has_no_right_secret_hears_always_the_same(
    clients: Clients, authorization: str | None, form: dict[str, str]
) -> None:
    error = refused(clients, authorization, **form)
    assert error.description == UNKNOWN_OR_WRONG
    assert error.headers == (("WWW-Authenticate", 'Basic realm="oauth"'),)
    assert who(clients, basic("web", "secret")) == "web"


@pytest.mark.requirement("REDIR-13")
@pytest.mark.requirement("CAUTH-08")
@pytest.mark.requirement("CAUTH-12")
@pytest.mark.parametrize("client_id", ["web", "nobody", "oc_3q2-7wAAAAAAAAAAAAAAAAAA"])
def test_whoever_sends_no_secret_hears_that_one_may_be_missing(clients: Clients, client_id: str) -> None:
    for authorization, form in (
        (None, {"client_id": client_id}),
        (None, {"client_id": client_id, "client_secret": ""}),
        (basic(client_id, ""), {}),
        ("Bearer x", {"client_id": client_id}),
    ):
        error = refused(clients, authorization, **form)
        assert error.description == UNKNOWN_OR_SILENT
        assert error.headers == (("WWW-Authenticate", 'Basic realm="oauth"'),)


@pytest.mark.requirement("CAUTH-11")
def test_a_request_that_names_nobody_lacks_authentication(clients: Clients) -> None:
    assert refused(clients).description.startswith("client authentication is missing: client_id in the body")


@pytest.mark.requirement("CAUTH-10")
@pytest.mark.parametrize("registered", ["client_secret_basic", "client_secret_post"])
def test_a_secret_may_be_sent_either_way_whichever_was_registered(clients: Clients, registered: str) -> None:
    client, secret = clients.register({}, auth_method=registered)
    assert secret is not None
    assert who(clients, basic(client.client_id, secret)) == client.client_id
    assert who(clients, client_id=client.client_id, client_secret=secret) == client.client_id


@pytest.mark.requirement("CAUTH-13")
@pytest.mark.requirement("CAUTH-14")
def test_guessing_is_throttled_and_the_right_secret_passes(clients: Clients, clock: Clock) -> None:
    for _ in range(99):
        refused(clients, client_id="web", client_secret="wrong")
    for authorization, form in ((None, {"client_secret": "wrong"}), (basic("web", "wrong"), {})):
        with pytest.raises(TooManyRequests) as raised:
            clients.authenticate(credentials(authorization, client_id="web", **form))
        assert (raised.value.status, raised.value.code) == (429, "temporarily_unavailable")
        assert raised.value.headers == (("Retry-After", "900"),)
    assert who(clients, basic("web", "secret")) == "web"
    assert who(clients, basic("odd", SECRET)) == "odd"
    assert refused(clients, client_id="odd", client_secret="wrong").status == 401
    clock.forward(900)
    refused(clients, client_id="web", client_secret="wrong")


@pytest.mark.requirement("CAUTH-04")
def test_both_readings_of_one_header_are_one_guess(clients: Clients) -> None:
    for _ in range(99):
        refused(clients, raw("web:wr%6Fng"))
    with pytest.raises(TooManyRequests):
        who(clients, raw("web:wr%6Fng"))


@pytest.mark.requirement("CAUTH-14")
def test_a_client_that_is_gone_hears_so_however_often_it_asks(clients: Clients) -> None:
    for _ in range(150):
        refused(clients, client_id="oc_gone")


# --- keeping --------------------------------------------------------------------------------------


@pytest.mark.requirement("GEN-22")
@pytest.mark.requirement("GEN-23")
@pytest.mark.requirement("GEN-24")
def test_a_secret_is_long_and_only_its_hash_is_kept(clients: Clients, backend: MemoryBackend) -> None:
    client, secret = clients.register({"client_name": "N"}, auth_method="client_secret_post")
    assert secret is not None
    assert (len(secret), len(client.client_id)) == (47, 27)
    (key,) = backend.keys(b"c")
    entry = backend.get(key)
    assert entry is not None
    assert secret.encode() not in entry.body
    assert sha256(secret.encode()).digest() in entry.body
    assert clients.get(client.client_id) == client


@pytest.mark.requirement("DCR-02")
def test_no_two_clients_share_an_id(clients: Clients) -> None:
    ids = {clients.register({}, auth_method="none")[0].client_id for _ in range(50)}
    assert len(ids) == 50


@pytest.mark.requirement("DCR-18")
def test_a_registration_that_nobody_used_may_be_forgotten_after_a_day(
    clients: Clients, backend: MemoryBackend, clock: Clock
) -> None:
    unused, _ = clients.register({}, auth_method="none")
    used, _ = clients.register({}, auth_method="none")
    clients.mark_used(used)
    clock.forward(86399)
    assert backend.purge(clock()) == 0
    clock.forward(1)
    assert backend.purge(clock()) == 1
    assert clients.get(unused.client_id) is None
    kept = clients.get(used.client_id)
    assert kept is not None
    assert kept.used


@pytest.mark.requirement("DCR-18")
def test_a_client_in_use_is_kept_and_one_that_is_idle_may_be_forgotten(
    backend: MemoryBackend, clock: Clock
) -> None:
    day = 86400
    clients = Clients(backend, {}, Attempts(backend, clock), used_ttl=30.0 * day, clock=clock)
    client, _ = clients.register({}, auth_method="none")
    for _ in range(10):
        found = clients.get(client.client_id)
        assert found is not None
        clients.mark_used(found)
        clock.forward(29 * day)
        assert backend.purge(clock()) == 0
    clock.forward(day)
    assert backend.purge(clock()) == 1


@pytest.mark.requirement("DCR-18")
def test_use_is_written_down_once_a_day_however_often_a_client_comes(
    backend: MemoryBackend, clock: Clock
) -> None:
    clients = Clients(backend, {}, Attempts(backend, clock), used_ttl=30.0 * 86400, clock=clock)
    client, _ = clients.register({}, auth_method="none")
    clients.mark_used(client)
    (key,) = backend.keys(b"c")
    before = backend.get(key)
    for _ in range(2):
        clock.forward(43199)
        clients.mark_used(client)
        assert backend.get(key) == before
    clock.forward(2)
    clients.mark_used(client)
    assert backend.get(key) != before


def test_what_the_operator_registers_is_never_forgotten(
    clients: Clients, backend: MemoryBackend, clock: Clock
) -> None:
    made, _ = clients.register({}, auth_method="none", used=True, forget_at=None)
    clients.mark_used(made)
    clock.forward(1e9)
    assert backend.purge(clock()) == 0
    assert clients.get(made.client_id) == made


@pytest.mark.requirement("DCR-19")
def test_of_many_that_register_alike_at_once_all_get_the_one_client(
    clients: Clients, backend: MemoryBackend
) -> None:
    """Each of them has seen that the id is free."""
    both = [clients.register({}, client_id="oc_same", auth_method="none") for _ in range(2)]
    assert both[0] == both[1]
    assert len(list(backend.keys(b"c"))) == 1


def test_a_new_client_is_kept_where_a_failover_finds_it(clock: Clock) -> None:
    copies = []

    class Watched(MemoryBackend):
        def swap(self, *args: Any, **keywords: Any) -> bool:
            copies.append(args[5])
            return super().swap(*args, **keywords)

    backend = Watched()
    Clients(backend, {}, Attempts(backend, clock), clock=clock).register({}, auth_method="none")
    assert copies == ["wanted"]


def test_marking_twice_or_something_unknown_changes_nothing(clients: Clients, backend: MemoryBackend) -> None:
    client, _ = clients.register({}, auth_method="none")
    clients.mark_used(client)
    (key,) = backend.keys(b"c")
    before = backend.get(key)
    clients.mark_used(client)
    clients.mark_used(Client("oc_unknown", ()))
    clients.mark_used(configured_client("cli", {}))
    assert backend.get(key) == before
    assert len(list(backend.keys(b"c"))) == 1


@pytest.mark.requirement("GEN-17")
@pytest.mark.parametrize("client_id", ["", "WEB", "web ", "web\0", "wéb", "x" * 256, "\ud800"])
def test_an_id_is_compared_exactly(clients: Clients, client_id: str) -> None:
    assert clients.get(client_id) is None


@pytest.mark.requirement("GEN-24")
def test_an_id_has_255_characters_at_most(clients: Clients, backend: MemoryBackend) -> None:
    client, _ = clients.register({}, auth_method="none")
    (key,) = backend.keys(b"c")
    kept = backend.get(key)
    assert kept is not None
    for length in (255, 256):
        backend.swap(b"c" + b"x" * length, None, kept.body)
    assert clients.get("x" * 255) == client
    assert clients.get("x" * 256) is None


def test_a_record_is_a_format_and_a_list_to_which_fields_can_be_added(
    clients: Clients, backend: MemoryBackend
) -> None:
    client, _ = clients.register({}, auth_method="none")
    (key,) = backend.keys(b"c")
    kept = backend.get(key)
    assert kept is not None
    assert kept.body[:1] == b"\x01"
    fields = msgspec.msgpack.decode(kept.body[1:])
    assert len(fields) == len(Client.__struct_fields__)
    backend.swap(key, kept, b"\x01" + msgspec.msgpack.encode([*fields, None]))
    assert clients.get(client.client_id) == client


@pytest.mark.parametrize("body", [b"", b"\x02\x90", b"\x01", b"\x01\xc1", b"\x01\x91\x01"])
def test_a_record_that_cannot_be_read_is_trouble_and_not_an_unknown_client(
    clients: Clients, backend: MemoryBackend, body: bytes
) -> None:
    backend.swap(b"coc_x", None, body)
    with pytest.raises(RegistryError):
        clients.get("oc_x")


# --- clients of the settings ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        (
            {},
            {"auth_method": "none", "grant_types": ("authorization_code", "refresh_token"), "trusted": False},
        ),
        ({}, {"response_types": ("code",), "used": True, "scopes": None}),
        ({"client_secret": "s"}, {"auth_method": "client_secret_basic"}),
        (
            {"client_secret": "s", "token_endpoint_auth_method": "client_secret_post"},
            {"auth_method": "client_secret_post"},
        ),
        ({"grant_types": ()}, {"grant_types": ()}),
        ({"grant_types": ("authorization_code",)}, {"grant_types": ("authorization_code",)}),
        ({"scope": "a b"}, {"scopes": ("a", "b")}),
        ({"client_name": "N"}, {"metadata": {"client_name": "N"}}),
        ({"access_token_ttl": 60.0, "refresh_token_ttl": 90}, {"access_ttl": 60.0, "refresh_ttl": 90.0}),
        ({"trusted": True}, {"trusted": True}),
    ],
)
def test_a_client_of_the_settings_is_read(members: dict[str, Any], expected: dict[str, Any]) -> None:
    client = configured_client("c", members)
    assert client.configured
    assert {name: getattr(client, name) for name in expected} == expected


def test_a_hash_of_the_settings_is_the_sha_256_of_the_secret_in_lower_case_hex() -> None:
    by_hash = configured_client("c", {"client_secret_hash": sha256(b"s").hexdigest()})
    assert by_hash == configured_client("c", {"client_secret": "s"})
    assert not by_hash.public


def test_a_client_without_a_name_is_called_by_its_id() -> None:
    assert configured_client("c", {}).name == "c"
    assert Client("c", (), metadata={"client_name": "  "}).name == "c"
    assert Client("c", (), metadata={"client_name": "N"}).name == "N"


def test_a_client_of_the_settings_goes_before_a_registered_one(
    clients: Clients, backend: MemoryBackend
) -> None:
    backend.swap(b"cweb", None, b"\x02")
    found = clients.get("web")
    assert found is not None
    assert found.configured


@pytest.mark.requirement("WSGI-15")
def test_a_secret_in_the_place_of_the_id_is_not_told(clients: Clients) -> None:
    for misplaced in ("ocs_" + "s" * 43, "oat_" + "a" * 64, "a secret of the settings"):
        for form in ({"client_id": misplaced}, {"client_id": misplaced, "client_secret": "x"}):
            assert misplaced not in str(refused(clients, None, **form))
    assert "'oc_gone'" in str(refused(clients, None, client_id="oc_gone"))
    assert "'web'" in str(refused(clients, None, client_id="web"))
