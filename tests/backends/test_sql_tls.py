"""TLS to a SQL server: the same words mean the same for both families."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from oauth_refresh.backends.sql import open_url
from oauth_refresh.errors import RegistryError
from tests.backends import mariadb, postgres
from tests.backends.sql_store import FAMILIES


def write_certificate(folder: Path, name: str, host: str) -> Path:
    """A certificate that vouches for itself, and its key beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    path.with_suffix(".key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


class TLSInFront:
    """TLS before a PostgreSQL whose build has none, with a certificate in `right`."""

    def __init__(self, server: postgres.PostgreSQL, right: Path) -> None:
        self.right = right
        self._server = server
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(right, right.with_suffix(".key"))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port = self._listener.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def url(self, **options: Any) -> str:
        return self._server.url(port=self._port, **options)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        far = socket.create_connection(("127.0.0.1", self._server.port))
        with near, far, suppress(OSError):
            # PostgreSQL's manual, "SSL Session Encryption": a request of 8 bytes, and S for yes.
            if near.recv(8, socket.MSG_PEEK) == struct.pack("!ii", 8, 80877103):
                near.recv(8)
                near.sendall(b"S")
                near = self._context.wrap_socket(near, server_side=True)
            back = threading.Thread(target=_carry, args=(far, near), daemon=True)
            back.start()
            _carry(near, far)
            back.join(10)


def _carry(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


class TLSInMariaDB:
    """The shared MariaDB, started again with a certificate in `right`."""

    def __init__(self, right: Path) -> None:
        self.right = right
        self.url = mariadb.shared().url
        mariadb.shared().kill()
        mariadb.shared().start(f"--ssl-cert={right}", f"--ssl-key={right.with_suffix('.key')}")

    def close(self) -> None:
        mariadb.shared().kill()
        mariadb.shared().start()


@pytest.fixture(params=FAMILIES)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A server that shows a certificate for 127.0.0.1."""
    right = write_certificate(tmp_path, "right", "127.0.0.1")
    is_mariadb = request.param == "mariadb"
    server: Any = TLSInMariaDB(right) if is_mariadb else TLSInFront(postgres.shared(), right)
    yield server
    server.close()


def is_encrypted(server: Any, **options: Any) -> bool:
    backend: Any = open_url(server.url(**options))
    try:
        with backend._server.cursor() as cursor:
            if isinstance(server, TLSInFront):
                return bool(cursor.connection.pgconn.ssl_in_use)
            cursor.execute("SHOW STATUS LIKE 'Ssl_version'")
            return bool(cursor.fetchone()[1])
    finally:
        backend.close()


def test_the_mode_says_whether_the_connection_is_encrypted_and_the_server_checked(
    server: Any, tmp_path: Path
) -> None:
    right = server.right
    wrong = write_certificate(tmp_path, "wrong", "127.0.0.1")
    assert is_encrypted(server, sslmode="disable") is False
    assert is_encrypted(server, sslmode="require") is True
    for mode in ("verify-ca", "verify-full"):
        assert is_encrypted(server, sslmode=mode, sslrootcert=right) is True
        with pytest.raises(RegistryError) as raised:
            is_encrypted(server, sslmode=mode, sslrootcert=wrong)
        assert str(raised.value).endswith("check sslmode, sslrootcert and the server's certificate")


def test_a_certificate_for_another_host_is_good_for_verify_ca_only(server: Any) -> None:
    right = server.right
    url = server.url(sslrootcert=right, sslmode="verify-full").replace("@127.0.0.1:", "@localhost:")
    with pytest.raises(RegistryError, match="check sslmode"):
        open_url(url).get(b"k")
    backend = open_url(url.replace("verify-full", "verify-ca"))
    assert backend.get(b"k") is None
    backend.close()


def test_a_file_that_is_missing_is_told(server: Any, tmp_path: Path) -> None:
    with pytest.raises(RegistryError):
        is_encrypted(server, sslmode="verify-full", sslrootcert=tmp_path / "none.pem")
