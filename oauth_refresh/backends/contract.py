"""What every backend must keep to, as tests: for the backends here and for those of third parties.

A test module with these lines runs all of it under pytest, against real storage:

    class TestMine(SharedBackendContract):
        def open_store(self, place: Path) -> Backend:
            return MyBackend(folder=place)          # or: MyBackend(url, table=place.name)

`SharedBackendContract` is for stores that other processes see; for one that lives and ends in its process,
inherit from `BackendContract`. To see what was expected, put
`pytest.register_assert_rewrite("oauth_refresh.backends.contract")` into the tests' conftest.py.
"""

# ruff: noqa: S101

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from oauth_refresh.backends.base import INDEX_TERMS_MAX, KEY_BYTES_MAX, Backend, Entry
from oauth_refresh.backends.bulk import create_many, get_many, get_two
from oauth_refresh.backends.contract_races import (
    LATER,
    PATIENCE,
    PROCESSES,
    ROUNDS,
    THREADS,
    in_processes,
    in_threads,
    race_to_create,
    race_to_delete,
    race_to_replace,
    raise_counter,
    raise_counter_and_close,
    raise_counter_in_a_thread,
    winners,
)

MANY = 2500


class BackendContract:
    """The promises of `Backend` within one process, which hold after a `close` too."""

    shared = False

    def open_store(self, place: Path) -> Backend:
        """A new backend object for the store at `place`.

        `place` is a folder of its own for each test; its last part is a random name, for stores that are not
        in files. The same `place` means the same store, also in another process, and is empty at first.
        """
        raise NotImplementedError

    @pytest.fixture
    def place(self, tmp_path: Path) -> Path:
        place = tmp_path / f"store_{secrets.token_hex(8)}"
        place.mkdir()
        return place

    @pytest.fixture
    def backend(self, place: Path) -> Iterator[Backend]:
        backend = self.open_store(place)
        yield backend
        backend.close()

    # --- what a backend says of itself

    def test_it_says_whether_other_processes_see_its_records(self, backend: Backend) -> None:
        assert backend.shared is self.shared, "a shared store is to inherit SharedBackendContract"

    def test_beside_is_a_path_or_none(self, backend: Backend) -> None:
        assert backend.beside is None or Path(backend.beside).is_absolute()

    # --- one record

    def test_an_unknown_key_has_no_record(self, backend: Backend) -> None:
        assert backend.get(b"k") is None

    def test_a_created_record_is_read_back(self, backend: Backend) -> None:
        assert backend.swap(b"k", None, b"body") is True
        assert _body(backend, b"k") == b"body"

    def test_a_second_creation_loses_and_changes_nothing(self, backend: Backend) -> None:
        backend.swap(b"k", None, b"first")
        assert backend.swap(b"k", None, b"second") is False
        assert _body(backend, b"k") == b"first"

    def test_a_swap_replaces_what_was_read(self, backend: Backend) -> None:
        first = _create(backend, b"k", b"first")
        assert backend.swap(b"k", first, b"second") is True
        assert _body(backend, b"k") == b"second"

    def test_a_stale_swap_loses_and_changes_nothing(self, backend: Backend) -> None:
        first = _create(backend, b"k", b"first")
        backend.swap(b"k", first, b"second")
        assert backend.swap(b"k", first, b"third") is False
        assert backend.swap(b"k", first, None) is False
        assert _body(backend, b"k") == b"second"

    def test_a_swap_of_a_record_that_never_was_loses(self, backend: Backend) -> None:
        other = _create(backend, b"other", b"body")
        assert backend.swap(b"k", other, b"body") is False
        assert backend.swap(b"k", other, None) is False
        assert backend.get(b"k") is None

    def test_two_bodies_never_have_one_version(self, backend: Backend) -> None:
        first = _create(backend, b"k", b"first")
        second = _replace(backend, b"k", first, b"second")
        backend.swap(b"k", second, None)
        third = _create(backend, b"k", b"third")
        assert len({first.version, second.version, third.version}) == 3
        assert backend.swap(b"k", first, b"x") is False

    def test_a_deleted_record_is_gone_and_can_be_created_again(self, backend: Backend) -> None:
        first = _create(backend, b"k", b"first")
        assert backend.swap(b"k", first, None) is True
        assert backend.get(b"k") is None
        assert backend.swap(b"k", first, b"second") is False
        assert backend.swap(b"k", first, None) is False
        assert backend.swap(b"k", None, b"second") is True
        assert _body(backend, b"k") == b"second"

    def test_neither_old_nor_body_is_an_error(self, backend: Backend) -> None:
        with pytest.raises(ValueError):  # noqa: PT011 - the text is the backend's own
            backend.swap(b"k", None, None)
        assert backend.get(b"k") is None

    @pytest.mark.parametrize(
        "body",
        [b"", b"\0", b"a\0b\0", b"\xff\xfe\x80", bytes(range(256)), b"' \" ; -- %s ? \\ \r\n"],
        ids=["empty", "zero", "zeros", "not utf-8", "every byte", "quotes"],
    )
    def test_a_body_may_hold_any_bytes(self, backend: Backend, body: bytes) -> None:
        entry = _create(backend, b"k", body)
        assert entry.body == body
        assert backend.swap(b"k", entry, body + b"more") is True
        assert _body(backend, b"k") == body + b"more"

    def test_a_body_may_have_64_kibibytes(self, backend: Backend) -> None:
        first, second = os.urandom(65536), os.urandom(65536)
        entry = _create(backend, b"k", first)
        assert entry.body == first
        assert backend.swap(b"k", entry, second) is True
        assert _body(backend, b"k") == second

    def test_keys_that_look_alike_are_different(self, backend: Backend) -> None:
        keys = [
            b"k",
            b"K",
            b"k ",
            b" k",
            b"k\0",
            b"\0k",
            b"\0",
            b"\xff",
            b"\xc3\xa9",
            b"e\xcc\x81",
            b"k%",
            b"_",
        ]
        keys += [b"k" * KEY_BYTES_MAX, b"k" * (KEY_BYTES_MAX - 1) + b"\xff", b"\xff" * KEY_BYTES_MAX]
        for key in keys:
            assert backend.swap(key, None, b"body of " + key) is True
        assert [_body(backend, key) for key in keys] == [b"body of " + key for key in keys]

    def test_a_record_past_its_expiry_is_whole_or_gone(self, backend: Backend) -> None:
        backend.swap(b"k", None, b"old", expires_at=1000.0)
        assert backend.swap(b"k", backend.get(b"k"), b"new", expires_at=LATER) is True
        assert _body(backend, b"k") == b"new"

    # --- index terms

    def test_find_names_the_records_that_have_the_term(self, backend: Backend) -> None:
        backend.swap(b"a", None, b"1", index=[b"red", b"round"])
        backend.swap(b"b", None, b"2", index=[b"red"])
        backend.swap(b"c", None, b"3")
        assert sorted(backend.find(b"red")) == [b"a", b"b"]
        assert list(backend.find(b"round")) == [b"a"]
        assert list(backend.find(b"re")) == list(backend.find(b"redd")) == list(backend.find(b"RED")) == []

    def test_a_swap_brings_the_whole_set_of_terms(self, backend: Backend) -> None:
        first = _create(backend, b"k", b"1", index=[b"stays", b"goes"])
        second = _replace(backend, b"k", first, b"2", index=(term for term in (b"comes", b"stays")))
        assert [list(backend.find(term)) for term in (b"stays", b"goes", b"comes")] == [[b"k"], [], [b"k"]]
        _replace(backend, b"k", second, b"3")
        assert [list(backend.find(term)) for term in (b"stays", b"goes", b"comes")] == [[], [], []]

    def test_a_lost_swap_changes_neither_terms_nor_expiry(self, backend: Backend) -> None:
        first = _create(backend, b"k", b"1", index=[b"first"])
        _replace(backend, b"k", first, b"2", index=[b"second"])
        assert backend.swap(b"k", first, b"3", expires_at=LATER, index=[b"third"]) is False
        assert backend.swap(b"k", None, b"3", expires_at=LATER, index=[b"third"]) is False
        assert [_named(backend, term) for term in (b"first", b"second", b"third")] == [[], [b"k"], []]
        assert backend.purge(LATER) == 0

    def test_a_deleted_record_is_not_found(self, backend: Backend) -> None:
        backend.swap(b"k", _create(backend, b"k", b"1", index=[b"term"]), None)
        assert _named(backend, b"term") == []
        backend.swap(b"k", None, b"2")
        assert list(backend.find(b"term")) == []

    @pytest.mark.parametrize("pair", [(0, 1), (0x25, 0x27), (0x5C, 0x80), (0xFE, 0xFF)])
    def test_a_record_may_have_two_long_terms_of_any_bytes(
        self, backend: Backend, pair: tuple[int, int]
    ) -> None:
        terms = [bytes([byte]) * KEY_BYTES_MAX for byte in pair]
        assert len(terms) == INDEX_TERMS_MAX
        backend.swap(b"k", None, b"1", index=[*terms, terms[0]])
        assert [list(backend.find(term)) for term in terms] == [[b"k"]] * INDEX_TERMS_MAX
        assert list(backend.find(b"\0")) == []

    # --- walks

    def test_keys_come_in_ascending_order_by_prefix(self, backend: Backend) -> None:
        keys = [
            b"a",
            b"a\0",
            b"a\xff",
            b"a\xff\xff",
            b"aa",
            b"b",
            b"\xff",
            b"\xff\xff1",
            b"\0",
            b"A",
            b"%",
            b"_",
        ]
        for key in keys:
            backend.swap(key, None, b"body")
        assert list(backend.keys()) == sorted(keys)
        assert list(backend.keys(b"a")) == [b"a", b"a\0", b"aa", b"a\xff", b"a\xff\xff"]
        assert list(backend.keys(b"a\xff")) == [b"a\xff", b"a\xff\xff"]
        assert list(backend.keys(b"\xff")) == [b"\xff", b"\xff\xff1"]
        assert list(backend.keys(b"_")) == [b"_"]
        assert list(backend.keys(b"nothing")) == []

    def test_walks_are_complete_over_thousands_of_records(self, backend: Backend) -> None:
        keys = [b"g%05d" % number for number in range(MANY)]
        for number, key in enumerate(keys):
            backend.swap(key, None, b"body", LATER + number % 2, index=[b"all", b"part %d" % (number % 10)])
        backend.swap(b"h", None, b"body")
        assert list(backend.keys(b"g")) == keys
        assert sorted(backend.find(b"all")) == keys
        assert sorted(backend.find(b"part 3")) == keys[3::10]
        assert backend.purge(LATER) == MANY // 2
        assert list(backend.keys()) == [*keys[1::2], b"h"]
        assert _named(backend, b"all") == keys[1::2]

    @pytest.mark.parametrize("walk", ["find", "keys"])
    def test_records_may_be_written_during_a_walk(self, backend: Backend, walk: str) -> None:
        keys = [b"g%05d" % number for number in range(0, MANY, 2)]
        entries = {key: _create(backend, key, b"1", index=[b"term"]) for key in keys}
        named = set()
        for key in backend.find(b"term") if walk == "find" else backend.keys(b"g"):
            named.add(key)
            if len(named) % 100 == 0:
                at = len(named)
                assert backend.swap(keys[-at], entries[keys[-at]], b"2", index=[b"term", b"new"]) is True
                assert backend.swap(b"g%05d" % (2 * at + 1), None, b"1", index=[b"term"]) is True
        assert named >= set(keys)

    def test_a_walk_left_in_the_middle_holds_nothing_up(self, backend: Backend) -> None:
        entry = _create(backend, b"a", b"1", index=[b"term"])
        backend.swap(b"b", None, b"1", index=[b"term"])
        walks = [backend.find(b"term"), backend.keys()]
        assert [next(walk) for walk in walks][1] == b"a"
        assert backend.swap(b"a", entry, b"2") is True
        assert backend.purge(LATER) == 0

    # --- purge

    def test_purge_removes_what_expired_at_or_before_now(self, backend: Backend) -> None:
        times = {
            b"before": LATER - 0.5,
            b"at": LATER,
            b"after": LATER + 0.5,
            b"days": LATER + 1e6,
            b"never": None,
        }
        for key, expires_at in times.items():
            backend.swap(key, None, b"body", expires_at, index=[b"term"])
        assert backend.purge(LATER - 1) == 0
        assert backend.purge(LATER) == 2
        assert list(backend.keys()) == [b"after", b"days", b"never"]
        assert _named(backend, b"term") == [b"after", b"days", b"never"]
        assert backend.purge(LATER) == 0

    def test_purge_spares_what_was_renewed_and_takes_what_was_shortened(self, backend: Backend) -> None:
        longer = _create(backend, b"longer", b"1", LATER)
        shorter = _create(backend, b"shorter", b"1", LATER + 1e6)
        endless = _create(backend, b"endless", b"1", LATER)
        backend.swap(b"longer", longer, b"2", LATER + 1)
        backend.swap(b"shorter", shorter, b"2", LATER)
        backend.swap(b"endless", endless, b"2")
        assert backend.purge(LATER) == 1
        assert list(backend.keys()) == [b"endless", b"longer"]

    # --- many at once

    def test_two_records_read_at_once_are_those_that_get_reads(self, backend: Backend) -> None:
        entry = _create(backend, b"k", b"1", LATER, index=[b"term"])
        assert get_two(backend, b"k", b"none") == (entry, None)
        other = _create(backend, b"other", b"\x00\xff" * 300)
        assert get_two(backend, b"other", b"k") == (other, entry)
        assert backend.swap(b"k", get_two(backend, b"other", b"k")[1], b"2")
        assert backend.swap(b"other", other, None)
        assert get_two(backend, b"k", b"other") == (backend.get(b"k"), None)
        assert get_two(backend, b"none", b"other") == (None, None)

    def test_of_many_records_at_once_those_that_are_there_stay_as_they_are(self, backend: Backend) -> None:
        keys = [b"k%03d" % number for number in range(250)]
        _create(backend, keys[7], b"first", LATER + 9, index=[b"other"])
        rows = [(key, b"body of " + key, LATER, (b"term",)) for key in keys]
        assert create_many(backend, rows) == 249
        assert create_many(backend, rows) == 0
        assert get_many(backend, [*keys, b"none"]) == {
            key: b"first" if key == keys[7] else b"body of " + key for key in keys
        }
        assert _named(backend, b"term") == [key for key in keys if key != keys[7]]
        assert backend.purge(LATER) == 249

    def test_purge_never_removes_a_record_that_was_just_renewed(self, backend: Backend) -> None:
        keys = [b"k%d" % number for number in range(100)]
        entries = [_create(backend, key, b"1", LATER) for key in keys]
        with ThreadPoolExecutor(1) as pool:
            purge = pool.submit(backend.purge, LATER)
            renewed = [
                key
                for key, entry in zip(keys, entries, strict=True)
                if backend.swap(key, entry, b"2", LATER + 9)
            ]
            assert purge.result(PATIENCE) == len(keys) - len(renewed)
        assert sorted(renewed) == list(backend.keys())

    def test_a_closed_backend_opens_again_at_the_next_call(self, backend: Backend) -> None:
        entry = _create(backend, b"k", b"1", index=[b"term"])
        backend.close()
        backend.close()
        assert backend.swap(b"k", entry, b"2", index=[b"term"]) is True
        backend.close()
        assert _body(backend, b"k") == b"2"
        backend.close()
        assert list(backend.find(b"term")) == [b"k"]

    # --- races

    def test_of_many_threads_that_swap_the_same_record_one_wins(self, backend: Backend) -> None:
        assert winners(in_threads(backend, race_to_replace)) == [1] * ROUNDS

    def test_of_many_threads_that_create_a_record_one_wins(self, backend: Backend) -> None:
        assert winners(in_threads(backend, race_to_create)) == [1] * ROUNDS

    def test_of_many_threads_that_delete_a_record_one_wins(self, backend: Backend) -> None:
        assert winners(in_threads(backend, race_to_delete)) == [1] * ROUNDS

    def test_a_counter_that_many_threads_raise_is_exact(self, backend: Backend) -> None:
        in_threads(backend, raise_counter)
        assert _body(backend, b"counter") == b"%d" % (THREADS * ROUNDS)
        assert list(backend.find(b"counters")) == [b"counter"]

    def test_close_is_safe_while_other_threads_work(self, backend: Backend) -> None:
        in_threads(backend, raise_counter_and_close)
        assert _body(backend, b"counter") == b"%d" % (THREADS * ROUNDS)


