"""What goes wrong with a server that speaks TLS is said clearly, and its certificate is checked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oauth_refresh.backends.redis import open_url
from oauth_refresh.errors import RegistryError
from tests.backends import valkey
from tests.backends.valkey_tls import Certificates

LATER = time.time() + 86400


def trouble(call: Callable[[], object]) -> str:
    with pytest.raises(RegistryError) as raised:
        call()
    return str(raised.value)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def tls(certificates: Certificates) -> Iterator[valkey.Server]:
    with valkey.running([certificates.server()]) as [server]:
        yield server


def test_a_certificate_that_nobody_vouches_for_is_told(
    tls: valkey.Server, certificates: Certificates
) -> None:
    address = tls.address
    text = trouble(lambda: open_url(f"rediss://{address}").get(b"k"))
    assert "CERTIFICATE_VERIFY_FAILED" in text
    assert text.endswith("check the certificate, and ssl_ca_certs")
    assert open_url(f"rediss://{address}?ssl_ca_certs={certificates.authority}").get(b"k") is None
    assert open_url(f"rediss://{address}?ssl_cert_reqs=none").get(b"k") is None


def test_connections_over_tls_are_used_again(tls: valkey.Server, certificates: Certificates) -> None:
    backend = open_url(f"rediss://{tls.address}?ssl_ca_certs={certificates.authority}")
    backend.get(b"k")
    before = tls.info("stats")["total_connections_received"]
    for number in range(20):
        assert backend.swap(b"%d" % number, None, b"1", LATER) is True
    assert tls.info("stats")["total_connections_received"] == before + 1


def test_a_certificate_of_another_host_is_refused(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path, "DNS:elsewhere.example")
    with valkey.running([certificates.server()]) as [server]:
        text = trouble(
            lambda: open_url(f"rediss://{server.address}?ssl_ca_certs={certificates.authority}").get(b"k")
        )
        assert text.endswith("check the certificate, and ssl_ca_certs")


def test_tls_at_a_port_without_it_and_the_reverse_are_told(tls: valkey.Server, tmp_path: Path) -> None:
    with valkey.running([valkey.single(tmp_path)]) as [server]:
        text = trouble(lambda: open_url(f"rediss://{server.address}?timeout=1").get(b"k"))
        assert "check that this port speaks TLS" in text or "check that it runs" in text
    text = trouble(lambda: open_url(f"redis://{tls.address}?timeout=1").get(b"k"))
    assert "check that it runs, and host and port in OAUTH_REGISTRY" in text


def test_a_missing_file_of_certificates_is_told(tls: valkey.Server) -> None:
    text = trouble(lambda: open_url(f"rediss://{tls.address}?ssl_ca_certs=/no/such.pem").get(b"k"))
    assert "No such file or directory" in text
