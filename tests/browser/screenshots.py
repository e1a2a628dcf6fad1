"""Pictures of every page, to be looked at: `python -m tests.browser.screenshots FOLDER`.

Each at 360, 768 and 1440 pixels, light and dark. `--docs` makes those of docs/pages.md instead.
"""

from __future__ import annotations

import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import msgspec
from playwright.sync_api import Browser, sync_playwright
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

from oauth_refresh.dashboard import dashboard
from oauth_refresh.pages import Connection
from oauth_refresh.statistics import Minute
from tests.browser.conftest import ARGUMENTS, QuietHandler
from tests.browser.test_pages_look import CENSUS, GRANTS, MINUTES, NAMES, NOW, PAGES, SCOPES, shown

DOCS = Path(__file__).parents[2] / "docs"
WIDTHS = (360, 768, 1440)
Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")

_CLIENTS = {"c1": "Claude", "c2": "VS Code", "c3": "Backup script"}
_SEEN = [Minute(NOW - 60 * (59 - n), {**each.counts, "reused": 0}) for n, each in enumerate(MINUTES)]
_CENSUS = msgspec.structs.replace(CENSUS, clients=[("c1", 6000), ("c2", 2000), ("c3", 1000)])
FOR_DOCS = {
    "grants": PAGES.grants(
        replace(
            GRANTS,
            done="",
            connections=[
                Connection("client", "c1", "Claude", NOW - 9e5, NOW - 300, SCOPES),
                Connection("client", "c2", "VS Code", NOW - 9e6, NOW - 9e4, SCOPES[:1]),
            ],
            page=1,
            pages=1,
        )
    ),
    "dashboard": PAGES.dashboard(dashboard(NOW, _SEEN, 1, _CENSUS, _CLIENTS.__getitem__)),
}
IN_DOCS: tuple[tuple[str, int, Scheme], ...] = (
    ("consent", 480, "light"),
    ("login", 480, "dark"),
    ("grants", 768, "light"),
    ("dashboard", 1200, "light"),
)


@contextmanager
def _origin() -> Iterator[str]:
    @Request.application
    def application(request: Request) -> Response:
        name = request.path.strip("/")
        if "docs" in request.args and name in FOR_DOCS:
            return FOR_DOCS[name]
        return shown(PAGES)[name] if name in NAMES else Response(status=404)

    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=QuietHandler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def shoot(browser: Browser, url: str, width: int, scheme: Scheme, path: Path) -> None:
    """A picture of the whole page."""
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 480})
    page = context.new_page()
    page.goto(url)
    page.screenshot(path=path, full_page=True)
    context.close()


def main(arguments: list[str]) -> None:
    if len(arguments) != 1:
        raise SystemExit(__doc__)
    wanted = [(name, width, scheme) for name in NAMES for width in WIDTHS for scheme in SCHEMES]
    folder = Path(arguments[0])
    if arguments == ["--docs"]:
        wanted, folder = list(IN_DOCS), DOCS
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright, _origin() as origin:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        for name, width, scheme in wanted:
            file = f"page-{name}.png" if folder == DOCS else f"{name}-{width}-{scheme}.png"
            query = "?docs" if folder == DOCS else ""
            shoot(browser, f"{origin}/{name}{query}", width, scheme, folder / file)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
