"""The doctor before a server whose certificate nobody trusts."""

from __future__ import annotations

import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest

from oauth_refresh.doctor import outside


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing: tests have no log of requests."""


@pytest.fixture
def base(tmp_path: Path) -> Iterator[str]:
    key, certificate = tmp_path / "key", tmp_path / "certificate"
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=localhost"
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*make.split(), *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = make_server("127.0.0.1", 0, lambda environ, start: [], handler_class=Quiet)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"https://localhost:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_certificate_that_nobody_trusts_is_told_from_a_server_that_is_down(base: str) -> None:
    (found,) = outside.examine(base, None).findings
    assert (found.severity, found.about) == ("error", "https")
    assert "is not trusted" in found.text
    assert "certificate chain" in found.fix
