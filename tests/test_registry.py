"""TokenRegistry as an application uses it without HTTP, and what it does when the backend is in trouble."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest

from oauth_refresh.access_checks import TRIES
from oauth_refresh.backends.base import Copies, Entry
from oauth_refresh.backends.memory import MemoryBackend
from oauth_refresh.cases import Ask, Issue, Policy, Refuse
from oauth_refresh.errors import (
    InvalidGrant,
    InvalidScope,
    InvalidTarget,
    NotReplicatedError,
    RegistryError,
    TemporarilyUnavailable,
)
from oauth_refresh.events import Events
from oauth_refresh.identity import Identity
from oauth_refresh.registry import TokenRegistry
from oauth_refresh.tokens import Secrets, read

NOW = 1_800_000_000.0
HOUR = 3600.0
POLICY = Policy(access_ttl=HOUR, refresh_ttl=24 * HOUR, grace=60.0)
KEYS = Secrets((b"a server secret of some length",))


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


class Troubled(MemoryBackend):
    """A memory backend that loses swaps, does not know how they ended, or has no replica left."""

    def __init__(self) -> None:
        super().__init__()
        self.copies: list[Copies] = []
        self.replicas = True
        self.lose = 0
        self.raise_after_write = 0
        self.raise_before_write = 0

    def swap(
        self,
        key: bytes,
        old: Entry | None,
        body: bytes | None,
        expires_at: float | None = None,
        index: Iterable[bytes] = (),
        copies: Copies = "none",
    ) -> bool:
        if self.lose:
            self.lose -= 1
            return False
        if self.raise_before_write:
            self.raise_before_write -= 1
            raise RegistryError("the disk is full")
        self.copies.append(copies)
        won = super().swap(key, old, body, expires_at, index, copies)
        if self.raise_after_write:
            self.raise_after_write -= 1
            raise RegistryError("the connection was lost")
        if copies == "required" and not self.replicas:
            raise NotReplicatedError("no replica has it")
        return won


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def backend() -> Troubled:
    return Troubled()


@pytest.fixture
def heard() -> list[tuple[str, Mapping[str, object]]]:
    return []


@pytest.fixture
def registry(
    backend: Troubled,
    clock: Clock,
    heard: list[tuple[str, Mapping[str, object]]],
    monkeypatch: pytest.MonkeyPatch,
) -> TokenRegistry:
    for module in ("access_checks", "registry"):
        monkeypatch.setattr(f"oauth_refresh.{module}.pause", lambda attempt: None)
    events = Events()
    events.listen(lambda name, fields: heard.append((name, fields)))
    return TokenRegistry(backend, KEYS, POLICY, clock=clock, events=events)


def names(heard: list[tuple[str, Mapping[str, object]]]) -> list[str]:
    return [name for name, _ in heard]


def identity_of(registry: TokenRegistry, access_token: str) -> Identity:
    found = registry.check(access_token)
    assert isinstance(found, Identity)
    return found


# --- an application mints its own tokens ----------------------------------------------------------


def test_an_access_token_is_good_until_less_than_a_second_is_left(
    registry: TokenRegistry, clock: Clock
) -> None:
    issued = registry.create("alice", ["b", "a", "a"], ttl=10, label="backup job", properties={"tier": 2})
    assert (issued.refresh_token, issued.expires_in, issued.scopes) == (None, 10, ("a", "b"))
    clock.now += 9
    assert identity_of(registry, issued.access_token) == Identity(
        "alice", "", ("a", "b"), (), NOW + 10, issued.grant_id, {"tier": 2}
    )
    clock.now += 0.001
    assert registry.check(issued.access_token) == Refuse("expired")


def test_rotations_keep_both_lifetimes_full(registry: TokenRegistry, clock: Clock) -> None:
    issued = registry.create_with_refresh("alice", ["a"], client_id="c", ttl=5, refresh_ttl=HOUR)
    for _ in range(5):
        clock.now += 1800
        issued = registry.rotate_via_refresh_token(issued.refresh_token or "", client_id="c")
        grant = registry.get(issued.grant_id)
        assert grant is not None
        assert (issued.expires_in, grant.refresh_expires_at) == (3600, clock.now + 24 * HOUR)


@pytest.mark.requirement("RT-11")
def test_a_repeated_rotation_gives_the_same_pair(registry: TokenRegistry, clock: Clock) -> None:
    issued = registry.create_with_refresh("alice", ["a"])
    first = registry.rotate_via_refresh_token(issued.refresh_token or "")
    clock.now += 7 * 24 * 60  # long after the grace period: nobody has used the successor
    again = registry.rotate_via_refresh_token(issued.refresh_token or "")
    assert again.refresh_token == first.refresh_token
    assert again.grant_id == first.grant_id == issued.grant_id


@pytest.mark.requirement("RT-08")
def test_a_reuse_ends_the_grant_and_says_so_after_it_was_stored(
    registry: TokenRegistry, clock: Clock, heard: list[tuple[str, Mapping[str, object]]]
) -> None:
    first = registry.create_with_refresh("alice", ["a"], client_id="c")
    second = registry.rotate_via_refresh_token(first.refresh_token or "")
    third = registry.rotate_via_refresh_token(second.refresh_token or "")
    with pytest.raises(InvalidGrant):
        registry.rotate_via_refresh_token(first.refresh_token or "")
    assert registry.check(third.access_token) == Refuse("revoked")
    assert names(heard) == ["grant_created", "token_rotated", "token_rotated", "token_reused"]
    assert heard[-1][1] == {
        "grant": first.grant_id,
        "client": "c",
        "subject": "alice",
        "generation": 3,
        "behind": 2,
        "policy": "revoke",
        "outcome": "reused",
        "reason": "reused",
        "presented": "refresh token",
        "presented_generation": 1,
    }


def test_a_refused_scope_or_resource_leaves_the_token_as_good_as_it_was(registry: TokenRegistry) -> None:
    issued = registry.create_with_refresh("alice", ["a"], resources=["https://h/api"])
    token = issued.refresh_token or ""
    with pytest.raises(InvalidScope):
        registry.rotate_via_refresh_token(token, scopes=["a", "admin"])
    with pytest.raises(InvalidTarget):
        registry.rotate_via_refresh_token(token, resources=["https://h/other"])
    assert registry.rotate_via_refresh_token(token, scopes=["a"]).scopes == ("a",)


@pytest.mark.parametrize("noise", ["", "ort_", "oat_" + "A" * 64, "ort_" + "A" * 91, "é" * 95, "x" * 10_000])
def test_noise_is_refused_and_changes_nothing(registry: TokenRegistry, noise: str) -> None:
    issued = registry.create_with_refresh("alice", ["a"])
    with pytest.raises(InvalidGrant):
        registry.rotate_via_refresh_token(noise)
    assert isinstance(registry.check(noise), Refuse)
    assert registry.revoke(noise) is False
    assert registry.rotate_via_refresh_token(issued.refresh_token or "").expires_in == 3600


def test_labels_and_properties_have_limits(registry: TokenRegistry) -> None:
    assert registry.create("a", [], label="x" * 200)
    with pytest.raises(ValueError, match="label has 201 characters, at most 200"):
        registry.create("a", [], label="x" * 201)
    with pytest.raises(ValueError, match="4096 bytes"):
        registry.create("a", [], properties={"x": "y" * 4096})
    with pytest.raises(ValueError, match="every name must be text"):
        registry.create("a", [], properties={1: "x"})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match=r"ttl is 0\.5 seconds, at least 1"):
        registry.create("a", [], ttl=0.5)
    with pytest.raises(ValueError, match="refresh_ttl"):
        registry.create_with_refresh("a", [], refresh_ttl=float("nan"))


def test_the_absolute_end_cuts_every_lifetime(backend: Troubled, clock: Clock) -> None:
    registry = TokenRegistry(backend, KEYS, POLICY, clock=clock, grant_max_age=2 * HOUR)
    issued = registry.create_with_refresh("alice", ["a"])
    clock.now += 1.5 * HOUR
    issued = registry.rotate_via_refresh_token(issued.refresh_token or "")
    assert issued.expires_in == 1800
    clock.now += 1799.5
    with pytest.raises(InvalidGrant):
        registry.rotate_via_refresh_token(issued.refresh_token or "")
    assert registry.check(issued.access_token) == Refuse("expired")


# --- the authorization code -----------------------------------------------------------------------


def authorize(registry: TokenRegistry) -> str:
    return registry.authorize(
        grant_id=b"g" * 16,
        secret=b"s" * 32,
        client_id="c",
        subject="alice",
        scopes=["a"],
        resources=["https://h"],
        challenge="",
        redirect_uri="https://c/cb",
    )


def test_a_consent_sent_twice_issues_one_code(
    registry: TokenRegistry, heard: list[tuple[str, Mapping[str, object]]]
) -> None:
    code = authorize(registry)
    presented = read(code)
    assert presented is not None
    assert isinstance(registry.redeem(presented, Ask("c", redirect_uri="https://c/cb")), Issue)
    assert authorize(registry) == code
    assert names(heard) == ["code_issued", "code_redeemed"]


@pytest.mark.requirement("CODE-06")
def test_a_second_redemption_revokes_the_grant(registry: TokenRegistry) -> None:
    presented = read(authorize(registry))
    assert presented is not None
    ask = Ask("c", redirect_uri="https://c/cb")
    issue = registry.redeem(presented, ask)
    assert isinstance(issue, Issue)
    assert _reason(registry.redeem(presented, ask.but(client_id="d"))) == "other_client"
    assert isinstance(registry.check(issue.access_token), Identity)
    assert _reason(registry.redeem(presented, ask)) == "code_reused"
    assert registry.check(issue.access_token) == Refuse("revoked")


def _reason(answer: Issue | Refuse) -> str:
    assert isinstance(answer, Refuse)
    return answer.reason


# --- looking and ending ---------------------------------------------------------------------------


@pytest.mark.requirement("UI-09")
@pytest.mark.requirement("Q-44")
def test_grants_are_found_by_subject_and_by_client(registry: TokenRegistry) -> None:
    long_id = "https://client.example/" + "x" * 1000
    one = registry.create("alice", ["a"], client_id="c")
    two = registry.create("alice", ["a"], client_id=long_id)
    three = registry.create("bob", ["a"], client_id="c")
    found = {grant.id.hex() for grant in registry.list(subject="alice")}
    assert found == {one.grant_id, two.grant_id}
    assert [grant.id.hex() for grant in registry.list(subject="alice", client_id="c")] == [one.grant_id]
    assert {grant.id.hex() for grant in registry.list(client_id="c")} == {one.grant_id, three.grant_id}
    assert [grant.id.hex() for grant in registry.list(client_id=long_id)] == [two.grant_id]
    assert len(list(registry.list())) == 3


@pytest.mark.requirement("RT-19")
def test_revoking_a_subject_ends_all_of_its_grants_and_no_others(registry: TokenRegistry) -> None:
    mine = [registry.create_with_refresh("alice", ["a"]) for _ in range(3)]
    other = registry.create_with_refresh("bob", ["a"])
    assert registry.revoke_subject("alice") == 3
    assert registry.revoke_subject("alice") == 0
    for issued in mine:
        with pytest.raises(InvalidGrant):
            registry.rotate_via_refresh_token(issued.refresh_token or "")
    assert registry.rotate_via_refresh_token(other.refresh_token or "")


@pytest.mark.requirement("UI-09")
def test_a_grant_ends_by_its_id_or_by_a_refresh_token(registry: TokenRegistry) -> None:
    one, two = (registry.create_with_refresh("alice", ["a"]) for _ in range(2))
    assert registry.revoke(one.grant_id) is True
    assert registry.revoke(one.grant_id) is False
    assert registry.check(one.access_token) == Refuse("revoked")
    assert registry.revoke(two.refresh_token or "") is True
    assert registry.check(two.access_token) == Refuse("revoked")


def test_an_access_token_ends_by_itself_and_no_repeat_hands_it_out_again(registry: TokenRegistry) -> None:
    first = registry.create_with_refresh("alice", ["a"])
    second = registry.rotate_via_refresh_token(first.refresh_token or "")
    assert registry.revoke(second.access_token) is True
    assert registry.check(second.access_token) == Refuse("unknown")
    again = registry.rotate_via_refresh_token(first.refresh_token or "")
    assert again.refresh_token == second.refresh_token
    assert again.access_token != second.access_token
    assert isinstance(registry.check(again.access_token), Identity)


def test_cleanup_keeps_a_grant_for_an_hour_after_its_last_token(
    registry: TokenRegistry, clock: Clock
) -> None:
    issued = registry.create("alice", ["a"], ttl=10)
    clock.now += 10 + 3599
    assert registry.cleanup() == 0
    clock.now += 1
    assert registry.cleanup() == 1
    assert registry.get(issued.grant_id) is None


# --- the user's rights have changed ---------------------------------------------------------------


def test_a_disabled_user_is_refused_and_nothing_changes(backend: Troubled, clock: Clock) -> None:
    allowed: list[tuple[str, ...] | None] = [None]
    asked: list[tuple[str, str, tuple[str, ...]]] = []

    def check(subject: str, client_id: str, scopes: tuple[str, ...]) -> tuple[str, ...] | None:
        asked.append((subject, client_id, scopes))
        return allowed[0]

    registry = TokenRegistry(backend, KEYS, POLICY, clock=clock, subject_check=check)
    issued = registry.create_with_refresh("alice", ["a", "b"], client_id="c")
    before = backend.get(b"g" + bytes.fromhex(issued.grant_id))
    with pytest.raises(InvalidGrant):
        registry.rotate_via_refresh_token(issued.refresh_token or "")
    assert backend.get(b"g" + bytes.fromhex(issued.grant_id)) == before
    assert asked == [("alice", "c", ("a", "b"))]
    allowed[0] = ("a", "z")
    narrowed = registry.rotate_via_refresh_token(issued.refresh_token or "")
    assert narrowed.scopes == ("a",)
    allowed[0] = ("a", "b")
    assert registry.rotate_via_refresh_token(narrowed.refresh_token or "").scopes == ("a", "b")


def test_the_subject_is_not_asked_about_for_a_guess(backend: Troubled, clock: Clock) -> None:
    def check(subject: str, client_id: str, scopes: tuple[str, ...]) -> None:
        raise AssertionError("asked")

    registry = TokenRegistry(backend, KEYS, POLICY, clock=clock, subject_check=check)
    with pytest.raises(InvalidGrant):
        registry.rotate_via_refresh_token("ort_" + "A" * 91)


# --- a backend in trouble -------------------------------------------------------------------------


def test_a_lost_swap_is_asked_again(registry: TokenRegistry, backend: Troubled) -> None:
    issued = registry.create_with_refresh("alice", ["a"])
    backend.lose = TRIES - 1
    assert registry.rotate_via_refresh_token(issued.refresh_token or "").expires_in == 3600


def test_a_record_that_never_stays_the_same_is_no_fault_of_the_client(
    registry: TokenRegistry, backend: Troubled
) -> None:
    issued = registry.create_with_refresh("alice", ["a"])
    backend.lose = TRIES
    with pytest.raises(RegistryError, match="every try"):
        registry.rotate_via_refresh_token(issued.refresh_token or "")
    assert registry.rotate_via_refresh_token(issued.refresh_token or "").expires_in == 3600


@pytest.mark.parametrize("verb", ["rotate", "create", "revoke"])
def test_a_write_whose_end_is_unknown_counts_if_it_is_there(
    registry: TokenRegistry, backend: Troubled, verb: str
) -> None:
    issued = registry.create_with_refresh("alice", ["a"])
    backend.raise_after_write = 1
    if verb == "rotate":
        issued = registry.rotate_via_refresh_token(issued.refresh_token or "")
        assert registry.rotate_via_refresh_token(issued.refresh_token or "")
    elif verb == "create":
        assert isinstance(registry.check(registry.create("bob", ["a"]).access_token), Identity)
    else:
        assert registry.revoke(issued.grant_id) is True
        assert registry.check(issued.access_token) == Refuse("revoked")


def test_a_write_that_did_not_arrive_is_an_error_and_changes_nothing(
    registry: TokenRegistry, backend: Troubled, heard: list[tuple[str, Mapping[str, object]]]
) -> None:
    issued = registry.create_with_refresh("alice", ["a"])
    backend.raise_before_write = 1
    with pytest.raises(RegistryError, match="the disk is full"):
        registry.rotate_via_refresh_token(issued.refresh_token or "")
    assert names(heard) == ["grant_created"]
    assert registry.rotate_via_refresh_token(issued.refresh_token or "")


def test_only_what_a_failover_must_not_undo_waits_for_a_replica(
    registry: TokenRegistry, backend: Troubled
) -> None:
    issued = registry.create_with_refresh("alice", ["a"])
    rotated = registry.rotate_via_refresh_token(issued.refresh_token or "")
    registry.check(rotated.access_token)
    registry.revoke(rotated.access_token)
    registry.revoke(issued.grant_id)
    assert backend.copies == ["wanted", "none", "none", "required", "required"]


def test_a_revocation_that_no_replica_has_is_not_reported_as_done(
    registry: TokenRegistry, backend: Troubled
) -> None:
    issued = registry.create_with_refresh("alice", ["a"])
    backend.replicas = False
    with pytest.raises(NotReplicatedError):
        registry.revoke(issued.grant_id)
    assert registry.check(issued.access_token) == Refuse("revoked")


def test_a_store_that_can_only_be_read_still_serves_its_readers(
    registry: TokenRegistry, backend: Troubled, caplog: pytest.LogCaptureFixture
) -> None:
    issued = registry.create("alice", ["a"])
    backend.raise_before_write = 1
    assert identity_of(registry, issued.access_token).subject == "alice"
    assert "could not be recorded: the disk is full" in caplog.text


def test_the_first_use_is_written_at_once_and_then_once_per_interval(
    registry: TokenRegistry, backend: Troubled, clock: Clock
) -> None:
    issued = registry.create_with_refresh("alice", ["a"])
    seen = []
    for passed in (0.0, 299.0, 1.0, 1.0):
        clock.now += passed
        registry.check(issued.access_token)
        grant = registry.get(issued.grant_id)
        assert grant is not None
        assert grant.used
        seen.append(grant.last_used_at)
    assert seen == [NOW, NOW, NOW + 300, NOW + 300]


def test_a_use_that_another_request_overtook_is_written_all_the_same(
    registry: TokenRegistry, backend: Troubled
) -> None:
    issued = registry.create_with_refresh("alice", ["a"])
    backend.lose = 1
    registry.check(issued.access_token)
    grant = registry.get(issued.grant_id)
    assert grant is not None
    assert grant.used


def test_a_host_that_does_not_know_the_secret_yet_says_try_again(backend: Troubled, clock: Clock) -> None:
    new, old = b"the new secret of some length", KEYS.keys[0]
    ahead = TokenRegistry(backend, Secrets((new, old)), POLICY, clock=clock)
    behind = TokenRegistry(backend, KEYS, POLICY, clock=clock)
    issued = behind.create_with_refresh("alice", ["a"])
    rotated = ahead.rotate_via_refresh_token(issued.refresh_token or "")
    with pytest.raises(TemporarilyUnavailable):
        behind.rotate_via_refresh_token(issued.refresh_token or "")
    assert ahead.rotate_via_refresh_token(issued.refresh_token or "").refresh_token == rotated.refresh_token


def test_what_a_listener_raises_costs_no_client_its_answer(registry: TokenRegistry) -> None:
    def broken(name: str, fields: Mapping[str, object]) -> None:
        raise RuntimeError("full disk at the statistics")

    registry.events.listen(broken)
    issued = registry.create_with_refresh("alice", ["a"])
    assert registry.rotate_via_refresh_token(issued.refresh_token or "")


def test_nothing_that_is_shown_of_an_answer_holds_a_token(registry: TokenRegistry) -> None:
    issued = registry.create_with_refresh("alice", ["a"])
    presented = read(issued.refresh_token or "")
    assert presented is not None
    answer = registry.refresh(presented, Ask())
    assert isinstance(answer, Issue)
    shown = f"{issued!r} {presented!r} {answer!r} {registry.get(issued.grant_id)!r} {KEYS!r}"
    for secret in (issued.refresh_token, issued.access_token, answer.access_token, "a server secret"):
        assert secret is not None
        assert secret not in shown
        assert secret[-20:] not in shown


@pytest.mark.parametrize("subject", [None, 7, b"ada"])
def test_a_grant_needs_a_user_as_text(registry: TokenRegistry, subject: object) -> None:
    with pytest.raises(TypeError, match="subject is of type"):
        registry.create(subject, [])  # type: ignore[arg-type]
    assert list(registry.list()) == []


def test_scopes_may_come_one_by_one(registry: TokenRegistry) -> None:
    assert registry.create("ada", (name for name in ("b", "a", "b"))).scopes == ("a", "b")
    assert registry.create_with_refresh("ada", iter(["a"])).scopes == ("a",)


@pytest.mark.parametrize("scopes", ["notes:read", [7], [None]])
def test_scopes_are_names_and_no_text(registry: TokenRegistry, scopes: object) -> None:
    with pytest.raises(TypeError, match="scopes: a list of names is needed"):
        registry.create("ada", scopes)  # type: ignore[arg-type]
    assert list(registry.list()) == []
