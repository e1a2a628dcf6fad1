"""Settings files: TOML, and a section of an INI file."""

from __future__ import annotations

from pathlib import Path

import pytest

from oauth_refresh import ConfigurationError

from .settings_loading import load, problems

TOML = """
issuer = "https://notes.example.org"
OAUTH_ACCESS_TOKEN_TTL = "15m"
oauth_code_ttl = 90
Refresh_Grace = 30.5
root_aliases = true
identity_headers = ["X-User"]

[protect]
"/api" = "notes:read"
"POST /api" = ["notes:read", "notes:write"]

[scopes]
"notes:read" = "Read your notes"

[clients.ci]
client_secret = "a secret of this client"
redirect_uris = ["https://ci.example.org/cb"]

[clients."dotted.name"]
redirect_uris = "com.example.app:/cb"
"""

INI = """
[DEFAULT]
debug = true

[app:main]
use = egg:notes

[oauth]
issuer = https://notes.example.org
OAUTH_ACCESS_TOKEN_TTL = 15m
registry = sqlite:100%%.db
root_aliases = yes
; a remark
protect =
    /api = notes:read
    POST /api = notes:read notes:write
scopes = notes:read=Read your notes; notes:write=Change them
clients = {"ci": {"client_secret": "a secret of this client",
    "redirect_uris": ["https://ci.example.org/cb"]}}
"""


def write(tmp_path: Path, text: str, name: str) -> str:
    path = tmp_path / name
    path.write_bytes(text.encode())
    return str(path)


def test_toml_has_its_keys_in_any_spelling_and_tables_for_the_rest(tmp_path: Path) -> None:
    file = write(tmp_path, TOML, "oauth.toml")
    loaded = load(config_file=file)
    assert loaded.issuer == "https://notes.example.org"
    assert (loaded.access_token_ttl, loaded.code_ttl, loaded.refresh_grace) == (900.0, 90.0, 30.5)
    assert (loaded.root_aliases, loaded.identity_headers) == (True, ("X-User",))
    assert loaded.protect == {"/api": "notes:read", "POST /api": "notes:read notes:write"}
    assert loaded.known_scopes == ("notes:read", "notes:write")
    assert {name: dict(members) for name, members in loaded.clients.items()} == {
        "ci": {"client_secret": "a secret of this client", "redirect_uris": ("https://ci.example.org/cb",)},
        "dotted.name": {"redirect_uris": ("com.example.app:/cb",)},
    }
    given = {name for name, origin in loaded.origins.items() if origin == f"file {file}"}
    assert given == {
        "issuer", "access_token_ttl", "code_ttl", "refresh_grace", "root_aliases", "identity_headers",
        "protect", "scopes", "clients",
    }  # fmt: skip


@pytest.mark.parametrize("table", ["oauth", "oauth_refresh"])
def test_toml_may_have_its_keys_in_a_table(tmp_path: Path, table: str) -> None:
    text = f"[{table}]\nprefix = '/auth'\n[{table}.scopes]\na = 'A'\n[protect]\n'/api' = 'a'\n"
    loaded = load(config_file=write(tmp_path, text, "any-ending"))
    assert (loaded.prefix, loaded.scopes, loaded.protect) == ("/auth", {"a": "A"}, {"/api": "a"})


@pytest.mark.parametrize(
    "line",
    [
        "secret_key = 'a secret of enough bytes, and of words'",
        "OAUTH_ISSUER = 'https://notes.example.org'",
        "access_token_ttl = '5m'",
        "registry = 'sqlite:///var/lib/own.db'",
        "protect = '/ledger=ledger:read, /x'",
        "metrics = 'on'",
        "metrics = true",
        "users_file = ''",
    ],
)
@pytest.mark.parametrize("table", ["scopes", "oauth.scopes"])
def test_a_setting_that_slipped_among_the_scopes_is_refused_and_not_shown(
    tmp_path: Path, table: str, line: str
) -> None:
    file = write(tmp_path, f"[{table}]\n'ledger:read' = 'Read the ledger'\n{line}\n", "oauth.toml")
    with pytest.raises(ConfigurationError) as refused:
        load(config_file=file)
    key = line.partition(" ")[0]
    assert any(
        each.startswith(f"{key} (file {file}): stands in the table [scopes], where every name is a scope")
        for each in refused.value.problems
    )
    assert "of enough bytes" not in str(refused.value)


