"""Clients as they are on the wire: their requests, replayed without any library that would smooth them."""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Mapping
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import requests

from tests.flows.headless import TIMEOUT, User
from tests.flows.secret import Pair, Secret

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "replayed", "version": "1"},
    },
}


class Replay:
    """One client at the MCP server of `base`. `headers` go with every request that it sends itself."""

    def __init__(self, base: str, headers: Mapping[str, str] | None = None) -> None:
        self.base = base
        self.mcp = f"{base}/mcp"
        self.session = requests.Session()
        self.session.headers.update(headers or {})
        self.client: dict[str, Any] = {}
        self.verifier = Secret("")
        self.redirect_uri = ""
        # The endpoints as the metadata names them, until a client that knows better says otherwise.
        self.authorize_at = f"{base}/oauth/authorize"
        self.token_at = f"{base}/oauth/token"
        self.register_at = f"{base}/oauth/register"

    # --- what is asked before anybody signs in ----------------------------------------------------

    def contact(self, method: str = "POST", path: str = "/mcp") -> requests.Response:
        """The first request, which has no token."""
        body = INITIALIZE if method == "POST" else None
        return self._send(method, self.base + path, json=body)

    def challenge(self, answer: requests.Response) -> dict[str, str]:
        """What the client makes of a 401: the first value of each name, by regular expression."""
        assert answer.status_code == 401
        header = answer.headers["WWW-Authenticate"]
        assert header.startswith("Bearer ")
        found = re.findall(r'(resource_metadata|scope|error)="([^"]*)"', header)
        return dict(reversed(found))

    def probe(self, path: str) -> requests.Response:
        """A look at a well-known place. Whatever is there, it is JSON and no redirect."""
        answer = self._send("GET", self.base + path if path.startswith("/") else path)
        assert answer.headers["Content-Type"].partition(";")[0] == "application/json"
        assert isinstance(answer.json(), dict)
        assert not answer.is_redirect
        return answer

    def register(self, redirect_uris: list[str], **metadata: object) -> dict[str, Any]:
        wanted = {
            "client_name": "A replay",
            "redirect_uris": redirect_uris,
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
            **metadata,
        }
        answer = self._send("POST", self.register_at, json=wanted)
        assert answer.status_code == 201, answer.text
        self.client = answer.json()
        # Strict schemas stop at an optional member that is there and says nothing.
        assert not [name for name, value in self.client.items() if value in (None, "")]
        return self.client

    # --- signing in -------------------------------------------------------------------------------

    def address(self, redirect_uri: str, state: str, **parameters: str) -> str:
        """The address for the browser."""
        self.verifier = Secret(secrets.token_urlsafe(48))
        self.redirect_uri = redirect_uri
        digest = sha256(self.verifier.text.encode()).digest()
        query = {
            "response_type": "code",
            "client_id": self.client["client_id"],
            "redirect_uri": redirect_uri,
            "state": state,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
            **parameters,
        }
        return f"{self.authorize_at}?{urlencode(query)}"

    def sign_in(self, redirect_uri: str, state: str = "s", **parameters: str) -> Secret:
        """The code, after the user has allowed it; state and issuer came back as they should."""
        address = self.address(redirect_uri, state, **parameters)
        landed = User().visit(address, redirect_uri)
        told = parse_qs(urlsplit(landed).query)
        assert (told["state"], told["iss"]) == ([state], [self.base])
        (code,) = told["code"]
        return Secret(code)

    def exchange(self, code: Secret, **more: str) -> Pair:
        return _pair(
            self.token(
                grant_type="authorization_code",
                code=code.text,
                redirect_uri=self.redirect_uri,
                code_verifier=self.verifier.text,
                **more,
            )
        )

    def connect(self, redirect_uri: str, **parameters: str) -> Pair:
        """From the browser to the first pair; a `resource` is sent in both requests."""
        resource = {name: value for name, value in parameters.items() if name == "resource"}
        return self.exchange(self.sign_in(redirect_uri, **parameters), **resource)

    # --- with tokens ------------------------------------------------------------------------------

    def refresh(self, token: Secret, **more: str) -> Pair:
        return _pair(self.token(grant_type="refresh_token", refresh_token=token.text, **more))

    def token(self, **form: str) -> requests.Response:
        """A form for the token endpoint, with the client's id in it as public clients send it."""
        return self._send("POST", self.token_at, data={"client_id": self.client["client_id"], **form})

    def calls(self, access: Secret, path: str = "/mcp") -> bool:
        """Whether a tool can be called: the client is connected."""
        asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
        answer = self._send(
            "POST",
            self.base + path,
            json={**asked, "params": {"name": "who_am_i", "arguments": {}}},
            headers={"Authorization": f"Bearer {access.text}"},
        )
        if answer.status_code != 200:
            return False
        told = answer.json()["result"]["structuredContent"]
        return bool(told["subject"] == "alice")

    def _send(self, method: str, url: str, **how: Any) -> requests.Response:
        accept = {"Accept": "application/json, text/event-stream"}
        headers = {**accept, **how.pop("headers", {})}
        return self.session.request(
            method, url, headers=headers, allow_redirects=False, timeout=TIMEOUT, **how
        )


def _pair(answer: requests.Response) -> Pair:
    assert answer.status_code == 200, (answer.status_code, answer.json().get("error"))
    assert answer.headers["Cache-Control"] == "no-store"
    return Pair(answer.json())
