"""A command-line client that starts from nothing but the URL of a protected page.

    python client.py http://127.0.0.1:8000/api/notes

It reads the challenge of the refused request, finds the authorization server, registers itself, signs the
user in by the browser, calls the URL, refreshes, and calls it again. Tokens are kept for the next call.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import re
import secrets
import sys
import time
import webbrowser
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import requests
from sign_in import sign_in_without_browser

SECONDS_TO_ANSWER = 10
SECONDS_TO_SIGN_IN = 300
# Registered without a port: servers accept any in a loopback redirect (RFC 8252 section 7.3).
REDIRECT_URI = "http://127.0.0.1/callback"

Json = dict[str, Any]
# Takes the authorization URL and brings back the parameters that the browser was sent to the client with.
SignIn = Callable[[str], dict[str, str]]


class Failed(Exception):
    """Something that the user should read, without a traceback. Holds no token, code or password."""


class Store:
    """What is known about each protected URL, in one file that only its owner can read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, url: str) -> Json:
        return dict(self._all().get(url, {}))

    def write(self, url: str, known: Json) -> None:
        """Replace the file in one step: a crash leaves the old one or the new one, and a refresh token is no
        thing to lose."""
        everything = {**self._all(), url: known}
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = self._path.with_name(f"{self._path.name}.{secrets.token_hex(4)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(everything, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)

    def _all(self) -> Json:
        try:
            return dict(json.loads(self._path.read_text("utf-8")))
        except FileNotFoundError:
            return {}


class Client:
    """One protected URL, and the tokens for it."""

    def __init__(self, url: str, store: Store, sign_in: SignIn, scope: str | None) -> None:
        self._url = url
        self._store = store
        self._sign_in = sign_in
        self._scope = scope
        self._http = requests.Session()
        self._known = store.read(url)

    def get(self) -> requests.Response:
        """The page behind the URL. Signs in or refreshes first where that is needed."""
        if "access_token" not in self._known:
            self.log_in()
        answer = self._ask()
        if answer.status_code == 401:
            show("the access token is not accepted any more")
            if not self.refresh():
                self.log_in()
            answer = self._ask()
        return answer

    def log_in(self) -> None:
        challenge = self._challenge()
        resource = self._json("GET", challenge["resource_metadata"])
        if not f"{self._url}/".startswith(f"{resource['resource'].rstrip('/')}/"):
            raise Failed(f"{self._url} says that it is {resource['resource']}")
        issuer = resource["authorization_servers"][0]
        server = self._json("GET", well_known(issuer))
        if server["issuer"] != issuer:
            raise Failed(f"the server at {issuer} calls itself {server['issuer']}")
        show(f"authorization server: {issuer}")
        if self._known.get("issuer") != issuer:
            self._known = {"issuer": issuer, "client_id": self._register(server)}
        self._known |= {"token_endpoint": server["token_endpoint"], "resource": resource["resource"]}
        self._known["revocation_endpoint"] = server.get("revocation_endpoint")
        self._authorize(server, self._scope or challenge.get("scope"))

    def refresh(self) -> bool:
        """Renew the pair of tokens. False if the server ended the grant, and the user must sign in again."""
        answer = self._post(
            self._known["token_endpoint"],
            grant_type="refresh_token",
            refresh_token=self._known["refresh_token"],
            client_id=self._known["client_id"],
            resource=self._known["resource"],
        )
        if answer.status_code == 400 and answer.json().get("error") == "invalid_grant":
            show("the grant has ended")
            return False
        self._keep(answer, "refreshed")
        return True

    def log_out(self) -> None:
        """Revoke the refresh token, and with it the grant and every token of it. The registration stays."""
        token = self._known.pop("refresh_token", None)
        self._known.pop("access_token", None)
        if token and self._known.get("revocation_endpoint"):
            endpoint, client_id = self._known["revocation_endpoint"], self._known["client_id"]
            self._checked(self._post(endpoint, token=token, client_id=client_id))
        self._store.write(self._url, self._known)
        show("signed out")

    def _ask(self) -> requests.Response:
        headers = {"Authorization": f"Bearer {self._known['access_token']}"}
        return self._send("GET", self._url, headers=headers)

    def _challenge(self) -> dict[str, str]:
        answer = self._send("GET", self._url)
        header = answer.headers.get("WWW-Authenticate", "")
        challenge = dict(re.findall(r'(\w+)="([^"]*)"', header))
        if answer.status_code != 401 or "resource_metadata" not in challenge:
            raise Failed(f"{self._url} answers {answer.status_code} and does not say who protects it")
        show(f"401, and the challenge leads to {challenge['resource_metadata']}")
        return challenge

    def _register(self, server: Json) -> str:
        if "registration_endpoint" not in server:
            raise Failed("this server does not let clients register themselves")
        wanted = {
            "client_name": "Example command-line client",
            "redirect_uris": [REDIRECT_URI],
            "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code", "refresh_token"],
        }
        client_id = str(self._json("POST", server["registration_endpoint"], json=wanted)["client_id"])
        show(f"registered as {client_id}")
        return client_id

    def _authorize(self, server: Json, scope: str | None) -> None:
        verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        wanted = {
            "response_type": "code",
            "client_id": self._known["client_id"],
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            "state": state,
            "resource": self._known["resource"],
            "scope": scope,
        }
        query = {key: value for key, value in wanted.items() if value}
        sent_back = self._sign_in(f"{server['authorization_endpoint']}?{urlencode(query)}")
        if "state" not in sent_back:
            raise Failed("nobody signed in: was the name or the password refused?")
        if (
            sent_back.get("state") != state
            or sent_back.get("iss", self._known["issuer"]) != self._known["issuer"]
        ):
            raise Failed("the answer does not belong to this sign-in")
        if "code" not in sent_back:
            raise Failed(f"the server answered {sent_back.get('error', 'without a code')}")
        answer = self._post(
            server["token_endpoint"],
            grant_type="authorization_code",
            code=sent_back["code"],
            redirect_uri=sent_back["redirect_uri"],
            client_id=self._known["client_id"],
            code_verifier=verifier,
            resource=self._known["resource"],
        )
        self._keep(answer, "signed in")

    def _keep(self, answer: requests.Response, what: str) -> None:
        tokens = self._checked(answer).json()
        self._known |= {key: tokens[key] for key in ("access_token", "refresh_token") if key in tokens}
        # Stored before anything else happens: the old refresh token is worth nothing soon.
        self._store.write(self._url, self._known)
        show(f"{what}: scope {tokens.get('scope', '')!r}, access for {tokens.get('expires_in')} s")

    def _post(self, url: str, **form: str) -> requests.Response:
        return self._send("POST", url, data=form)

    def _json(self, method: str, url: str, **options: Any) -> Json:
        return dict(self._checked(self._send(method, url, **options)).json())

    def _checked(self, answer: requests.Response) -> requests.Response:
        if not answer.ok:
            raise Failed(
                f"{answer.request.method} {answer.url} answers {answer.status_code}: {answer.text[:200]}"
            )
        return answer

    def _send(self, method: str, url: str, **options: Any) -> requests.Response:
        try:
            return self._http.request(
                method, url, timeout=SECONDS_TO_ANSWER, allow_redirects=False, **options
            )
        except requests.RequestException as error:
            raise Failed(f"{url} cannot be reached: {type(error).__name__}") from error


