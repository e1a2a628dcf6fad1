"""What a renewal asks of the system, counted by strace in a process of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import syscalls
from tests.backends.postgres import PostgreSQL

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("strace") is None, reason="counts with strace"),
]

ONCE, NEVER = [1] * syscalls.RENEWALS, [0] * syscalls.RENEWALS


def test_a_renewal_over_sqlite_waits_for_the_disk_once(tmp_path: Path) -> None:
    found = syscalls.counted("sqlite", f"sqlite://{tmp_path}/oauth.db?synchronous=full")
    assert found.waits == ONCE


def test_a_renewal_over_sqlite_that_need_not_outlive_a_power_failure_waits_for_nothing(
    tmp_path: Path,
) -> None:
    found = syscalls.counted("sqlite", f"sqlite://{tmp_path}/oauth.db?synchronous=normal")
    assert found.waits == NEVER


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    server = PostgreSQL()
    yield server
    server.remove()


def test_a_renewal_over_postgresql_is_one_message_for_the_write(postgresql: PostgreSQL) -> None:
    found = syscalls.counted("postgresql", postgresql.url())
    assert found.sent_by_swap == ONCE
    # The grant and the client are read together.
    assert found.sent == [2] * syscalls.RENEWALS