class SharedBackendContract(BackendContract):
    """Besides: every backend object for a store sees the same records, in this process and in others."""

    shared = True

    def test_a_store_that_is_opened_again_has_its_records(self, place: Path) -> None:
        first = self.open_store(place)
        entry = _create(first, b"k", b"1", LATER, index=[b"term"])
        first.close()
        second = self.open_store(place)
        assert second.get(b"k") == entry
        assert (list(second.keys()), list(second.find(b"term"))) == ([b"k"], [b"k"])
        assert second.swap(b"k", entry, b"2", LATER, index=[b"term"]) is True
        assert second.purge(LATER) == 1
        second.close()

    def test_what_one_object_swapped_the_other_reads(self, place: Path) -> None:
        here, there = self.open_store(place), self.open_store(place)
        entry = _create(here, b"k", b"0")
        for number in range(50):
            assert there.get(b"k") == entry
            here, there = there, here
            entry = _replace(here, b"k", entry, b"%d" % (number + 1))
        here.close()
        there.close()

    def test_two_places_are_two_stores(self, place: Path) -> None:
        elsewhere = place.with_name(place.name + "b")
        elsewhere.mkdir()
        one, other = self.open_store(place), self.open_store(elsewhere)
        _create(one, b"k", b"1", index=[b"term"])
        assert (other.get(b"k"), list(other.keys()), list(other.find(b"term"))) == (None, [], [])
        one.close()
        other.close()

    def test_of_many_processes_that_swap_the_same_record_one_wins(self, place: Path) -> None:
        assert winners(in_processes(self.open_store, place, race_to_replace)) == [1] * ROUNDS

    def test_of_many_processes_that_create_a_record_one_wins(self, place: Path) -> None:
        assert winners(in_processes(self.open_store, place, race_to_create)) == [1] * ROUNDS

    def test_a_counter_that_many_processes_raise_is_exact(self, place: Path) -> None:
        in_processes(self.open_store, place, raise_counter)
        backend = self.open_store(place)
        assert _body(backend, b"counter") == b"%d" % (PROCESSES * ROUNDS)
        assert list(backend.find(b"counters")) == [b"counter"]
        backend.close()

    if hasattr(os, "fork"):

        def test_an_object_that_was_used_before_a_fork_works_in_all_processes(self, backend: Backend) -> None:
            entry = _create(backend, b"k", b"parent")
            unfinished = backend.keys()
            in_processes(lambda place: backend, Path(), raise_counter, method="fork")
            assert _body(backend, b"counter") == b"%d" % (PROCESSES * ROUNDS)
            assert backend.swap(b"k", entry, b"parent again") is True
            # The counter came after the call: a walk may name it or not.
            assert [key for key in unfinished if key != b"counter"] == [b"k"]

        @pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
        def test_a_fork_while_threads_work_harms_nobody(self, backend: Backend) -> None:
            with ThreadPoolExecutor(2) as pool:
                gate = Barrier(2)
                work = [pool.submit(raise_counter, backend, number, gate) for number in range(2)]
                in_processes(lambda place: backend, Path(), raise_counter_in_a_thread, count=2, method="fork")
                for done in work:
                    done.result(PATIENCE)
            assert _body(backend, b"counter") == b"%d" % (4 * ROUNDS)


def _create(
    backend: Backend, key: bytes, body: bytes, expires_at: float | None = None, index: Iterable[bytes] = ()
) -> Entry:
    assert backend.swap(key, None, body, expires_at, index) is True
    entry = backend.get(key)
    assert entry is not None
    return entry


def _replace(backend: Backend, key: bytes, old: Entry, body: bytes, index: Iterable[bytes] = ()) -> Entry:
    assert backend.swap(key, old, body, index=index) is True
    entry = backend.get(key)
    assert entry is not None
    return entry


def _body(backend: Backend, key: bytes) -> bytes | None:
    entry = backend.get(key)
    return None if entry is None else entry.body


def _named(backend: Backend, term: bytes) -> list[bytes]:
    """The living records that have the term; `find` may name dead ones."""
    return sorted(key for key in backend.find(term) if backend.get(key) is not None)
