"""The doctor where the registry is memory: it says whether one process serves it alone, and what to watch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from oauth_refresh import OAuthMiddleware

from ..flows.servers import Gunicorn
from .test_seeded import KEY, Clinic, Wsgi, hide

IN_MEMORY = ("error", "registry")


@pytest.fixture
def clinic(tmp_path: Path) -> Iterator[Clinic]:
    with ExitStack() as stack:
        made = Clinic(tmp_path, stack)
        made.settings["OAUTH_REGISTRY"] = "memory:"
        yield made


def test_how_many_there_are_is_not_known_from_inside(clinic: Clinic) -> None:
    found = clinic.examine(OAUTH_ISSUER="")
    assert found.wrong == {IN_MEMORY, ("warning", "workers"), ("warning", "issuer")}
    assert "OAUTH_REGISTRY, for example" in found.text
    assert (
        "memory: serves one process alone, and how many there are is not known. Nobody was asked"
        in found.text
    )
    assert "gunicorn --workers 1 --threads 8" in found.text


def test_one_process_is_healthy_and_nothing_is_left_in_it(clinic: Clinic) -> None:
    served: list[OAuthMiddleware] = []

    def wrap(app: Any) -> Wsgi:
        served.append(app)
        return app  # type: ignore[no-any-return]

    found = clinic.examine(clinic.serve(wrap))
    assert found.wrong == {IN_MEMORY}
    assert "All of 12 requests made at once found what one process holds in memory" in found.text
    assert list(served[0].server.clients.list()) == []


def test_processes_of_which_each_has_its_own_are_an_error(clinic: Clinic) -> None:
    made: list[OAuthMiddleware] = []

    def wrap(app: Any) -> Wsgi:
        made.extend((app, clinic.middleware()))
        turn = iter(range(10**6))
        return lambda environ, start: made[next(turn) % 2](environ, start)

    found = clinic.examine(clinic.serve(wrap))
    assert found.wrong == {IN_MEMORY, ("error", "workers")}
    assert "did not find what one process holds in memory: there are several" in found.text
    assert [list(each.server.clients.list()) for each in made] == [[], []]


@pytest.mark.parametrize(
    ("here", "there", "why"),
    [
        ("off", "open", "clients have to be allowed to register themselves"),
        ("open", "off", "could not be registered: status 404"),
    ],
)
def test_where_no_client_may_register_what_to_watch_is_said(
    clinic: Clinic, here: str, there: str, why: str
) -> None:
    found = clinic.examine(clinic.serve(OAUTH_REGISTRATION=there), OAUTH_REGISTRATION=here)
    assert found.wrong == {IN_MEMORY, ("warning", "workers")}
    assert why in found.text
    assert "gunicorn --workers 1 --threads 8" in found.text


def test_answers_that_say_nothing_of_the_processes_leave_it_unknown(clinic: Clinic) -> None:
    found = clinic.examine(clinic.serve(hide("/oauth/register/", "502 Bad Gateway")))
    assert found.wrong == {IN_MEMORY, ("warning", "workers")}
    assert "were answered with status 502" in found.text


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "severity"), [("1", "ok"), ("3", "error")])
def test_the_workers_of_a_real_gunicorn_are_told_apart(clinic: Clinic, workers: str, severity: str) -> None:
    settings = {"OAUTH_SECRET_KEY": KEY, "OAUTH_REGISTRY": "memory:"}
    server = Gunicorn(clinic.folder, settings, options=("--workers", workers, "--preload"))
    try:
        server.start()
        found = clinic.examine(server.base)
    finally:
        server.close()
    assert (("error", "workers") in found.wrong) == (severity == "error")
    assert ("All of 12 requests" in found.text) == (severity == "ok")
