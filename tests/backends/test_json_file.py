"""The contract over the JSON file, and what it keeps and costs beyond it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from oauth_refresh.backends import json_disk
from oauth_refresh.backends.base import Backend, Entry
from oauth_refresh.backends.contract import SharedBackendContract
from oauth_refresh.backends.json_file import JSONFileBackend, open_url

ONE, TWO = Entry(b"1", b"1"), Entry(b"2", b"2")


class TestJSONFile(SharedBackendContract):
    def open_store(self, place: Path) -> Backend:
        return open_url("file:tokens.json", base_dir=str(place))

    @pytest.fixture(autouse=True)
    def _spare_the_disk(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        # The walks are prepared by thousands of writes, and no power fails in them.
        if "walk" in request.node.name:
            monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


@pytest.fixture
def backend(path: Path) -> Iterator[JSONFileBackend]:
    backend = JSONFileBackend(str(path))
    assert backend.swap(b"k", None, b"1", index=[b"term"])
    yield backend
    backend.close()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of files that were read, in order."""
    paths: list[str] = []
    read = json_disk._read

    def note(path: str) -> tuple[json_disk.Pin, bytes]:
        paths.append(path)
        return read(path)

    monkeypatch.setattr(json_disk, "_read", note)
    return paths


def modes(folder: Path) -> dict[str, int]:
    return {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}


# --- the file


def test_the_file_can_be_read_by_a_person(path: Path) -> None:
    backend = JSONFileBackend(str(path))
    backend.get(b"k")
    assert path.read_text() == '{"version":3,"records":{\n\n}}\n'
    grant = b"g" + bytes(range(16))
    backend.swap(grant, None, b"\x01\x99\x00", 1900000000.5, index=[b"s" + "zoë".encode(), b"cdesktop"])
    backend.swap(b"cdesktop", None, b'{"name": "Desktop"}')
    assert path.read_text() == (
        '{"version":3,"records":{\n'
        '"g:000102030405060708090a0b0c0d0e0f":'
        '{"expires_at":1900000000.5,"index":["c=desktop","s=zoë"],"base64":"AZkA"},\n'
        '"c=desktop":{"text":"{\\"name\\": \\"Desktop\\"}"}\n'
        "}}\n"
    )


def test_the_files_are_for_their_owner_only(path: Path) -> None:
    umask = os.umask(0)
    try:
        JSONFileBackend(str(path)).swap(b"k", None, b"1")
    finally:
        os.umask(umask)
    assert modes(path.parent) == {"tokens.json": 0o600, "tokens.json.lock": 0o600}


def test_a_file_that_was_open_to_others_is_closed_by_the_next_write(
    backend: JSONFileBackend, path: Path
) -> None:
    path.chmod(0o644)
    backend.swap(b"k", ONE, b"2")
    assert modes(path.parent) == {"tokens.json": 0o600, "tokens.json.lock": 0o600}


def test_what_root_writes_stays_its_owners(backend: JSONFileBackend, path: Path) -> None:
    owner = (65534, 65534) if os.geteuid() == 0 else (os.geteuid(), path.stat().st_gid)
    lock = path.with_name("tokens.json.lock")
    os.chown(path, *owner)
    lock.unlink()
    assert backend.swap(b"k", ONE, b"2") is True
    assert [(file.stat().st_uid, file.stat().st_gid) for file in (path, lock)] == [owner, owner]


def test_the_secret_may_be_kept_beside_the_file(backend: JSONFileBackend, path: Path) -> None:
    assert backend.beside == str(path)


def test_a_swap_is_on_the_disk_before_it_is_answered(
    backend: JSONFileBackend, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = []
    sync, replace = os.fsync, os.replace

    def note_sync(descriptor: int) -> None:
        steps.append("sync " + os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        sync(descriptor)

    def note_replace(new: str, old: str) -> None:
        steps.append(f"replace {os.path.basename(old)} by {os.path.basename(new)}")
        replace(new, old)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_replace)
    backend.swap(b"k", ONE, b"2")
    new = steps[0].removeprefix("sync ")
    assert new.startswith("tokens.json.")
    assert steps == [f"sync {new}", f"replace tokens.json by {new}", f"sync {path.parent.name}"]


def test_what_changes_nothing_writes_nothing(backend: JSONFileBackend, path: Path) -> None:
    before = path.stat()
    assert backend.swap(b"k", TWO, b"3") is False
    assert backend.swap(b"k", None, b"3") is False
    assert backend.swap(b"other", ONE, None) is False
    assert backend.purge(1e12) == 0
    assert path.stat()[:9] == before[:9]


# --- reads


def test_a_file_that_did_not_change_is_not_read_again(
    backend: JSONFileBackend, path: Path, reads: list[str]
) -> None:
    assert [backend.get(b"k"), backend.get(b"k"), list(backend.keys())] == [ONE, ONE, [b"k"]]
    assert backend.swap(b"k", ONE, b"2") is True
    assert backend.get(b"k") == TWO
    assert reads == []
    JSONFileBackend(str(path)).swap(b"k", TWO, b"1")
    assert [backend.get(b"k"), backend.get(b"k")] == [ONE, ONE]
    assert reads == [str(path), str(path)]


def test_of_many_threads_one_reads_what_changed(
    backend: JSONFileBackend, path: Path, reads: list[str]
) -> None:
    gate = Barrier(8)

    def get(number: int) -> Entry | None:
        gate.wait(60)
        return backend.get(b"k")

    JSONFileBackend(str(path)).swap(b"k", ONE, b"2")
    del reads[:]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(get, range(8))) == [TWO] * 8
    assert reads == [str(path)]