def test_a_scope_may_be_called_like_a_setting_if_it_is_described(tmp_path: Path) -> None:
    text = "[scopes]\nmetrics = 'Read how things go'\nclients = ''\n"
    loaded = load(config_file=write(tmp_path, text, "oauth.toml"))
    assert loaded.scopes == {"metrics": "Read how things go", "clients": ""}


@pytest.mark.parametrize("ending", ["ini", "cfg", "conf", "INI"])
def test_ini_has_its_keys_in_a_section_and_values_as_text(tmp_path: Path, ending: str) -> None:
    loaded = load(config_file=write(tmp_path, INI, f"app.{ending}"))
    assert (loaded.issuer, loaded.access_token_ttl) == ("https://notes.example.org", 900.0)
    assert (loaded.registry, loaded.root_aliases) == ("sqlite:100%%.db", True)
    assert loaded.protect == {"/api": "notes:read", "POST /api": "notes:read notes:write"}
    assert loaded.scopes == {"notes:read": "Read your notes", "notes:write": "Change them"}
    assert loaded.clients["ci"]["client_secret"] == "a secret of this client"


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    assert load(config_file=write(tmp_path, "\ufeffprefix = '/auth'", "a.toml")).prefix == "/auth"
    assert load(config_file=write(tmp_path, "\ufeff[oauth]\nprefix = /auth", "a.ini")).prefix == "/auth"


def test_the_file_found_by_the_environment_is_named_as_the_origin(tmp_path: Path) -> None:
    file = write(tmp_path, "prefix = '/auth'", "oauth.toml")
    loaded = load(environ={"OAUTH_CONFIG_FILE": file})
    assert (loaded.config_file, loaded.origins["config_file"]) == (file, "environment")
    assert loaded.origins["prefix"] == f"file {file}"


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        pytest.param(
            "a.toml", "prefix = sesame", "is not TOML: Invalid value (at line 1, column 10)", id="toml"
        ),
        pytest.param("a.ini", "[oauth]\nissuer\n sesame", "is not INI (line 2)", id="ini"),
        pytest.param("a.ini", "sesame = 1", "is not INI (line 1)", id="ini-without-section"),
        pytest.param("a.ini", "[oauth]\na = 1\na = sesame", "is not INI (line 3)", id="ini-key-twice"),
        pytest.param("a.ini", "[app]\nprefix = /sesame", "has no section [oauth]", id="ini-other-section"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_problem_that_quotes_nothing(
    tmp_path: Path, name: str, text: str, complaint: str
) -> None:
    file = write(tmp_path, text, name)
    assert problems(config_file=file) == [f"file {file}: {complaint}"]


def test_a_file_that_is_not_there_or_not_text_is_a_problem_beside_the_others(tmp_path: Path) -> None:
    missing, binary = str(tmp_path / "missing.toml"), tmp_path / "binary.toml"
    binary.write_bytes(b"prefix = '\xff'")
    lines = problems(environ={"OAUTH_CONFIG_FILE": missing, "OAUTH_CODE_TTL": "0"})
    assert lines[0] == f"file {missing}: cannot be read (No such file or directory)"
    assert lines[1].startswith("OAUTH_CODE_TTL")
    assert problems(config_file=str(tmp_path)) == [f"file {tmp_path}: cannot be read (Is a directory)"]
    assert problems(config_file=str(binary)) == [f"file {binary}: is not UTF-8"]
    (line,) = problems(keywords={"config_file": 5})
    assert line.startswith("OAUTH_CONFIG_FILE = 5 (keyword): 5 is no text")


def test_unknown_keys_are_errors_in_a_file(tmp_path: Path) -> None:
    file = write(tmp_path, "acess_token_ttl = 1\n[client.ci]\n[oauth]\nOAUTH_PREFX = 2\n", "oauth.toml")
    where = f"(file {file}): there is no such setting"
    assert problems(config_file=file) == [
        f"acess_token_ttl {where}; did you mean access_token_ttl?",
        f"client {where}; did you mean clients?",
        f"OAUTH_PREFX {where}; did you mean OAUTH_PREFIX?",
    ]


def test_a_key_at_the_top_and_in_the_table_is_given_twice(tmp_path: Path) -> None:
    file = write(tmp_path, "prefix = '/a'\n[oauth]\nprefix = '/b'\n", "oauth.toml")
    assert problems(config_file=file) == [f"OAUTH_PREFIX (file {file}): is given twice"]


def test_a_file_cannot_name_another_file(tmp_path: Path) -> None:
    file = write(tmp_path, "config_file = 'other.toml'", "oauth.toml")
    assert problems(config_file=file) == [f"OAUTH_CONFIG_FILE (file {file}): a file cannot name another file"]
