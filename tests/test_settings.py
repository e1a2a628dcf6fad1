"""Where settings come from, what they are together, and what an operator reads when they are wrong."""

from __future__ import annotations

import dataclasses
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from oauth_refresh.setting_loading import load_settings
from oauth_refresh.settings import Settings, declarations

from .settings_loading import load, problems, problems_with, settings

LONG = "0123456789abcdef"
ISSUER = "https://notes.example.org"

DEFAULTS: dict[str, Any] = {
    "issuer": None,
    "prefix": "/oauth",
    "allow_http": False,
    "root_aliases": False,
    "service_name": "",
    "template_folder": None,
    "translation_folder": None,
    "languages": (),
    "logo": None,
    "brand_color": None,
    "cors_origins": ("*",),
    "trusted_proxies": (),
    "config_file": None,
    "registry": "sqlite:oauth.db",
    "registry_fallback": None,
    "secret_key": None,
    "secret_key_fallbacks": (),
    "access_token_ttl": 86400.0,
    "refresh_token_ttl": 2592000.0,
    "code_ttl": 60.0,
    "grant_max_age": None,
    "grant_lifetimes": None,
    "refresh_needs_offline_access": False,
    "refresh_grace": 60.0,
    "reuse_policy": "revoke",
    "catch_up_generations": 8,
    "catch_up_window": 86400.0,
    "roll_forward": True,
    "last_used_interval": 300.0,
    "housekeeping_interval": 3600.0,
    "protect": {},
    "ignore_case": False,
    "scopes": {},
    "default_scopes": None,
    "scope_implies": {},
    "reserved_scopes": (),
    "ask_for_held_scopes": True,
    "set_remote_user": True,
    "identity_headers": ("X-Remote-User", "Remote-User"),
    "login_url": None,
    "user_loader": None,
    "users_file": None,
    "password_check": None,
    "trust_remote_user": False,
    "remember_consent": None,
    "unique_challenges": False,
    "subject_check": None,
    "admins": (),
    "admin_check": None,
    "registration": "open",
    "registration_tokens": (),
    "unused_client_ttl": 86400.0,
    "idle_client_ttl": 7776000.0,
    "clients": {},
    "client_id_metadata": "auto",
    "client_id_metadata_loopback": False,
    "revoke_silently": False,
    "private_schemes": ("cursor", "vscode", "vscode-insiders"),
    "allow_private_schemes": True,
    "event_log": None,
    "metrics": False,
    "metrics_token": None,
    "refresh_app": None,
}


def write(tmp_path: Path, text: str, name: str = "oauth.toml") -> str:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_without_any_layer_every_setting_has_its_default() -> None:
    nothing_given = load()
    assert {about.name: getattr(nothing_given, about.name) for about in declarations()} == DEFAULTS
    assert dict(nothing_given.origins) == dict.fromkeys(DEFAULTS, "default")
    assert nothing_given.warnings == ()


def test_every_default_is_a_value_that_may_be_given() -> None:
    assert settings(**{name: value for name, value in DEFAULTS.items() if name != "config_file"}) == load()


def test_each_layer_wins_over_those_below_key_by_key(tmp_path: Path) -> None:
    keys = ("access_token_ttl", "refresh_token_ttl", "code_ttl", "catch_up_window", "last_used_interval")
    file = write(tmp_path, "".join(f"{key} = 2\n" for key in keys[:4]))
    loaded = load(
        defaults={**dict.fromkeys(keys, 1), "root_aliases": True},
        config_file=file,
        environ={f"OAUTH_{key.upper()}": "3" for key in keys[:3]},
        config={f"OAUTH_{key.upper()}": 4 for key in keys[:2]},
        keywords={keys[0]: 5},
    )
    assert [getattr(loaded, key) for key in keys] == [5.0, 4.0, 3.0, 2.0, 1.0]
    assert [loaded.origins[key] for key in keys] == [
        "keyword",
        "config",
        "environment",
        f"file {file}",
        "program default",
    ]
    assert (loaded.root_aliases, loaded.origins["root_aliases"]) == (True, "program default")
    assert (loaded.refresh_grace, loaded.origins["refresh_grace"]) == (60.0, "default")


