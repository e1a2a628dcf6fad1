"""The settings reference in the documentation is what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from oauth_refresh.settings import Settings, declarations
from oauth_refresh.settings_reference import main, reference

from .settings_loading import load

PAGE = Path(__file__).parent.parent / "docs" / "settings.md"


def test_the_page_is_up_to_date() -> None:
    written: list[str] = []
    main(written.append)
    assert PAGE.read_text(encoding="utf-8") == "".join(written), (
        "run: python -m oauth_refresh.settings_reference > docs/settings.md"
    )


def test_every_setting_is_explained_once_in_order() -> None:
    keys = re.findall(r"^### `(OAUTH_[A-Z_]+)`$", reference(), re.MULTILINE)
    assert keys == [about.key for about in declarations()]
    assert [about.name for about in declarations()] == [
        name for name in Settings.__dataclass_fields__ if name not in {"origins", "warnings"}
    ]


def test_every_explanation_is_a_paragraph_with_default_and_choices() -> None:
    for about in declarations():
        assert about.meaning.endswith(".")
        assert about.kind.allowed
        assert not about.kind.allowed.endswith(".")


def test_no_code_is_broken_by_a_line_end() -> None:
    for line in reference().splitlines():
        assert line.startswith("```") or line.count("`") % 2 == 0


def test_the_example_file_on_the_page_can_be_loaded(tmp_path: Path) -> None:
    example = re.search(r"```toml\n(.*?)```", reference(), re.DOTALL)
    assert example is not None
    file = tmp_path / "oauth.toml"
    file.write_text(example[1], encoding="utf-8")
    loaded = load(config_file=str(file))
    assert loaded.issuer == "https://notes.example.org"
    assert loaded.known_scopes == ("notes:read", "notes:write")
