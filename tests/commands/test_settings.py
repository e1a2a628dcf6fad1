"""`oauth-refresh settings`: every value and where it comes from."""

from __future__ import annotations

from pathlib import Path

from oauth_refresh.settings import declarations

from .conftest import Run, as_json, error, ok


def shown(run: Run, *options: str) -> dict[str, tuple[object, str]]:
    found = as_json(run("settings", "--json", *options))
    return {each["setting"]: (each["value"], each["origin"]) for each in found}


def test_every_setting_is_shown_with_its_origin(run: Run, tmp_path: Path) -> None:
    (tmp_path / "oauth.toml").write_text('access_token_ttl = "1h"\nissuer = "https://notes.example.org"\n')
    found = shown(run, "--config", f"{tmp_path}/oauth.toml")
    assert list(found) == [about.key for about in declarations()]
    assert found["OAUTH_ACCESS_TOKEN_TTL"] == ("60m", f"file {tmp_path}/oauth.toml")
    assert found["OAUTH_REFRESH_TOKEN_TTL"] == ("30d", "default")
    assert found["OAUTH_USERS_FILE"] == (f"{tmp_path}/users", "environment")


def test_no_secret_is_shown(run: Run, environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "oauth.toml").write_text(
        '[clients.nightly]\nclient_secret = "the-secret-of-nightly"\nredirect_uris = ["https://a.example/cb"]\n'
    )
    environ["OAUTH_REGISTRY"] = "postgresql://user:pass-word@db/x"
    environ["OAUTH_SECRET_KEY_FALLBACKS"] = "an older secret of enough bytes"
    for options in ((), ("--json",), ("--changed",)):
        output = ok(run("settings", "--config", f"{tmp_path}/oauth.toml", *options))
        for secret in (
            "a server secret",
            "an older secret",
            "pass-word",
            "pass-phrase",
            "the-secret-of-nightly",
        ):
            assert secret not in output
    found = shown(run, "--config", f"{tmp_path}/oauth.toml")
    assert found["OAUTH_SECRET_KEY"] == ("***", "environment")
    assert found["OAUTH_REGISTRY"] == ("postgresql://***@db/x", "environment")
    assert found["OAUTH_CLIENTS"][0] == {"nightly": "***"}


def test_some_are_shown_by_name_and_those_that_were_changed(run: Run) -> None:
    assert list(shown(run, "oauth_issuer", "prefix")) == ["OAUTH_ISSUER", "OAUTH_PREFIX"]
    assert list(shown(run, "--changed")) == [
        "OAUTH_REGISTRY",
        "OAUTH_SECRET_KEY",
        "OAUTH_SCOPES",
        "OAUTH_USERS_FILE",
        "OAUTH_EVENT_LOG",
    ]
    assert error(run("settings", "OAUTH_ISUER")) == "Error: there is no setting OAUTH_ISUER"


def test_settings_that_make_no_sense_are_told_as_at_a_start(run: Run, environ: dict[str, str]) -> None:
    environ["OAUTH_ACCESS_TOKEN_TTL"] = "soon"
    assert error(run("settings")).startswith("Error: OAUTH_ACCESS_TOKEN_TTL = 'soon' (environment): ")


def test_a_warning_is_shown_beside_them(run: Run, environ: dict[str, str]) -> None:
    environ["OAUTH_ISUER"] = "x"
    assert "did you mean OAUTH_ISSUER?" in run("settings").stderr


def test_what_is_shown_can_be_copied_into_the_environment(run: Run, environ: dict[str, str]) -> None:
    written = {
        "OAUTH_PROTECT": {"/api": "notes:read", "POST /api": "notes:write", "/mcp": "", "/ok": "public"},
        "OAUTH_SCOPES": {"notes:read": "Read your notes, all of them", "notes:write": "Change them"},
        "OAUTH_SCOPE_IMPLIES": {"notes:write": "notes:read"},
        "OAUTH_DEFAULT_SCOPES": ["notes:read", "notes:write"],
    }
    environ["OAUTH_PROTECT"] = "/api=notes:read, POST /api=notes:write, /mcp, /ok=public"
    environ["OAUTH_SCOPES"] = "notes:read=Read your notes, all of them; notes:write=Change them"
    environ["OAUTH_SCOPE_IMPLIES"] = "notes:write=notes:read"
    environ["OAUTH_DEFAULT_SCOPES"] = "notes:read, notes:write"
    for _ in range(2):
        assert {key: value for key, (value, _) in shown(run, *written).items()} == written
        _, *rows = ok(run("settings", *written)).splitlines()
        for row in rows:
            key, value = row.removesuffix("environment").split(maxsplit=1)
            environ[key] = value.strip()
    assert "; " not in environ["OAUTH_PROTECT"]