def test_a_layer_takes_back_what_a_lower_one_says() -> None:
    below = {"issuer": ISSUER, "protect": {"/api": ""}, "grant_max_age": "30d", "identity_headers": "X-User"}
    above = {"OAUTH_ISSUER": "none", "OAUTH_PROTECT": "none", "OAUTH_GRANT_MAX_AGE": "never"}
    loaded = load(defaults=below, environ=above, keywords={"identity_headers": ()})
    assert (loaded.issuer, loaded.protect, loaded.grant_max_age) == (None, {}, None)
    assert loaded.identity_headers == ()


def test_an_empty_variable_counts_as_not_set() -> None:
    loaded = load(defaults={"protect": "/api"}, environ={"OAUTH_PROTECT": "", "OAUTH_ISSUER": " "})
    assert loaded.protect == {"/api": ""}
    assert loaded.issuer is None
    assert loaded.origins["protect"] == "program default"


def test_keywords_and_defaults_may_have_the_keys_of_the_other_layers() -> None:
    loaded = load(keywords={"OAUTH_PREFIX": "/auth"}, defaults={"OAUTH_CODE_TTL": "90s"})
    assert (loaded.prefix, loaded.code_ttl) == ("/auth", 90.0)


def test_the_process_environment_is_read_unless_another_one_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAUTH_PREFIX", "/from-environment")
    assert load_settings().prefix == "/from-environment"
    assert load_settings(environ={}).prefix == "/oauth"


def test_the_highest_layer_that_names_a_file_is_heard(tmp_path: Path) -> None:
    low = write(tmp_path, "prefix = '/low'", "low.toml")
    high = write(tmp_path, "prefix = '/high'", "high.toml")
    by_environment = {"OAUTH_CONFIG_FILE": low}
    assert load(environ=by_environment).prefix == "/low"
    loaded = load(environ=by_environment, config_file=high)
    assert (loaded.prefix, loaded.config_file, loaded.origins["config_file"]) == ("/high", high, "keyword")
    assert load(environ=by_environment, config={"OAUTH_CONFIG_FILE": Path(high)}).prefix == "/high"
    assert load(environ=by_environment, keywords={"config_file": None}).prefix == "/oauth"
    assert load(defaults={"config_file": low}).prefix == "/low"


def test_settings_cannot_be_changed() -> None:
    loaded = settings(protect="/api", scopes="a", clients={"ci": {"redirect_uris": ["https://a.example/cb"]}})
    with pytest.raises(dataclasses.FrozenInstanceError):
        loaded.prefix = "/x"  # type: ignore[misc]
    for mapping in (loaded.protect, loaded.scopes, loaded.clients, loaded.clients["ci"], loaded.origins):
        with pytest.raises(TypeError):
            mapping["x"] = "y"  # type: ignore[index]


def test_all_mistakes_are_reported_together_with_key_value_origin_and_what_is_allowed(tmp_path: Path) -> None:
    file = write(tmp_path, "code_ttl = 0\nregistration = 'closed'\n")
    lines = problems(
        config_file=file,
        environ={"OAUTH_ACCESS_TOKEN_TTL": "soon"},
        config={"OAUTH_ROLL_FORWARD": "maybe"},
        keywords={"reuse_policy": "catch-up", "refresh_grace": 0, "reuse_polcy": "revoke"},
    )
    switch = "allowed: true or false (also yes and no, on and off, 1 and 0)"
    registration = 'allowed: "open" or "token" or "off"'
    catch_up = (
        'is 0, which the reuse policy "catch-up" cannot work with; '
        'allowed: a duration, such as "90s", "5m" or 0'
    )
    lifetime = 'allowed: a duration of at least one second, such as "15m", "24h", "30d" or 90'
    assert lines == [
        "reuse_polcy (keyword): there is no such setting; did you mean reuse_policy?",
        f"OAUTH_ACCESS_TOKEN_TTL = 'soon' (environment): is no length of time; {lifetime}",
        f"OAUTH_CODE_TTL = 0 (file {file}): is less than one second; {lifetime}",
        f"OAUTH_ROLL_FORWARD = 'maybe' (config): is neither true nor false; {switch}",
        f"OAUTH_REGISTRATION = 'closed' (file {file}): is none of them; {registration}",
        f"OAUTH_REFRESH_GRACE = 0 (keyword): {catch_up}",
    ]


