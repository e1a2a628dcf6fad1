"""Token files of the ancestor: every live token in them keeps working, and the first rotation moves it on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import pytest

from oauth_refresh.ancestor import Circumstances, records
from oauth_refresh.backends.memory import MemoryBackend
from oauth_refresh.cases import Policy, Refuse
from oauth_refresh.errors import InvalidGrant
from oauth_refresh.identity import Identity
from oauth_refresh.records import index_terms
from oauth_refresh.registry import TokenRegistry
from oauth_refresh.tokens import Secrets

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z
HOUR = 3600.0
DAY = 24 * HOUR
SOON, PAST = "2027-01-15T09:00:00.123456789Z", "2026-01-15T09:00:00+02:00"
POLICY = Policy(access_ttl=HOUR, refresh_ttl=30 * DAY)


def raw(name: str) -> str:
    """A token of the ancestor: 64 hex digits."""
    return hashlib.sha256(name.encode()).hexdigest()


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


class Loaded:
    """A registry into which a file was imported."""

    def __init__(self, tokens: Mapping[str, Any]) -> None:
        self.warnings: list[str] = []
        self.now = NOW
        self.backend = MemoryBackend()
        circumstances = Circumstances(
            NOW, 30 * DAY, ("a", "b"), lambda count: b"\7" * count, self.warnings.append, index_terms
        )
        for record in records({"version": 2, "tokens": tokens}, circumstances):
            assert self.backend.swap(record.key, None, record.body, record.expires_at, record.terms)
        self.registry = TokenRegistry(
            self.backend, Secrets((b"a server secret of some length",)), POLICY, clock=lambda: self.now
        )


def entry(**fields: object) -> dict[str, object]:
    return {
        "id": "t1",
        "label": "laptop",
        "hash": digest(raw("access")),
        "agent_name": "builder",
        "allowed_tools": ["b", "a"],
        "created_at": "2026-12-01T00:00:00Z",
        "expires_at": SOON,
        "revoked": False,
        "refresh_token_hash": digest(raw("refresh")),
        "refresh_expires_at": "2027-02-01T00:00:00Z",
        **fields,
    }


def test_a_live_access_token_keeps_working_until_it_ends() -> None:
    loaded = Loaded({"t1": entry()})
    identity = loaded.registry.check(raw("access"))
    assert isinstance(identity, Identity)
    assert (identity.subject, identity.scopes, identity.audience) == ("builder", ("a", "b"), ())
    assert identity.expires_at == pytest.approx(NOW + HOUR + 0.123456789)
    loaded.now += HOUR
    assert loaded.registry.check(raw("access")) == Refuse("expired")


def test_a_refresh_token_works_although_its_access_token_has_expired() -> None:
    loaded = Loaded({"t1": entry(expires_at=PAST)})
    assert loaded.registry.check(raw("access")) == Refuse("expired")
    issued = loaded.registry.rotate_via_refresh_token(raw("refresh"), client_id="c")
    assert isinstance(loaded.registry.check(issued.access_token), Identity)


def test_the_first_rotation_that_names_a_client_binds_the_grant_to_it() -> None:
    loaded = Loaded({"t1": entry()})
    unnamed = loaded.registry.rotate_via_refresh_token(raw("refresh"))
    named = loaded.registry.rotate_via_refresh_token(unnamed.refresh_token or "", client_id="c")
    with pytest.raises(InvalidGrant):
        loaded.registry.rotate_via_refresh_token(named.refresh_token or "", client_id="d")
    assert loaded.registry.rotate_via_refresh_token(named.refresh_token or "", client_id="c")
    assert len(list(loaded.registry.list(client_id="c"))) == 1


def test_an_imported_token_is_repeated_and_recognised_when_it_is_reused() -> None:
    loaded = Loaded({"t1": entry()})
    first = loaded.registry.rotate_via_refresh_token(raw("refresh"))
    again = loaded.registry.rotate_via_refresh_token(raw("refresh"))
    assert again == first
    newest = loaded.registry.rotate_via_refresh_token(first.refresh_token or "")
    with pytest.raises(InvalidGrant):
        loaded.registry.rotate_via_refresh_token(raw("refresh"))
    assert loaded.registry.check(newest.access_token) == Refuse("revoked")


def test_the_replaced_access_token_lives_half_the_grace_period() -> None:
    loaded = Loaded({"t1": entry()})
    loaded.registry.rotate_via_refresh_token(raw("refresh"))
    loaded.now += 29
    assert isinstance(loaded.registry.check(raw("access")), Identity)
    loaded.now += 1
    assert isinstance(loaded.registry.check(raw("access")), Refuse)


def test_every_spelling_but_the_one_that_was_issued_is_noise() -> None:
    loaded = Loaded({"t1": entry()})
    for text in (raw("refresh").upper(), raw("refresh")[:-1], raw("refresh") + "0", digest(raw("refresh"))):
        with pytest.raises(InvalidGrant):
            loaded.registry.rotate_via_refresh_token(text)
    assert loaded.registry.check(raw("refresh")) == Refuse("noise")
    assert loaded.registry.rotate_via_refresh_token(raw("refresh"))


@pytest.mark.parametrize("absent", [{}, {"expires_at": None}, {"expires_at": "0001-01-01T00:00:00Z"}])
def test_an_absent_end_means_none_until_the_first_rotation(absent: dict[str, object]) -> None:
    fields = {name: value for name, value in entry().items() if name != "expires_at"}
    loaded = Loaded({"t1": {**fields, **absent}})
    assert loaded.warnings == ["the imported token t1 has no end until its first rotation"]
    loaded.now += 10 * DAY
    assert isinstance(loaded.registry.check(raw("access")), Identity)
    issued = loaded.registry.rotate_via_refresh_token(raw("refresh"))
    assert issued.expires_in == 3600
    loaded.now += 30
    assert isinstance(loaded.registry.check(raw("access")), Refuse)


def test_an_absent_refresh_end_counts_from_the_import() -> None:
    fields = {name: value for name, value in entry().items() if name != "refresh_expires_at"}
    loaded = Loaded({"t1": fields})
    grant = next(loaded.registry.list())
    assert grant.refresh_expires_at == NOW + 30 * DAY


def test_version_1_has_no_refresh_tokens_and_most_fields_may_be_missing() -> None:
    loaded = Loaded({"t1": {"hash": digest(raw("access"))}})
    identity = loaded.registry.check(raw("access"))
    assert isinstance(identity, Identity)
    assert (identity.subject, identity.scopes, identity.expires_at) == ("t1", (), None)


def test_a_star_means_every_scope() -> None:
    loaded = Loaded({"t1": entry(allowed_tools=["*"])})
    identity = loaded.registry.check(raw("access"))
    assert isinstance(identity, Identity)
    assert identity.scopes == ("a", "b")


def test_a_revoked_token_stays_revoked_and_a_dead_one_is_left_behind() -> None:
    loaded = Loaded(
        {
            "revoked": entry(revoked=True, revoked_at="2027-01-01T00:00:00Z"),
            "dead": entry(
                hash=digest(raw("dead")),
                expires_at=PAST,
                refresh_token_hash=digest(raw("dead too")),
                refresh_expires_at=PAST,
            ),
        }
    )
    assert loaded.registry.check(raw("access")) == Refuse("revoked")
    with pytest.raises(InvalidGrant):
        loaded.registry.rotate_via_refresh_token(raw("refresh"))
    assert [grant.subject for grant in loaded.registry.list()] == ["builder"]
    assert loaded.registry.check(raw("dead")) == Refuse("noise")


def test_the_same_file_gives_the_same_grants_again() -> None:
    one, two = Loaded({"t1": entry()}), Loaded({"t1": entry()})
    assert list(one.backend.keys()) == list(two.backend.keys())


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"hash": "xyz"}, "token t1: hash must be 64 lower-case hex digits"),
        ({"expires_at": "tomorrow"}, "token t1: expires_at must be a time as in RFC 3339"),
        ({"expires_at": "2027-13-01T00:00:00Z"}, "token t1: expires_at is no such time"),
        ({"allowed_tools": "all"}, "token t1: allowed_tools must be a list of texts"),
        ({"revoked": "no"}, "token t1: revoked must be true or false"),
        ({"label": 7}, "token t1: label must be text"),
    ],
)
def test_a_field_that_cannot_be_read_is_named(fields: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=f"^{reason}$"):
        Loaded({"t1": entry(**fields)})


def test_a_file_without_tokens_is_refused() -> None:
    circumstances = Circumstances(NOW, DAY, (), lambda count: b"", print, index_terms)
    with pytest.raises(ValueError, match="tokens: must be an object"):
        list(records({"version": 2}, circumstances))
    with pytest.raises(ValueError, match="token t1: must be an object"):
        list(records({"tokens": {"t1": []}}, circumstances))
