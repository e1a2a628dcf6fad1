"""Clients that we did not write, requests-oauthlib and Authlib, from discovery to revocation."""

from __future__ import annotations

import re
from typing import Any, Protocol
from urllib.parse import urlsplit

import pytest
import requests
from authlib.common.security import generate_token
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session as AuthlibSession
from authlib.oauth2.rfc8414 import get_well_known_url
from oauthlib.oauth2 import InvalidGrantError, WebApplicationClient
from requests_oauthlib import OAuth2Session as RequestsSession

from tests.flows.headless import TIMEOUT, User
from tests.flows.secret import Pair

REDIRECT_URI = "http://127.0.0.1:8765/callback"
SCOPE = "notes:read notes:write"

Document = dict[str, Any]


class Library(Protocol):
    """What each library can do for a registered client, in its own way."""

    refusal: type[Exception]

    def __init__(self, server: Document, client: Document) -> None: ...

    def sign_in(self, user: User) -> Pair:
        """Authorize with PKCE, and exchange the code."""

    def get(self, url: str) -> requests.Response:
        """Call the API with the access token that the library holds."""

    def refresh(self) -> Pair: ...

    def revoke(self) -> requests.Response:
        """Revoke the refresh token."""


class RequestsOAuthlib:
    """requests-oauthlib, and oauthlib under it for the revocation, which the upper one leaves out."""

    refusal = InvalidGrantError

    def __init__(self, server: Document, client: Document) -> None:
        self._server, self._client = server, client
        self._session = RequestsSession(
            client["client_id"],
            redirect_uri=REDIRECT_URI,
            scope=SCOPE.split(),
            pkce="S256",
            token_updater=self._keep,
        )
        self.updates = 0

    def sign_in(self, user: User) -> Pair:
        url, _ = self._session.authorization_url(self._server["authorization_endpoint"])
        landed = user.visit(url, REDIRECT_URI)
        return Pair(
            self._session.fetch_token(
                self._server["token_endpoint"],
                authorization_response=landed,
                client_secret=self._client.get("client_secret"),
                include_client_id="client_secret" not in self._client or self._in_body,
                timeout=TIMEOUT,
            )
        )

    def get(self, url: str) -> requests.Response:
        answer: requests.Response = self._session.get(url, timeout=TIMEOUT)
        return answer

    def refresh(self) -> Pair:
        return Pair(
            self._session.refresh_token(
                self._server["token_endpoint"], timeout=TIMEOUT, **self._in_form(), auth=self._basic()
            )
        )

    def renew_by_itself(self, url: str) -> requests.Response:
        """A call with an access token that the library believes to be expired: it refreshes first."""
        self._session.auto_refresh_url = self._server["token_endpoint"]
        self._session.auto_refresh_kwargs = self._in_form()
        self._session.token = {**self._session.token, "expires_in": -30, "expires_at": 1.0}
        basic = self._basic()
        named = {"client_id": basic.username, "client_secret": basic.password} if basic else {}
        answer: requests.Response = self._session.get(url, timeout=TIMEOUT, **named)
        return answer

    def revoke(self) -> requests.Response:
        client = WebApplicationClient(self._client["client_id"])
        url, headers, body = client.prepare_token_revocation_request(
            self._server["revocation_endpoint"],
            self._session.token["refresh_token"],
            token_type_hint="refresh_token",
            **self._in_form(),
        )
        return requests.post(url, body, headers=headers, auth=self._basic(), timeout=TIMEOUT)

    @property
    def _in_body(self) -> bool:
        return bool(self._client["token_endpoint_auth_method"] == "client_secret_post")

    def _in_form(self) -> Document:
        named = {"client_id": self._client["client_id"]}
        if self._in_body:
            return {**named, "client_secret": self._client["client_secret"]}
        return {} if "client_secret" in self._client else named

    def _basic(self) -> requests.auth.HTTPBasicAuth | None:
        if "client_secret" not in self._client or self._in_body:
            return None
        return requests.auth.HTTPBasicAuth(self._client["client_id"], self._client["client_secret"])

    def _keep(self, token: Document) -> None:
        self._session.token = token
        self.updates += 1