@pytest.mark.parametrize(
    ("layer", "key", "line"),
    [
        (
            "keywords",
            "acess_token_ttl",
            "acess_token_ttl (keyword): there is no such setting; did you mean access_token_ttl?",
        ),
        ("keywords", "colour", "colour (keyword): there is no such setting"),
        (
            "defaults",
            "OAUTH_USER_FILE",
            "OAUTH_USER_FILE (program default): there is no such setting; did you mean OAUTH_USERS_FILE?",
        ),
    ],
)
def test_an_unknown_key_is_an_error_where_only_our_settings_are(layer: str, key: str, line: str) -> None:
    assert problems(**{layer: {key: "a secret perhaps"}}) == [line]


def test_an_unknown_key_is_a_warning_where_applications_keep_their_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        loaded = load(
            environ={"OAUTH_CLIENT_ID": "s3cret", "OAUTH_ISUER": ISSUER, "PATH": "/bin", "AUTH": "x"},
            config={"OAUTH_ACCES_TOKEN_TTL": 5, "SESSION_COOKIE_NAME": "x"},
        )
    assert loaded.warnings == (
        "OAUTH_CLIENT_ID (environment): there is no such setting",
        "OAUTH_ISUER (environment): there is no such setting; did you mean OAUTH_ISSUER?",
        "OAUTH_ACCES_TOKEN_TTL (config): there is no such setting; did you mean OAUTH_ACCESS_TOKEN_TTL?",
    )
    assert tuple(record.getMessage() for record in caplog.records) == loaded.warnings


def test_the_same_setting_twice_in_one_layer_is_an_error() -> None:
    assert problems(keywords={"issuer": ISSUER, "OAUTH_ISSUER": "https://other.example"}) == [
        "OAUTH_ISSUER (keyword): is given twice"
    ]


def test_a_setting_that_cannot_be_read_causes_no_further_complaint() -> None:
    assert len(problems_with(scopes={"a b": ""}, default_scopes="x")) == 1
    assert len(problems_with(issuer="nonsense", secret_key="short")) == 1
    assert len(problems_with(protect={"api": ""}, default_scopes="x")) == 1


# Secrets


def test_flasks_secrets_serve_where_no_layer_has_one() -> None:
    config = {"SECRET_KEY": LONG, "SECRET_KEY_FALLBACKS": ["fallback-of-flask"]}
    loaded = load(config=config)
    assert (loaded.secret_key, loaded.secret_key_fallbacks) == (LONG, ("fallback-of-flask",))
    assert (loaded.origins["secret_key"], loaded.origins["secret_key_fallbacks"]) == ("config", "config")


@pytest.mark.parametrize("layer", ["defaults", "environ", "config", "keywords"])
def test_an_own_secret_in_any_layer_keeps_flasks_out(layer: str) -> None:
    layers: dict[str, Any] = {"config": {"SECRET_KEY": "flask", "SECRET_KEY_FALLBACKS": ["f"]}}
    layers[layer] = {**layers.get(layer, {}), "OAUTH_SECRET_KEY": LONG}
    loaded = load(**layers)
    assert (loaded.secret_key, loaded.secret_key_fallbacks) == (LONG, ())


def test_an_own_secret_of_none_lets_flasks_in() -> None:
    assert load(config={"SECRET_KEY": LONG, "OAUTH_SECRET_KEY": None}).secret_key == LONG


def test_own_fallbacks_stand_beside_flasks_secret() -> None:
    config = {"SECRET_KEY": "flask", "SECRET_KEY_FALLBACKS": ["f"]}
    loaded = load(config=config, environ={"OAUTH_SECRET_KEY_FALLBACKS": "one, two"})
    assert (loaded.secret_key, loaded.secret_key_fallbacks) == ("flask", ("one", "two"))


@pytest.mark.parametrize("nothing", [None, "", b""])
def test_a_flask_without_a_secret_has_none_for_us(nothing: object) -> None:
    loaded = load(config={"SECRET_KEY": nothing, "SECRET_KEY_FALLBACKS": None, "OAUTH_SECRET_KEY": None})
    assert (loaded.secret_key, loaded.server_secrets) == (None, ())


