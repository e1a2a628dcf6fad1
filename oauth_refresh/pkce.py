"""Does the program that redeems a code hold the verifier that was promised? (RFC 7636, S256 only)"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode

METHODS = ("S256",)
"""What the metadata offers. `plain` is not in it: it shows the verifier to whoever sees the request."""

_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


def check_challenge(challenge: str | None, method: str | None) -> str | None:
    """Why an authorization request cannot go on with this challenge, or None if it can.

    Each reason means `invalid_request` (RFC 7636 section 4.4.1) and quotes nothing that was sent. A missing
    method means `plain` (section 4.3), which is refused. None and the empty string both count as missing.
    """
    if not challenge:
        return "code_challenge is required"
    if not method:
        return "code_challenge_method is missing and would mean plain: only S256 is supported"
    if method not in METHODS:
        return "this code_challenge_method is not supported: only S256 is"
    if _CHALLENGE.fullmatch(challenge) is None:
        return "code_challenge must be 43 base64url characters"
    return None


def check_verifier(challenge: str | None, verifier: str | None) -> str | None:
    """Why a token request with this verifier is malformed (`invalid_request`), or None if it is not.

    `challenge` is what the code is bound to, None or empty if to nothing: then a verifier is a sign that
    the challenge was taken out of the authorization request on its way (RFC 9700 section 4.8.2). Whether
    the verifier is the right one is for `verify`.
    """
    if not challenge:
        return "code_verifier was sent for a code without code_challenge" if verifier else None
    if not verifier:
        return "code_verifier is required"
    if _VERIFIER.fullmatch(verifier) is None:
        return "code_verifier must be 43 to 128 unreserved characters"
    return None


def kept(challenge: str) -> bytes | str:
    """What to keep of a challenge: the 32 bytes that it spells, itself where it is not how they are spelt."""
    if _CHALLENGE.fullmatch(challenge) is None:
        return challenge
    digest = urlsafe_b64decode(challenge + "=")
    return digest if _spelt(digest) == challenge else challenge


def verify(challenge: object, verifier: str) -> bool:
    """Whether the challenge, as it was kept or in its text, is of this verifier (RFC 7636 section 4.6).

    In time that does not depend on where the two differ. False for a malformed verifier, and for an empty
    challenge always.
    """
    if _VERIFIER.fullmatch(verifier) is None:
        return False
    digest = hashlib.sha256(verifier.encode("ascii")).digest()
    if isinstance(challenge, bytes):
        return hmac.compare_digest(digest, challenge)
    if not isinstance(challenge, str) or not challenge.isascii():
        return False
    return hmac.compare_digest(_spelt(digest).encode(), challenge.encode())


def _spelt(digest: bytes) -> str:
    return urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")
