"""The symptoms in docs/mcp.md are worded as the browser shows them."""

from __future__ import annotations

import html
import re
from pathlib import Path

from werkzeug.test import Client

from oauth_refresh import OAuthMiddleware

PAGE = Path(__file__).parent.parent / "docs" / "mcp.md"


def test_what_the_browser_shows_is_quoted_from_its_pages() -> None:
    browser = Client(
        OAuthMiddleware(
            lambda environ, start: [],
            registry="memory:",
            secret_key="a server secret of enough bytes",
            trust_remote_user=True,
            clients={"probe": {"redirect_uris": ["https://app.example/cb"]}},
        )
    )
    pages = ""
    for client in ("probe", "nobody"):
        query = {"client_id": client, "redirect_uri": "https://other.example/cb", "response_type": "code"}
        shown = browser.get("/oauth/authorize", query_string=query, headers={"Accept": "text/html"})
        pages += html.unescape(shown.text)
    rows = re.findall(r"^\| the browser shows (.*?) \|", PAGE.read_text(), re.MULTILINE)
    quoted = [quote for row in rows for quote in re.findall('"(.*?)"', row)]
    assert len(quoted) == 3
    assert [quote for quote in quoted if quote not in pages] == []