def test_flasks_secret_is_not_read_from_the_environment() -> None:
    assert load(environ={"SECRET_KEY": LONG}).secret_key is None


def test_secrets_reach_the_signer_byte_for_byte() -> None:
    random = bytes(range(240, 256)) + b' \n"'
    loaded = load(config={"SECRET_KEY": random, "SECRET_KEY_FALLBACKS": ["umläut", b"plain"]})
    assert loaded.server_secrets == (random, "umläut".encode(), b"plain")


@pytest.mark.parametrize("secret", ["", "\ud800", 17, ["x"]])
def test_what_is_no_secret_is_refused_without_being_shown(secret: object) -> None:
    (line,) = problems_with(secret_key=secret)
    assert line.startswith("OAUTH_SECRET_KEY (keyword): ")


@pytest.mark.parametrize("issuer", [None, "http://localhost:5000", "http://127.0.0.1", "https://[::1]:8443"])
def test_a_short_secret_will_do_on_loopback(issuer: str | None) -> None:
    assert settings(issuer=issuer, secret_key="dev", secret_key_fallbacks="d").secret_key == "dev"


@pytest.mark.requirement("OPS-10")
def test_a_secret_under_sixteen_bytes_is_an_error_outside_loopback() -> None:
    assert settings(issuer=ISSUER, secret_key=LONG, secret_key_fallbacks=[LONG]).secret_key == LONG
    assert settings(issuer=ISSUER, secret_key="ääääääää").server_secrets == ("ääääääää".encode(),)
    short = "has less than 16 bytes, and the issuer is not loopback; allowed:"
    each = "a list of secrets, each at least 16 bytes outside loopback"
    lines = problems_with(issuer=ISSUER, secret_key=LONG[1:], secret_key_fallbacks=[LONG, LONG[1:]])
    assert lines == [
        f"OAUTH_SECRET_KEY (keyword): {short} text or bytes, at least 16 bytes outside loopback",
        f"OAUTH_SECRET_KEY_FALLBACKS (keyword): one {short} {each}",
    ]
    (line,) = problems(keywords={"issuer": ISSUER}, config={"SECRET_KEY": "dev"})
    assert line.startswith(f"SECRET_KEY (config): {short}")


def test_fallbacks_without_a_secret_are_an_error() -> None:
    (line,) = problems(environ={"OAUTH_SECRET_KEY_FALLBACKS": LONG})
    assert line.startswith("OAUTH_SECRET_KEY_FALLBACKS (environment): there is no OAUTH_SECRET_KEY")


def test_no_secret_is_in_the_representation() -> None:
    loaded = settings(
        secret_key="sesame-one",
        secret_key_fallbacks=["sesame-two"],
        registry="sqlite:sesame-three.db",
        clients={"ci": {"client_secret": "sesame-four", "redirect_uris": ["https://ci.example/cb"]}},
        prefix="/auth",
    )
    assert repr(loaded) == (
        "Settings(prefix='/auth', registry=***, secret_key=***, secret_key_fallbacks=***, clients=***)"
    )


def test_no_secret_is_in_a_problem() -> None:
    lines = problems_with(
        secret_key=["sesame"],
        secret_key_fallbacks=["sesame", 1],
        registry="sesame",
        clients={"ci": {"client_secret": "sesame\n", "client_secret_hash": "sesame"}, "x": "sesame"},
        issuer="https://user:sesame@notes.example.org",
        login_url="https://user:sesame@notes.example.org",
        cors_origins="https://user:sesame@notes.example.org",
    )
    assert len(lines) == 9
    assert "sesame" not in "\n".join(lines)


# What the settings are together


@pytest.mark.parametrize(
    ("issuer", "loopback"),
    [
        (None, True),
        ("http://localhost", True),
        ("http://LOCALHOST:8000", True),
        ("http://127.0.0.1:5000/base", True),
        ("http://127.255.0.3", True),
        ("http://[::1]:5000", True),
        ("https://localhost.example.org", False),
        ("https://128.0.0.1", False),
        ("https://[::2]", False),
        ("https://notes.example.org", False),
    ],
)
def test_only_an_issuer_on_this_machine_is_loopback(issuer: str | None, loopback: bool) -> None:
    assert settings(issuer=issuer).is_loopback is loopback


