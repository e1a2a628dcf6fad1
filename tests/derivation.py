"""The derivation of codes and tokens a second time, written from its description alone.

It shares no line with `oauth_refresh.tokens`, so that a mistake there is not made here as well. Run as a
module it prints the tables of `docs/test-vectors.md`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import sys
from typing import NamedTuple


class Line(NamedTuple):
    """What a grant's tokens follow from, besides the token that the client holds."""

    server_secret: bytes
    seed: bytes
    grant_id: bytes


def spell(prefix: str, raw: bytes) -> str:
    return prefix + base64.urlsafe_b64encode(raw).decode().rstrip("=")


def spelled(text: str) -> bytes:
    """The bytes behind the prefix of a code or token."""
    return base64.urlsafe_b64decode(text[4:] + "=" * (-len(text[4:]) % 4))


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("ascii")).digest()


def mac(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()


def four(number: int) -> bytes:
    return bytes((number >> shift) & 255 for shift in (24, 16, 8, 0))


def code(grant_id: bytes, secret: bytes) -> str:
    return spell("oac_", grant_id + secret)


def tag(line: Line, generation: int, secret: bytes) -> bytes:
    key = mac(line.server_secret, b"oauth_refresh/1 tag\x00" + line.seed)
    return mac(key, b"refresh\x00" + line.grant_id + four(generation) + secret)[:16]


def salt(line: Line, generation: int) -> bytes:
    key = mac(line.server_secret, b"oauth_refresh/1 salt\x00" + line.seed)
    return mac(key, line.grant_id + four(generation))


def refresh_text(line: Line, generation: int, secret: bytes) -> str:
    signed = line.grant_id + four(generation) + secret + tag(line, generation, secret)
    return spell("ort_", signed)


def generation_of(text: str) -> int:
    """0 for a code."""
    return 0 if text.startswith("oac_") else int.from_bytes(spelled(text)[16:20], "big")


def secret_of(text: str) -> bytes:
    raw = spelled(text)
    return raw[16:48] if text.startswith("oac_") else raw[20:52]


def next_refresh(line: Line, presented: str) -> str:
    """The refresh token that follows from this code or refresh token."""
    generation = generation_of(presented) + 1
    return refresh_text(line, generation, mac(secret_of(presented), b"refresh\x00" + salt(line, generation)))


def next_access(
    line: Line,
    presented: str,
    epoch: int,
    scopes: tuple[str, ...],
    audience: tuple[str, ...],
    proof_key: str = "",
) -> str:
    """The access token of the generation that follows from this code or refresh token."""
    rights = " ".join(sorted(scopes)) + "\n" + " ".join(sorted(audience)) + "\n" + proof_key
    message = b"access\x00" + salt(line, generation_of(presented) + 1) + four(epoch)
    message += hashlib.sha256(rights.encode("utf-8")).digest()
    return spell("oat_", line.grant_id + mac(secret_of(presented), message))


# --- the published vectors --------------------------------------------------------------------------

LINE = Line(b"a server secret for test vectors only", bytes(range(32)), bytes(range(0xA0, 0xB0)))
CHANGED = LINE._replace(server_secret="another server secret, schön".encode())
CODE_SECRET = bytes(range(0x40, 0x60))
SCOPES = ("notes:read", "notes:write")
AUDIENCE = ("https://as.example/api", "https://as.example/mcp")
NARROW_SCOPES = ("notes:read",)
NARROW_AUDIENCE = ("https://as.example/mcp",)
PROOF_KEY = "PyHaYWwKF0ctOWKJWGZZqyfw_vl2L4k7CgxmYEKz_pQ"

Tables = dict[str, dict[str, str]]


def vectors() -> Tables:
    """Every published value: heading -> name -> value."""
    presented = code(LINE.grant_id, CODE_SECRET)
    tables: Tables = {"Given": _given(), "Code": {"code": presented, "hash": digest(presented).hex()}}
    for heading, line in (
        ("Generation 1", LINE),
        ("Generation 2", LINE),
        ("Generation 3, after a change of the server secret", CHANGED),
    ):
        tables[heading] = _generation(line, presented)
        presented = tables[heading]["refresh token"]
    return tables


def _given() -> dict[str, str]:
    return {
        "server secret": LINE.server_secret.decode(),
        "changed server secret": CHANGED.server_secret.decode(),
        "seed": LINE.seed.hex(),
        "grant id": LINE.grant_id.hex(),
        "secret of the code": CODE_SECRET.hex(),
        "scopes": " ".join(SCOPES),
        "audience": " ".join(AUDIENCE),
        "narrower scopes": " ".join(NARROW_SCOPES),
        "narrower audience": " ".join(NARROW_AUDIENCE),
        "thumbprint of the proof key": PROOF_KEY,
    }


def _generation(line: Line, presented: str) -> dict[str, str]:
    refresh = next_refresh(line, presented)
    access = next_access(line, presented, 0, SCOPES, AUDIENCE)
    generation = generation_of(refresh)
    return {
        "presented": presented,
        "generation": str(generation),
        "salt": salt(line, generation).hex(),
        "secret": secret_of(refresh).hex(),
        "tag": spelled(refresh)[52:].hex(),
        "refresh token": refresh,
        "hash of the refresh token": digest(refresh).hex(),
        "access token, epoch 0": access,
        "its hash": digest(access).hex(),
        "access token, epoch 1": next_access(line, presented, 1, SCOPES, AUDIENCE),
        "access token, epoch 2, narrower": next_access(line, presented, 2, NARROW_SCOPES, NARROW_AUDIENCE),
        "access token, epoch 3, no scopes, no audience": next_access(line, presented, 3, (), ()),
        "access token, epoch 0, proof key": next_access(line, presented, 0, SCOPES, AUDIENCE, PROOF_KEY),
    }


def as_markdown(tables: Tables) -> str:
    parts = []
    for heading, values in tables.items():
        rows = "".join(f"| {name} | `{value}` |\n" for name, value in values.items())
        parts.append(f"## {heading}\n\n| name | value |\n|---|---|\n{rows}")
    return "\n".join(parts)


def from_markdown(page: str) -> Tables:
    """The tables with backquoted values, by heading."""
    tables: Tables = {}
    heading = ""
    for row in page.splitlines():
        if row.startswith("## "):
            heading = row[3:]
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        if row.startswith("|") and len(cells) == 2 and cells[1].startswith("`"):
            tables.setdefault(heading, {})[cells[0]] = cells[1].strip("`")
    return tables


if __name__ == "__main__":
    sys.stdout.write(as_markdown(vectors()))
