"""HMAC-SHA256 as the standard library computes it."""

from __future__ import annotations

import hmac
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_refresh.keyed_hashes import hmac_of_pads, keyed, pads


@given(key=st.binary(max_size=200), message=st.binary(max_size=300))
def test_it_is_the_hmac_of_the_standard_library(key: bytes, message: bytes) -> None:
    expected = hmac.digest(key, message, "sha256")
    assert (hmac_of_pads(pads(key), message), keyed(key)(message)) == (expected, expected)


@pytest.mark.parametrize("size", [0, 1, 32, 63, 64, 65, 128, 129])
def test_keys_around_the_size_of_a_block(size: int) -> None:
    key = bytes(range(256))[:size]
    assert hmac_of_pads(pads(key), b"message") == hmac.digest(key, b"message", "sha256")
    assert keyed(key)(b"message") == hmac.digest(key, b"message", "sha256")


def test_a_known_answer() -> None:
    # RFC 4231 section 4.3.
    expected = bytes.fromhex("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
    assert hmac_of_pads(pads(b"Jefe"), b"what do ya want for nothing?") == expected


def test_one_key_serves_many_threads() -> None:
    digest = keyed(b"shared")
    messages = [b"%d" % number for number in range(4000)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(digest, messages))
    assert found == [hmac.digest(b"shared", message, "sha256") for message in messages]
