"""Whose name and password does the built-in login accept?"""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
from werkzeug import security
from werkzeug.security import generate_password_hash

from oauth_refresh import users
from oauth_refresh.errors import ConfigurationError
from oauth_refresh.users import UsersFile, add_user, check_from_mapping, remove_user, users_in


def hash_of(password: str, method: str = "scrypt:1024:1:1") -> str:
    """A hash that costs next to nothing."""
    return generate_password_hash(password, method)


ALICE = f"alice:{hash_of('correct horse')}\n"
BOB = f"bob:{hash_of('battery staple')}\n"
CAROL = f"carol:{hash_of('tea')}\n"


@pytest.fixture(autouse=True)
def _cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "generate_password_hash", hash_of)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "users.txt"
    path.write_text(ALICE)
    return path


def test_a_right_password_gives_the_subject_and_a_wrong_one_nobody(path: Path) -> None:
    file = UsersFile(path)
    assert file.check("alice", "correct horse") == "alice"
    assert file.check("alice", "correct horsE") is None
    assert file.check("alice", "") is None
    assert file.check("Alice", "correct horse") is None


@pytest.mark.parametrize("method", ["scrypt", "scrypt:1024:1:1", "pbkdf2:sha256:1000", "pbkdf2:sha512:10"])
def test_every_hash_that_werkzeug_makes_is_taken(path: Path, method: str) -> None:
    path.write_text(f"alice:{generate_password_hash('correct horse', method)}")
    assert UsersFile(path).check("alice", "correct horse") == "alice"


def test_comments_blank_lines_and_spaces_mean_nothing(path: Path) -> None:
    path.write_bytes(b"\xef\xbb\xbf# who may come in\r\n\r\n  \n  alice : " + ALICE.split(":", 1)[1].encode())
    assert UsersFile(path).check("alice", "correct horse") == "alice"


def test_a_name_is_the_same_however_it_was_typed(path: Path) -> None:
    path.write_text(f"zo\u00eb:{hash_of('tea')}\n", encoding="utf-8")
    assert UsersFile(path).check("zoe\u0308", "tea") == "zo\u00eb"


@pytest.mark.requirement("UI-10")
def test_an_unknown_name_costs_the_same_hash_as_a_known_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_text(ALICE + BOB + f"carol:{hash_of('tea', 'pbkdf2:sha256:1')}\n")
    file = UsersFile(path)
    methods: list[str] = []
    computed = security._hash_internal

    def listen(method: str, salt: str, password: str) -> tuple[str, str]:
        methods.append(method)
        return computed(method, salt, password)

    monkeypatch.setattr(security, "_hash_internal", listen)
    assert file.check("alice", "a guess") is None
    assert file.check("nobody", "a guess") is None
    assert methods == ["scrypt:1024:1:1", "scrypt:1024:1:1"]


@pytest.mark.parametrize("password", ["", "-", "password", "decoy"])
def test_an_empty_file_lets_nobody_in(path: Path, password: str) -> None:
    path.write_text("")
    assert UsersFile(path).check("alice", password) is None
    assert UsersFile(path).check("", password) is None


DIGEST = hash_of("tea").rpartition("$")[2]
MISTAKES = {
    "no-colon": ("hunter2", 'no colon: a line is "name:hash"'),
    "no-name": (ALICE.removeprefix("alice"), "the name is empty"),
    "long-name": ("a" * 256 + f":{hash_of('tea')}", "the name is longer than 255 characters"),
    "control": (
        f"a\x07b:{hash_of('tea')}",
        'a name has no colon, no control characters, no space around it and no "#" in front',
    ),
    "clear-text": ("bob:hunter2", 'no hash by werkzeug.security, such as "scrypt:32768:8:1$salt$digest"'),
    "no-hash": ("bob:", 'no hash by werkzeug.security, such as "scrypt:32768:8:1$salt$digest"'),
    "damaged-digest": (
        f"bob:scrypt:1024:1:1$salt${DIGEST[:-1]}x",
        'no hash by werkzeug.security, such as "scrypt:32768:8:1$salt$digest"',
    ),
    "no-salt": (
        f"bob:scrypt:1024:1:1$${DIGEST}",
        'no hash by werkzeug.security, such as "scrypt:32768:8:1$salt$digest"',
    ),
    "htpasswd": (
        "bob:$apr1$salt$0123",
        'no hash by werkzeug.security, such as "scrypt:32768:8:1$salt$digest"',
    ),
    "blank": (f"bob scrypt:2:8:1$salt${DIGEST}", 'a colon separates name and hash: "name:hash"'),
    "method": (
        f"bob:md5$salt${DIGEST}",
        "a hash whose method this Python does not know: use scrypt or pbkdf2 of werkzeug.security",
    ),
    "digest-method": (
        f"bob:pbkdf2:nosuch:1$salt${DIGEST}",
        "a hash whose method this Python does not know: use scrypt or pbkdf2 of werkzeug.security",
    ),
    "cost": (
        f"bob:scrypt:1023:1:1$salt${DIGEST}",
        "a hash whose method this Python does not know: use scrypt or pbkdf2 of werkzeug.security",
    ),
    "twice": (ALICE, "'alice' is in line 2 as well, and neither counts"),
}


