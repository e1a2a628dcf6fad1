"""The doctor before real servers, each with one thing wrong: it is found, and the fix is said."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner
from waitress.server import create_server

from oauth_refresh import OAuthMiddleware
from oauth_refresh.backends import open_backend
from oauth_refresh.cli import main
from oauth_refresh.doctor.inside import tell_at_start
from oauth_refresh.users import add_user

from ..driving import seen_by_application

KEY, OTHER_KEY = "a server secret of enough bytes", "another server secret of enough bytes"

Wsgi = Callable[[dict[str, Any], Any], Any]


class Found(NamedTuple):
    """What the doctor found that was not right: severity and subject, and the texts of it all."""

    wrong: set[tuple[str, str]]
    text: str
    exit_code: int


class Clinic:
    """Servers on ports of their own, and a doctor for them. Settings are those of a good deployment."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        (folder / "users").touch(mode=0o600)
        add_user(folder / "users", "alice", "x")
        self.settings = {
            "OAUTH_REGISTRY": f"sqlite://{folder}/oauth.db",
            "OAUTH_SECRET_KEY": KEY,
            "OAUTH_USERS_FILE": f"{folder}/users",
            "OAUTH_PROTECT": "/api=notes:read",
        }

    def serve(
        self, wrap: Callable[[Wsgi], Wsgi] = lambda app: app, *, mount: str = "", **changes: Any
    ) -> str:
        """A waitress with a good server, but for `changes` and what `wrap` puts in front of it.

        It is told of `mount`, which is the issuer's path.
        """
        inner: list[Wsgi] = []
        waitress = create_server(
            lambda environ, start: inner[0](environ, start),
            host="127.0.0.1",
            port=0,
            url_prefix=mount,
            asyncore_loop_timeout=0.05,
        )
        base = f"http://127.0.0.1:{waitress.effective_port}{mount}"
        self.settings["OAUTH_ISSUER"] = base
        inner.append(wrap(self.middleware(**changes)))
        thread = threading.Thread(target=_run, args=(waitress,))
        thread.start()
        self._stack.callback(thread.join)
        self._stack.callback(waitress.close)
        return base

    def middleware(self, clock: Callable[[], float] = time.time, **changes: str) -> OAuthMiddleware:
        environ = {**self.settings, **changes}
        return OAuthMiddleware(seen_by_application, environ=environ, clock=clock)

    def examine(self, *arguments: str, **changes: str) -> Found:
        told = CliRunner(env={**self.settings, **changes}).invoke(main, ["doctor", *arguments, "--json"])
        findings = json.loads(told.stdout)
        assert all(each["text"] and (each["fix"] or each["severity"] == "ok") for each in findings)
        assert KEY not in told.output
        wrong = {(each["severity"], each["about"]) for each in findings if each["severity"] != "ok"}
        text = "\n".join(f"{each['text']} {each['fix']}" for each in findings)
        return Found(wrong, text, told.exit_code)


def _run(waitress: Any) -> None:
    with suppress(OSError):  # its loop may wait for a socket that has just been closed
        waitress.run()


@pytest.fixture
def clinic(tmp_path: Path) -> Iterator[Clinic]:
    with ExitStack() as stack:
        yield Clinic(tmp_path, stack)


def only(found: Found, severity: str, about: str, *texts: str) -> None:
    """This one thing is found, and its story is told with its fix."""
    assert found.wrong == {(severity, about)}, found.text
    assert found.exit_code == (1 if severity == "error" else 0)
    for text in texts:
        assert text in found.text


def test_a_healthy_deployment_has_nothing_wrong(clinic: Clinic) -> None:
    base = clinic.serve()
    found = clinic.examine(base)
    assert (found.wrong, found.exit_code) == (set(), 0)
    for said in (
        "All forms of the metadata can be read.",
        f"{base}/api asks for a token, and looks at it.",
        "keeps its grants in this registry",
        "clocks of server and this host agree",
        "signs with the server secret of these settings",
        "12 repeats of one refresh were answered alike",
    ):
        assert said in found.text


