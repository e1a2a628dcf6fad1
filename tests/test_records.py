"""The grant record: what it holds, how it is stored, when it may be forgotten."""

from __future__ import annotations

import random
import struct
from itertools import product

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from oauth_refresh import pkce
from oauth_refresh.backends.moving import MOVED
from oauth_refresh.cases import Ask, Issue, Refuse
from oauth_refresh.errors import RegistryError
from oauth_refresh.records import (
    FORGET_AFTER,
    FORMAT,
    LABEL_MAX,
    PROPERTIES_BYTES_MAX,
    Access,
    Code,
    Grant,
    Previous,
    alive,
    decode,
    elapsed,
    encode,
    forget_at,
)

from .line import (
    ACCESS_TTL,
    CHALLENGE,
    CODE_TTL,
    GRACE,
    KEY,
    PENDING,
    POLICY,
    REFRESH_TTL,
    START,
    VERIFIER,
    WAITING_CODE,
    Played,
    access_token,
    issued,
    redeemed,
    refresh_token_of,
    refresh_tokens,
)

TOKENS = refresh_tokens(4)
FULL = Grant(
    id=bytes(range(16)),
    client_id="a-client",
    subject="åda",
    access=Access(bytes(32), ("a", "b"), ("https://as.example",), "thumb", START + 0.5),
    previous=Previous(bytes(range(32)), START, Access(bytes(32), (), (), "", None)),
    used=True,
    last_used_at=START + 2,
    revoked_at=START + 3.25,
    ends_at=START + 4,
    properties={"team": "blue", "level": 3, "tags": ["x", None, True, 1.5], "nested": {"deep": "er"}},
    seed=bytes(range(100, 132)),
    scopes=("a", "b", "c"),
    resources=("https://as.example",),
    created_at=START - 1,
    code=Code(bytes(32), "challenge", "https://client.example/cb", START + 60, True),
    generation=2**32 - 1,
    refresh_hash=bytes(32),
    refresh_expires_at=START + 5,
    epoch=2**32,
    proof_key="thumb",
    revoked_why="token_reused",
    late_repeats=255,
    late_marked=True,
    rotations=(START, START + 1),
    label="lap top",
)


# --- encoding -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("grant", [PENDING, FULL, redeemed().grant, redeemed(3).grant])
def test_what_was_encoded_is_decoded(grant: Grant):
    assert decode(encode(grant), grant.id) == grant


def test_the_first_byte_is_the_format():
    assert encode(FULL)[0] == FORMAT == 3


def test_the_fields_stand_in_an_order_that_only_grows():
    """A release that moved or dropped one would read the records of another wrongly."""
    assert " ".join(Grant.__struct_fields__) == (
        "id client_id subject access previous used last_used_at revoked_at ends_at properties seed scopes "
        "resources created_at code generation refresh_hash refresh_expires_at epoch proof_key revoked_why "
        "late_repeats late_marked rotations label"
    )
    assert Access.__struct_fields__ == ("hash", "scopes", "audience", "proof_key", "expires_at")
    assert Code.__struct_fields__ == ("hash", "challenge", "redirect_uri", "expires_at", "redeemed")
    assert Previous.__struct_fields__ == ("refresh_hash", "rotated_at", "access")


def test_the_record_holds_no_token_and_no_code():
    played = redeemed(3)
    for text in (*TOKENS, access_token(2), access_token(3)):
        raw = text[4:].encode()
        assert raw not in played.body
        assert msgspec.msgpack.encode(text) not in played.body


def test_no_secret_stands_in_a_repr():
    assert repr(FULL) == "<grant 000102030405060708090a0b0c0d0e0f generation 4294967295>"
    played = redeemed()
    shown = repr(played.case(TOKENS[1], Ask("a-client", verifier=VERIFIER)))
    for secret in (VERIFIER, TOKENS[1], repr(PENDING.seed)[2:20], PENDING.seed.hex(), repr(KEY)[2:-1]):
        assert secret not in shown
    assert repr(played.refresh(TOKENS[1])) == "<issue rotated>"


