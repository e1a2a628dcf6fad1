"""Proof Key for Code Exchange, S256 only."""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_refresh.pkce import METHODS, check_challenge, check_verifier, kept, verify

# RFC 7636 appendix B
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"

UNRESERVED = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"


@pytest.mark.requirement("PKCE-01")
@pytest.mark.requirement("PKCE-02")
@pytest.mark.requirement("PKCE-03")
@pytest.mark.requirement("PKCE-04")
@pytest.mark.requirement("PKCE-05")
@pytest.mark.parametrize(
    ("challenge", "method", "reason"),
    [
        (CHALLENGE, "S256", None),
        ("-" * 43, "S256", None),
        ("-" * 42, "S256", "code_challenge must be 43 base64url characters"),
        ("-" * 44, "S256", "code_challenge must be 43 base64url characters"),
        (CHALLENGE + "=", "S256", "code_challenge must be 43 base64url characters"),
        (CHALLENGE + "\n", "S256", "code_challenge must be 43 base64url characters"),
        ("~" * 43, "S256", "code_challenge must be 43 base64url characters"),
        ("+" * 43, "S256", "code_challenge must be 43 base64url characters"),
        ("\u0661" * 43, "S256", "code_challenge must be 43 base64url characters"),
        (None, "S256", "code_challenge is required"),
        ("", "S256", "code_challenge is required"),
        (None, None, "code_challenge is required"),
        (CHALLENGE, None, "code_challenge_method is missing and would mean plain: only S256 is supported"),
        (CHALLENGE, "", "code_challenge_method is missing and would mean plain: only S256 is supported"),
        (CHALLENGE, "plain", "this code_challenge_method is not supported: only S256 is"),
        (CHALLENGE, "s256", "this code_challenge_method is not supported: only S256 is"),
        (CHALLENGE, "S512", "this code_challenge_method is not supported: only S256 is"),
    ],
)
def test_an_authorization_request_brings_an_s256_challenge(challenge, method, reason):
    assert check_challenge(challenge, method) == reason


def test_plain_is_not_offered():
    assert METHODS == ("S256",)


MALFORMED = "code_verifier must be 43 to 128 unreserved characters"


@pytest.mark.requirement("BCP-03")
@pytest.mark.requirement("PKCE-06")
@pytest.mark.requirement("PKCE-08")
@pytest.mark.requirement("PKCE-09")
@pytest.mark.parametrize(
    ("challenge", "verifier", "reason"),
    [
        (CHALLENGE, VERIFIER, None),
        (CHALLENGE, "a" * 42, MALFORMED),
        (CHALLENGE, "a" * 43, None),
        (CHALLENGE, "a" * 128, None),
        (CHALLENGE, "a" * 129, MALFORMED),
        (CHALLENGE, UNRESERVED, None),
        (CHALLENGE, VERIFIER + "\n", MALFORMED),
        (CHALLENGE, VERIFIER + "=", MALFORMED),
        (CHALLENGE, VERIFIER + "+", MALFORMED),
        (CHALLENGE, VERIFIER + "/", MALFORMED),
        (CHALLENGE, VERIFIER + " ", MALFORMED),
        (CHALLENGE, "\u00e9" * 43, MALFORMED),
        (CHALLENGE, None, "code_verifier is required"),
        (CHALLENGE, "", "code_verifier is required"),
        (None, None, None),
        ("", "", None),
        (None, VERIFIER, "code_verifier was sent for a code without code_challenge"),
        ("", VERIFIER, "code_verifier was sent for a code without code_challenge"),
    ],
)
def test_a_verifier_comes_exactly_where_a_challenge_was(challenge, verifier, reason):
    assert check_verifier(challenge, verifier) == reason


@pytest.mark.requirement("PKCE-07")
@pytest.mark.parametrize(
    ("challenge", "verifier", "expected"),
    [
        (CHALLENGE, VERIFIER, True),
        (CHALLENGE, VERIFIER[:-1] + "l", False),
        (CHALLENGE[:-1] + "N", VERIFIER, False),
        (CHALLENGE.lower(), VERIFIER, False),
        (CHALLENGE + "=", VERIFIER, False),
        (VERIFIER, VERIFIER, False),
        (CHALLENGE, "", False),
        ("", VERIFIER, False),
        (CHALLENGE, VERIFIER + "\u00e9", False),
        ("\u00e9" * 43, VERIFIER, False),
    ],
)
def test_a_verifier_hashes_to_its_challenge(challenge, verifier, expected):
    assert verify(challenge, verifier) is expected


@pytest.mark.requirement("PKCE-07")
@given(st.text(alphabet=UNRESERVED, min_size=43, max_size=128))
def test_every_well_formed_pair_passes(verifier):
    challenge = urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")
    assert check_challenge(challenge, "S256") is None
    assert check_verifier(challenge, verifier) is None
    assert verify(challenge, verifier)
    assert kept(challenge) == hashlib.sha256(verifier.encode()).digest()
    assert verify(kept(challenge), verifier)
    assert not verify(kept(challenge), verifier[:-1] + ("a" if verifier[-1] != "a" else "b"))


@given(st.text(alphabet="ABCDwxyz0189-_", min_size=42, max_size=44) | st.text())
def test_what_is_kept_of_a_challenge_spells_it(challenge):
    """A challenge whose last letter spells more than 32 bytes is right for no verifier, and stays so."""
    found = kept(challenge)
    if isinstance(found, bytes):
        assert len(found) == 32
        found = urlsafe_b64encode(found).decode().rstrip("=")
    assert found == challenge


def test_a_second_spelling_of_a_challenge_stays_wrong():
    assert kept(CHALLENGE[:-1] + "N") == CHALLENGE[:-1] + "N"
    assert not verify(kept(CHALLENGE[:-1] + "N"), VERIFIER)


@pytest.mark.parametrize("damaged", [None, 7, ["a"], b"", b"short"])
def test_a_damaged_challenge_is_right_for_no_verifier(damaged):
    assert not verify(damaged, VERIFIER)


@given(st.text(max_size=42) | st.text(alphabet=UNRESERVED, min_size=129, max_size=140))
def test_a_malformed_verifier_fails_even_if_it_hashes_right(verifier):
    digest = hashlib.sha256(verifier.encode()).digest()
    assert not verify(urlsafe_b64encode(digest).decode().rstrip("="), verifier)


@pytest.mark.requirement("GEN-18")
def test_the_comparison_takes_constant_time(monkeypatch):
    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(other)
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert not verify("A" * 43, VERIFIER)
    assert verify(CHALLENGE, VERIFIER)
    assert verify(kept(CHALLENGE), VERIFIER)
    assert compared == [b"A" * 43, CHALLENGE.encode(), kept(CHALLENGE)]
