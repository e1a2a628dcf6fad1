"""A client that is a web page of another origin lives the whole protocol in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page
from werkzeug.wrappers import Request, Response

from oauth_refresh import OAuthMiddleware
from tests.browser.conftest import Serve

pytestmark = pytest.mark.browser

SCOPES = {"notes:read": "Read your notes", "notes:write": "Change your notes"}
NOT_VALID = "the refresh token is not valid: unknown, expired, revoked or used before"
# The page knows the URL of the API and nothing else: `fetch` alone, as a browser lets pages of other origins.
CLIENT = Path(__file__).with_name("client.html").read_text()


def application(environ: Any, start_response: Any) -> Any:
    """An application with an API, which knows nothing of origins but for its own answers."""
    headers = [("Content-Type", "application/json"), ("Access-Control-Allow-Origin", "*")]
    if environ["REQUEST_METHOD"] == "OPTIONS":
        headers.append(("Access-Control-Allow-Headers", "authorization"))
    start_response("200 OK", headers)
    return [b'{"notes": []}']


@Request.application
def client_page(request: Request) -> Response:
    return Response(CLIENT, mimetype="text/html")


@pytest.fixture
def server(serve: Serve, tmp_path: Path) -> str:
    return serve(protected(tmp_path))


def protected(folder: Path, **settings: Any) -> OAuthMiddleware:
    return OAuthMiddleware(
        application,
        registry=f"sqlite://{folder}/oauth.db",
        protect={"GET /api/notes": "notes:read", "POST /api/notes": "notes:write"},
        scopes=SCOPES,
        password_check=lambda name, password: password == "a right one",
        environ={},
        **settings,
    )


@pytest.fixture
def page(browser: Browser) -> Any:
    context = browser.new_context(locale="en")
    yield context.new_page()
    context.close()


@pytest.mark.requirement("CORS-01")
@pytest.mark.requirement("CORS-03")
@pytest.mark.requirement("CORS-05")
@pytest.mark.requirement("CORS-07")
@pytest.mark.requirement("CORS-11")
def test_a_page_of_another_origin_goes_from_discovery_to_revocation(
    server: str, serve: Serve, page: Page
) -> None:
    # Another site too, so that nothing works by the cookies of a neighbour.
    client = serve(client_page).replace("127.0.0.1", "localhost")
    page.goto(client)
    begun = page.evaluate("api => connect(api)", f"{server}/api/notes")
    assert {name: begun[name] for name in ("refused", "missing", "registered")} == {
        "refused": 401,
        "missing": 404,
        "registered": 201,
    }
    page.goto(begun["go"])
    page.fill("[name=username]", "alice")
    page.fill("[name=password]", "a right one")
    page.click("main form button[type=submit]")
    page.click("button[value=allow]")
    page.wait_for_url(f"{client}/?*")
    assert page.evaluate("live()") == {
        "state": "s",
        "issuer_is_right": True,
        "wrong_verifier": {
            "status": 400,
            "body": {
                "error": "invalid_grant",
                "error_description": "code_verifier: does not match the code_challenge",
            },
        },
        "first": [200, None],
        "may_not": [403, "insufficient_scope"],
        "repeat_is_identical": True,
        "second": [200, None],
        "revoked": 200,
        "after": [401, "invalid_token"],
        "refresh_after": {
            "status": 400,
            "body": {"error": "invalid_grant", "error_description": NOT_VALID},
        },
        "unknown_client": 401,
        "wrong_method": 405,
    }


@pytest.mark.requirement("CORS-02")
@pytest.mark.parametrize("path", ["/oauth/authorize", "/oauth/login", "/oauth/logout", "/oauth/introspect"])
def test_pages_of_the_server_cannot_be_read_by_a_script_of_another_origin(
    server: str, serve: Serve, page: Page, path: str
) -> None:
    page.goto(serve(client_page))
    for how in ({}, {"credentials": "include"}, {"method": "POST", "body": "x=1"}):
        assert page.evaluate("([url, how]) => look_at(url, how)", [server + path, how]) == "TypeError"


@pytest.mark.requirement("CORS-04")
def test_with_a_list_of_origins_no_other_page_reads_anything(
    serve: Serve, page: Page, tmp_path: Path
) -> None:
    listed, other = serve(client_page), serve(client_page)
    server = serve(protected(tmp_path, cors_origins=[listed]))
    for origin, seen in ((listed, "cors"), (other, "TypeError")):
        page.goto(origin)
        for path in ("/.well-known/oauth-authorization-server", "/api/notes", "/oauth/token"):
            found = page.evaluate("([url, how]) => look_at(url, how)", [server + path, {}])
            assert found.partition(" ")[0] == seen, (origin, path)


@pytest.mark.requirement("CORS-04")
def test_no_cookie_goes_with_what_is_read_across_origins(server: str, serve: Serve, page: Page) -> None:
    page.goto(serve(client_page))
    for path in ("/.well-known/oauth-authorization-server", "/api/notes", "/oauth/token"):
        how = {"credentials": "include"}
        assert page.evaluate("([url, how]) => look_at(url, how)", [server + path, how]) == "TypeError"
