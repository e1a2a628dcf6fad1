"""GET /oauth/metrics: numbers for Prometheus, in one process and over many."""

from __future__ import annotations

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from oauth_refresh import metrics
from oauth_refresh.errors import RegistryError

from ..driving import InProcess
from ..flows.client import OAuthClient, pair
from ..flows.headless import User
from ..flows.servers import Gunicorn
from ..settings_loading import problems_with, settings

TOKEN = "a token for the metrics alone"
HERE = {"REMOTE_ADDR": "127.0.0.1"}

Numbers = dict[str, float]


def numbers(text: str) -> Numbers:
    """Every sample by its name and labels, as in `token_requests_total rotated`; zeros are left out."""
    return {
        " ".join(
            [sample.name.removeprefix("oauth_refresh_"), *filter(None, sample.labels.values())]
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.value and not sample.name.endswith(("_created", "_bucket", "_sum"))
    }


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> InProcess:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    metrics.of_this_process.cache_clear()
    return InProcess(metrics=True, extra=HERE)


def read(server: InProcess) -> Numbers:
    answer = server.get("/oauth/metrics")
    assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    return numbers(answer.text)


def test_token_requests_are_counted_by_outcome_and_reason(server: InProcess) -> None:
    client = server.register()
    first = server.tokens(client)["refresh_token"]
    second = server.refresh(client, first).json["refresh_token"]
    server.refresh(client, first)
    server.refresh(client, second)
    server.refresh(client, first)
    server.refresh(client, second)
    counted = read(server)
    assert {name: count for name, count in counted.items() if name.startswith("token_requests")} == {
        "token_requests_total redeemed": 1,
        "token_requests_total rotated": 2,
        "token_requests_total repeated": 1,
        "token_requests_total reused reused": 1,
        "token_requests_total refused revoked": 1,
    }
    assert counted["events_total token_rotated"] == 2
    assert counted["endpoint_seconds_count token 200"] == 4
    assert counted["endpoint_seconds_count token 400"] == 2


def test_refusals_are_counted_by_their_reason(server: InProcess) -> None:
    server.api("noise")
    server.post("/oauth/token", {"grant_type": "password"})
    server.get("/oauth/nothing/of/this/name")
    server.get("/.well-known/oauth-authorization-server")
    counted = read(server)
    assert counted["access_refused_total noise"] == 1
    assert counted["requests_refused_total unsupported_grant_type"] == 1
    assert counted["endpoint_seconds_count unknown 404"] == 1
    assert counted["endpoint_seconds_count well-known 200"] == 1


def test_the_grants_that_are_alive_are_counted_beside_the_requests(server: InProcess) -> None:
    client = server.register()
    server.tokens(client)
    server.registry.revoke_subject("alice")
    server.tokens(client)
    server.registry.create("bob", [])
    assert server.middleware.server.census.latest(20) is not None
    counted = read(server)
    assert counted["grants_alive"] == 2
    assert counted["grants_counted_at"] == pytest.approx(server.registry.clock(), abs=60)


def test_a_registry_in_trouble_leaves_the_grants_out_and_the_other_numbers_in(
    server: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(patience: float) -> None:
        raise RegistryError("it is down")

    server.api("noise")
    monkeypatch.setattr(server.middleware.server.census, "latest", fail)
    counted = read(server)
    assert counted["access_refused_total noise"] == 1
    assert "grants_alive" not in counted


def test_no_name_that_a_stranger_chose_is_a_label(server: InProcess) -> None:
    client = server.register(client_name="strange-name")
    server.tokens(client)
    server.get("/oauth/strange-path")
    server.refresh(client._replace(client_id="strange-client"), "strange-token")
    text = server.get("/oauth/metrics").text
    assert "strange" not in text
    assert client.client_id not in text
    assert "alice" not in text


def test_there_are_none_unless_they_are_switched_on() -> None:
    answer = InProcess(extra=HERE).get("/oauth/metrics")
    assert (answer.status, answer.json["error"]) == (404, "not_found")


@pytest.mark.parametrize("address", ["192.0.2.1", "", "no address"])
def test_without_a_token_this_machine_alone_may_read_them(address: str, server: InProcess) -> None:
    server.extra["REMOTE_ADDR"] = address
    answer = server.get("/oauth/metrics")
    assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="metrics"')
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_with_a_token_nobody_may_without_it() -> None:
    server = InProcess(metrics=True, metrics_token=TOKEN, extra=HERE)
    for sent in ({}, {"Authorization": "Bearer x"}, {"Authorization": f"Basic {TOKEN}"}):
        assert server.get("/oauth/metrics", sent).status == 401
    server.extra["REMOTE_ADDR"] = "192.0.2.1"
    assert server.get("/oauth/metrics", {"Authorization": f"Bearer {TOKEN}"}).status == 200


def test_a_public_server_needs_a_token_for_them() -> None:
    public = {"issuer": "https://notes.example.org", "secret_key": "x" * 16, "metrics": True}
    (problem,) = problems_with(**public)
    assert problem.startswith("OAUTH_METRICS = True (keyword): needs OAUTH_METRICS_TOKEN")
    assert TOKEN not in repr(settings(**public, metrics_token=TOKEN))


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oauth_refresh.setting_agreement.find_spec", lambda name: None)
    (problem,) = problems_with(metrics=True)
    assert "pip install 'oauth-refresh[metrics]'" in problem


def test_a_number_that_cannot_be_kept_costs_nobody_an_answer(
    server: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise OSError("No space left on device")

    monkeypatch.setattr(metrics.of_this_process()._seconds, "labels", fail)
    assert server.get("/.well-known/oauth-authorization-server").status == 200


def test_a_server_without_metrics_does_not_import_the_library() -> None:
    code = (
        "from oauth_refresh import OAuthMiddleware; import sys\n"
        "OAuthMiddleware(print, environ={}, registry='memory:')\n"
        "print('prometheus_client' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "False\n"


@pytest.mark.slow
def test_the_numbers_of_all_workers_are_added_up(tmp_path: Path) -> None:
    settings = {"OAUTH_METRICS": "on", "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "numbers")}
    server = Gunicorn(tmp_path, settings, options=("--workers", "2"))
    try:
        server.start()
        client = OAuthClient(server.base)
        held = client.connected(User())
        for _ in range(20):
            held = pair(client.refresh(held.refresh))
        with ThreadPoolExecutor(4) as many:
            list(many.map(lambda _: OAuthClient(server.base).discover(), range(60)))
        answers = [client.session.get(f"{server.base}/oauth/metrics").text for _ in range(6)]
    finally:
        server.close()
    counts = [numbers(text)["token_requests_total rotated"] for text in answers]
    assert counts == [20] * 6
    pids = {re.findall(r"_(\d+)\.db", path.name)[0] for path in (tmp_path / "numbers").glob("histogram_*.db")}
    assert len(pids) == 2
