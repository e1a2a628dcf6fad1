"""The operator's dashboard over forked workers and shared stores: the same numbers from all."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.backends import valkey
from tests.backends.postgres import PostgreSQL
from tests.flows.client import OAuthClient, pair
from tests.flows.headless import User
from tests.flows.servers import Gunicorn, wait_until

pytestmark = pytest.mark.slow

WORKERS = ("--workers", "2", "--worker-class", "gthread", "--threads", "4", "--preload")


def anybody(environ: Mapping[str, Any]) -> bool:
    """OAUTH_ADMIN_CHECK of a server on loopback."""
    return True


@pytest.fixture(params=["sqlite", "postgresql", "valkey"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite://{tmp_path}/oauth.db"
    elif request.param == "postgresql":
        server = PostgreSQL()
        server.run("CREATE ROLE registry LOGIN PASSWORD 'mellon'")
        server.run("GRANT ALL ON SCHEMA public TO registry")
        yield f"postgresql://registry:mellon@127.0.0.1:{server.port}/postgres?sslmode=disable"
        server.remove()
    else:
        with valkey.running([valkey.single(tmp_path)]) as [single]:
            yield f"valkey://127.0.0.1:{single.port}"


@pytest.fixture
def gunicorn(registry: str, tmp_path: Path) -> Iterator[Gunicorn]:
    settings = {
        "OAUTH_REGISTRY": registry,
        "OAUTH_SECRET_KEY": "a server secret for tests",
        "OAUTH_ADMIN_CHECK": f"{__name__}:anybody",
    }
    server = Gunicorn(tmp_path, settings, options=WORKERS)
    try:
        yield server.start()
    finally:
        server.close()


def test_what_all_workers_did_is_on_one_page(gunicorn: Gunicorn) -> None:
    client = OAuthClient(gunicorn.base)
    held = client.connected(User())
    for _ in range(6):
        held = pair(client.refresh(held.refresh))
    wait_until(lambda: shown(gunicorn) == {"Grants alive": "1", "Refreshes": "6", "New grants": "1"}, 90)


def shown(gunicorn: Gunicorn) -> dict[str, str]:
    """Three of the numbers at the top of the page."""
    page = requests.get(f"{gunicorn.base}/oauth/admin", timeout=20)
    assert page.status_code == 200
    found = dict(re.findall(r"<dt>([^<]+)</dt><dd>([^<]+)</dd>", page.text))
    return {name: found[name] for name in ("Grants alive", "Refreshes", "New grants") if name in found}
