"""Small values: unchangeable, compared by content."""

from __future__ import annotations

import pytest

from oauth_refresh.cases import Ask, Policy
from oauth_refresh.tokens import Rights


def test_a_value_with_other_members_leaves_the_first_one_alone() -> None:
    ask = Ask("c", scopes=("a",))
    assert ask.but(scopes=None) == Ask("c")
    assert ask == Ask("c", scopes=("a",))


def test_a_member_that_there_is_not_is_refused() -> None:
    with pytest.raises(TypeError, match="nothing_such"):
        Policy(60, 3600).but(nothing_such=1)


def test_nobody_changes_it() -> None:
    with pytest.raises(AttributeError):
        Ask("c").client_id = "d"  # type: ignore[misc]


def test_equal_values_are_one_key() -> None:
    assert {Rights(("a",), ()): 1}[Rights(("a",), ())] == 1
