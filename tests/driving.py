"""A client and its browser that drive a server from outside, as endpoint tests and flow tests need them.

`InProcess` serves a middleware without a socket, held to WSGI on both of its sides by wsgiref.validate.
A test over real HTTP subclasses `Driven` and hands in its own transport.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from html.parser import HTMLParser
from itertools import count
from typing import Any, NamedTuple, Protocol
from unittest.mock import patch
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit
from wsgiref.validate import validator

from werkzeug.datastructures import Headers
from werkzeug.test import EnvironBuilder

from oauth_refresh import OAuthMiddleware, pages

ORIGIN = "http://localhost:8000"
REDIRECT = "http://127.0.0.1:4711/callback"
PASSWORD = "a right one"
VERIFIER = "a-verifier-of-between-43-and-128-characters-0123456789"
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
SCOPES = {"notes:read": "Read your notes", "notes:write": "Change your notes"}
PROTECT = {"/api": "", "GET /api/notes": "notes:read", "POST /api/notes": "notes:write", "/mcp": ""}

FORM = "application/x-www-form-urlencoded"

# Compiling the templates takes most of the time in which a server is built, and changes nothing.
_templates = cache(pages._environment)

_versions = count(1)

Fields = Mapping[str, "str | None"]


class Clock:
    """A clock that tests move."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += seconds


