"""A certificate authority of the tests' own, and a server that it vouches for."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.backends import valkey


class Certificates:
    """An authority, and a certificate for 127.0.0.1. Made by openssl, in `folder`."""

    def __init__(self, folder: Path, name: str = "IP:127.0.0.1") -> None:
        if shutil.which("openssl") is None:
            pytest.skip("there is no openssl; on Debian: apt-get install openssl")
        self.folder = folder / f"certificates-{name.replace(':', '-')}"
        self.folder.mkdir()
        self.authority = self.folder / "authority.pem"
        self.certificate = self.folder / "server.pem"
        self.key = self.folder / "server.key"
        self._make(name)

    def server(self) -> valkey.Server:
        """Redis 7 that speaks nothing but TLS."""
        server = valkey.single(self.folder, program=valkey.redis_program())
        options: dict[str, Any] = {
            "port": 0,
            "tls-port": server.port,
            "tls-cert-file": self.certificate,
            "tls-key-file": self.key,
            "tls-ca-cert-file": self.authority,
            "tls-auth-clients": "no",
        }
        server.arguments += [part for name, value in options.items() for part in (f"--{name}", str(value))]
        server.login = {"ssl": True, "ssl_ca_certs": str(self.authority), "ssl_check_hostname": False}
        return server

    def _make(self, name: str) -> None:
        key, request, extensions = (self.folder / name for name in ("authority.key", "request", "extensions"))
        new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-sha256")
        authority = ("-x509", "-days", 2, "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        _openssl("req", *authority, *new, "-subj", "/CN=tests", "-keyout", key, "-out", self.authority)
        _openssl("req", *new, "-subj", "/CN=server", "-keyout", self.key, "-out", request)
        extensions.write_text(
            f"subjectAltName={name}\nbasicConstraints=critical,CA:FALSE\n"
            "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
        )
        signing = ("-CA", self.authority, "-CAkey", key, "-CAcreateserial", "-extfile", extensions)
        _openssl("x509", "-req", "-in", request, *signing, "-days", 2, "-sha256", "-out", self.certificate)


def _openssl(*arguments: object) -> None:
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
