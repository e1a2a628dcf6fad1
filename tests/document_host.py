"""A host of client metadata documents: real TLS on a loopback port, with a certificate of a test CA.

To the fetcher it is a host on the public Internet: the resolver that is handed in names a public address, and
the connector that is handed in leads from that address to the loopback port.
"""

from __future__ import annotations

import datetime
import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from oauth_refresh.fetching import Fetcher

NAME = "client.notes-app.dev"
URL = f"https://{NAME}/oauth/client.json"
PUBLIC = "93.184.215.14"

Talk = Callable[[ssl.SSLSocket], None]


class Authority(NamedTuple):
    """A CA of the tests: its certificate, and that of a host with its key, as files."""

    root: Path
    chain: Path
    key: Path


def make_authority(folder: Path, *names: str) -> Authority:
    """A new CA, and a certificate of it for `names`."""
    now = datetime.datetime.now(datetime.timezone.utc)
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test CA")])

    # All that Python demands of a certificate since 3.13 (VERIFY_X509_STRICT).
    issued_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())

    def certificate(subject: x509.Name, public_key: Any, ca: bool) -> x509.CertificateBuilder:
        usage = x509.KeyUsage(
            digital_signature=not ca,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=ca,
            crl_sign=ca,
            encipher_only=False,
            decipher_only=False,
        )
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(root_name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(issued_by, critical=False)
        )

    root = certificate(root_name, root_key.public_key(), True).sign(root_key, hashes.SHA256())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    leaf = (
        certificate(subject, key.public_key(), False)
        .add_extension(alternatives, critical=False)
        .sign(root_key, hashes.SHA256())
    )
    made = Authority(folder / "root.pem", folder / "chain.pem", folder / "key.pem")
    made.root.write_bytes(root.public_bytes(serialization.Encoding.PEM))
    made.chain.write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
    made.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return made


def document(url: str = URL, /, **members: object) -> dict[str, object]:
    """A document such as a client on a user's machine publishes: loopback redirects without a port."""
    return {
        "client_id": url,
        "client_name": "Notes on the desk",
        "redirect_uris": ["http://localhost/callback", "http://127.0.0.1/callback"],
        "token_endpoint_auth_method": "none",
        "grant_types": ["authorization_code", "refresh_token"],
        **members,
    }


class DocumentHost:
    """Answers every request with what `answer` was set to last; `requests` are the heads that it was sent."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.requests: list[str] = []
        self.connected: list[tuple[str, int]] = []
        self.looked_up: list[str] = []
        self.addresses: Sequence[str] = (PUBLIC,)
        self.talk: Talk = self._reply
        self.publish(document())
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(authority.chain, authority.key)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    # --- what it says -----------------------------------------------------------------------------

    def publish(self, members: Mapping[str, object] | bytes, **how: Any) -> None:
        """Serve this document from now on."""
        body = members if isinstance(members, bytes) else json.dumps(members).encode()
        self.say(200, body, **how)

    def say(self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        sent = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
        lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        self.answer = f"HTTP/1.1 {status} Said\r\n{lines}\r\n".encode() + body
        self.talk = self._reply

    def break_down(self) -> None:
        """Be out of order: the connection ends before anything was said."""
        self.talk = lambda _: None

    def _reply(self, line: ssl.SSLSocket) -> None:
        line.sendall(self.answer)

    # --- how it is reached ------------------------------------------------------------------------

    def fetcher(self, **how: Any) -> Fetcher:
        context = ssl.create_default_context(cafile=str(self.authority.root))
        settings = {"resolve": self.resolve, "connect": self.connect, "context": context, **how}
        return Fetcher(**settings)

    def resolve(self, host: str, port: int) -> Sequence[str]:
        self.looked_up.append(host)
        return self.addresses

    def connect(self, address: str, port: int, seconds: float) -> socket.socket:
        """From the public address to this host. Everything but the look-up and the route is real."""
        self.connected.append((address, port))
        return socket.create_connection(("127.0.0.1", self.port), seconds)

    # --- serving ----------------------------------------------------------------------------------

    def _serve(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(line,), daemon=True).start()

    def _talk(self, line: socket.socket) -> None:
        with suppress(OSError), closing(line), self._context.wrap_socket(line, server_side=True) as tls:
            head = b""
            while b"\r\n\r\n" not in head:
                read = tls.recv(4096)
                if not read:
                    return
                head += read
            self.requests.append(head.decode())
            self.talk(tls)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@contextmanager
def document_host(folder: Path, name: str = NAME) -> Iterator[DocumentHost]:
    host = DocumentHost(make_authority(folder, name))
    try:
        yield host
    finally:
        host.close()