@pytest.mark.requirement("GEN-20")
def test_an_http_issuer_needs_loopback_or_the_explicit_switch() -> None:
    (line,) = problems_with(issuer="http://example.org")
    assert line.startswith("OAUTH_ISSUER = 'http://example.org' (keyword): is http outside loopback")
    assert settings(issuer="http://example.org", allow_http=True).issuer == "http://example.org"
    assert settings(issuer="http://localhost:5000").issuer == "http://localhost:5000"
    assert settings(issuer="https://example.org").issuer == "https://example.org"


def test_strict_single_use_and_catch_up_contradict_each_other() -> None:
    assert len(problems_with(refresh_grace=0, reuse_policy="catch-up")) == 1
    assert settings(refresh_grace=0.001, reuse_policy="catch-up").reuse_policy == "catch-up"
    assert settings(refresh_grace=0, reuse_policy="refuse").refresh_grace == 0


def test_known_scopes_are_those_described_then_those_that_paths_need() -> None:
    loaded = settings(
        scopes="write=Write; read=Read",
        protect={"/b": "read admin", "POST /a": "audit", "/c": "public", "/d": "admin"},
    )
    assert loaded.known_scopes == ("write", "read", "admin", "audit")
    assert settings(scopes={"read": ""}, protect=lambda environ: "admin").known_scopes == ("read",)
    assert settings().known_scopes == ()


def test_default_scopes_must_be_known() -> None:
    known = {"scopes": "read=Read", "protect": "/admin=admin"}
    assert settings(**known, default_scopes="admin, read").default_scopes == ("admin", "read")
    lines = problems_with(**known, default_scopes="read, write, public2")
    allowed = "allowed: a list of scopes that are known here, or none"
    rest = f"is neither in OAUTH_SCOPES nor in OAUTH_PROTECT; {allowed}"
    assert lines == [
        f"OAUTH_DEFAULT_SCOPES = 'read, write, public2' (keyword): 'write' {rest}",
        f"OAUTH_DEFAULT_SCOPES = 'read, write, public2' (keyword): 'public2' {rest}",
    ]


@pytest.mark.parametrize("rule", ["/oauth", "/oauth/token", "POST /oauth/register"])
def test_nothing_inside_the_endpoints_prefix_can_be_protected(rule: str) -> None:
    (line,) = problems_with(protect={rule: ""})
    assert line.startswith(
        f"OAUTH_PROTECT (keyword): '{rule}' lies inside the OAuth endpoints' prefix '/oauth';"
    )


@pytest.mark.parametrize("rule", ["/", "/oauthx", "/api/oauth", "/OAuth/token"])
def test_paths_around_the_endpoints_prefix_can_be_protected(rule: str) -> None:
    assert settings(protect={rule: ""}).protect == {rule: ""}


def test_where_case_is_ignored_it_is_ignored_in_the_rules_too() -> None:
    (line,) = problems_with(protect={"/OAuth/token": ""}, ignore_case=True)
    assert "lies inside the OAuth endpoints' prefix" in line
    (line,) = problems_with(protect={"/API": "a", "/api": "b"}, ignore_case=True)
    assert "there is a second rule for the same path and method" in line
    assert settings(protect={"/API": "a", "/api": "b"}).known_scopes == ("a", "b")


def test_reading_settings_imports_no_framework_and_no_parser() -> None:
    # The package itself is stood in for, so that what its own front page imports does not count.
    script = (
        "import sys, types, pathlib;"
        "package = types.ModuleType('oauth_refresh');"
        f"package.__path__ = [{str(Path(sys.modules[Settings.__module__].__file__ or '').parent)!r}];"
        "sys.modules['oauth_refresh'] = package;"
        "import oauth_refresh.settings;"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    heavy = {"flask", "jinja2", "click", "werkzeug", "msgspec", "tomllib", "tomli", "configparser", "difflib"}
    assert heavy.intersection(loaded.split()) == set()
