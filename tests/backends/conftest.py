"""Failures inside the contract show both sides of the comparison, as those of tests do."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("oauth_refresh.backends.contract", "oauth_refresh.backends.contract_races")