class Authlib:
    """Authlib's requests client, which knows every step itself."""

    refusal = OAuthError

    def __init__(self, server: Document, client: Document) -> None:
        self._server = server
        self._session = AuthlibSession(
            client["client_id"],
            client.get("client_secret"),
            token_endpoint_auth_method=client["token_endpoint_auth_method"],
            revocation_endpoint_auth_method=client["token_endpoint_auth_method"],
            token_endpoint=server["token_endpoint"],
            scope=SCOPE,
            redirect_uri=REDIRECT_URI,
            code_challenge_method="S256",
            update_token=self._keep,
        )
        self.updates = 0

    def sign_in(self, user: User) -> Pair:
        verifier = generate_token(64)
        url, state = self._session.create_authorization_url(
            self._server["authorization_endpoint"], code_verifier=verifier
        )
        landed = user.visit(url, REDIRECT_URI)
        return Pair(
            self._session.fetch_token(authorization_response=landed, code_verifier=verifier, state=state)
        )

    def get(self, url: str) -> requests.Response:
        answer: requests.Response = self._session.get(url, timeout=TIMEOUT)
        return answer

    def refresh(self) -> Pair:
        return Pair(self._session.refresh_token())

    def renew_by_itself(self, url: str) -> requests.Response:
        """A call with an access token that the library believes to be expired: it refreshes first."""
        self._session.token = {**self._session.token, "expires_at": 1}
        return self.get(url)

    def revoke(self) -> requests.Response:
        answer: requests.Response = self._session.revoke_token(
            self._server["revocation_endpoint"],
            token=self._session.token["refresh_token"],
            token_type_hint="refresh_token",
        )
        return answer

    def _keep(self, token: Document, **_: object) -> None:
        self.updates += 1


@pytest.fixture(autouse=True)
def _permit_http_on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")
    monkeypatch.setenv("AUTHLIB_INSECURE_TRANSPORT", "1")


def discover(api: str) -> Document:
    """From a call without a token to the metadata of the authorization server."""
    challenge = requests.get(api, timeout=TIMEOUT).headers["WWW-Authenticate"]
    found = re.search(r'resource_metadata="([^"]+)"', challenge)
    assert found
    resource = requests.get(found[1], timeout=TIMEOUT).json()
    assert resource["resource"] == api
    (issuer,) = resource["authorization_servers"]
    assert urlsplit(issuer).netloc == urlsplit(api).netloc
    url = get_well_known_url(issuer, external=True, suffix="oauth-authorization-server")
    server: Document = requests.get(url, timeout=TIMEOUT).json()
    assert server["issuer"] == issuer
    assert server["code_challenge_methods_supported"] == ["S256"]
    return server


def register(server: Document, auth_method: str) -> Document:
    wanted = {
        "client_name": "A library",
        "redirect_uris": [REDIRECT_URI],
        "grant_types": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_method": auth_method,
    }
    answer = requests.post(server["registration_endpoint"], json=wanted, timeout=TIMEOUT)
    assert answer.status_code == 201
    client: Document = answer.json()
    assert client["token_endpoint_auth_method"] == auth_method
    assert ("client_secret" in client) == (auth_method != "none")
    return client


@pytest.mark.requirement("DISC-03")
@pytest.mark.requirement("DCR-05")
@pytest.mark.requirement("RT-06")
@pytest.mark.parametrize("auth_method", ["none", "client_secret_basic", "client_secret_post"])
@pytest.mark.parametrize("library", [RequestsOAuthlib, Authlib], ids=["requests-oauthlib", "authlib"])
def test_a_library_goes_the_whole_way_from_discovery_to_revocation(
    base: str, library: type[Library], auth_method: str
) -> None:
    api = f"{base}/api/notes"
    server = discover(api)
    client = library(server, register(server, auth_method))

    first = client.sign_in(User())
    assert (first.expires_in, first.scopes) == (86400, frozenset(SCOPE.split()))
    assert client.get(api).status_code == 200
    assert client.get(f"{base}/api/echo").json()["subject"] == "alice"

    pairs = [first, *(client.refresh() for _ in range(3))]
    assert len({pair.refresh for pair in pairs} | {pair.access for pair in pairs}) == 8
    assert client.get(api).status_code == 200

    assert client.revoke().status_code == 200
    assert client.get(api).status_code == 401
    with pytest.raises(client.refusal, match="invalid_grant"):
        client.refresh()


@pytest.mark.parametrize("auth_method", ["none", "client_secret_basic"])
@pytest.mark.parametrize("library", [RequestsOAuthlib, Authlib], ids=["requests-oauthlib", "authlib"])
def test_a_library_renews_by_itself_when_its_access_token_has_expired(
    base: str, library: type[RequestsOAuthlib] | type[Authlib], auth_method: str
) -> None:
    api = f"{base}/api/notes"
    server = discover(api)
    client = library(server, register(server, auth_method))
    client.sign_in(User("bob"))
    assert [client.renew_by_itself(api).status_code for _ in range(3)] == [200, 200, 200]
    assert client.updates == 3
