"""Behind a TLS proxy, at its root or below a path: every URL that is told works from outside."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

import pytest
import requests
from requests.adapters import HTTPAdapter

from oauth_refresh.demo import USERS
from tests.document_host import Authority, make_authority
from tests.flows.client import OAuthClient, error, pair
from tests.flows.headless import TIMEOUT, User
from tests.flows.servers import Gunicorn, wait_until

OUTSIDE = "https://notes.proxied.dev"
EVIL = "evil.dev"

# What a client, or a proxy that nobody told to, may send to make the server believe that it is elsewhere.
LIES: Mapping[str, Mapping[str, str]] = {
    "nothing": {},
    "host": {"Host": EVIL},
    "host with port": {"Host": "notes.proxied.dev:8443"},
    "loopback host": {"Host": "localhost"},
    "forwarded host": {"X-Forwarded-Host": EVIL, "X-Forwarded-Port": "8443", "X-Original-Host": EVIL},
    "forwarded scheme": {"X-Forwarded-Proto": "http", "X-Forwarded-Scheme": "http", "X-Forwarded-Ssl": "off"},
    "forwarded prefix": {"X-Forwarded-Prefix": "/evil", "X-Script-Name": "/evil", "Script-Name": "/evil"},
    "forwarded": {"Forwarded": f"for=1.2.3.4;host={EVIL};proto=http", "X-Forwarded-For": "1.2.3.4"},
    "other path": {"X-Original-Url": f"https://{EVIL}/", "X-Rewrite-Url": "/evil"},
}


class Place(NamedTuple):
    """Where the server is from outside, and how to get there."""

    base: str
    proxy: HTTPAdapter
    root: Path

    def connect(self) -> requests.Session:
        session = requests.Session()
        session.trust_env = False
        session.verify = str(self.root)
        session.mount("https://", self.proxy)
        return session


class ToProxy(HTTPAdapter):
    """Every https host is the proxy at this port: the Internet's names are not those of this machine."""

    def __init__(self, port: int) -> None:
        self._port = port
        super().__init__()

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        host, how = super().build_connection_pool_key_attributes(request, verify, cert)
        name = host["host"]
        return {**host, "host": "127.0.0.1", "port": self._port}, {
            **how,
            "server_hostname": name,
            "assert_hostname": name,
        }

    def add_headers(self, request: Any, **_: Any) -> None:
        request.headers.setdefault("Host", urlsplit(request.url).netloc)


class Nginx:
    """A TLS proxy in front of an upstream that speaks HTTP, as an operator would set it up."""

    def __init__(self, folder: Path, authority: Authority, location: str, upstream: str) -> None:
        program = shutil.which("nginx") or "/usr/sbin/nginx"
        assert os.access(program, os.X_OK), "these tests need nginx"
        self._log = folder / "error.log"
        self.port = _free_port()
        configuration = folder / "nginx.conf"
        configuration.write_text(
            f"""
daemon off;
master_process off;
pid {folder}/pid;
error_log {self._log};
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{self.port} ssl;
        ssl_certificate {authority.chain};
        ssl_certificate_key {authority.key};
        location {location} {{
            proxy_pass {upstream};
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        }}
    }}
}}
"""
        )
        self._process = subprocess.Popen(
            [program, "-p", str(folder), "-c", str(configuration), "-e", str(self._log)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(self._answers)

    def _answers(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        return False

    def close(self) -> None:
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self._process.kill()
        self._process.wait(10)


def _free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port: int = listener.getsockname()[1]
        return port


WAYS = {
    # location in the proxy, path of the issuer, what the application server is told of it
    "at the root": ("/", "", {}),
    "below a path that the application knows": ("/app/", "/app", {"SCRIPT_NAME": "/app"}),
    "below a path that the proxy takes off": ("/app/", "/app", {"TAKEN_OFF": "yes"}),
}


@pytest.fixture(scope="module", params=WAYS.values(), ids=list(WAYS))
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    location, path, told = request.param
    folder = tmp_path_factory.mktemp("proxied")
    authority = make_authority(folder, urlsplit(OUTSIDE).hostname or "", EVIL, "localhost")
    users = folder / "users.txt"
    users.write_text("".join(f"{name}:{hashed}\n" for name, hashed in USERS.items()))
    settings = {
        "OAUTH_ISSUER": OUTSIDE + path,
        "OAUTH_SECRET_KEY": "long enough for a server on the Internet",
        "OAUTH_USERS_FILE": str(users),
        **{key: value for key, value in told.items() if key == "SCRIPT_NAME"},
    }
    with closing(Gunicorn(folder, settings, options=("--workers", "2"))) as server:
        server.launch()
        upstream = server.base + ("/" if "TAKEN_OFF" in told else "")
        with closing(Nginx(folder, authority, location, upstream)) as proxy:
            yield Place(OUTSIDE + path, ToProxy(proxy.port), authority.root)


@pytest.mark.requirement("WSGI-03")
def test_a_client_is_connected_from_outside(place: Place) -> None:
    client = OAuthClient(place.base, place.connect)
    assert client.discover()["issuer"] == place.base
    user = User(browser=place.connect())
    first = client.connected(user)
    assert all(page.url.startswith(place.base + "/") for page in user.seen)
    assert client.call(first.access).status_code == 200
    second = pair(client.refresh(first.refresh))
    assert client.revoke(second.refresh).status_code == 200
    assert error(client.call(second.access)) == (401, "invalid_token")


@pytest.mark.requirement("WSGI-01")
@pytest.mark.parametrize("lie", LIES.values(), ids=list(LIES))
def test_whatever_is_sent_only_urls_that_work_from_outside_are_told(
    place: Place, lie: Mapping[str, str]
) -> None:
    session = place.connect()

    def get(url: str, **headers: str) -> requests.Response:
        return session.get(url, headers={**headers, **lie}, allow_redirects=False, timeout=TIMEOUT)

    refused = get(f"{place.base}/api/notes")
    assert refused.status_code == 401
    told = re.findall(r'https?://[^"]+', refused.headers["WWW-Authenticate"])
    resource = get(told[0])
    server = get(f"{place.base}/.well-known/openid-configuration")
    told += urls_in(resource.json()) + urls_in(server.json())
    assert len(told) > 8
    assert {url for url in told if not under(place.base, url)} == set()

    # And each of them is there, without the lie as well as with it.
    for name, url in server.json().items():
        if name.endswith("_endpoint"):
            assert get(url).status_code in (200, 302, 400, 405), name
            assert session.get(url, timeout=TIMEOUT).status_code in (200, 400, 405), name
    login = get(f"{place.base}/oauth/login")
    targets = re.findall(r'(?:action|href|src)="([^"]+)"', login.text)
    assert targets
    assert {target for target in targets if not under(place.base, urljoin(login.url, target))} == set()


def urls_in(document: object) -> list[str]:
    return re.findall(r'https?://[^"]+', json.dumps(document))


def under(base: str, url: str) -> bool:
    return url == base or url.startswith(base + "/")