def newer(grant: Grant, *fields: object) -> bytes:
    """The record as a later release would write it, with fields at the end that this one does not know."""
    return spelled([*msgspec.structs.astuple(grant), *fields])


def spelled(fields: list[object]) -> bytes:
    """The record with these fields, the first of which, the id, is the record's key and left out."""
    return bytes((3, len(fields))) + b"".join(msgspec.msgpack.encode(each) for each in fields[1:])


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param((b"\0" * 40,), id="bytes"),
        pytest.param((1, "two", None, 4.5, {"six": [7]}), id="several"),
        pytest.param(("x" * 70_000,), id="long"),
        pytest.param(tuple(range(200)), id="many"),
    ],
)
def test_unknown_trailing_fields_are_kept(fields: tuple[object, ...]):
    body = newer(PENDING, *fields)
    assert decode(body, PENDING.id) == PENDING
    changed = replace(PENDING, label="changed", generation=7)
    again = encode(changed, body)
    assert decode(again, PENDING.id) == changed
    assert again == newer(changed, *fields)
    assert encode(decode(again, PENDING.id), again) == again


def test_unknown_fields_survive_a_rotation():
    played = redeemed()
    played.body = newer(played.grant, "from the future", 2)
    issued(played.refresh(TOKENS[1]))
    assert played.body == newer(played.grant, "from the future", 2)


def test_a_record_without_unknown_fields_stays_without():
    assert encode(FULL, encode(PENDING)) == encode(FULL)
    assert encode(FULL, None) == encode(FULL)


def test_fields_that_an_older_release_did_not_write_have_their_defaults():
    required = msgspec.structs.astuple(PENDING)[:14]
    assert decode(spelled([*required]), PENDING.id) == replace(PENDING, code=None)


@pytest.mark.parametrize("first", [0, 1, 4, 0x7B, 254])
def test_another_format_is_a_registry_error_and_never_no_such_grant(first: int):
    with pytest.raises(RegistryError, match=f"has format {first}, this release reads 2 and 3"):
        decode(bytes([first]) + encode(FULL)[1:], FULL.id)


def test_what_a_move_left_is_said_to_have_moved():
    with pytest.raises(RegistryError, match="has format 255: it has moved to another registry"):
        decode(MOVED + b"\x92\xa4done\xc4\x10" + bytes(16), FULL.id)


def as_before(grant: Grant, *fields: object) -> bytes:
    """The record as the format before had it: all fields always, and two bytes to count them."""
    every = [*msgspec.structs.astuple(grant), *fields]
    return b"\x02\xdc" + len(every).to_bytes(2, "big") + b"".join(map(msgspec.msgpack.encode, every[1:]))


@pytest.mark.parametrize("fields", [(), ("from the future",)])
def test_the_format_before_is_read_and_moved_on_by_the_next_write(fields: tuple[object, ...]):
    body = as_before(FULL, *fields)
    assert decode(body, FULL.id) == FULL
    again = encode(FULL, body)
    assert again == newer(FULL, *fields)
    assert again[0] == FORMAT


@pytest.mark.parametrize("challenge", [CHALLENGE, pkce.kept(CHALLENGE)], ids=["text", "bytes"])
def test_a_code_of_the_format_before_is_redeemed(challenge: object):
    """It kept the challenge as text."""
    played = Played()
    played.change(code=replace(WAITING_CODE, challenge=challenge))
    played.body = as_before(played.grant)
    assert played.redeem(verifier="x" * 43) == Refuse("verifier")
    assert refresh_token_of(played.redeem()) == TOKENS[1]


def test_a_grant_of_the_format_before_goes_on():
    played = redeemed()
    played.body = as_before(played.grant)
    assert refresh_token_of(played.refresh(TOKENS[1])) == TOKENS[2]
    assert played.body[0] == FORMAT
    assert played.use(access_token(2)) == played.grant.access


