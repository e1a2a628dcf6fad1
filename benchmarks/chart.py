"""The chart of docs/performance.md: checks and renewals of ours and of the peers, as points on one scale.

The scale is logarithmic, since a peer may take a thousand times as long, and a point has no length that would
lie about that. The picture brings its own background, light or dark as the reader's system is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

PROGRAMS = {"check": "A bearer check", "rotate": "A renewal"}
STORES = {"memory": "memory", "sqlite": "SQLite", "postgresql": "PostgreSQL", "valkey": "Valkey"}
NAMES = {
    "raw": "raw operation",
    "floor": "least program",
    "ours": "oauth_refresh",
    "oauthlib": "oauthlib",
    "Authlib": "Authlib",
    "django-oauth-toolkit": "django-oauth-toolkit",
}

_COLUMN, _LABEL, _SCALE, _ROW, _TOP, _TITLE = 440, 150, 215, 20, 64, 30
_ATTRIBUTES = 'role="img" aria-labelledby="t d" font-family="system-ui, sans-serif" font-size="13"'
_STYLE = """
  .paper { fill: #ffffff } .ink { fill: #1f2937 } .soft { fill: #4b5563 } .grid { stroke: #d1d5db }
  .line { stroke: #9ca3af } .point { fill: #6b7280 } .ours { fill: #1d4ed8 }
  text { stroke: #ffffff; stroke-width: 3px; paint-order: stroke }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #15191f } .ink { fill: #e5e7eb } .soft { fill: #a8b0bd } .grid { stroke: #343b46 }
    .line { stroke: #6b7280 } .point { fill: #a8b0bd } .ours { fill: #7cb0ff }
    text { stroke: #15191f }
  }
"""


def drawn(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The SVG, of what was kept of each program, by store."""
    parts: list[str] = []
    height = 0
    for number, (program, title) in enumerate(PROGRAMS.items()):
        kept = results.get(program, {})
        groups = {name: _points(kept[store]["rows"]) for store, name in STORES.items() if store in kept}
        column, bottom = _column(20 + number * _COLUMN, f"{title}, microseconds", groups)
        parts += column
        height = max(height, bottom + 16)
    width = 20 + len(PROGRAMS) * _COLUMN
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {_ATTRIBUTES}>',
            '  <title id="t">What a bearer check and a renewal take, by store and library</title>',
            '  <desc id="d">Points on logarithmic scales. The tables of the page have the figures.</desc>',
            f"  <style>{_STYLE}  </style>",
            f'  <rect class="paper" width="{width}" height="{height}" rx="8"/>',
            *(f"  {part}" for part in parts),
            "</svg>",
            "",
        ]
    )


def _points(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    taken = {row["who"]: row["p10"] for row in rows}
    return {name: taken[who] for who, name in NAMES.items() if who in taken}


def _column(left: int, title: str, groups: Mapping[str, Mapping[str, float]]) -> tuple[list[str], int]:
    """What is drawn of one program, and where it ends."""
    values = [value for points in groups.values() for value in points.values()]
    if not values:
        return [], 0
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    start, bottom = left + _LABEL, _TOP + sum(_TITLE + _ROW * len(points) for points in groups.values())

    def x(value: float) -> float:
        return start + _SCALE * (math.log10(value) - low) / (high - low)

    parts = [_text(left, 28, title, "ink", 'font-weight="600" font-size="15"')]
    for power in range(low, high + 1):
        at = x(10.0**power)
        parts.append(f'<path class="grid" d="M{at:.0f} {_TOP - 6}V{bottom}"/>')
        parts.append(
            _text(at, _TOP - 12, _figure(10.0**power), "soft", 'text-anchor="middle" font-size="11"')
        )
    y = _TOP
    for store, points in groups.items():
        y += _TITLE
        parts.append(_text(left, y - 9, store, "ink", 'font-weight="600"'))
        for who, value in points.items():
            y += _ROW
            parts += _point(left, start, x(value), y - 10, who, value)
    return parts, bottom


def _point(left: int, start: int, at: float, y: int, who: str, value: float) -> list[str]:
    ours = who == NAMES["ours"]
    weight = 'font-weight="600"' if ours else ""
    return [
        _text(left, y + 4, who, "ink" if ours else "soft", weight),
        f'<path class="line" stroke-dasharray="1 3" d="M{start} {y}H{at:.1f}"/>',
        f'<circle class="{"ours" if ours else "point"}" cx="{at:.1f}" cy="{y}" r="{5 if ours else 4}"/>',
        _text(at + 9, y + 4, _figure(value), "ink" if ours else "soft", weight),
    ]


def _text(x: float, y: float, what: str, kind: str, more: str) -> str:
    return f'<text class="{kind}" x="{x:.0f}" y="{y:.0f}" {more}>{escape(what)}</text>'.replace(" >", ">")


def _figure(value: float) -> str:
    """Two digits, and no more than there are before the point."""
    if value >= 10:
        return f"{value:,.0f}"
    return f"{value:.2g}"
