"""Applications that nobody here wrote, behind the middleware by environment variables alone.

httpbin answers on its open paths what it answers bare, byte for byte; Radicale and Django find the user of a
token in REMOTE_USER, as they would find that of any server in front.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import requests

from oauth_refresh.backends import open_backend
from oauth_refresh.cases import Policy
from oauth_refresh.registry import TokenRegistry
from oauth_refresh.tokens import Secrets
from tests.flows.servers import ROOT, Gunicorn, WaitressServing, environment

pytestmark = pytest.mark.slow

HTTPBIN = "httpbin==0.10.4"
TIMEOUT = 20
WRAPPED = "oauth_refresh.wsgi:application"
PROTECT = "/anything=things, /status=things"

Serving = Callable[..., Any]


def under_gunicorn(folder: Path, app: str, settings: Mapping[str, str]) -> Any:
    options = ("--workers", "2", "--worker-class", "gthread", "--threads", "4")
    return Gunicorn(folder, settings, app=app, options=options).start()


def under_gevent(folder: Path, app: str, settings: Mapping[str, str]) -> Any:
    return Gunicorn(folder, settings, app=app, options=("--worker-class", "gevent")).start()


def under_waitress(folder: Path, app: str, settings: Mapping[str, str]) -> Any:
    return WaitressServing(folder, app, settings)


def token(folder: Path, subject: str, *scopes: str) -> str:
    """An access token out of the registry that the server in this folder uses."""
    backend = open_backend(f"sqlite://{folder}/oauth.db", announce=False)
    registry = TokenRegistry(backend, Secrets((b"no refresh token is made here",)), Policy(3600, 3600))
    try:
        return registry.create(subject, scopes).access_token
    finally:
        backend.close()


# --- httpbin --------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def httpbin() -> Path:
    """The folder with httpbin alone. Its own wishes for versions are older than those of other tests."""
    folder = ROOT / ".cache" / HTTPBIN
    if not (folder / "httpbin").is_dir():
        pip = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--target",
            str(folder),
            HTTPBIN,
        ]
        ran = subprocess.run(pip, capture_output=True, text=True, check=False)
        if ran.returncode:
            pytest.skip("httpbin cannot be fetched")
    return folder


@pytest.fixture(scope="module", params=[under_gunicorn, under_gevent, under_waitress])
def both(
    request: pytest.FixtureRequest, httpbin: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Both]:
    """httpbin bare, and the same behind the middleware."""
    serve: Serving = request.param
    # Sets of methods are written in the order of their hashes, which would differ between two processes.
    path = {"PYTHONPATH": f"{ROOT}:{httpbin}", "PYTHONHASHSEED": "0"}
    settings = {**path, "OAUTH_REFRESH_APP": "httpbin:app", "OAUTH_PROTECT": PROTECT}
    with ExitStack() as stack:
        folders = [tmp_path_factory.mktemp(name) for name in ("bare", "wrapped")]
        bare = stack.enter_context(closing(serve(folders[0], "httpbin:app", path)))
        wrapped = stack.enter_context(closing(serve(folders[1], WRAPPED, settings)))
        yield Both(bare.port, wrapped.port, folders[1])


class Both(NamedTuple):
    bare: int
    wrapped: int
    folder: Path


class Reply(NamedTuple):
    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes


Sent = tuple[str, str, Mapping[str, str], Any]

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
OPEN: list[Sent] = [
    *((method, "/get", {}, None) for method in ("GET", "HEAD", "OPTIONS", "POST", "DELETE")),
    ("POST", "/post", FORM, b"name=value&name=other"),
    ("PUT", "/put", {"Content-Type": "application/json"}, b'{"a": [1, 2]}'),
    ("PATCH", "/patch", {}, b"some bytes \x00\xff"),
    ("DELETE", "/delete", {}, b"x"),
    ("POST", "/post", {"Content-Type": "text/plain"}, [b"in ", b"three ", b"chunks"]),
    ("POST", "/post", {}, b"a" * 300_000),
    ("GET", "/get?a=1&a=2&%C3%A4=%20+", {"X-Custom": "kept", "Accept-Language": "de"}, None),
    ("GET", "/headers", {"Authorization": "Bearer not.ours", "X-Request-Id": "7"}, None),
    ("GET", "/bearer", {"Authorization": "Bearer not.ours"}, None),
    ("GET", "/bearer", {}, None),
    ("GET", "/basic-auth/u/p", {"Authorization": "Basic dTpw"}, None),
    ("GET", "/basic-auth/u/p", {}, None),
    ("GET", "/cookies", {"Cookie": "a=b; c=d"}, None),
    ("GET", "/cookies/set?a=b", {}, None),
    ("GET", "/redirect/3", {}, None),
    ("GET", "/relative-redirect/2", {}, None),
    ("GET", "/absolute-redirect/1", {}, None),
    ("GET", "/redirect-to?url=http%3A%2F%2Felsewhere.example%2F", {}, None),
    ("GET", "/gzip", {}, None),
    ("GET", "/deflate", {}, None),
    ("GET", "/brotli", {}, None),
    ("GET", "/stream/5", {}, None),
    ("GET", "/stream-bytes/5000?seed=1&chunk_size=700", {}, None),
    ("GET", "/bytes/1000?seed=1", {}, None),
    ("GET", "/drip?duration=0.2&numbytes=4&code=200", {}, None),
    ("GET", "/delay/0", {}, None),
    ("GET", "/range/1000", {"Range": "bytes=10-19"}, None),
    ("GET", "/etag/tag", {"If-None-Match": "tag"}, None),
    ("GET", "/cache", {"If-Modified-Since": "Thu, 26 Nov 2026 00:00:00 GMT"}, None),
    ("GET", "/response-headers?X-One=1&X-One=2", {}, None),
    ("GET", "/image/png", {}, None),
    ("GET", "/encoding/utf8", {}, None),
    ("GET", "/html", {}, None),
    ("GET", "/links/3/0", {}, None),
    ("GET", "/no/such/page", {}, None),
    ("POST", "/html", {}, b""),
]


@pytest.mark.requirement("WSGI-01")
@pytest.mark.parametrize("sent", OPEN, ids=lambda sent: f"{sent[0]} {sent[1][:40]} {len(sent[2])}")
def test_an_open_path_of_httpbin_answers_as_if_nothing_stood_in_front(both: Both, sent: Sent) -> None:
    first, second, wrapped = (ask(port, sent) for port in (both.bare, both.bare, both.wrapped))
    assert (wrapped.status, wrapped.reason) == (first.status, first.reason)
    assert settled(wrapped.headers, first.headers, second.headers) == settled(
        first.headers, first.headers, second.headers
    )
    assert same_body(wrapped.body, first.body, second.body)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_a_guarded_path_of_httpbin_needs_a_token_whatever_the_method(both: Both, method: str) -> None:
    refused = ask(both.wrapped, (method, "/anything/x", {"Host": f"127.0.0.1:{both.wrapped}"}, None))
    assert refused.status == 401
    assert 'scope="things"' in {name.title(): value for name, value in refused.headers}["Www-Authenticate"]


def test_a_guarded_path_of_httpbin_opens_with_a_token_that_it_never_sees(both: Both) -> None:
    good = {"Authorization": f"Bearer {token(both.folder, 'ada', 'things')}"}
    answer = requests.post(
        f"http://127.0.0.1:{both.wrapped}/anything/x", headers=good, data={"a": "b"}, timeout=TIMEOUT
    )
    assert answer.json()["form"] == {"a": "b"}
    assert "Authorization" not in answer.json()["headers"]
    teapot = requests.get(f"http://127.0.0.1:{both.wrapped}/status/418", headers=good, timeout=TIMEOUT)
    assert teapot.status_code == 418


def ask(port: int, sent: Sent) -> Reply:
    method, path, headers, body = sent
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    with closing(connection):
        named = {"Host": "httpbin.example", "Accept-Encoding": "identity", **headers}
        chunked = isinstance(body, list)
        connection.request(method, path, iter(body) if chunked else body, named, encode_chunked=chunked)
        answer = connection.getresponse()
        return Reply(answer.status, answer.reason, answer.getheaders(), answer.read())


def settled(
    headers: Iterable[tuple[str, str]], first: list[tuple[str, str]], second: list[tuple[str, str]]
) -> list[tuple[str, str]]:
    """The headers without the date, and without those that the bare application never says twice alike."""
    loose = {name for name, _ in set(first) ^ set(second)} | {"Date"}
    return [(name, value) for name, value in headers if name not in loose]


def same_body(body: bytes, first: bytes, second: bytes) -> bool:
    if first == second:
        return body == first
    # What differs from one bare answer to the next is a member of its JSON (a time, a draw), line by line.
    return [
        shape(line, other, line_of_body) for line, other, line_of_body in lines(first, second, body)
    ].count(False) == 0


def lines(*bodies: bytes) -> Iterator[tuple[bytes, ...]]:
    return zip(*(body.splitlines() for body in bodies), strict=True)


def shape(line: bytes, other: bytes, seen: bytes) -> bool:
    if line == other:
        return seen == line
    one, two, three = (
        json.loads(text) if text.startswith(b"{") else {text: 0} for text in (line, other, seen)
    )
    return all(three.get(name) == value for name, value in one.items() if two.get(name) == value)


# --- Radicale -------------------------------------------------------------------------------------

RADICALE = """
[auth]
type = remote_user
[storage]
filesystem_folder = {folder}/calendars
[rights]
type = owner_only
"""
EVENT = """BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//example//EN
BEGIN:VEVENT
UID:1
DTSTAMP:20261126T000000Z
DTSTART:20261126T120000Z
SUMMARY:Lunch
END:VEVENT
END:VCALENDAR
"""


@pytest.fixture(scope="module", params=[under_gunicorn, under_waitress])
def calendars(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("radicale")
    (folder / "radicale.ini").write_text(RADICALE.format(folder=folder))
    settings = {
        "OAUTH_REFRESH_APP": "radicale:application",
        "OAUTH_PROTECT": "/=calendars",
        "RADICALE_CONFIG": str(folder / "radicale.ini"),
    }
    with closing(request.param(folder, WRAPPED, settings)) as server:
        yield server.base, folder


def test_a_calendar_of_radicale_belongs_to_the_user_of_the_token(calendars: tuple[str, Path]) -> None:
    base, folder = calendars
    ada, bob = ({"Authorization": f"Bearer {token(folder, name, 'calendars')}"} for name in ("ada", "bob"))

    def call(
        method: str, path: str, headers: Mapping[str, str], body: str | None = None
    ) -> requests.Response:
        return requests.request(method, base + path, headers=headers, data=body, timeout=TIMEOUT)

    assert call("PROPFIND", "/ada/", {}).status_code == 401
    assert call("MKCALENDAR", "/ada/home/", ada).status_code == 201
    assert call("PUT", "/ada/home/1.ics", {**ada, "Content-Type": "text/calendar"}, EVENT).status_code == 201
    assert "SUMMARY:Lunch" in call("GET", "/ada/home/1.ics", ada).text
    assert call("PROPFIND", "/ada/", ada).status_code == 207
    assert call("GET", "/ada/home/1.ics", bob).status_code in (403, 404)
    # The name in front of the door is the token's, not the one that a client says.
    assert call("GET", "/ada/home/1.ics", {**bob, "X-Remote-User": "ada"}).status_code in (403, 404)


# --- Django ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    folder = tmp_path_factory.mktemp("django")
    settings = {
        "OAUTH_REFRESH_APP": "tests.flows.django_site:application",
        "OAUTH_PROTECT": "/api=site:read",
        "SITE_DATABASE": str(folder / "site.db"),
    }
    subprocess.run(
        [sys.executable, "-m", "tests.flows.django_site"],
        cwd=folder,
        env=environment(folder, settings),
        check=True,
        timeout=120,
    )
    with closing(under_gunicorn(folder, WRAPPED, settings)) as server:
        yield server.base, folder


def test_a_django_site_finds_the_user_of_the_token_by_its_own_means(site: tuple[str, Path]) -> None:
    base, folder = site
    assert requests.get(f"{base}/api/whoami", timeout=TIMEOUT).status_code == 401
    good = {"Authorization": f"Bearer {token(folder, 'ada', 'site:read')}"}
    answer = requests.get(f"{base}/api/whoami", headers=good, timeout=TIMEOUT)
    assert answer.json() == {"user": "ada", "authorization": False}


def test_the_admin_of_a_django_site_is_as_it_was(site: tuple[str, Path]) -> None:
    base, _ = site
    page = requests.get(f"{base}/admin/login/", headers={"X-Remote-User": "ada"}, timeout=TIMEOUT)
    assert (page.status_code, "Django administration" in page.text) == (200, True)
