"""How Sphinx builds the documentation: Markdown pages, and the versions from the package's metadata."""

from __future__ import annotations

from importlib.metadata import version as version_of

project = "oauth_refresh"
author = "oauth_refresh maintainers"
copyright = author  # noqa: A001 - Sphinx's name
release = version_of("oauth-refresh")
version = release

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
# Headings get anchors, so that pages can link to a part of another one.
myst_heading_anchors = 3
nitpicky = True

html_theme = "furo"
html_title = f"oauth_refresh {release}"
