"""The servers on which clients of others' writing are tried: one process with threads, and several."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.flows.conftest import _end_servers_when_terminated, _without_proxy
from tests.flows.servers import Gunicorn, Waitress

__all__ = ["_end_servers_when_terminated", "_without_proxy"]

GTHREAD = ("--workers", "4", "--worker-class", "gthread", "--threads", "8")


@pytest.fixture(scope="session", params=["waitress", "gunicorn"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the demo: under waitress, then under gunicorn with four processes of eight threads."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "waitress":
        simple = Waitress(folder)
        yield simple.base
        simple.close()
    else:
        server = Gunicorn(folder, options=GTHREAD)
        try:
            yield server.start().base
        finally:
            server.close()
