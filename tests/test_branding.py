"""Do the pages carry the operator's logo and colour, and stay readable and closed?"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from oauth_refresh.branding import LOGO_BYTES_MAX, brand, contrast, readable
from oauth_refresh.errors import ConfigurationError

from .driving import InProcess

PNG = b"\x89PNG\r\n\x1a\n" + b"rest"
COLORS = ("#000", "#fff", "#ffcc00", "#0b5a8f", "#ff0000", "#00ff88", "#777777", "#6a1b9a")


def rgb(text: str) -> tuple[int, int, int]:
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:], 16)


def properties(text: str) -> dict[str, str]:
    pairs = (pair.split(": ") for pair in text.rstrip(";").split("; "))
    return dict(pairs)


@pytest.mark.parametrize("color", COLORS)
def test_any_colour_gives_text_that_can_be_read(color: str) -> None:
    made = brand(None, color)
    for text, ground in ((made.light, (232, 239, 243)), (made.dark, (32, 44, 54))):
        chosen = properties(text)
        assert contrast(rgb(chosen["--accent"]), ground) >= 4.5
        for area in ("--fill", "--fill-deep"):
            assert contrast(rgb(chosen["--on-fill"]), rgb(chosen[area])) >= 4.5


def test_a_button_has_the_colour_itself_and_text_too_where_it_can() -> None:
    assert properties(brand(None, "#fc0").light)["--fill"] == "#ffcc00"
    assert readable((11, 90, 143), (255, 255, 255)) == (11, 90, 143)


def test_a_logo_from_a_file_is_part_of_the_page(tmp_path: Path) -> None:
    path = tmp_path / "logo.png"
    path.write_bytes(PNG)
    server = InProcess(logo=str(path), service_name="Example Notes")
    page = server.get("/oauth/login")
    assert f'<img class="logo" src="data:image/png;base64,{base64.b64encode(PNG).decode()}"' in page.text
    assert "; img-src data:; " in page.headers["Content-Security-Policy"]


def test_a_logo_from_elsewhere_is_the_one_thing_that_the_policy_lets_in() -> None:
    server = InProcess(logo="https://cdn.example/a/logo.svg?v=2")
    page = server.get("/oauth/login")
    assert 'src="https://cdn.example/a/logo.svg?v=2" alt="Account access"' in page.text
    assert "; img-src https://cdn.example/a/logo.svg; " in page.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.svg", b'<svg xmlns="http://www.w3.org/2000/svg"/>'),
        ("a.jpg", b"\xff\xd8\xff\xe0"),
        ("a.gif", b"GIF89a"),
        ("a.webp", b"RIFF\x00\x00\x00\x00WEBP"),
    ],
)
def test_a_logo_may_be_of_any_usual_kind(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert brand(str(tmp_path / name), None).logo.startswith("data:image/")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "No such file"),
        (b"<html>", "is neither SVG"),
        (PNG + b"x" * LOGO_BYTES_MAX, "larger than 64 KiB"),
    ],
)
def test_a_logo_that_cannot_be_shown_stops_the_start(
    tmp_path: Path, content: bytes | None, problem: str
) -> None:
    if content is not None:
        (tmp_path / "logo").write_bytes(content)
    with pytest.raises(ConfigurationError, match="OAUTH_LOGO") as error:
        InProcess(logo=str(tmp_path / "logo"))
    assert problem in str(error.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("logo", "http://cdn.example/logo.png"),
        ("logo", "https://cdn.example/logo.png;script-src *"),
        ("logo", "https://cdn.example/logo.png#x"),
        ("brand_color", "blue"),
        ("brand_color", "#12345"),
        ("brand_color", "#fff; } body { display: none"),
        ("languages", "en, <script>"),
    ],
)
def test_what_is_no_logo_colour_or_language_stops_the_start(name: str, value: str) -> None:
    wrong: Any = {name: value}
    with pytest.raises(ConfigurationError, match=f"OAUTH_{name.upper()}"):
        InProcess(**wrong)


def test_the_colour_reaches_the_style_in_both_schemes() -> None:
    page = InProcess(brand_color="#6A1B9A").get("/oauth/login").text
    assert page.count("--fill: #6a1b9a; --on-fill: #ffffff;") == 2