class Answer(NamedTuple):
    """One HTTP answer."""

    status: int
    headers: Headers
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        assert self.headers["Content-Type"] == "application/json", self
        return json.loads(self.body)

    @property
    def location(self) -> str:
        return self.headers["Location"]

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters in the query of the redirect, each of which must occur once."""
        pairs = parse_qsl(urlsplit(self.location).query, keep_blank_values=True, strict_parsing=True)
        assert len({name for name, _ in pairs}) == len(pairs), self.location
        return dict(pairs)

    @property
    def forms(self) -> list[Form]:
        reader = _Forms()
        reader.feed(self.text)
        return reader.found

    def form(self, field: str) -> Form:
        """The one form of the page with this field or button."""
        (found,) = [form for form in self.forms if field in form.names]
        return found


class Form(NamedTuple):
    """One form of a page: where it is posted to, its hidden fields, and the names of all its fields."""

    action: str
    hidden: dict[str, str]
    names: set[str]


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[Form] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        members = dict(attrs)
        if tag == "form":
            assert members["method"] == "post"
            self.found.append(Form(members["action"] or "", {}, set()))
        elif tag in ("input", "button") and "name" in members:
            name = members["name"] or ""
            self.found[-1].names.add(name)
            if members.get("type") == "hidden":
                self.found[-1].hidden[name] = members.get("value") or ""


class Transport(Protocol):
    """Sends one request to an absolute URL, and keeps cookies from one request to the next."""

    def __call__(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> Answer: ...


class Browser:
    """A browser of one user: it keeps cookies and fills forms, and follows redirects only when told to."""

    def __init__(self, transport: Transport) -> None:
        self.send = transport

    def get(self, url: str, headers: Mapping[str, str] | None = None) -> Answer:
        return self.send("GET", url, b"", headers or {})

    def post(self, url: str, fields: Mapping[str, str], headers: Mapping[str, str] | None = None) -> Answer:
        body = urlencode(fields).encode()
        return self.send("POST", url, body, {"Content-Type": FORM, **(headers or {})})

    def submit(self, form: Form, **fields: str) -> Answer:
        return self.post(form.action, {**form.hidden, **fields})

    def sign_in(self, page: Answer, username: str = "alice", password: str = PASSWORD) -> Answer:
        """Fill in the login page."""
        return self.submit(page.form("username"), username=username, password=password)

    def consent_page(self, url: str, username: str = "alice", password: str = PASSWORD) -> Answer:
        """Open an authorization request, and sign in if a login page asks for it."""
        page = self.get(url)
        if page.status == 200 and any("username" in form.names for form in page.forms):
            signed_in = self.sign_in(page, username, password)
            assert signed_in.status == 303, signed_in.text
            page = self.get(signed_in.location)
        return page

    def decide(self, url: str, decision: str = "allow", **login: str) -> Answer:
        """Open an authorization request, sign in if asked to, decide: the redirect to the client."""
        page = self.consent_page(url, **login)
        if page.status in (302, 303):
            return page
        return self.submit(page.form("decision"), decision=decision)


class Registered(NamedTuple):
    """A client as it knows itself. `auth` is its token_endpoint_auth_method."""

    client_id: str
    secret: str | None = None
    redirect_uri: str = REDIRECT
    auth: str = "none"

    def credentials(self, fields: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
        """The form fields and the headers of a request in which this client authenticates."""
        if self.secret is None:
            return {"client_id": self.client_id, **fields}, {}
        if self.auth == "client_secret_post":
            return {"client_id": self.client_id, "client_secret": self.secret, **fields}, {}
        return fields, {"Authorization": basic(self.client_id, self.secret)}


def basic(name: str, secret: str, *, encode: bool = True) -> str:
    """An Authorization header; form-encoded as RFC 6749 section 2.3.1 says, unless told not to."""
    pair = f"{quote(name, safe='')}:{quote(secret, safe='')}" if encode else f"{name}:{secret}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


class Driven:
    """A running server seen from outside, and the requests that clients make of it.

    `base` is its public URL without a slash at the end. Fields set to None are left out of a request.
    """

    base: str = ORIGIN
    prefix: str = "/oauth"

    def transport(self) -> Transport:
        """A new way to send requests, with no cookies yet."""
        raise NotImplementedError

    def browser(self) -> Browser:
        return Browser(self.transport())

    def signed_in(self, username: str) -> Browser:
        """A browser with a user, by the built-in login page."""
        browser = self.browser()
        answer = browser.sign_in(browser.get(f"{self.base}{self.prefix}/login"), username)
        assert answer.status == 303, answer.text
        return browser

    def send(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request without cookies, to a path below `base`."""
        return self.transport()(method, self.base + path, body, headers or {})

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        return self.send("GET", path, b"", headers)

    def post(
        self, path: str, fields: Mapping[str, str] | str, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Post a form: fields, or text that is encoded already."""
        body = fields if isinstance(fields, str) else urlencode(fields)
        return self.send("POST", path, body.encode(), {"Content-Type": FORM, **(headers or {})})

    def post_json(self, path: str, data: object, headers: Mapping[str, str] | None = None) -> Answer:
        sent = {"Content-Type": "application/json", **(headers or {})}
        return self.send("POST", path, json.dumps(data).encode(), sent)

    def put_json(self, path: str, data: object, headers: Mapping[str, str] | None = None) -> Answer:
        sent = {"Content-Type": "application/json", **(headers or {})}
        return self.send("PUT", path, json.dumps(data).encode(), sent)

    # --- what a client does -----------------------------------------------------------------------

    def register(self, **metadata: object) -> Registered:
        """Register a client; a public one that may refresh, unless the metadata says otherwise.

        Its version is always another one: public clients that say the same of themselves are one client.
        """
        wanted = {
            "client_name": "Probe",
            "software_version": str(next(_versions)),
            "redirect_uris": [REDIRECT],
            "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code", "refresh_token"],
            **metadata,
        }
        answer = self.post_json(f"{self.prefix}/register", wanted)
        assert answer.status == 201, answer.text
        got = answer.json
        return Registered(
            got["client_id"],
            got.get("client_secret"),
            got["redirect_uris"][0],
            got["token_endpoint_auth_method"],
        )

    def authorize_query(self, client: Registered, **fields: str | None) -> str:
        wanted: dict[str, str | None] = {
            "response_type": "code",
            "client_id": client.client_id,
            "redirect_uri": client.redirect_uri,
            "state": "s",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
            **fields,
        }
        return urlencode(_present(wanted))

    def authorize_url(self, client: Registered, **fields: str | None) -> str:
        return f"{self.base}{self.prefix}/authorize?{self.authorize_query(client, **fields)}"

    def code(self, client: Registered, browser: Browser | None = None, **fields: str | None) -> str:
        """An authorization code, allowed by alice."""
        answer = (browser or self.browser()).decide(self.authorize_url(client, **fields))
        return answer.parameters["code"]

    def redeem(self, client: Registered, code: str, **fields: str | None) -> Answer:
        wanted: dict[str, str | None] = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": client.redirect_uri,
            "code_verifier": VERIFIER,
        }
        return self.token(client, **{**wanted, **fields})

    def refresh(self, client: Registered, refresh_token: str, **fields: str | None) -> Answer:
        wanted: dict[str, str | None] = {"grant_type": "refresh_token", "refresh_token": refresh_token}
        return self.token(client, **{**wanted, **fields})

    def token(self, client: Registered, **fields: str | None) -> Answer:
        sent, headers = client.credentials(_present(fields))
        return self.post(f"{self.prefix}/token", sent, headers)

    def revoke(self, client: Registered, token: str, **fields: str | None) -> Answer:
        sent, headers = client.credentials(_present({"token": token, **fields}))
        return self.post(f"{self.prefix}/revoke", sent, headers)

    def tokens(self, client: Registered | None = None, **fields: str | None) -> dict[str, Any]:
        """The members of the first token response of a new grant of alice's."""
        client = client or self.register()
        answer = self.redeem(client, self.code(client, None, **fields))
        assert answer.status == 200, answer.text
        return dict(answer.json)

    def api(self, token: str | None, path: str = "/api", method: str = "GET", **headers: str) -> Answer:
        """Call the application behind with a bearer token."""
        sent = {} if token is None else {"Authorization": f"Bearer {token}"}
        return self.send(method, path, b"", {**sent, **headers})


def _present(fields: Fields) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value is not None}