def well_known(issuer: str) -> str:
    """Where the metadata of an issuer stands (RFC 8414 section 3.1)."""
    parts = urlsplit(issuer)
    return f"{parts.scheme}://{parts.netloc}/.well-known/oauth-authorization-server{parts.path.rstrip('/')}"


def sign_in_by_browser(authorization_url: str) -> dict[str, str]:
    """Open the browser, and wait on a loopback port for it to come back."""
    received: dict[str, str] = {}

    class Callback(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            found = parts.path == "/callback"
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/plain; charset=utf-8")
            self.end_headers()
            if found:
                received.update(parse_qsl(parts.query))
                self.wfile.write(b"Done. You can close this window and go back to the terminal.\n")

        def log_message(self, *_: object) -> None:
            # The default log line would hold the code.
            return

    with HTTPServer(("127.0.0.1", 0), Callback) as server:
        redirect_uri = f"http://127.0.0.1:{server.server_port}/callback"
        address = f"{authorization_url}&{urlencode({'redirect_uri': redirect_uri})}"
        show(f"sign in at {address}")
        webbrowser.open(address)
        server.timeout = 1
        until = time.monotonic() + SECONDS_TO_SIGN_IN
        while not received and time.monotonic() < until:
            server.handle_request()
    return {**received, "redirect_uri": redirect_uri}


def show(text: str) -> None:
    print(f"* {text}", file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Call a protected URL, signing in where that is needed.")
    parser.add_argument("url", help="a protected URL, for example http://127.0.0.1:8000/api/notes")
    parser.add_argument("--scope", help="scopes to ask for, instead of those that the URL asks for")
    parser.add_argument("--username", help="sign in without a browser, on the built-in pages")
    parser.add_argument("--password", help="with --username; other users of this machine can see it")
    parser.add_argument(
        "--sign-out", action="store_true", help="revoke what was granted, and forget the tokens"
    )
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    store = config / "oauth-refresh-example" / "tokens.json"
    parser.add_argument("--store", type=Path, default=store, help="where tokens are kept (%(default)s)")
    return parser.parse_args()


def main() -> int:
    given = arguments()
    sign_in: SignIn = sign_in_by_browser
    if given.username:
        sign_in = sign_in_without_browser(given.username, given.password or "", REDIRECT_URI)
    client = Client(given.url, Store(given.store), sign_in, given.scope)
    try:
        if given.sign_out:
            client.log_out()
            return 0
        print(client.get().text)
        client.refresh()
        print(client.get().text)
    except Failed as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
