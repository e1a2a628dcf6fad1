"""A client of our own writing: the protocol step by step, nothing hidden and nothing tried twice."""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Callable
from hashlib import sha256
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlencode, urlsplit

import requests

from tests.flows.headless import TIMEOUT, User
from tests.flows.secret import Pair, Secret

REDIRECT_URI = "http://127.0.0.1:8765/callback"


class Attempt(NamedTuple):
    """An authorization request that was begun: the URL for the browser, and what the client keeps."""

    url: str
    state: str
    verifier: Secret


class OAuthClient:
    """A client of the server at `base`. Every method answers what the server said, whatever it was."""

    def __init__(
        self,
        base: str,
        connect: Callable[[], requests.Session] = requests.Session,
        *,
        api: str = "/api/notes",
        scope: str = "notes:read",
        auth_method: str = "none",
    ) -> None:
        self.base = base
        self.api = base + api
        self.scope = scope
        self.auth_method = auth_method
        self.session = connect()
        self.connect = connect
        self.server: dict[str, Any] = {}
        self.client_id = ""
        self.secret: Secret | None = None

    # --- getting acquainted -----------------------------------------------------------------------

    def discover(self) -> dict[str, Any]:
        """From a refused call to the metadata of the authorization server, as RFC 9728 leads there."""
        refused = self.call(None)
        assert refused.status_code == 401
        found = re.search(r'resource_metadata="([^"]+)"', refused.headers["WWW-Authenticate"])
        assert found
        resource = self._document(found[1])
        assert self.api.startswith(resource["resource"])
        issuer = resource["authorization_servers"][0]
        parts = urlsplit(issuer)
        path = f"/.well-known/oauth-authorization-server{parts.path.rstrip('/')}"
        try:
            self.server = self._document(f"{parts.scheme}://{parts.netloc}{path}")
        except requests.HTTPError:
            # Where the root of the host belongs to somebody else: the form that is appended to the path.
            self.server = self._document(f"{issuer}/.well-known/openid-configuration")
        assert self.server["issuer"] == issuer
        return self.server

    def _document(self, url: str) -> dict[str, Any]:
        answer = self.session.get(url, allow_redirects=False, timeout=TIMEOUT)
        answer.raise_for_status()
        document: dict[str, Any] = answer.json()
        return document

    def register(self, **metadata: object) -> requests.Response:
        wanted = {
            "client_name": "A test",
            # Public clients that say the same of themselves are one client.
            "software_version": secrets.token_hex(8),
            "redirect_uris": [REDIRECT_URI],
            "grant_types": ["authorization_code", "refresh_token"],
            "token_endpoint_auth_method": self.auth_method,
            **metadata,
        }
        if not self.server:
            self.discover()
        answer = self.session.post(self.server["registration_endpoint"], json=wanted, timeout=TIMEOUT)
        if answer.status_code == 201:
            told = answer.json()
            self.client_id = told["client_id"]
            self.secret = Secret(told["client_secret"]) if "client_secret" in told else None
        return answer

    # --- the user's consent -----------------------------------------------------------------------

    def begin(self, **parameters: str) -> Attempt:
        verifier = secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        state = secrets.token_urlsafe(12)
        query = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": REDIRECT_URI,
            "scope": self.scope,
            "state": state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            **parameters,
        }
        return Attempt(f"{self.server['authorization_endpoint']}?{urlencode(query)}", state, Secret(verifier))

    def come_back(self, user: User, attempt: Attempt, decision: str = "allow") -> dict[str, str]:
        """What the redirect URI was told; state and issuer have been checked (RFC 9207)."""
        landed = user.visit(attempt.url, REDIRECT_URI, decision)
        told = {name: values[0] for name, values in parse_qs(urlsplit(landed).query).items()}
        assert told.pop("state") == attempt.state
        assert told.pop("iss") == self.server["issuer"]
        return told

    def sign_in(self, user: User, **parameters: str) -> tuple[Attempt, Secret]:
        attempt = self.begin(**parameters)
        told = self.come_back(user, attempt)
        assert sorted(told) == ["code"]
        return attempt, Secret(told["code"])

    def connected(self, user: User | None = None) -> Pair:
        """The whole way: registered if it is not yet, allowed by `user`, and with its first pair."""
        if not self.client_id:
            assert self.register().status_code == 201
        attempt, code = self.sign_in(User(browser=self.connect()) if user is None else user)
        return pair(self.redeem(code, attempt.verifier))

    # --- the token endpoint, and the API ----------------------------------------------------------

    def redeem(self, code: Secret, verifier: Secret) -> requests.Response:
        return self.post(
            "token",
            grant_type="authorization_code",
            code=code.text,
            code_verifier=verifier.text,
            redirect_uri=REDIRECT_URI,
        )

    def refresh(self, token: Secret, **more: str) -> requests.Response:
        return self.post("token", grant_type="refresh_token", refresh_token=token.text, **more)

    def revoke(self, token: Secret, **more: str) -> requests.Response:
        return self.post("revocation", token=token.text, **more)

    def post(self, endpoint: str, /, **form: str) -> requests.Response:
        """A form for the endpoint of this name, authenticated as this client does it."""
        sent, credentials = form, None
        if self.secret is not None and self.auth_method == "client_secret_basic":
            credentials = (self.client_id, self.secret.text)
        elif self.secret is not None:
            sent = {"client_id": self.client_id, "client_secret": self.secret.text, **form}
        else:
            sent = {"client_id": self.client_id, **form}
        url = self.server[f"{endpoint}_endpoint"]
        return self.session.post(url, sent, auth=credentials, timeout=TIMEOUT)

    def call(self, access: Secret | None, method: str = "GET", url: str | None = None) -> requests.Response:
        """One request to the API, or to `url`."""
        headers = {} if access is None else {"Authorization": f"Bearer {access.text}"}
        return self.session.request(
            method, url or self.api, headers=headers, allow_redirects=False, timeout=TIMEOUT
        )


def pair(answer: requests.Response) -> Pair:
    """The tokens of an answer that has to be a success."""
    assert answer.status_code == 200, error(answer)
    return Pair(answer.json())


def error(answer: requests.Response) -> tuple[int, object]:
    """Status and error code of an answer that has to be an error."""
    return answer.status_code, answer.json().get("error")


def grant_id(token: Secret) -> str:
    """The id of the grant, which every code and token carries in its first 16 bytes."""
    return base64.urlsafe_b64decode(token.text[4:] + "==")[:16].hex()


def generation_of(token: Secret) -> int:
    """The number of a refresh token in its line. That of the first is 1."""
    return int.from_bytes(base64.urlsafe_b64decode(token.text[4:] + "=")[16:20], "big")