def test_the_doctor_leaves_nothing_behind(clinic: Clinic) -> None:
    base = clinic.serve()
    registry = clinic.middleware().server.backend
    before = list(registry.keys())
    assert clinic.examine(base).wrong == set()
    assert list(registry.keys()) == before


def test_the_issuer_is_the_url_that_is_looked_at_if_none_is_named(clinic: Clinic) -> None:
    base = clinic.serve()
    assert f"The server calls itself {base}" in clinic.examine().text


def test_from_another_host_the_outside_alone_is_looked_at(clinic: Clinic) -> None:
    base = clinic.serve()
    found = clinic.examine("--outside", base, OAUTH_REGISTRY="nosuch:", OAUTH_SECRET_KEY="")
    assert found.wrong == set()
    assert f"{base}/api asks for a token" in found.text


def test_where_nothing_is_set_the_outside_alone_is_looked_at(
    clinic: Clinic, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = clinic.serve()
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    found = CliRunner(env=dict.fromkeys(clinic.settings)).invoke(main, ["doctor", base])
    assert found.exit_code == 0
    assert "looked at from outside alone" in found.output
    assert "0 errors" in found.output


# --- wrong outside --------------------------------------------------------------------------------


def hide(path: str, status: str, *headers: tuple[str, str]) -> Callable[[Wsgi], Wsgi]:
    """A proxy that answers this path by itself."""

    def wrap(app: Wsgi) -> Wsgi:
        def proxy(environ: dict[str, Any], start: Any) -> Any:
            if not environ["PATH_INFO"].startswith(path):
                return app(environ, start)
            start(status, [("Content-Type", "text/html"), ("Content-Length", "5"), *headers])
            return [b"proxy"]

        return proxy

    return wrap


def test_1_a_proxy_that_keeps_the_well_known_paths_to_itself(clinic: Clinic) -> None:
    base = clinic.serve(hide("/.well-known/", "404 Not Found"))
    found = clinic.examine(base)
    assert found.wrong == {("error", "metadata"), ("warning", "metadata")}
    assert f"{base}/.well-known/oauth-authorization-server: status 404, text/html" in found.text
    assert "/.well-known/ stands at the root of the host" in found.text


def test_1b_a_mount_that_the_server_was_told_of_and_the_proxy_was_not(clinic: Clinic) -> None:
    base = clinic.serve(mount="/app")
    found = clinic.examine(base)
    assert found.wrong == {("error", "metadata"), ("warning", "metadata")}
    for name in ("oauth-authorization-server", "openid-configuration"):
        assert (
            f"--url-prefix) has it below that alone: there, pass it on as /app/.well-known/{name}."
            in found.text
        )


def test_1c_a_proxy_that_does_what_the_fix_says_of_a_mount_has_nothing_wrong(clinic: Clinic) -> None:
    def wrap(app: Wsgi) -> Wsgi:
        def proxy(environ: dict[str, Any], start: Any) -> Any:
            # As Waitress has it from /app/.well-known/NAME.
            if environ["PATH_INFO"].startswith("/.well-known/"):
                environ["PATH_INFO"] = environ["PATH_INFO"].removesuffix("/app")
            return app(environ, start)

        return proxy

    found = clinic.examine(clinic.serve(wrap, mount="/app"))
    assert (found.wrong, found.exit_code) == (set(), 0)


def test_2_an_issuer_that_is_not_the_public_url(clinic: Clinic) -> None:
    base = clinic.serve(OAUTH_ISSUER="https://notes.example.org")
    found = clinic.examine(base)
    only(found, "error", "public URL", f"Clients reach the server as {base}")
    assert f"Set OAUTH_ISSUER={base}, or let clients use https://notes.example.org" in found.text


def test_3_a_proxy_that_drops_the_authorization_header(clinic: Clinic) -> None:
    def wrap(app: Wsgi) -> Wsgi:
        return lambda environ, start: app(
            {key: value for key, value in environ.items() if key != "HTTP_AUTHORIZATION"}, start
        )

    found = clinic.examine(clinic.serve(wrap))
    only(found, "error", "Authorization header", "does not arrive", "WSGIPassAuthorization On")


def test_4_a_server_with_another_registry(clinic: Clinic) -> None:
    found = clinic.examine(clinic.serve(OAUTH_REGISTRY="memory:"))
    only(found, "error", "same registry", "it has another one, or memory:", "the same OAUTH_REGISTRY")
    assert not (clinic.folder / "oauth.db").exists()
    clinic.middleware().registry.cleanup()
    found = clinic.examine()
    only(found, "error", "same registry", "uses another one, or memory:", "the same OAUTH_REGISTRY")


def test_5_a_server_with_another_secret(clinic: Clinic) -> None:
    found = clinic.examine(clinic.serve(OAUTH_SECRET_KEY=OTHER_KEY))
    only(found, "error", "same secret", "not known here", "OAUTH_SECRET_KEY_FALLBACKS")


def test_5b_a_change_of_the_secret_that_is_half_done(clinic: Clinic) -> None:
    base = clinic.serve(OAUTH_SECRET_KEY=OTHER_KEY)
    found = clinic.examine(base, OAUTH_SECRET_KEY_FALLBACKS=OTHER_KEY)
    only(found, "warning", "same secret", "half done", "Restart the hosts")


@pytest.mark.parametrize(("seconds", "way"), [(300, "ahead"), (-300, "behind"), (40 * 86400, "ahead")])
def test_6_a_clock_that_is_wrong(clinic: Clinic, seconds: float, way: str) -> None:
    found = clinic.examine(clinic.serve(clock=lambda: time.time() + seconds))
    only(found, "error", "clock", f"seconds {way} of this host's", "Run NTP")


def test_7_a_path_that_goes_past_the_middleware(clinic: Clinic) -> None:
    base = clinic.serve(hide("/api", "200 OK"))
    found = clinic.examine(base)
    only(found, "error", "protection", f"{base}/api is not protected", "through the middleware")


def test_8_a_token_endpoint_that_is_redirected(clinic: Clinic) -> None:
    base = clinic.serve(hide("/oauth/token", "301 Moved", ("Location", "/oauth/token/")))
    found = clinic.examine("--outside", base)
    only(found, "error", "token endpoint", "a redirect to '/oauth/token/'", "CSRF check")


def test_9_workers_that_do_not_share_what_they_must(clinic: Clinic) -> None:
    def wrap(app: Wsgi) -> Wsgi:
        workers: list[Wsgi] = [app, clinic.middleware(OAUTH_REGISTRY="memory:")]
        turn = iter(range(10**6))

        def dispatch(environ: dict[str, Any], start: Any) -> Any:
            return workers[environ["PATH_INFO"] == "/oauth/token" and next(turn) % 3 == 0](environ, start)

        return dispatch

    found = clinic.examine(clinic.serve(wrap))
    only(found, "error", "workers", "answered differently (status 200, 401)", "Restart all of them")


def test_a_server_that_runs_without_the_middleware(clinic: Clinic) -> None:
    found = clinic.examine(
        clinic.serve(lambda app: hide("/.well-known/", "404 Not Found")(seen_by_application))
    )
    assert {("error", "metadata"), ("error", "protection")} <= found.wrong
    assert "/api is not protected: without a token it answers status 200" in found.text
    assert "Start oauth_refresh.wsgi:application" in found.text


def test_a_proxy_with_nothing_behind_it(clinic: Clinic) -> None:
    found = clinic.examine("--outside", clinic.serve(hide("/", "502 Bad Gateway")))
    only(found, "error", "reach", "reaches no application behind it", "compare the address or socket")


@pytest.mark.parametrize("options", [[], ["--outside"]])
def test_a_server_whose_registry_was_deleted_is_found_and_its_clients_keep_hearing_503(
    clinic: Clinic, options: list[str]
) -> None:
    base = clinic.serve()
    clinic.examine(base)
    (clinic.folder / "oauth.db").unlink()
    for other in clinic.folder.glob("oauth.db-*"):
        other.unlink()
    time.sleep(1.1)  # for so long a read may trust what it has open
    found = clinic.examine(*options, base)
    assert found.wrong == {("error", "registry of the server")}
    assert "answers 503 to whatever needs one" in found.text
    assert not list(clinic.folder.glob("oauth.db*"))


def test_10_a_server_that_is_not_there(clinic: Clinic) -> None:
    base = clinic.serve()
    gone = base.rpartition(":")[0] + ":1"
    only(clinic.examine("--outside", gone), "error", "reach", "cannot be reached", "Start the server")


# --- wrong inside ---------------------------------------------------------------------------------

INSIDE: dict[str, tuple[dict[str, str], str, str, tuple[str, ...]]] = {
    "12 a registry that cannot be written": (
        {"OAUTH_REGISTRY": "sqlite:///proc/oauth.db"},
        "error",
        "registry",
        ("cannot be written: registry /proc",),
    ),
    "13 no secret": (
        {"OAUTH_SECRET_KEY": ""},
        "warning",
        "secret",
        ("a leaked backup forges", "Set OAUTH_SECRET_KEY"),
    ),
    "14 everybody a trusted proxy": (
        {"OAUTH_TRUSTED_PROXIES": "0.0.0.0/0", "OAUTH_TRUST_REMOTE_USER": "on"},
        "error",
        "proxies",
        ("name themselves any user", "Name the addresses of your proxies"),
    ),
    "15 nobody can sign in": (
        {"OAUTH_USERS_FILE": ""},
        "error",
        "sign-in",
        ("Nobody can sign in", "OAUTH_USERS_FILE"),
    ),
    "16 nothing is protected": (
        {"OAUTH_PROTECT": ""},
        "warning",
        "protection",
        ("No path", "Set OAUTH_PROTECT"),
    ),
    "17 a grace that is too short": (
        {"OAUTH_REFRESH_GRACE": "5"},
        "warning",
        "grace",
        ("5 seconds", "OAUTH_REFRESH_GRACE"),
    ),
    "18 an event log in no folder": (
        {"OAUTH_EVENT_LOG": "/nosuch/events"},
        "error",
        "event log",
        ("/nosuch/events cannot be written",),
    ),
    "19 a setting that is wrong": (
        {"OAUTH_CODE_TTL": "soon"},
        "error",
        "settings",
        ("OAUTH_CODE_TTL = 'soon'",),
    ),
    "22 a secret that can be guessed": (
        {"OAUTH_SECRET_KEY": "correct horse"},
        "warning",
        "secret",
        ("has 13 bytes", "secrets.token_urlsafe(32)", "OAUTH_SECRET_KEY_FALLBACKS"),
    ),
    "23 a scope that is misspelled": (
        {"OAUTH_SCOPES": "notes:read=Read", "OAUTH_PROTECT": "/api/notes=notes:raed"},
        "warning",
        "settings",
        ("asks for the scope 'notes:raed'", "'notes:read' was meant"),
    ),
    "24 codes that live for long": (
        {"OAUTH_CODE_TTL": "10d"},
        "warning",
        "lifetimes",
        ("codes live 10d", "ten minutes at most"),
    ),
    "access tokens that live for seconds": (
        {"OAUTH_ACCESS_TOKEN_TTL": "1s"},
        "warning",
        "lifetimes",
        ("Access tokens live 1s", "at every request", "15m or more"),
    ),
    "25 refresh tokens that live shorter than access tokens": (
        {"OAUTH_REFRESH_TOKEN_TTL": "1h"},
        "warning",
        "lifetimes",
        ("Refresh tokens live 60m, shorter than access tokens (24h)",),
    ),
    "20 a setting that is misspelled": (
        {"OAUTH_ISUER": "https://a.example"},
        "warning",
        "settings",
        ("did you mean OAUTH_ISSUER",),
    ),
}


@pytest.mark.parametrize("case", INSIDE)
def test_what_is_wrong_inside_is_found(clinic: Clinic, case: str) -> None:
    changes, severity, about, texts = INSIDE[case]
    assert clinic.examine(OAUTH_ISSUER="").wrong == {("warning", "issuer")}
    found = clinic.examine(**{"OAUTH_ISSUER": "", **changes})
    found.wrong.discard(("warning", "issuer"))
    only(found, severity, about, *texts)


def test_21_an_issuer_without_tls(clinic: Clinic) -> None:
    found = clinic.examine(OAUTH_ISSUER="http://notes.invalid", OAUTH_ALLOW_HTTP="on")
    assert {("error", "issuer"), ("error", "reach")} == found.wrong
    assert "Put TLS in front" in found.text


def test_a_users_file_with_wrong_lines(clinic: Clinic) -> None:
    with (clinic.folder / "users").open("a") as users:
        users.write("bob:hunter2\n")
    found = clinic.examine(OAUTH_ISSUER="")
    assert ("error", "sign-in") in found.wrong
    assert f"This line counts for nobody: users file {clinic.folder}/users, line 3: no hash" in found.text
    assert "hunter2" not in found.text


@pytest.mark.parametrize("text", ["bob:hunter2\n", None], ids=["mistakes alone", "not there"])
def test_a_users_file_without_which_no_worker_starts(clinic: Clinic, text: str | None) -> None:
    (clinic.folder / "users").unlink()
    if text is not None:
        (clinic.folder / "users").write_text(text)
    found = clinic.examine(OAUTH_ISSUER="")
    assert ("error", "sign-in") in found.wrong
    assert f"No worker can start: users file {clinic.folder}/users" in found.text


def test_22_files_that_every_account_can_read(clinic: Clinic) -> None:
    open_backend(f"sqlite://{clinic.folder}/oauth.db", announce=False).get(b"key")
    (clinic.folder / "oauth.db").chmod(0o644)
    (clinic.folder / "users").chmod(0o604)
    found = clinic.examine(OAUTH_ISSUER="")
    assert found.wrong == {("warning", "issuer"), ("warning", "registry"), ("warning", "sign-in")}
    assert f"chmod o= {clinic.folder}/oauth.db" in found.text
    assert f"{clinic.folder}/users has mode 604" in found.text


def test_a_registry_that_is_not_there_yet_is_told_and_not_made(clinic: Clinic) -> None:
    found = clinic.examine(OAUTH_ISSUER="")
    assert f"There is none at {clinic.folder}/oauth.db yet" in found.text
    assert not (clinic.folder / "oauth.db").exists()


def test_a_registry_in_a_folder_that_is_missing_is_told_before_anybody_hears_503(
    clinic: Clinic, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = f"sqlite://{clinic.folder}/nowhere/oauth.db"
    found = clinic.examine(OAUTH_REGISTRY=nowhere)
    assert ("error", "registry") in found.wrong
    assert f"There is no folder {clinic.folder}/nowhere" in found.text
    tell_at_start(clinic.middleware(OAUTH_REGISTRY=nowhere).server, guards=True)
    assert [message.partition(",")[0] for message in caplog.messages] == [
        f"There is no folder {clinic.folder}/nowhere"
    ]


def test_a_folder_without_a_registry_is_not_taken_for_the_servers(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = clinic.folder / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    url = clinic.serve()
    del clinic.settings["OAUTH_REGISTRY"]
    found = clinic.examine(url)
    assert ("error", "same registry") in found.wrong
    assert f"and there is none at {elsewhere}/oauth.db" in found.text
    assert "`flask oauth doctor`" in found.text
    assert list(elsewhere.iterdir()) == []


# --- for people -----------------------------------------------------------------------------------


def test_people_read_one_finding_a_line_with_its_fix_below(clinic: Clinic) -> None:
    told = CliRunner(env={**clinic.settings, "OAUTH_USERS_FILE": ""}).invoke(main, ["doctor"])
    lines = told.stdout.splitlines()
    at = lines.index("error   sign-in: Nobody can sign in: this server does not know how its users do so.")
    assert lines[at + 1].startswith("        -> Set OAUTH_USERS_FILE, OAUTH_PASSWORD_CHECK")
    assert lines[-1] == "1 error, 1 warning"
    assert told.exit_code == 1


@pytest.mark.parametrize("arguments", [["--outside"], ["notes.example.org"], ["file:///etc/passwd"]])
def test_what_is_no_url_is_not_looked_at(arguments: list[str]) -> None:
    assert CliRunner().invoke(main, ["doctor", *arguments]).exit_code == 2
