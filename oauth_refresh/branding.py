"""How do the pages carry the operator's mark? A logo, and a colour that stays readable, light and dark."""

from __future__ import annotations

import base64
import os
import re
from typing import NamedTuple
from urllib.parse import urlsplit

from .errors import ConfigurationError

LOGO_BYTES_MAX = 64 * 1024

_Rgb = tuple[int, int, int]
_WHITE: _Rgb = (255, 255, 255)
_BLACK: _Rgb = (0, 0, 0)
# What coloured text stands on: the darkest ground of the light pages, and the lightest of the dark ones.
_LIGHT_GROUND: _Rgb = (232, 239, 243)
_DARK_GROUND: _Rgb = (32, 44, 54)
_TEXT_CONTRAST = 4.6
"""WCAG 2.2 asks for 4.5; the rest is for rounding."""

_KINDS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
)


class Brand(NamedTuple):
    """`logo` is the address of an image, "" for none; `image_source` is what a policy must allow for it.

    `light` and `dark` are custom properties of the style sheet, "" for the shipped colours.
    """

    logo: str = ""
    image_source: str = ""
    light: str = ""
    dark: str = ""


def brand(logo: str | None, color: str | None) -> Brand:
    """The brand of these settings. Raises `ConfigurationError` for a logo that cannot be read or shown."""
    address, source = _logo(logo) if logo else ("", "")
    if color is None:
        return Brand(address, source)
    chosen = _rgb(color)
    return Brand(address, source, _properties(chosen, _LIGHT_GROUND), _properties(chosen, _DARK_GROUND))


def _logo(logo: str) -> tuple[str, str]:
    if logo.startswith("https://"):
        parts = urlsplit(logo)
        # A policy has no queries; what it names is this path of this host and nothing else.
        return logo, f"https://{parts.netloc}{parts.path or '/'}"
    try:
        with open(logo, "rb") as file:
            content = file.read(LOGO_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigurationError(f"logo {logo}: {error.strerror or error}") from error
    if len(content) > LOGO_BYTES_MAX:
        raise ConfigurationError(f"logo {logo}: is larger than 64 KiB, and is part of every page")
    return f"data:{_media_type(logo, content)};base64,{base64.b64encode(content).decode()}", "data:"


def _media_type(path: str, content: bytes) -> str:
    for beginning, media_type in _KINDS:
        if content.startswith(beginning):
            return media_type
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    if os.path.splitext(path)[1].lower() == ".svg" and b"<svg" in content:
        # Within <img> an SVG runs no scripts and loads nothing.
        return "image/svg+xml"
    raise ConfigurationError(f"logo {path}: is neither SVG (with this ending) nor PNG, JPEG, GIF or WebP")


def _properties(color: _Rgb, ground: _Rgb) -> str:
    """The colour itself for areas, with black or white on it; for text, as near to it as can be read."""
    on_color = _better(color)
    deeper = _mixed(color, _BLACK if on_color == _WHITE else _WHITE, 0.16)
    return (
        f"--fill: {_hex(color)}; --on-fill: {_hex(on_color)}; --fill-deep: {_hex(deeper)}; "
        f"--accent: {_hex(readable(color, ground))};"
    )


def readable(color: _Rgb, ground: _Rgb) -> _Rgb:
    """The colour, or the first on its way to black or white that text on this ground can have."""
    end = _better(ground)
    for step in range(101):
        mixed = _mixed(color, end, step / 100)
        if contrast(mixed, ground) >= _TEXT_CONTRAST:
            return mixed
    return end


def contrast(one: _Rgb, other: _Rgb) -> float:
    """The contrast ratio of WCAG 2.2, from 1 to 21."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _better(ground: _Rgb) -> _Rgb:
    return _WHITE if contrast(_WHITE, ground) >= contrast(_BLACK, ground) else _BLACK


def _luminance(color: _Rgb) -> float:
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (value / 255 for value in color)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _mixed(one: _Rgb, other: _Rgb, share: float) -> _Rgb:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _rgb(color: str) -> _Rgb:
    digits = re.sub("[0-9a-f]", r"\g<0>\g<0>", color[1:]) if len(color) == 4 else color[1:]
    return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)


def _hex(color: _Rgb) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
