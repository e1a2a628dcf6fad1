"""Where the server secret comes from."""

from __future__ import annotations

import logging
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from oauth_refresh.backends.base import Backend
from oauth_refresh.backends.memory import MemoryBackend
from oauth_refresh.errors import RegistryError
from oauth_refresh.server_secret import server_secrets
from oauth_refresh.tokens import Secrets

from .driving import InProcess


class Shared(MemoryBackend):
    """As if other processes saw the same records."""

    shared = True


def beside(folder: Path) -> Backend:
    backend = MemoryBackend()
    backend.beside = str(folder / "oauth.db")
    return backend


def test_configured_secrets_are_taken_as_they_are(tmp_path: Path) -> None:
    assert server_secrets([b"first", b"second"], beside(tmp_path)) == Secrets((b"first", b"second"))
    assert list(tmp_path.iterdir()) == []


def test_a_drawn_secret_lies_beside_the_data_and_is_drawn_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    drawn = server_secrets([], beside(tmp_path))
    (key,) = drawn.keys
    assert caplog.messages == [f"drew a server secret and kept it in {tmp_path}/oauth.db.secret"]
    assert drawn.beside_data == {key}
    assert server_secrets([], beside(tmp_path)) == drawn
    (place,) = tmp_path.iterdir()
    assert place.name == "oauth.db.secret"
    assert place.read_bytes() == key + b"\n"
    assert len(key) == 43
    assert stat.S_IMODE(place.stat().st_mode) == 0o600


def test_the_data_may_lie_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    drawn = server_secrets([], beside(Path()))
    assert drawn.keys[0] in (tmp_path / "oauth.db.secret").read_bytes()


def test_two_folders_have_two_secrets(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    assert server_secrets([], beside(tmp_path / "a")) != server_secrets([], beside(tmp_path / "b"))


RACER = """
import sys
from oauth_refresh.backends.memory import MemoryBackend
from oauth_refresh.server_secret import server_secrets
backend = MemoryBackend()
backend.beside = sys.argv[1]
sys.stdin.read(1)
print(server_secrets([], backend).keys[0].hex())
"""


def test_of_eight_processes_that_start_at_once_one_draws_and_all_read(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RACER, str(tmp_path / "oauth.db")]
    racers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(8)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("x")
        racer.stdin.flush()
    answers = {racer.communicate()[0] for racer in racers}
    assert [racer.returncode for racer in racers] == [0] * 8
    assert len(answers) == 1
    assert [place.name for place in tmp_path.iterdir()] == ["oauth.db.secret"]


def test_a_kept_secret_has_at_least_16_bytes(tmp_path: Path) -> None:
    (tmp_path / "oauth.db.secret").write_bytes(b"sixteen bytes ok\n")
    assert server_secrets([], beside(tmp_path)).keys == (b"sixteen bytes ok",)


@pytest.mark.parametrize("content", [b"", b"\n", b"fifteen bytes!!\n"])
def test_a_damaged_secret_is_trouble_and_no_new_one_is_drawn(tmp_path: Path, content: bytes) -> None:
    place = tmp_path / "oauth.db.secret"
    place.write_bytes(content)
    with pytest.raises(RegistryError, match="is damaged: restore it, or set OAUTH_SECRET_KEY"):
        server_secrets([], beside(tmp_path))
    assert place.read_bytes() == content


def test_a_place_that_cannot_be_written_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="make its folder writable, or set OAUTH_SECRET_KEY"):
        server_secrets([], beside(tmp_path / "missing"))
    (tmp_path / "oauth.db.secret").mkdir()
    with pytest.raises(RegistryError, match=r"cannot be kept in .*oauth\.db\.secret"):
        server_secrets([], beside(tmp_path))


def test_a_draft_that_was_not_needed_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "oauth.db.secret"

    def faster(draft: str, path: str) -> None:
        assert Path(draft).parent == tmp_path
        place.write_bytes(b"the secret of a faster process")
        raise FileExistsError

    monkeypatch.setattr(os, "link", faster)
    assert server_secrets([], beside(tmp_path)).keys == (b"the secret of a faster process",)
    assert list(tmp_path.iterdir()) == [place]


def test_a_secret_in_the_registry_itself_comes_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    backend = Shared()
    with caplog.at_level(logging.WARNING):
        drawn = server_secrets([], backend)
    assert drawn.beside_data == set(drawn.keys)
    assert server_secrets([], backend) == drawn
    assert caplog.messages[0] == (
        "OAUTH_SECRET_KEY is not set: the server secret is kept in the registry itself, so that whoever "
        "reads the registry can forge tokens, and a registry that lost writes cannot be rolled forward"
    )
    assert drawn.keys[0].decode() not in caplog.text


def test_a_registry_of_one_process_warns_of_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        server_secrets([], MemoryBackend())
    assert caplog.messages == []


def test_a_registry_that_loses_what_it_keeps_is_trouble() -> None:
    class Forgetful(MemoryBackend):
        def swap(self, *_: object, **__: object) -> bool:
            return False

    with pytest.raises(RegistryError, match="set OAUTH_SECRET_KEY"):
        server_secrets([], Forgetful())


@pytest.mark.parametrize(("secret_key", "status"), [(None, 400), ("a secret kept somewhere else", 200)])
def test_a_registry_is_rolled_forward_only_with_a_secret_from_elsewhere(
    secret_key: str | None, status: int
) -> None:
    backend = MemoryBackend()
    server = InProcess(registry=backend, secret_key=secret_key)
    client = server.register()
    first = server.tokens(client)
    (key,) = backend.keys(b"g")
    before = backend.get(key)
    second = server.refresh(client, first["refresh_token"]).json
    third = server.refresh(client, second["refresh_token"]).json
    assert before is not None
    backend.swap(key, backend.get(key), before.body)
    answer = server.refresh(client, third["refresh_token"])
    assert answer.status == status
    if status == 400:
        assert answer.json["error"] == "invalid_grant"
        assert server.refresh(client, first["refresh_token"]).status == 200


def test_a_registry_that_cannot_keep_the_secret_is_503_and_metadata_stays(tmp_path: Path) -> None:
    server = InProcess(registry=beside(tmp_path / "missing"), secret_key=None)
    assert server.get("/.well-known/oauth-authorization-server").status == 200
    assert server.get("/oauth/login").status == 503
    assert server.get("/open").status == 200