def test_an_empty_record_is_a_registry_error():
    with pytest.raises(RegistryError, match="has format none"):
        decode(b"", FULL.id)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"\x03", id="format alone"),
        pytest.param(encode(FULL)[:-1], id="cut short"),
        pytest.param(encode(FULL) + b"\0", id="something behind"),
        pytest.param(spelled([]), id="no fields"),
        pytest.param(b"\x02" + msgspec.msgpack.encode({"id": b""}), id="no array"),
        pytest.param(encode(FULL).replace("åda".encode(), b"\xe5\xe5da"), id="not UTF-8"),
    ],
)
def test_a_damaged_record_is_a_registry_error(body: bytes):
    with pytest.raises(RegistryError, match="damaged"):
        decode(body, FULL.id)


def test_a_record_with_any_bytes_changed_is_read_or_is_a_registry_error():
    body, chance = encode(FULL), random.Random(1)
    errors = 0
    for _ in range(5000):
        damaged = bytearray(body)
        for _ in range(chance.randint(1, 3)):
            damaged[chance.randrange(len(body))] = chance.randrange(256)
        try:
            decode(bytes(damaged), FULL.id)
        except RegistryError:
            errors += 1
    assert 0 < errors < 5000


SELDOM: dict[str, list[object]] = {
    "epoch": [0, 1, 127, 128, 256, 0xA0A000, 2**32],
    "proof_key": ["", "\0", "\xa0", "thumb", "\u0820"],
    "revoked_why": ["", "\0\xa0\xa0", "token_reused"],
    "late_repeats": [0, 1, 160, 255],
    "late_marked": [False, True],
    "rotations": [(), (START,), (struct.unpack(">d", b"\x41\xda\0\xa0\xa0\0\xc2\x90")[0],)],
    "label": ["", "\0\xa0\xa0\0\x90\xa0", "lap top"],
}


def test_what_is_left_out_where_it_says_nothing_is_never_left_out_where_it_does():
    for values in product(*SELDOM.values()):
        grant = replace(PENDING, **dict(zip(SELDOM, values, strict=True)))
        assert decode(encode(grant), grant.id) == grant


def test_fields_that_say_nothing_take_no_room():
    assert len(encode(replace(PENDING, epoch=1))) == len(encode(PENDING)) + 7


# --- size --------------------------------------------------------------------------------------------

# What a record can hold at most: long ids and names, every field filled.
WORST: dict[str, object] = {
    "client_id": "https://client.example/" + "c" * 2000,
    "subject": "s" * 255,
    "label": "ł" * LABEL_MAX,
    "properties": {"p": "x" * (PROPERTIES_BYTES_MAX - 8)},
    "scopes": tuple(f"scope-number-{number}" for number in range(40)),
    "resources": tuple(f"https://as.example/resource/{number}" for number in range(10)),
    "ends_at": START + 1e9,
    "code": replace(WAITING_CODE, redirect_uri="https://client.example/" + "r" * 2000, redeemed=True),
}


def largest_body(rotations: int, fields: dict[str, object]) -> int:
    """The largest body of a grant that is rotated so often, and used, repeated, narrowed and revoked."""
    played = redeemed(policy=POLICY.but(reuse="catch-up", catch_up_generations=64))
    played.change(**fields)
    scopes = played.grant.scopes[:1]
    largest, token = len(played.body), TOKENS[1]
    for number in range(rotations):
        played.now += GRACE + 0.123456
        answer = issued(played.refresh(token, client_id=None))
        played.use(answer.access_token)
        if number % 10 == 0:
            narrow = issued(played.refresh(token, client_id=None, scopes=scopes))
            largest = max(largest, len(played.body))
            played.revoke(narrow.access_token, None)
            answer = issued(played.refresh(token, client_id=None))
        token = refresh_token_of(answer)
        largest = max(largest, len(played.body))
    return largest


@pytest.mark.requirement("RT-24")
@pytest.mark.parametrize("fields", [{}, WORST], ids=["ordinary", "worst"])
def test_a_record_has_the_same_greatest_size_after_10000_rotations_as_after_100(fields: dict[str, object]):
    """I10. Numbers grow from one byte to at most nine; a catch-up fleet keeps 64 times and no more."""
    small, large = largest_body(100, fields), largest_body(10_000, fields)
    assert small <= large <= small + 8


