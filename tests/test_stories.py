"""The words of stories. That they tell the right one is shown by tests/commands/test_explain.py."""

from __future__ import annotations

import re
from pathlib import Path

from oauth_refresh.story_words import AGAIN, ENDS, OUTCOMES, REASONS

SOURCE = "\n".join(
    path.read_text() for path in (Path(__file__).parent.parent / "oauth_refresh").rglob("*.py")
)

NOT_TOLD = {"not_yours"}
"""What only a resource server hears, of a token that is not for it."""


def test_every_refusal_of_the_rules_has_its_words() -> None:
    reasons = set(re.findall(r'Refuse\(\s*"(\w+)"', SOURCE))
    assert {"expired", "stray", "reused"} <= reasons
    assert reasons - NOT_TOLD <= set(REASONS)


def test_every_end_of_a_grant_has_its_words() -> None:
    calls = re.findall(r'revoke(?:d|_grant|_subject|_client)\([^()]*(?:\([^()]*\)[^()]*)*"(\w+)"\)', SOURCE)
    defaults = re.findall(r'why: str = "(\w+)"', SOURCE)
    assert {"revoked_by_operator", "client_deleted", "token_reused"} <= set(calls)
    assert {*calls, *defaults} <= set(ENDS)


def test_every_outcome_has_its_words() -> None:
    outcomes = {"rotated", "repeated", "caught_up", "rolled_forward"}
    assert outcomes <= set(OUTCOMES)
    assert all(words.text.endswith(".") and words.advice for words in (*OUTCOMES.values(), *REASONS.values()))


def test_an_advice_leaves_out_nothing_but_how_a_grant_is_made_anew() -> None:
    for words in (*REASONS.values(), *ENDS.values()):
        assert set(re.findall(r"{.*?}", words.advice)) <= {"{again}", "{longer}"}
        assert "user connects" not in words.advice or words is REASONS["unknown_grant"]
    assert all("{" not in words.text + words.advice for words in (*OUTCOMES.values(), *AGAIN.values()))
