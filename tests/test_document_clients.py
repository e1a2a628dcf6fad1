"""Clients whose id is the URL of a document: fetched when a user is asked, and kept for their tokens."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import pytest

from oauth_refresh.backends.memory import MemoryBackend
from oauth_refresh.client_metadata import Location, read_document
from oauth_refresh.document_clients import DocumentClients
from oauth_refresh.errors import (
    DocumentRefused,
    DocumentUnavailable,
    FetchError,
    InvalidClient,
    OAuthError,
    RegistryError,
    TooManyRequests,
)
from oauth_refresh.events import Events
from oauth_refresh.fetch_quotas import SLOW_SECONDS, FetchQuotas

from .backends.children import in_a_child
from .document_host import URL, document
from .driving import Clock


class Said(NamedTuple):
    body: bytes
    headers: Mapping[str, str]


class Web:
    """Answers with what `say` was told last, and counts."""

    def __init__(self) -> None:
        self.fetched: list[str] = []
        self.answer: Said | Exception = FetchError("nothing there")
        self.say()

    def say(self, cache_control: str = "max-age=600", **members: object) -> None:
        body = json.dumps(document(**members)).encode()
        self.answer = Said(body, {"cache-control": cache_control})

    def __call__(self, location: Location) -> Said:
        self.fetched.append(location.target)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def web() -> Web:
    return Web()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def backend(clock: Clock) -> MemoryBackend:
    return MemoryBackend()


def worker(backend: MemoryBackend, fetch: Any, clock: Clock, **how: Any) -> DocumentClients:
    """The documents as one worker process sees them."""
    accept = partial(read_document, known_scopes=("notes:read",), private_schemes=())
    quotas = FetchQuotas(backend, clock, stopwatch=clock, per_host=5, unknown=8, known=50, slow=3)
    return DocumentClients(
        backend,
        accept,
        fetch,
        quotas,
        **{"clock": clock, **how},
    )


@pytest.fixture
def documents(backend: MemoryBackend, web: Web, clock: Clock) -> DocumentClients:
    return worker(backend, web, clock)


def refused(documents: DocumentClients, url: str = URL) -> OAuthError:
    with pytest.raises(OAuthError) as caught:
        documents.current(url)
    return caught.value


@pytest.mark.requirement("CIMD-15")
def test_a_fresh_document_is_fetched_once_for_all_workers(
    documents: DocumentClients, backend: MemoryBackend, web: Web, clock: Clock
) -> None:
    client = documents.current(URL)
    assert (client.client_id, client.name, client.public) == (URL, "Notes on the desk", True)
    clock.forward(599)
    assert worker(backend, web, clock).current(URL) == client
    assert len(web.fetched) == 1
    clock.forward(1)
    documents.current(URL)
    assert len(web.fetched) == 2


@pytest.mark.requirement("CIMD-15")
def test_a_document_that_is_not_to_be_kept_is_fetched_for_every_user_and_known_for_tokens(
    documents: DocumentClients, backend: MemoryBackend, web: Web, clock: Clock
) -> None:
    web.say("no-store")
    client = documents.current(URL)
    assert documents.current(URL) == client
    assert len(web.fetched) == 2
    # The user may take a while for the consent page, and the client for the code.
    clock.forward(3599)
    backend.purge(clock())
    assert documents.known(URL) == client


@pytest.mark.requirement("CIMD-16")
def test_no_error_is_remembered(documents: DocumentClients, web: Web) -> None:
    for answer in (FetchError("x"), Said(b"{}", {}), Said(b"", {"cache-control": "max-age=86400"})):
        web.answer = answer
        refused(documents)
        assert documents.known(URL) is None
    web.say()
    assert documents.current(URL).client_id == URL


@pytest.mark.requirement("CIMD-26")
def test_an_outage_is_told_from_a_mistake(documents: DocumentClients, web: Web) -> None:
    web.answer = FetchError("its host does not answer")
    error = refused(documents)
    assert isinstance(error, DocumentUnavailable)
    assert error.description == f"the client metadata document at {URL}: its host does not answer"
    web.answer = FetchError("gone", lasting=True)
    assert isinstance(refused(documents), DocumentRefused)
    web.say(client_id="https://other.dev/c")
    assert isinstance(refused(documents), DocumentRefused)
    assert isinstance(refused(documents, "https://10.0.0.1/c"), DocumentRefused)


@pytest.mark.requirement("CIMD-17")
@pytest.mark.requirement("CIMD-18")
def test_what_is_not_fresh_any_more_brings_no_user_to_a_consent_page_but_serves_tokens(
    documents: DocumentClients, web: Web, clock: Clock
) -> None:
    client = documents.current(URL)
    web.answer = FetchError("its host does not answer")
    clock.forward(86401)
    assert isinstance(refused(documents), DocumentUnavailable)
    assert documents.known(URL) == client


def test_what_a_user_allowed_is_kept_and_what_nobody_allowed_is_forgotten(
    documents: DocumentClients, backend: MemoryBackend, web: Web, clock: Clock
) -> None:
    other = URL + "?other"
    client = documents.current(URL)
    web.say(client_id=other)
    documents.current(other)
    documents.mark_used(client)
    documents.mark_used(client)
    assert [found.used for found in documents.list()].count(True) == 1
    clock.forward(3601)
    backend.purge(clock())
    assert documents.known(other) is None
    kept = documents.known(URL)
    assert kept is not None
    assert kept.used
    web.say(client_name="New name")
    renewed = documents.current(URL)
    assert (renewed.name, renewed.used, renewed.created_at) == ("New name", True, client.created_at)
    clock.forward(86400 * 365)
    backend.purge(clock())
    assert documents.known(URL) == renewed


def test_a_document_can_be_deleted(documents: DocumentClients) -> None:
    documents.current(URL)
    assert documents.delete(URL)
    assert not documents.delete(URL)
    assert documents.known(URL) is None


@pytest.mark.requirement("CIMD-24")
def test_each_url_is_a_client_of_its_own(documents: DocumentClients, web: Web) -> None:
    documents.current(URL)
    assert documents.known(URL + "?x=1") is None
    assert isinstance(refused(documents, URL + "?x=1"), DocumentRefused)


def test_where_none_are_read_those_that_are_known_serve_on(
    documents: DocumentClients, backend: MemoryBackend, clock: Clock
) -> None:
    client = documents.current(URL)
    off = worker(backend, None, clock)
    assert off.known(URL) == client
    error = refused(off)
    assert isinstance(error, InvalidClient)
    assert error.description == "client_id: this server reads no client metadata documents"


@pytest.mark.requirement("OPS-03")
def test_a_document_is_fetched_once_for_all_who_ask_at_one_moment(
    backend: MemoryBackend, web: Web, clock: Clock
) -> None:
    everybody_is_here = threading.Event()

    def fetch(location: Location) -> Said:
        everybody_is_here.wait(10)
        return web(location)

    documents = worker(backend, fetch, clock)
    with ThreadPoolExecutor(9) as pool:
        asking = [pool.submit(documents.current, URL) for _ in range(9)]
        wait_for(lambda: documents._flights.get(URL) is not None and documents._flights[URL].waiting == 8)
        everybody_is_here.set()
        assert {future.result().name for future in asking} == {"Notes on the desk"}
    assert len(web.fetched) == 1
    assert documents._flights == {}


@pytest.mark.requirement("OPS-03")
def test_no_more_than_a_few_wait_and_all_hear_the_same_refusal(
    backend: MemoryBackend, web: Web, clock: Clock
) -> None:
    everybody_is_here = threading.Event()

    def fetch(location: Location) -> Said:
        everybody_is_here.wait(10)
        raise FetchError("its host does not answer")

    documents = worker(backend, fetch, clock)
    with ThreadPoolExecutor(17) as pool:
        asking = [pool.submit(refused, documents) for _ in range(17)]
        wait_for(lambda: documents._flights.get(URL) is not None and documents._flights[URL].waiting == 16)
        assert refused(documents).description == "client_id: too many requests wait for this document"
        everybody_is_here.set()
        errors = [future.result() for future in asking]
    assert {type(error) for error in errors} == {DocumentUnavailable}
    assert len({id(error) for error in errors}) == 17


def test_a_child_forked_in_the_midst_of_a_fetch_fetches_for_itself(
    backend: MemoryBackend, web: Web, clock: Clock
) -> None:
    is_forked = threading.Event()
    parent = os.getpid()

    def fetch(location: Location) -> Said:
        if os.getpid() == parent:
            is_forked.wait(70)
        return web(location)

    documents = worker(backend, fetch, clock)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(documents.current, URL)
        wait_for(lambda: URL in documents._flights)
        try:
            with documents._lock:
                assert in_a_child(lambda: documents.current(URL).name) == "Notes on the desk"
        finally:
            is_forked.set()
        assert asking.result().name == "Notes on the desk"


def wait_for(condition: Any) -> None:
    for _ in range(1000):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not happen")


@pytest.mark.requirement("CIMD-16")
def test_a_host_is_protected_from_those_who_make_this_server_ask_for_ever_new_urls(
    documents: DocumentClients, web: Web, clock: Clock
) -> None:
    known = documents.current(URL)
    for number in range(4):
        refused(documents, f"{URL}?{number}")
    assert isinstance(refused(documents, f"{URL}?4"), TooManyRequests)
    assert len(web.fetched) == 5
    assert isinstance(refused(documents, "https://other.dev/c"), DocumentRefused)
    # Whoever is known already is not the one to pay for it.
    clock.forward(601)
    assert documents.current(URL) == known
    clock.forward(900)
    assert isinstance(refused(documents, f"{URL}?4"), DocumentRefused)


def test_all_hosts_together_have_a_limit_too(documents: DocumentClients, web: Web) -> None:
    for number in range(8):
        refused(documents, f"https://a{number}.dev/c")
    assert isinstance(refused(documents, "https://a8.dev/c"), TooManyRequests)


@pytest.mark.requirement("OPS-03")
def test_strangers_with_slow_hosts_cannot_keep_the_workers_waiting(
    backend: MemoryBackend, web: Web, clock: Clock
) -> None:
    slowness = [0.0]

    def fetch(location: Location) -> Said:
        clock.forward(slowness[0])
        return web(location)

    documents = worker(backend, fetch, clock)
    documents.mark_used(documents.current(URL))
    slowness[0] = SLOW_SECONDS
    for number in range(3):
        refused(documents, f"https://a{number}.dev/c")
    assert isinstance(refused(documents, "https://a3.dev/c"), TooManyRequests)
    assert len(web.fetched) == 4
    # Not at the cost of a client that a user has allowed, which has as many slow answers to itself.
    for _ in range(3):
        clock.forward(601)
        assert documents.current(URL)
    clock.forward(601)
    slowness[0] = 0
    refused(documents, "https://a4.dev/c")
    assert len(web.fetched) == 8


@pytest.mark.requirement("OPS-03")
def test_what_is_not_slow_does_not_count_as_slow(backend: MemoryBackend, web: Web, clock: Clock) -> None:
    def fetch(location: Location) -> Said:
        clock.forward(SLOW_SECONDS - 0.01)
        return web(location)

    documents = worker(backend, fetch, clock)
    for number in range(5):
        assert isinstance(refused(documents, f"https://a{number}.dev/c"), DocumentRefused)


def test_the_end_of_one_worker_thread_does_not_end_those_that_wait_for_its_fetch(
    backend: MemoryBackend, web: Web, clock: Clock
) -> None:
    everybody_is_here = threading.Event()

    def fetch(location: Location) -> Said:
        everybody_is_here.wait(10)
        raise SystemExit

    documents = worker(backend, fetch, clock)
    with ThreadPoolExecutor(2) as pool:
        ends = pool.submit(documents.current, URL)
        wait_for(lambda: URL in documents._flights)
        waits = pool.submit(refused, documents)
        wait_for(lambda: documents._flights[URL].waiting == 1)
        everybody_is_here.set()
        assert isinstance(waits.result(), DocumentUnavailable)
        with pytest.raises(SystemExit):
            ends.result()
    assert documents._flights == {}


def test_a_registry_that_cannot_answer_is_no_fault_of_the_client(
    backend: MemoryBackend, web: Web, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = worker(backend, web, clock)
    documents.current(URL)

    def fail(*_: object) -> None:
        raise RegistryError("down")

    with monkeypatch.context() as patched:
        patched.setattr(backend, "get", fail)
        for ask in (documents.current, documents.known):
            with pytest.raises(RegistryError):
                ask(URL)
    assert documents.known(URL)


@pytest.mark.parametrize("body", [b"\x02...", b"\x01...", b""])
def test_a_record_that_cannot_be_read_is_trouble_of_the_registry(
    documents: DocumentClients, backend: MemoryBackend, body: bytes
) -> None:
    documents.current(URL)
    (key,) = backend.keys(b"d")
    backend.swap(key, backend.get(key), body)
    with pytest.raises(RegistryError):
        documents.known(URL)


def test_the_operator_hears_what_was_read_and_what_was_wrong(
    backend: MemoryBackend, web: Web, clock: Clock
) -> None:
    heard: list[tuple[str, Mapping[str, object]]] = []
    events = Events()
    events.listen(lambda name, fields: heard.append((name, fields)))
    documents = worker(backend, web, clock, events=events)
    web.answer = FetchError("x")
    refused(documents)
    refused(documents)
    for name in ("N", "N", "M"):
        web.say("no-store", client_name=name)
        documents.current(URL)
    assert heard == [
        (
            "client_document_refused",
            {"client": URL, "reason": f"the client metadata document at {URL}: x", "count": 1},
        ),
        ("client_document_read", {"client": URL, "name": "N", "changed": False}),
        ("client_document_read", {"client": URL, "name": "M", "changed": True}),
    ]
