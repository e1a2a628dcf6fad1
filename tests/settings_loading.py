"""Loading settings in tests: nothing of the real environment, and the problems as a list of lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from oauth_refresh.errors import ConfigurationError
from oauth_refresh.setting_loading import load_settings
from oauth_refresh.settings import Settings


def load(*, environ: Mapping[str, str] | None = None, **layers: Any) -> Settings:
    return load_settings(environ=environ or {}, **layers)


def settings(**keywords: object) -> Settings:
    return load(keywords=keywords)


def problems(**layers: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as refused:
        load(**layers)
    assert str(refused.value).splitlines() == list(refused.value.problems)
    return list(refused.value.problems)


def problems_with(**keywords: object) -> list[str]:
    return problems(keywords=keywords)


def value(name: str, given: object) -> Any:
    return getattr(settings(**{name: given}), name)


def reason(name: str, given: object) -> str:
    """Why `given` is refused, in the one line that says so."""
    (line,) = problems_with(**{name: given})
    assert line.startswith(f"OAUTH_{name.upper()}")
    assert "; allowed: " in line
    return line.split(" (keyword): ")[1].split("; allowed: ")[0]
