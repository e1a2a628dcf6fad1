"""What is special about records that live in one process."""

from __future__ import annotations

import logging
from threading import Event, Thread

import pytest

from oauth_refresh.backends.memory import MemoryBackend
from tests.backends.children import in_a_child


def test_a_forked_child_goes_on_with_a_copy_and_warns_once(caplog: pytest.LogCaptureFixture) -> None:
    backend = MemoryBackend()
    backend.swap(b"k", None, b"parent")

    def use() -> tuple[list[str], bytes | None]:
        before = len(caplog.records)
        entry = backend.get(b"k")
        backend.swap(b"k", entry, b"child")
        backend.get(b"k")
        messages = [record.getMessage() for record in caplog.records]
        assert before == 0
        return [message.partition("process ")[0] for message in messages], entry and entry.body

    with caplog.at_level(logging.WARNING, "oauth_refresh"):
        assert in_a_child(use) == (["registry memory: "], b"parent")
    entry = backend.get(b"k")
    assert entry is not None
    assert entry.body == b"parent"
    assert caplog.records == []


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_child_forked_while_a_thread_writes_can_write() -> None:
    backend = MemoryBackend()
    inside, done = Event(), Event()

    def hold() -> None:
        with backend._lock:
            inside.set()
            done.wait(60)

    writer = Thread(target=hold)
    writer.start()
    try:
        inside.wait(60)
        assert in_a_child(lambda: backend.swap(b"k", None, b"1")) is True
    finally:
        done.set()
        writer.join()


def test_terms_without_records_take_no_room() -> None:
    backend = MemoryBackend()
    for number in range(10):
        backend.swap(b"k", None, b"1", index=[b"term %d" % number])
        backend.swap(b"k", backend.get(b"k"), None)
    assert (backend._entries, backend._notes, backend._named) == ({}, {}, {})
