"""A token file of version 1 or 2 becomes a registry: once, by one process, and its original is kept."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

import pytest

from oauth_refresh.backends.base import Backend, Entry
from oauth_refresh.backends.contract_races import PATIENCE, Gate, in_processes
from oauth_refresh.backends.json_file import JSONFileBackend
from oauth_refresh.errors import RegistryError
from tests.backends.test_json_file_crashes import killed

Row = tuple[bytes, bytes, "float | None", tuple[bytes, ...]]

OLD = {
    "version": 2,
    "tokens": {
        "a1": {"id": "a1", "hash": "00ff", "created_at": "2024-05-01T10:00:00.123456789Z", "revoked": False},
        "b2": {"id": "b2", "hash": "11ff", "expires_at": None},
    },
}
TEXT = json.dumps(OLD, indent=2)


def import_old(content: Mapping[str, object]) -> Iterable[Row]:
    tokens = content["tokens"]
    assert isinstance(tokens, dict)
    for name, token in tokens.items():
        yield b"g" + name.encode(), json.dumps(token).encode(), 2e9, (b"h" + token["hash"].encode(),)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.json"
    path.write_text(TEXT)
    path.chmod(0o644)
    return path


def opened(
    path: Path, importer: Callable[[Mapping[str, object]], Iterable[Row]] = import_old
) -> JSONFileBackend:
    backend = JSONFileBackend(str(path), timeout=0.5)
    backend.import_old = importer
    return backend


def others(path: Path) -> dict[str, str]:
    """The files beside the registry's own, with what they hold."""
    own = (path.name, path.name + ".lock")
    return {file.name: file.read_text() for file in path.parent.iterdir() if file.name not in own}


def trouble(call: Callable[[], object]) -> str:
    with pytest.raises(RegistryError) as raised:
        call()
    return str(raised.value)


def assert_imported(path: Path, **kept: str) -> None:
    body = json.dumps(OLD["tokens"]["a1"]).encode()  # type: ignore[index]
    fresh = JSONFileBackend(str(path))
    assert fresh.get(b"ga1") == Entry(body, body)
    assert (list(fresh.keys()), list(fresh.find(b"h11ff"))) == ([b"ga1", b"gb2"], [b"gb2"])
    assert others(path) == {f"tokens.json.{name.replace('_', '.')}.bak": text for name, text in kept.items()}


CALLS: dict[str, Callable[[Backend], object]] = {
    "get": lambda backend: backend.get(b"ga1"),
    "swap": lambda backend: backend.swap(b"ga1", None, b"other"),
    "find": lambda backend: list(backend.find(b"h00ff")),
    "keys": lambda backend: list(backend.keys()),
    "purge": lambda backend: backend.purge(0),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_the_first_call_of_any_kind_moves_the_file(
    path: Path, call: Callable[[Backend], object], caplog: pytest.LogCaptureFixture
) -> None:
    backend = opened(path)
    call(backend)
    assert_imported(path, v2=TEXT)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == (
        f"registry {path}: moved from version 2 to today's format, 2 records; "
        f"the original is kept as {path}.v2.bak"
    )
    call(backend)
    assert_imported(path, v2=TEXT)
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}


def test_version_1_is_kept_under_its_own_name(path: Path) -> None:
    text = json.dumps({**OLD, "version": 1})
    path.write_text(text)
    opened(path).get(b"ga1")
    assert_imported(path, v1=text)


def test_the_importer_is_given_the_file_as_json(path: Path) -> None:
    given: list[Mapping[str, object]] = []

    def note(content: Mapping[str, object]) -> Iterable[Row]:
        given.append(content)
        return []

    assert list(opened(path, note).keys()) == []
    assert given == [OLD]


def open_noting(place: Path) -> Backend:
    def note(content: Mapping[str, object]) -> Iterable[Row]:
        with open(place / "noted", "a") as file:
            file.write(f"{os.getpid()}\n")
        return import_old(content)

    return opened(place / "tokens.json", note)


def get_at_once(backend: Backend, number: int, gate: Gate) -> Entry | None:
    gate.wait(PATIENCE)
    return backend.get(b"ga1")


def test_of_many_processes_one_imports(path: Path) -> None:
    body = json.dumps(OLD["tokens"]["a1"]).encode()  # type: ignore[index]
    assert in_processes(open_noting, path.parent, get_at_once) == [Entry(body, body)] * 8
    assert len((path.parent / "noted").read_text().splitlines()) == 1
    (path.parent / "noted").unlink()
    assert_imported(path, v2=TEXT)


def test_a_backup_that_is_there_is_never_overwritten(path: Path) -> None:
    path.with_name("tokens.json.v2.bak").write_text("precious")
    path.with_name("tokens.json.v2.2.bak").write_text("too")
    opened(path).get(b"ga1")
    assert_imported(path, v2="precious", v2_2="too", v2_3=TEXT)


def test_an_old_file_put_back_is_imported_again(path: Path) -> None:
    backend = opened(path)
    backend.swap(b"new", None, b"1")
    path.write_text(TEXT)
    assert backend.get(b"new") is None
    assert_imported(path, v2=TEXT)


def test_without_an_importer_an_old_file_is_refused_and_left_alone(path: Path) -> None:
    for call in CALLS.values():
        assert trouble(partial(call, JSONFileBackend(str(path)))) == (
            f"registry {path}: this is a token file of version 2: start the server on it once, "
            "which moves it to today's format; it is left as it is"
        )
    assert (path.read_text(), others(path)) == (TEXT, {})


def test_what_the_importer_refuses_is_told_and_left_alone(path: Path) -> None:
    refused = [True]

    def refuse(content: Mapping[str, object]) -> Iterable[Row]:
        for row in import_old(content):
            yield row
            if refused:
                raise ValueError("token b2: created_at is not a time")

    backend = opened(path, refuse)
    for call in CALLS.values():
        assert trouble(partial(call, backend)) == (
            f"registry {path}: this is a token file of version 2 that cannot be imported: "
            "token b2: created_at is not a time: mend the file; it is left as it is"
        )
    assert (path.read_text(), others(path)) == (TEXT, {})
    refused.clear()
    backend.get(b"ga1")
    assert_imported(path, v2=TEXT)


def test_two_tokens_of_one_key_are_refused(path: Path) -> None:
    backend = opened(path, lambda content: [*import_old(content), (b"ga1", b"other", None, ())])
    assert "two of its tokens would have one key" in trouble(lambda: backend.get(b"ga1"))
    assert (path.read_text(), others(path)) == (TEXT, {})


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "call", ["open new", "write", "fsync new", "link", "unlink", "fsync folder", "replace"]
)
def test_an_import_killed_at_any_step_is_done_again(path: Path, call: str, when: str) -> None:
    backend = opened(path)
    killed(call, when, lambda: backend.get(b"ga1"))
    backend.get(b"ga1")
    assert_imported(path, v2=TEXT)


def test_a_full_disk_during_an_import_loses_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = opened(path)

    def fail(new: str, old: str) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        for _ in range(2):
            assert "make room on the disk" in trouble(lambda: backend.get(b"ga1"))
            assert (path.read_text(), others(path)) == (TEXT, {"tokens.json.v2.bak": TEXT})
    backend.get(b"ga1")
    assert_imported(path, v2=TEXT)