def test_a_write_within_one_tick_and_of_the_same_size_is_seen(backend: JSONFileBackend, path: Path) -> None:
    other = JSONFileBackend(str(path))
    os.utime(path, ns=(0, 0))
    for number in range(100):
        entry = backend.get(b"k")
        # Twice, for the inode of the file before the last may come back.
        for body in (b"%03d a" % number, b"%03d b" % number):
            assert other.swap(b"k", entry, body)
            entry = Entry(body, body)
            os.utime(path, ns=(0, 0))
        assert backend.get(b"k") == entry


def test_an_edit_by_hand_is_seen(backend: JSONFileBackend, path: Path) -> None:
    path.write_text('{"records": {"k=": {"index": ["t=erm"], "text": "22"}},\r\n "version": 3}')
    assert backend.get(b"k") == Entry(b"22", b"22")
    assert list(backend.find(b"term")) == [b"k"]


def test_find_reads_all_records_once_for_many_questions(backend: JSONFileBackend) -> None:
    assert list(backend.find(b"term")) == [b"k"]
    snapshot = backend._snapshot
    assert snapshot is not None
    index = snapshot._named
    assert (list(backend.find(b"term")), list(backend.find(b"other"))) == ([b"k"], [])
    assert snapshot._named is index


def open_files(folder: Path) -> list[str]:
    links = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
    found = [os.readlink(link) for link in links if os.path.islink(link)]
    return [os.path.basename(file) for file in found if file.startswith(str(folder))]


def test_one_descriptor_is_open_and_none_after_close(backend: JSONFileBackend, path: Path) -> None:
    other = JSONFileBackend(str(path))
    for number in range(10):
        assert other.swap(b"k%d" % number, None, b"1")
        assert backend.get(b"k%d" % number) == ONE
    other.close()
    assert open_files(path.parent) == ["tokens.json"]
    backend.close()
    assert open_files(path.parent) == []


def test_a_descriptor_that_is_somebody_elses_by_now_is_left_alone(
    backend: JSONFileBackend, tmp_path: Path
) -> None:
    snapshot = backend._snapshot
    assert snapshot is not None
    number = snapshot.pin._descriptor
    (tmp_path / "other").touch()
    with open(tmp_path / "other") as other:
        os.dup2(other.fileno(), number)
        del snapshot
        backend.close()
        assert os.path.basename(os.readlink(f"/proc/self/fd/{number}")) == "other"
        os.close(number)


# --- links


def test_a_link_to_the_file_stays_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "data" / "tokens.json", tmp_path / "link.json"
    target.parent.mkdir()
    link.symlink_to(target)
    one, other = JSONFileBackend(str(link)), JSONFileBackend(str(target))
    assert one.swap(b"k", None, b"1") is True
    assert other.swap(b"k", ONE, b"2") is True
    assert one.get(b"k") == TWO
    assert link.is_symlink()
    assert sorted(file.name for file in target.parent.iterdir()) == ["tokens.json", "tokens.json.lock"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["data", "link.json"]


def test_a_link_that_is_turned_to_another_file_is_followed(tmp_path: Path) -> None:
    link = tmp_path / "link.json"
    for body in (b"1", b"2"):
        JSONFileBackend(str(tmp_path / f"{body.decode()}.json")).swap(b"k", None, body)
    link.symlink_to("1.json")
    backend = JSONFileBackend(str(link))
    assert backend.get(b"k") == ONE
    link.unlink()
    link.symlink_to("2.json")
    assert backend.get(b"k") == TWO
    assert backend.swap(b"k", TWO, b"3") is True
    assert JSONFileBackend(str(tmp_path / "1.json")).get(b"k") == ONE
