"""A full flow at DEBUG level leaves no secret in a log, a refusal or the registry."""

from __future__ import annotations

import logging
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import pytest
import requests

from oauth_refresh.errors import RegistryError
from tests.flows.client import OAuthClient, error, pair
from tests.flows.clocked import BASE, Clocked
from tests.flows.conftest import Serve
from tests.flows.headless import TIMEOUT, User
from tests.flows.in_process import session_with
from tests.flows.secret import Pair, Secret
from tests.flows.watching import Watch

NEAR_MISS = Secret("wonderlamd")
CONFIG = """
import logging

logging.basicConfig(level="DEBUG", format="%(name)s %(message)s")
loglevel = "debug"
"""

EVENTS = {
    "client_registered",
    "login",
    "login_failed",
    "code_issued",
    "code_redeemed",
    "token_rotated",
    "token_repeated",
    "token_reused",
    "client_mismatch",
    "access_token_revoked",
    "grant_revoked",
}


class Watched(NamedTuple):
    """A server, all of whose traffic is watched."""

    base: str
    connect: Callable[[], requests.Session]
    watch: Watch
    log: Callable[[], str]
    registry: Path


@pytest.fixture
def in_this_process(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Watched:
    caplog.set_level(logging.DEBUG)
    server, watch = Clocked(tmp_path), Watch()

    def log() -> str:
        return "\n".join([caplog.text, *(repr(vars(record)) for record in caplog.records)])

    return Watched(
        BASE,
        lambda: watch.over(session_with(server.middleware)),
        watch,
        log,
        tmp_path / "oauth.db",
    )


@pytest.fixture
def under_gunicorn(serve: Serve, tmp_path: Path) -> Watched:
    config = tmp_path / "gunicorn.conf.py"
    config.write_text(CONFIG)
    server, watch = serve(options=("--workers", "3", "--config", str(config))), Watch()
    return Watched(server.base, lambda: watch.over(requests.Session()), watch, server.log, server.registry)


@pytest.fixture(params=["in_this_process", "under_gunicorn"])
def watched(request: pytest.FixtureRequest) -> Watched:
    found: Watched = request.getfixturevalue(request.param)
    return found


@pytest.mark.requirement("BCP-21")
@pytest.mark.requirement("WSGI-15")
@pytest.mark.requirement("GEN-12")
@pytest.mark.requirement("GEN-23")
@pytest.mark.requirement("RT-26")
def test_a_full_flow_at_debug_level_leaves_no_secret_behind(watched: Watched) -> None:
    public, confidential = clients(watched)
    signs_in_at_last(watched, public)
    newest = goes_on(public)
    newest_of_confidential = goes_on(confidential)
    misplaces_its_secrets(watched, confidential, newest_of_confidential)
    takes_what_is_not_its_own(public, confidential, newest_of_confidential)
    says_good_bye(public, confidential, newest_of_confidential)

    log = watched.log()
    registry = registry_bytes(watched.registry)
    # The search would find what is there.
    assert sha256(newest.refresh.text.encode()).digest() in registry["oauth.db-wal"] + registry["oauth.db"]
    assert EVENTS.issubset(log.split())
    watched.watch.add("server secret", (watched.registry.parent / "oauth.db.secret").read_text().strip())

    assert watched.watch.leaks([("the log", log.encode()), *registry.items()]) == []
    refusals = [(f"{status} at {path}", text.encode()) for status, path, text in watched.watch.refusals]
    assert watched.watch.leaks(refusals, pages=False) == []
    size = sum(map(len, registry.values()))
    print(
        f"\n{len(watched.watch.secrets)} secrets and {len(watched.watch.of_pages)} values of pages in "
        f"{len(log.splitlines())} lines of log, {len(refusals)} refusals, {size} bytes of registry: none"
    )


def clients(watched: Watched) -> tuple[OAuthClient, OAuthClient]:
    public = OAuthClient(watched.base, watched.connect, scope="notes:read")
    confidential = OAuthClient(
        watched.base, watched.connect, scope="notes:read notes:write", auth_method="client_secret_post"
    )
    assert (public.register().status_code, confidential.register().status_code) == (201, 201)
    return public, confidential


def signs_in_at_last(watched: Watched, client: OAuthClient) -> None:
    with pytest.raises(AssertionError, match="stuck at a page with status 403: Sign in"):
        client.sign_in(User(password=NEAR_MISS, browser=watched.connect()))
    user = User(browser=watched.connect())
    assert client.come_back(user, client.begin(), "deny")["error"] == "access_denied"
    told = client.come_back(user, client.begin(scope="notes:unknown"))
    assert told["error"] == "invalid_scope"
    attempt, code = client.sign_in(user)
    assert error(client.redeem(code, Secret("v" * 64))) == (400, "invalid_grant")
    assert error(client.call(code)) == (401, "invalid_token")
    first = pair(client.redeem(code, attempt.verifier))
    assert error(client.redeem(code, attempt.verifier)) == (400, "invalid_grant")
    assert error(client.refresh(first.refresh)) == (400, "invalid_grant")


def goes_on(client: OAuthClient) -> Pair:
    first = client.connected()
    assert client.call(first.access).status_code == 200
    second = pair(client.refresh(first.refresh))
    assert pair(client.refresh(first.refresh)) == second
    assert client.call(second.access).status_code == 200
    return second


def misplaces_its_secrets(watched: Watched, client: OAuthClient, held: Pair) -> None:
    """Every secret at every place where it does not belong; each is refused, and none is repeated."""
    secret = client.secret
    assert secret is not None
    session, url = client.session, client.server["token_endpoint"]
    for text in (held.refresh.text, held.access.text, secret.text):
        for name in ("grant_type", "scope", "resource", "client_id", "code", "code_verifier"):
            form = {"grant_type": "refresh_token", "refresh_token": held.refresh.text, name: text}
            answer = session.post(url, {"client_id": client.client_id, **form}, timeout=TIMEOUT)
            assert answer.status_code in (400, 401)
        query = {"client_secret": text, "access_token": text, "refresh_token": text}
        assert session.post(url, {}, params=query, timeout=TIMEOUT).status_code == 400
        assert session.get(client.api, params=query, timeout=TIMEOUT).status_code == 401
        assert session.post(url, json=query, timeout=TIMEOUT).status_code == 400
        assert session.post(url, f"refresh_token={text}&" * 2, timeout=TIMEOUT).status_code == 400
        assert client.post("token", grant_type="refresh_token", refresh_token=text + "=").status_code == 400
        authorize = client.server["authorization_endpoint"]
        for name in ("client_id", "redirect_uri", "request", "prompt"):
            asked = {"client_id": client.client_id, name: text}
            page = session.get(authorize, params=asked, allow_redirects=False, timeout=TIMEOUT)
            assert page.status_code in (200, 400)
        for credentials in (f"Bearer {text}, Bearer {text}", f"Basic {text}", f"Bearer {text}x", text):
            refused = session.get(client.api, headers={"Authorization": credentials}, timeout=TIMEOUT)
            assert refused.status_code in (400, 401)
    wrong = {"grant_type": "refresh_token", "client_id": client.client_id, "client_secret": "x" * 40}
    assert session.post(url, wrong, timeout=TIMEOUT).status_code == 401


def takes_what_is_not_its_own(thief: OAuthClient, owner: OAuthClient, held: Pair) -> None:
    assert error(thief.refresh(held.refresh)) == (400, "invalid_grant")
    assert error(thief.revoke(held.refresh)) == (400, "invalid_grant")
    assert error(owner.refresh(held.refresh, scope="notes:unknown")) == (400, "invalid_scope")


def says_good_bye(public: OAuthClient, confidential: OAuthClient, held: Pair) -> None:
    assert confidential.revoke(held.access).status_code == 200
    assert error(confidential.call(held.access)) == (401, "invalid_token")
    assert confidential.revoke(held.refresh).status_code == 200
    reused = public.connected()
    pair(public.refresh(pair(public.refresh(reused.refresh)).refresh))
    assert error(public.refresh(reused.refresh)) == (400, "invalid_grant")


def registry_bytes(path: Path) -> dict[str, bytes]:
    """The registry's file and what lies beside it, but for the server secret's own."""
    files = [file for file in path.parent.glob("oauth.db*") if file.suffix != ".secret"]
    return {"oauth.db-wal": b"", **{file.name: file.read_bytes() for file in files}}


@pytest.mark.requirement("WSGI-15")
def test_a_token_in_a_path_is_not_logged_here(in_this_process: Watched) -> None:
    # gunicorn would log the path at DEBUG level, so this is asked of our own logs alone.
    client = OAuthClient(in_this_process.base, in_this_process.connect)
    held = client.connected()
    for text in (held.access.text, held.refresh.text):
        for url in (f"{BASE}/oauth/{text}", f"{BASE}/oauth/token/{text}", f"{client.api}/{text}"):
            assert client.session.get(url, timeout=TIMEOUT).status_code in (401, 404)
    places = [("the log", in_this_process.log().encode())]
    places += [(path, text.encode()) for _, path, text in in_this_process.watch.refusals]
    assert in_this_process.watch.leaks(places, pages=False) == []


@pytest.mark.requirement("WSGI-15")
@pytest.mark.parametrize("trouble", [RegistryError("out of order"), RuntimeError("a mistake of ours")])
def test_trouble_in_the_middle_of_a_request_is_logged_without_what_was_presented(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    trouble: Exception,
) -> None:
    caplog.set_level(logging.DEBUG)
    server, watch = Clocked(tmp_path), Watch()
    client = OAuthClient(BASE, lambda: watch.over(session_with(server.middleware)))
    user = User(browser=client.connect())
    held = client.connected(user)
    attempt, code = client.sign_in(user)
    page = user.browser.get(client.begin().url)

    def fail(*_: object, **__: object) -> None:
        raise trouble

    status = 503 if isinstance(trouble, RegistryError) else 500
    with monkeypatch.context() as patched:
        patched.setattr(server.backend, "get", fail)
        patched.setattr(server.backend, "swap", fail)
        assert page.status_code == 200
        assert client.refresh(held.refresh).status_code == status
        assert client.redeem(code, attempt.verifier).status_code == status
        assert client.revoke(held.refresh).status_code == status
        assert user.browser.get(client.begin().url).status_code == status
    logged = "\n".join([caplog.text, *(repr(vars(record)) for record in caplog.records)])
    assert str(trouble) in logged
    assert watch.leaks([("the log", logged.encode())]) == []
    refusals = [(f"{status} at {path}", text.encode()) for status, path, text in watch.refusals]
    assert watch.leaks(refusals, pages=False) == []
    assert pair(client.refresh(held.refresh))
