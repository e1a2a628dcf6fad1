"""A token, code, verifier or password in a test: comparable, usable, and unreadable in what pytest prints."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any


class Secret:
    """Wraps the text, because pytest prints the arguments of functions that fail and both sides of `==`."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        kind = self.text[:4] if self.text[3:4] == "_" else ""
        return f"<{kind}… {sha256(self.text.encode()).hexdigest()[:8]}>"


class Pair:
    """What a token endpoint answered: both tokens, the lifetime in seconds, and the granted scopes.

    Two pairs are equal if both tokens are, byte for byte.
    """

    def __init__(self, answer: Mapping[str, Any]) -> None:
        self.access = Secret(str(answer["access_token"]))
        self.refresh = Secret(str(answer["refresh_token"]))
        self.expires_in = answer["expires_in"]
        scope = answer.get("scope", "")
        self.scopes = frozenset(scope.split() if isinstance(scope, str) else scope)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pair) and (self.access, self.refresh) == (other.access, other.refresh)

    def __hash__(self) -> int:
        return hash((self.access, self.refresh))

    def __repr__(self) -> str:
        return f"<pair {self.access} {self.refresh}>"
