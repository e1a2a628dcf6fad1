"""The one contract, over real servers: Valkey, and Redis 7 (which needs scripts), without and with TLS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from oauth_refresh.backends.base import Backend
from oauth_refresh.backends.contract import SharedBackendContract
from oauth_refresh.backends.redis import open_url
from tests.backends import valkey
from tests.backends.valkey_tls import Certificates


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="module")
def valkey_url(folder: Path) -> Iterator[str]:
    with valkey.running([valkey.single(folder)]) as [server]:
        yield f"valkey://{server.address}"


@pytest.fixture(scope="module")
def redis_url(folder: Path) -> Iterator[str]:
    with valkey.running([valkey.single(folder, program=valkey.redis_program())]) as [server]:
        yield f"redis://{server.address}/3"


@pytest.fixture(scope="module")
def tls_url(folder: Path) -> Iterator[str]:
    certificates = Certificates(folder)
    with valkey.running([certificates.server()]) as [server]:
        yield f"rediss://127.0.0.1:{server.port}?ssl_ca_certs={certificates.authority}"


class RedisContract(SharedBackendContract):
    url: str

    def open_store(self, place: Path) -> Backend:
        return open_url(f"{self.url}{'&' if '?' in self.url else '?'}prefix={place.name}:")


class TestValkey(RedisContract):
    @pytest.fixture(autouse=True)
    def _server(self, valkey_url: str) -> None:
        self.url = valkey_url


class TestRedis7(RedisContract):
    @pytest.fixture(autouse=True)
    def _server(self, redis_url: str) -> None:
        self.url = redis_url


class TestRedis7OverTLS(RedisContract):
    @pytest.fixture(autouse=True)
    def _server(self, tls_url: str) -> None:
        self.url = tls_url


del RedisContract