@pytest.mark.parametrize(("line", "reason"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_told_with_its_line_and_reason_and_never_with_a_password(
    path: Path, line: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_text(f"# users\n{ALICE}{CAROL}{line}")
    file = UsersFile(path)
    mistake = f"users file {path}, line 4: {reason}"
    assert caplog.messages == [f"lines that count for nobody, while the others do: {mistake}"]
    assert caplog.records[0].levelname == "ERROR"
    assert users_in(path)[1] == (mistake,)
    assert "hunter2" not in caplog.text
    assert file.check("carol", "tea") == "carol"
    assert file.names() == [*(() if line == ALICE else ("alice",)), "carol"]


@pytest.mark.parametrize("again", [ALICE, "alice:" + hash_of("another one")], ids=["same", "other"])
def test_of_a_name_that_stands_twice_no_password_counts(path: Path, again: str) -> None:
    path.write_text(f"{ALICE}{BOB}{again.strip()}\n{ALICE}")
    file = UsersFile(path)
    assert file.names() == ["bob"]
    assert file.check("alice", "correct horse") is None
    assert file.check("alice", "another one") is None
    assert len(users_in(path)[1]) == 2


def test_a_mistake_made_later_keeps_out_one_user_as_in_a_worker_that_starts(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_text(ALICE + BOB + CAROL)
    file = UsersFile(path)
    path.write_text(BOB + "carol:hunter2\n")
    for each in (file, UsersFile(path), file):
        assert each.names() == ["bob"]
    told = f'users file {path}, line 2: no hash by werkzeug.security, such as "scrypt:32768:8:1$salt$digest"'
    assert caplog.messages == [f"lines that count for nobody, while the others do: {told}"] * 2


def test_a_file_of_another_kind_does_not_flood_the_log(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_text(ALICE + "hunter2\n" * 1000)
    UsersFile(path)
    assert caplog.text.count("no colon") == 8
    assert caplog.messages[0].endswith("; and 992 more")


def test_a_file_with_nothing_but_mistakes_stops_the_start_with_all_of_them(path: Path) -> None:
    path.write_bytes(b"hunter2\n# alice\nb\xe9:x\n")
    with pytest.raises(ConfigurationError) as error:
        UsersFile(path)
    assert error.value.problems == (
        f'users file {path}, line 1: no colon: a line is "name:hash"',
        f"users file {path}, line 3: not UTF-8",
    )


def test_a_file_that_is_not_there_stops_the_start_and_is_easily_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file or directory; oauth-refresh user add NAME"):
        UsersFile(tmp_path / "users.txt")


def test_a_change_of_the_file_counts_at_once(path: Path) -> None:
    file = UsersFile(path)
    assert "bob" not in file.names()
    path.write_text(ALICE + BOB)
    assert "bob" in file.names()
    assert file.check("bob", "battery staple") == "bob"
    path.write_text(BOB)
    assert "alice" not in file.names()
    assert file.check("alice", "correct horse") is None


def test_a_replacement_of_the_same_size_and_time_is_noticed(path: Path) -> None:
    file = UsersFile(path)
    before = os.stat(path)
    new = path.with_name("other")
    new.write_text(f"alice:{hash_of('another one')}\n")
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert os.stat(new).st_size == before.st_size
    os.replace(new, path)
    assert file.check("alice", "another one") == "alice"
    assert file.check("alice", "correct horse") is None


@pytest.mark.parametrize("broken", ["hunter2\n", None], ids=["mistake", "removed"])
def test_a_file_that_is_spoilt_later_keeps_the_last_good_users_and_is_logged_once(
    path: Path, broken: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    file = UsersFile(path)
    if broken is None:
        path.unlink()
    else:
        path.write_text(broken)
    with caplog.at_level(logging.ERROR, "oauth_refresh"):
        assert file.check("alice", "correct horse") == "alice"
        assert file.check("alice", "correct horse") == "alice"
    assert len(caplog.records) == 1
    assert f"users file {path}" in caplog.text
    assert "hunter2" not in caplog.text
    path.write_text(BOB)
    assert file.check("bob", "battery staple") == "bob"


def test_that_the_last_user_is_gone_is_told_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = UsersFile(path)
    path.write_text("# nobody\n")
    for _ in range(2):
        assert file.check("alice", "correct horse") is None
    assert caplog.messages == [f"users file {path}: there is no user in it any more"]


def test_users_in_memory_are_checked_in_the_same_way() -> None:
    check = check_from_mapping({"alice": hash_of("correct horse")})
    assert check("alice", "correct horse") == "alice"
    assert check("alice", "wrong") is None
    assert check("nobody", "correct horse") is None


def test_mistakes_of_users_in_memory_are_told_by_name() -> None:
    with pytest.raises(ConfigurationError) as error:
        check_from_mapping({"alice": "hunter2", "": hash_of("tea"), "bob": hash_of("tea")})
    assert error.value.problems == (
        "user 'alice': no hash by werkzeug.security, such as \"scrypt:32768:8:1$salt$digest\"",
        "user '': the name is empty",
    )


def test_the_first_user_makes_a_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    path = tmp_path / "users.txt"
    assert add_user(path, "alice", "correct horse") is True
    assert path.stat().st_mode & 0o777 == 0o600
    assert UsersFile(path).check("alice", "correct horse") == "alice"
    assert os.listdir(tmp_path) == ["users.txt"]


def test_adding_a_known_user_gives_another_password_and_keeps_the_rest(path: Path) -> None:
    path.write_text(f"# team\n{ALICE}{BOB}")
    file = UsersFile(path)
    assert add_user(path, "alice", "a new one") is False
    assert file.check("alice", "a new one") == "alice"
    assert file.check("alice", "correct horse") is None
    assert file.check("bob", "battery staple") == "bob"
    assert path.read_text().startswith(f"# team\n{BOB}alice:scrypt:")


def test_removing_a_user_tells_whether_there_was_one(path: Path) -> None:
    path.write_text(f"# team\n{ALICE}{BOB}")
    assert remove_user(path, "alice") is True
    assert path.read_text() == f"# team\n{BOB}"
    assert remove_user(path, "alice") is False
    assert path.read_text() == f"# team\n{BOB}"


def test_a_change_takes_the_file_away_from_everyone_but_owner_and_group(path: Path) -> None:
    path.chmod(0o664)
    add_user(path, "bob", "battery staple")
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_change_behind_a_symbolic_link_leaves_the_link(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(path)
    add_user(link, "bob", "battery staple")
    assert link.is_symlink()
    assert "bob" in UsersFile(path).names()


@pytest.mark.parametrize(
    ("name", "password"),
    [("", "x"), ("a:b", "x"), ("#a", "x"), (" a", "x"), ("a\nb", "x"), ("a" * 256, "x"), ("bob", "")],
    ids=["empty", "colon", "comment", "space", "line", "long", "no-password"],
)
def test_a_user_that_cannot_be_is_refused_and_the_file_stays(path: Path, name: str, password: str) -> None:
    with pytest.raises(ConfigurationError):
        add_user(path, name, password)
    assert path.read_text() == ALICE
    assert os.listdir(path.parent) == ["users.txt"]


def test_a_file_with_mistakes_is_not_changed(path: Path) -> None:
    path.write_text(f"{ALICE}hunter2\n")
    with pytest.raises(ConfigurationError, match="line 2"):
        add_user(path, "bob", "battery staple")
    assert path.read_text() == f"{ALICE}hunter2\n"
    assert os.listdir(path.parent) == ["users.txt"]


def test_of_two_changes_at_once_the_second_is_refused_and_loses_nothing(path: Path) -> None:
    new = path.with_name("users.txt.new")
    new.write_text("")
    with pytest.raises(ConfigurationError, match=r"users\.txt\.new exists"):
        add_user(path, "bob", "battery staple")
    assert new.exists()
    new.unlink()
    assert add_user(path, "bob", "battery staple") is True


def test_removing_from_a_file_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        remove_user(tmp_path / "users.txt", "alice")
    assert os.listdir(tmp_path) == []