def test_a_rotation_adds_little_to_an_ordinary_record():
    assert len(encode(PENDING)) < 320
    assert len(redeemed(2).body) < 500


def test_the_largest_record_fits_everywhere():
    assert largest_body(100, WORST) < 16_384


# --- when it may be forgotten ---------------------------------------------------------------------------


def access_until(expires_at: float | None) -> Access:
    return Access(bytes(32), (), (), "", expires_at)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({}, START + CODE_TTL, id="pending code"),
        pytest.param({"code": None}, START, id="nothing issued"),
        pytest.param({"access": access_until(START + 100)}, START + 100, id="access token"),
        pytest.param({"refresh_expires_at": START + 100}, START + 100, id="refresh token"),
        pytest.param(
            {"access": access_until(START + 200), "refresh_expires_at": START + 100}, START + 200, id="both"
        ),
        pytest.param(
            {"access": access_until(START + 100), "refresh_expires_at": START + 200}, START + 200, id="other"
        ),
        pytest.param(
            {"previous": Previous(bytes(32), START, access_until(START + 200))}, START + 200, id="previous"
        ),
        pytest.param({"previous": Previous(bytes(32), START)}, START + CODE_TTL, id="empty previous place"),
        pytest.param(
            {"access": access_until(START + 100), "revoked_at": START},
            START + 100,
            id="revoked: as if it lived",
        ),
    ],
)
def test_a_grant_may_be_forgotten_an_hour_after_the_last_of_its_tokens(fields, expected: float):
    assert FORGET_AFTER == 3600
    assert forget_at(replace(PENDING, **fields)) == expected + 3600


def test_a_grant_with_a_token_without_an_end_is_not_forgotten():
    unlimited = access_until(None)
    assert forget_at(replace(PENDING, access=unlimited)) is None
    assert forget_at(replace(PENDING, previous=Previous(bytes(32), START, unlimited))) is None


def test_a_grant_is_kept_while_its_refresh_token_is_alive():
    played = redeemed()
    assert forget_at(played.grant) == START + REFRESH_TTL + 3600
    played.now += 1000
    issued(played.refresh(TOKENS[1]))
    assert forget_at(played.grant) == START + 1000 + REFRESH_TTL + 3600


def test_revoking_its_access_token_does_not_shorten_a_grants_time():
    played = redeemed(2)
    before = forget_at(played.grant)
    played.revoke(access_token(2))
    assert forget_at(played.grant) == before


def test_a_revoked_grant_is_kept_as_long_as_it_would_have_lived():
    played = redeemed(2)
    before = forget_at(played.grant)
    played.revoke(TOKENS[2])
    assert forget_at(played.grant) == before
    played.revoke(access_token(2))
    assert forget_at(played.grant) == before


def test_an_access_token_alone_keeps_its_grant():
    played = Played(policy=POLICY.but(issue_refresh=False))
    assert isinstance(played.redeem(), Issue)
    assert forget_at(played.grant) == START + ACCESS_TTL + 3600


# --- times ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expires_at", "expected"),
    [(None, True), (START + 1.001, True), (START + 1, True), (START + 0.999, False), (START - 1e9, False)],
)
def test_less_than_one_whole_second_left_counts_as_expired(expires_at: float | None, expected: bool):
    assert alive(expires_at, START) is expected


@pytest.mark.parametrize(("since", "expected"), [(START - 2.5, 2.5), (START, 0.0), (START + 2.5, 0.0)])
def test_elapsed_time_below_zero_is_zero(since: float, expected: float):
    assert elapsed(since, START) == expected


@given(now=st.floats(1.5e9, 2.0e9), seconds=st.integers(1, 10**8))
def test_a_lifetime_of_whole_seconds_is_not_short_of_one(now: float, seconds: int):
    """Times are binary fractions, and a sum of two must not come out just below what was promised."""
    assert alive(now + seconds, now)
    assert int(now + seconds - now) == seconds