def seen_by_application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """An application that answers who it thinks is calling, as JSON."""
    token = environ.get("oauth_refresh.token")
    seen = {
        "path": environ["PATH_INFO"],
        "subject": None if token is None else token.subject,
        "scopes": None if token is None else list(token.scopes),
        "remote_user": environ.get("REMOTE_USER"),
        "authorization": environ.get("HTTP_AUTHORIZATION"),
    }
    body = json.dumps(seen).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


class InProcess(Driven):
    """A middleware before an application, in this process.

    `mount` is the SCRIPT_NAME that the server in front takes off; `extra` goes into every environ. Settings
    are keywords of `OAuthMiddleware`; by default there are users (any name, with `PASSWORD`), two scopes,
    a protected `/api` and `/mcp`, and a registry in memory. `app` None is an application that answers what
    it sees. A setting that is None is left out. An own `middleware` may be handed in instead of settings.
    """

    def __init__(
        self,
        app: Any = None,
        *,
        base: str | None = None,
        mount: str = "",
        extra: Mapping[str, Any] | None = None,
        middleware: OAuthMiddleware | None = None,
        **settings: Any,
    ) -> None:
        self.clock = Clock()
        if middleware is None:
            chosen = {
                "registry": "memory:",
                "protect": PROTECT,
                "scopes": SCOPES,
                "secret_key": "a server secret of enough bytes",
                "password_check": check_password,
                **settings,
            }
            behind: Any = validator(app or seen_by_application)
            given = {name: value for name, value in chosen.items() if value is not None}
            with patch.object(pages, "_environment", _templates):
                middleware = OAuthMiddleware(behind, environ={}, clock=self.clock, **given)
        self.middleware = middleware
        self.registry = middleware.registry
        self.prefix = middleware.settings.prefix
        self.mount = mount
        self.extra = dict(extra or {})
        self.base = base or (middleware.settings.issuer or ORIGIN + mount).rstrip("/")
        self.wsgi: Any = validator(middleware)

    def transport(self) -> Transport:
        jar: dict[str, str] = {}

        def send(method: str, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
            environ = self.environ(method, url, body, headers)
            if jar:
                environ["HTTP_COOKIE"] = "; ".join(f"{name}={value}" for name, value in jar.items())
            answer = self.call(environ)
            for header in answer.headers.getlist("Set-Cookie"):
                name, _, value = header.partition(";")[0].partition("=")
                jar[name] = value
                if not value:
                    del jar[name]
            return answer

        return send

    def call(self, environ: dict[str, Any]) -> Answer:
        """The answer to a request that is given as its environ."""
        started: list[tuple[str, list[tuple[str, str]]]] = []
        body: list[bytes] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            started.append((status, headers))
            return body.append

        items = self.wsgi(environ, start_response)
        try:
            body.extend(items)
        finally:
            items.close()
        status, headers = started[-1]
        return Answer(int(status[:3]), Headers(headers), b"".join(body))

    def environ(
        self, method: str, url: str, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """The environ of a request to an absolute URL. A `Host` among the headers replaces its host."""
        parts = urlsplit(url)
        path = parts.path.removeprefix(self.mount)
        builder = EnvironBuilder(
            "/",
            f"{parts.scheme}://{parts.netloc}{self.mount}",
            method=method,
            query_string=parts.query,
            data=body if body or method == "POST" else None,
            headers=Headers(list((headers or {}).items())),
        )
        made = builder.get_environ()
        made["PATH_INFO"] = unquote(path, "latin-1")
        made.update({"HTTP_HOST": headers["Host"]} if headers and "Host" in headers else {})
        return {**made, **self.extra}


def check_password(username: str, password: str) -> str | None:
    return username if password == PASSWORD else None
