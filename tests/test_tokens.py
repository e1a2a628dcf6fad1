"""What a code or token looks like, and how the next one follows from it."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_refresh import tokens
from oauth_refresh.tokens import Presented, Rights, Secrets, read

from . import derivation
from .derivation import CHANGED, CODE_SECRET, LINE

PAGE = Path(__file__).parent.parent / "docs" / "test-vectors.md"
GRANT_ID, SECRET, TAG = bytes(range(16)), bytes(range(100, 132)), bytes(range(200, 216))
CODE = tokens.mint_code(GRANT_ID, SECRET)
ACCESS = tokens.mint_access(GRANT_ID, SECRET)
REFRESH = tokens.mint_refresh(GRANT_ID, 7, SECRET, TAG)
ALPHABET = string.ascii_letters + string.digits + "-_"


# --- the text ---------------------------------------------------------------------------------------


def test_a_code_is_its_prefix_grant_id_and_secret():
    assert derivation.spell("oac_", GRANT_ID + SECRET) == CODE
    assert len(CODE) == 68


@pytest.mark.requirement("AT-01")
def test_an_access_token_is_its_prefix_grant_id_and_secret():
    assert derivation.spell("oat_", GRANT_ID + SECRET) == ACCESS
    assert len(ACCESS) == 68


def test_a_refresh_token_carries_its_generation_and_tag():
    assert derivation.spell("ort_", GRANT_ID + b"\0\0\0\7" + SECRET + TAG) == REFRESH
    assert len(REFRESH) == 95


@pytest.mark.requirement("AT-11")
@pytest.mark.requirement("AT-12")
@pytest.mark.parametrize("text", [CODE, ACCESS, REFRESH], ids=["code", "access", "refresh"])
def test_a_token_is_a_kind_prefix_and_url_safe_text(text: str):
    assert re.fullmatch(r"(oac|oat|ort)_[A-Za-z0-9_-]+", text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(CODE, Presented("oac_", GRANT_ID, SECRET, derivation.digest(CODE)), id="code"),
        pytest.param(ACCESS, Presented("oat_", GRANT_ID, SECRET, derivation.digest(ACCESS)), id="access"),
        pytest.param(
            REFRESH, Presented("ort_", GRANT_ID, SECRET, derivation.digest(REFRESH), 7, TAG), id="refresh"
        ),
    ],
)
def test_what_was_minted_is_read_back(text: str, expected: Presented):
    assert read(text) == expected


@pytest.mark.parametrize("generation", [0, 1, 255, 256, 2**32 - 1])
def test_a_generation_takes_four_bytes(generation: int):
    presented = read(tokens.mint_refresh(GRANT_ID, generation, SECRET, TAG))
    assert presented is not None
    assert presented.generation == generation


def test_there_is_no_generation_after_the_last():
    with pytest.raises(OverflowError):
        tokens.mint_refresh(GRANT_ID, tokens.GENERATION_MAX + 1, SECRET, TAG)


def respellings(text: str) -> list[object]:
    body = text[4:]
    return [
        pytest.param(text + "A", id="one character more"),
        pytest.param(text[:-1], id="one character less"),
        pytest.param(text + "=", id="padding"),
        pytest.param(text[:-1] + "=", id="padding for the last character"),
        pytest.param(text + "\n", id="newline at the end"),
        pytest.param(text[:-1] + "\n", id="newline for the last character"),
        pytest.param(" " + text, id="space in front"),
        pytest.param(text[:20] + " " + text[20:], id="space inside"),
        pytest.param(text[:20] + "    " + text[24:], id="four spaces inside"),
        pytest.param(text[:20] + "+" + text[21:], id="plus"),
        pytest.param(text[:20] + "/" + text[21:], id="slash"),
        pytest.param(text[:20] + "!" + text[21:], id="foreign character"),
        pytest.param(text[:20] + "!!!!" + text[24:], id="four foreign characters"),
        pytest.param(text[:20] + "\0" + text[21:], id="zero byte"),
        pytest.param(text[:20] + "é" + text[21:], id="not ASCII"),
        pytest.param(text[:20] + "\udcff" + text[21:], id="not even Unicode"),
        pytest.param(text[:20] + "\uff41" + text[21:], id="full-width letter"),
        pytest.param(text.upper(), id="upper case"),
        pytest.param(text[:3].upper() + text[3:], id="prefix in upper case"),
        pytest.param(text[:3] + "-" + body, id="other separator"),
        pytest.param("oax_" + body, id="unknown prefix"),
        pytest.param(body, id="no prefix"),
        pytest.param("", id="nothing"),
        pytest.param(text[:4], id="prefix alone"),
        pytest.param(text[:4] + "A" * 100_000, id="very long"),
    ]


@pytest.mark.parametrize("text", respellings(CODE))
def test_a_code_has_one_spelling(text: str):
    assert read(text) is None


@pytest.mark.parametrize("text", respellings(ACCESS))
def test_an_access_token_has_one_spelling(text: str):
    assert read(text) is None


@pytest.mark.parametrize("text", respellings(REFRESH))
def test_a_refresh_token_has_one_spelling(text: str):
    assert read(text) is None


@pytest.mark.requirement("RT-20")
def test_the_spare_bits_of_a_refresh_token_are_zero():
    """91 characters carry two bits more than 68 bytes need."""
    readable = [last for last in ALPHABET if read(REFRESH[:-1] + last) is not None]
    assert len(readable) == 16
    assert REFRESH[-1] in readable


@pytest.mark.parametrize("prefix", ["oac_", "oat_"])
def test_a_refresh_token_is_read_under_no_other_prefix(prefix: str):
    assert read(prefix + REFRESH[4:]) is None


@pytest.mark.parametrize("text", [CODE, ACCESS])
def test_a_code_or_access_token_is_not_read_as_a_refresh_token(text: str):
    assert read("ort_" + text[4:]) is None


def test_one_kind_is_never_taken_for_another():
    """The same bytes under another prefix have another hash, and only the hash is ever compared."""
    code, access = read(CODE), read(ACCESS)
    assert code is not None
    assert access is not None
    assert (code.secret, code.grant_id) == (access.secret, access.grant_id)
    assert code.hash != access.hash


@given(st.text(max_size=120) | st.text(alphabet=ALPHABET, min_size=60, max_size=100))
def test_what_is_read_has_no_other_spelling(body: str):
    for prefix in ("oac_", "oat_", "ort_"):
        presented = read(prefix + body)
        if presented is not None:
            raw = presented.grant_id + presented.secret
            if prefix == "ort_":
                generation = presented.generation.to_bytes(4, "big")
                raw = presented.grant_id + generation + presented.secret + presented.tag
            assert derivation.spell(prefix, raw) == prefix + body


@given(st.binary(min_size=68, max_size=68))
def test_any_bytes_of_the_right_length_are_a_refresh_token(raw: bytes):
    text = derivation.spell("ort_", raw)
    generation = int.from_bytes(raw[16:20], "big")
    assert read(text) == Presented(
        "ort_", raw[:16], raw[20:52], derivation.digest(text), generation, raw[52:]
    )


# --- tokens of the ancestor's file ---------------------------------------------------------------------

OLD = SECRET.hex()


@pytest.mark.parametrize("kind", ["oat_", "ort_"])
def test_a_token_of_the_ancestor_is_64_hex_digits_that_spell_its_secret(kind: str):
    assert tokens.looks_old(OLD)
    expected = Presented(kind, GRANT_ID, SECRET, derivation.digest(OLD), imported=True)
    assert tokens.read_old(OLD, tokens.old_entry(kind, GRANT_ID)) == expected


@pytest.mark.parametrize(
    "text", [OLD.upper(), OLD[:-1], OLD + "0", "g" + OLD[1:], " " + OLD[1:], "\uff11" + OLD[1:], "", CODE]
)
def test_nothing_else_looks_like_a_token_of_the_ancestor(text: str):
    assert not tokens.looks_old(text)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x02ort_" + GRANT_ID, id="another format"),
        pytest.param(b"\x01oac_" + GRANT_ID, id="a code"),
        pytest.param(b"\x01ort_" + GRANT_ID[1:], id="too short"),
        pytest.param(b"\x01ort_" + GRANT_ID + b"\0", id="too long"),
        pytest.param(b"\x01\xff\xff\xff\xff" + GRANT_ID, id="not ASCII"),
    ],
)
def test_a_record_that_leads_nowhere_reads_no_token(body: bytes):
    assert tokens.read_old(OLD, body) is None


# --- what must not be printed ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(read(REFRESH), id="presented token"),
        pytest.param(Secrets((SECRET,), frozenset([SECRET])), id="server secrets"),
        pytest.param(tokens.derive(SECRET, SECRET, GRANT_ID, 1, SECRET), id="link"),
    ],
)
def test_no_secret_stands_in_a_repr(value: object):
    for text in (repr(value), str(value), f"{(value,)}"):
        assert repr(SECRET)[2:-1] not in text
        assert SECRET.hex() not in text
        assert len(text) < 80


# --- the tag -----------------------------------------------------------------------------------------


@pytest.mark.requirement("RT-20")
def test_the_tag_covers_grant_generation_and_secret():
    good = tokens.tag(b"key", b"seed", GRANT_ID, 1, SECRET)
    others = [
        tokens.tag(b"kez", b"seed", GRANT_ID, 1, SECRET),
        tokens.tag(b"key", b"seee", GRANT_ID, 1, SECRET),
        tokens.tag(b"key", b"seed", GRANT_ID[:-1] + b"\0", 1, SECRET),
        tokens.tag(b"key", b"seed", GRANT_ID, 2, SECRET),
        tokens.tag(b"key", b"seed", GRANT_ID, 1, SECRET[:-1] + b"\0"),
    ]
    assert good not in others
    assert len(set(others)) == 5


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        pytest.param((b"one", b"two"), b"one", id="the first"),
        pytest.param((b"two", b"one"), b"one", id="a fallback"),
        pytest.param((b"two", b"three"), None, id="none"),
        pytest.param((), None, id="no secrets at all"),
    ],
)
def test_any_known_secret_verifies_a_tag(keys: tuple[bytes, ...], found: bytes | None):
    signature = tokens.tag(b"one", b"seed", GRANT_ID, 7, SECRET)
    presented = read(tokens.mint_refresh(GRANT_ID, 7, SECRET, signature))
    assert presented is not None
    assert tokens.verifying_key(presented, b"seed", Secrets(keys)) == found


def test_every_bit_of_a_tagged_token_counts():
    signature = tokens.tag(b"one", b"seed", GRANT_ID, 7, SECRET)
    raw = derivation.spelled(tokens.mint_refresh(GRANT_ID, 7, SECRET, signature))
    for bit in range(len(raw) * 8):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        presented = read(derivation.spell("ort_", bytes(flipped)))
        assert presented is not None
        assert tokens.verifying_key(presented, b"seed", Secrets((b"one",))) is None


# --- the derivation, against the page and a second implementation ----------------------------------------


def test_the_published_vectors_are_those_of_the_second_implementation():
    assert derivation.from_markdown(PAGE.read_text(encoding="utf-8")) == derivation.vectors()


def published() -> derivation.Tables:
    return derivation.from_markdown(PAGE.read_text(encoding="utf-8"))


def test_the_published_code_is_ours():
    given = published()["Given"]
    code = tokens.mint_code(bytes.fromhex(given["grant id"]), bytes.fromhex(given["secret of the code"]))
    assert {"code": code, "hash": tokens.hash_token(code).hex()} == published()["Code"]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_the_published_generations_are_ours(number: int):
    tables = published()
    given, table = next(
        (tables["Given"], table) for table in tables.values() if table.get("generation") == str(number)
    )
    key = given["server secret" if number < 3 else "changed server secret"].encode()
    seed, grant_id = bytes.fromhex(given["seed"]), bytes.fromhex(given["grant id"])
    presented = read(table["presented"])
    assert presented is not None
    assert presented.generation == number - 1

    link = tokens.derive(key, seed, grant_id, number, presented.secret)
    refresh = link.refresh_token(grant_id)
    scopes, audience = tuple(given["scopes"].split()), tuple(given["audience"].split())
    full = Rights(scopes, audience)
    narrow = Rights(tuple(given["narrower scopes"].split()), tuple(given["narrower audience"].split()))
    proved = Rights(scopes, audience, given["thumbprint of the proof key"])
    access = link.access_token(grant_id, 0, full)
    assert table == {
        "presented": table["presented"],
        "generation": str(link.generation),
        "salt": link.salt.hex(),
        "secret": link.refresh_secret.hex(),
        "tag": tokens.tag(key, seed, grant_id, number, link.refresh_secret).hex(),
        "refresh token": refresh,
        "hash of the refresh token": tokens.hash_token(refresh).hex(),
        "access token, epoch 0": access,
        "its hash": tokens.hash_token(access).hex(),
        "access token, epoch 1": link.access_token(grant_id, 1, full),
        "access token, epoch 2, narrower": link.access_token(grant_id, 2, narrow),
        "access token, epoch 3, no scopes, no audience": link.access_token(grant_id, 3, Rights((), ())),
        "access token, epoch 0, proof key": link.access_token(grant_id, 0, proved),
    }


@given(
    generation=st.integers(0, 2**32 - 2),
    secret=st.binary(min_size=32, max_size=32),
    epoch=st.integers(0, 2**32 - 1),
    scopes=st.lists(st.text(string.printable, min_size=1, max_size=8), unique=True).map(tuple),
    audience=st.lists(st.text(max_size=8), unique=True).map(tuple),
    proof_key=st.text(max_size=8),
)
def test_both_implementations_derive_the_same(generation, secret, epoch, scopes, audience, proof_key):
    presented = derivation.refresh_text(LINE, generation, secret)
    link = tokens.derive(LINE.server_secret, LINE.seed, LINE.grant_id, generation + 1, secret)
    assert link.refresh_token(LINE.grant_id) == derivation.next_refresh(LINE, presented)
    assert link.access_token(LINE.grant_id, epoch, Rights(scopes, audience, proof_key)) == (
        derivation.next_access(LINE, presented, epoch, scopes, audience, proof_key)
    )


def test_the_order_in_which_rights_are_named_does_not_matter():
    link = tokens.derive(LINE.server_secret, LINE.seed, LINE.grant_id, 1, CODE_SECRET)
    assert link.access_token(LINE.grant_id, 0, Rights(("a", "b"), ("x", "y"))) == link.access_token(
        LINE.grant_id, 0, Rights(("b", "a"), ("y", "x"))
    )


def test_scopes_and_audience_are_not_mixed_up():
    link = tokens.derive(LINE.server_secret, LINE.seed, LINE.grant_id, 1, CODE_SECRET)
    rights = [Rights(("a",), ()), Rights((), ("a",)), Rights((), (), "a"), Rights(("a",), ("a",))]
    assert len({link.access_token(LINE.grant_id, 0, each) for each in rights}) == 4


# --- walking the line forward ------------------------------------------------------------------------------


def walked(keys: tuple[bytes, ...], steps: int) -> list[str]:
    """What `derive_forward` proposes from generation 1 on, as refresh tokens."""
    first = tokens.derive(LINE.server_secret, LINE.seed, LINE.grant_id, 1, CODE_SECRET)
    links = tokens.derive_forward(keys, LINE.seed, LINE.grant_id, 1, first.refresh_secret, steps)
    return [link.refresh_token(LINE.grant_id) for link in links]


def line_of(*lines: derivation.Line) -> str:
    """The token that lies on the line whose generations 2, 3, … were made with these secrets."""
    token = derivation.next_refresh(LINE, derivation.code(LINE.grant_id, CODE_SECRET))
    for line in lines:
        token = derivation.next_refresh(line, token)
    return token


def test_one_step_forward_is_the_successor_under_each_secret():
    found = walked((LINE.server_secret, CHANGED.server_secret), 1)
    assert found == [line_of(LINE), line_of(CHANGED)]


def test_a_walk_allows_one_change_of_secret_anywhere():
    found = walked((LINE.server_secret, CHANGED.server_secret), 3)
    assert sorted(found) == sorted(
        [
            line_of(LINE, LINE, LINE),
            line_of(CHANGED, CHANGED, CHANGED),
            line_of(LINE, CHANGED, CHANGED),
            line_of(LINE, LINE, CHANGED),
            line_of(CHANGED, LINE, LINE),
            line_of(CHANGED, CHANGED, LINE),
        ]
    )


def test_a_walk_does_not_allow_two_changes_of_secret():
    found = walked((LINE.server_secret, CHANGED.server_secret), 3)
    assert line_of(LINE, CHANGED, LINE) not in found
    assert line_of(CHANGED, LINE, CHANGED) not in found


def test_the_longest_walk_under_one_secret_is_its_whole_line():
    assert walked((LINE.server_secret,), 64) == [line_of(*[LINE] * 64)]


def test_a_forgery_neither_uses_nor_fills_the_keys_that_are_remembered() -> None:
    tokens.derive(SECRET, SECRET, GRANT_ID, 1, SECRET)
    before = tokens.keys_of_grant.cache_info()
    for seed in (SECRET, bytes(32)):
        forged = tokens.Presented(tokens.REFRESH, GRANT_ID, SECRET, b"", 1, bytes(16))
        assert tokens.verifying_key(forged, seed, tokens.Secrets((SECRET,))) is None
    assert tokens.keys_of_grant.cache_info() == before
