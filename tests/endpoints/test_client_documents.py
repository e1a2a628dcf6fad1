"""A client id that is the URL of a metadata document, from the first request to a refreshed token."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from oauth_refresh.backends.base import Entry
from oauth_refresh.backends.memory import MemoryBackend

from ..document_host import NAME, URL, DocumentHost, document, document_host
from ..driving import CHALLENGE, ORIGIN, InProcess, Registered

CLIENT = Registered(URL, redirect_uri="http://localhost:58135/callback")
WELL_KNOWN = "/.well-known/oauth-authorization-server"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DocumentHost]:
    with document_host(tmp_path_factory.mktemp("host")) as host:
        yield host


@pytest.fixture
def host(shared: DocumentHost) -> DocumentHost:
    shared.publish(document(), headers={"Cache-Control": "max-age=600"})
    shared.requests.clear()
    return shared


@pytest.fixture
def server(host: DocumentHost) -> InProcess:
    return serve(host)


def serve(host: DocumentHost, **settings: Any) -> InProcess:
    server = InProcess(**settings)
    if server.middleware.server.documents.fetch is not None:
        server.middleware.server.documents.fetch = host.fetcher()
    return server


def refusal(server: InProcess, client: Registered = CLIENT, **fields: str | None) -> str:
    """What a developer reads, as JSON, of an authorization request that stays on this server."""
    answer = server.browser().get(server.authorize_url(client, **fields), {"Accept": "application/json"})
    assert answer.status == 400, answer
    assert "Location" not in answer.headers
    return str(answer.json["error_description"])


@pytest.mark.requirement("CIMD-01")
@pytest.mark.requirement("CIMD-14")
@pytest.mark.requirement("Q-17")
def test_a_client_that_never_registered_is_connected_and_stays_so(
    server: InProcess, host: DocumentHost
) -> None:
    tokens = server.tokens(CLIENT)
    assert server.api(tokens["access_token"]).json["subject"] == "alice"
    host.break_down()
    server.clock.forward(86400 * 7)
    refreshed = server.refresh(CLIENT, tokens["refresh_token"])
    assert refreshed.status == 200
    assert server.api(refreshed.json["access_token"]).status == 200
    # The document was fetched when the user was asked, and by no token request.
    assert len(host.requests) == 1


class Far(MemoryBackend):
    """A registry across the network: to read two records at once takes no longer than one."""

    def __init__(self) -> None:
        super().__init__()
        self.trips = 0

    def get(self, key: bytes) -> Entry | None:
        self.trips += 1
        return super().get(key)

    def get_two(self, first: bytes, second: bytes) -> tuple[Entry | None, Entry | None]:
        self.trips += 1
        return super().get(first), super().get(second)


def test_a_renewal_reads_once_of_whatever_kind_its_client_is(host: DocumentHost) -> None:
    backend = Far()
    server = serve(host, registry=backend)
    for client in (
        CLIENT,
        server.register(),
        server.register(token_endpoint_auth_method="client_secret_post"),
    ):
        token = server.tokens(client)["refresh_token"]
        backend.trips = 0
        assert server.refresh(client, token, resource=ORIGIN).status == 200
        assert backend.trips == 1


@pytest.mark.requirement("CIMD-18")
def test_no_grant_ends_with_its_document(server: InProcess, host: DocumentHost) -> None:
    token = server.tokens(CLIENT)["refresh_token"]
    server.clock.forward(601)
    for spoil in (
        lambda: host.say(404),
        lambda: host.publish(b"{}"),
        lambda: host.publish(document(redirect_uris=["https://new.dev/cb"], client_name="New")),
    ):
        spoil()
        server.browser().get(server.authorize_url(CLIENT))
        answer = server.refresh(CLIENT, token)
        assert answer.status == 200
        token = answer.json["refresh_token"]
    # It need not even say who it is.
    assert server.refresh(Registered(""), token).status == 200


@pytest.mark.requirement("CIMD-21")
@pytest.mark.requirement("UI-03")
def test_the_user_sees_which_host_vouches_for_the_name(server: InProcess, host: DocumentHost) -> None:
    other = f"https://{NAME}:8443/c"
    host.publish(document(other))
    page = server.browser().consent_page(server.authorize_url(Registered(other, None, CLIENT.redirect_uri)))
    assert f"<bdi>{NAME}:8443</bdi>" in page.text
    assert "Nobody has checked it" in page.text
    registered = server.browser().consent_page(server.authorize_url(server.register()))
    assert NAME not in registered.text


@pytest.mark.requirement("CIMD-20")
def test_nothing_that_the_document_names_is_fetched(server: InProcess, host: DocumentHost) -> None:
    host.publish(document(logo_uri=f"https://{NAME}/logo.png", jwks_uri=f"https://{NAME}/keys"))
    page = server.browser().consent_page(server.authorize_url(CLIENT))
    assert "logo.png" not in page.text
    assert {request.split(" ")[1] for request in host.requests} == {"/oauth/client.json"}


@pytest.mark.requirement("CIMD-14")
@pytest.mark.parametrize(
    "redirect_uri",
    ["http://localhost:58135/other", "http://[::1]:58135/callback", "https://localhost:58135/callback"],
)
def test_the_redirect_must_be_one_of_the_documents(server: InProcess, redirect_uri: str) -> None:
    said = refusal(server, redirect_uri=redirect_uri)
    assert said == "redirect_uri: not one of those that the client registered"


@pytest.mark.requirement("CIMD-19")
def test_a_document_that_changed_counts_at_the_next_consent(server: InProcess, host: DocumentHost) -> None:
    server.tokens(CLIENT)
    host.publish(document(client_name="Renamed", redirect_uris=["http://localhost/other"]))
    server.clock.forward(601)
    said = refusal(server)
    assert said == "redirect_uri: not one of those that the client registered"
    moved = CLIENT._replace(redirect_uri="http://localhost:1/other")
    page = server.browser().consent_page(server.authorize_url(moved))
    assert "Renamed" in page.text


@pytest.mark.requirement("CIMD-19")
def test_a_page_that_was_shown_before_the_redirect_was_withdrawn_leads_nowhere(
    server: InProcess, host: DocumentHost
) -> None:
    browser = server.signed_in("alice")
    page = browser.get(server.authorize_url(CLIENT))
    host.publish(document(redirect_uris=["http://localhost/other"]))
    server.clock.forward(601 - 300)
    server.middleware.server.documents.delete(URL)
    server.browser().get(server.authorize_url(CLIENT))
    answer = browser.submit(page.form("decision"), decision="allow")
    assert answer.status == 400
    assert "Location" not in answer.headers


@pytest.mark.requirement("CIMD-17")
@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_a_document_that_cannot_be_read_is_a_page_here_that_names_it_and_says_why(
    server: InProcess, host: DocumentHost, accept: str
) -> None:
    host.say(500)
    answer = server.browser().get(server.authorize_url(CLIENT), {"Accept": accept})
    assert answer.status == 400
    assert URL in answer.text
    assert "status 500" in answer.text
    host.publish(document())
    assert server.tokens(CLIENT)


@pytest.mark.requirement("CIMD-11")
def test_a_document_with_a_secret_is_refused_in_words(server: InProcess, host: DocumentHost) -> None:
    host.publish(document(token_endpoint_auth_method="client_secret_basic"))
    assert refusal(server) == (
        f"the client metadata document at {URL}: token_endpoint_auth_method: must be none, there is no "
        "shared secret"
    )


@pytest.mark.requirement("CIMD-02")
@pytest.mark.requirement("CIMD-03")
@pytest.mark.parametrize(
    "client_id",
    ["https://127.0.0.1/c", "https://2130706433/c", "https://[::ffff:7f00:1]/c", "https://a.dev/../c"],
)
def test_an_address_in_place_of_a_name_is_refused_and_nothing_is_fetched(
    server: InProcess, host: DocumentHost, client_id: str
) -> None:
    looked_up = len(host.looked_up)
    assert refusal(server, client_id=client_id).startswith("client_id: it")
    assert len(host.looked_up) == looked_up


@pytest.mark.requirement("CIMD-26")
def test_a_token_request_for_a_document_that_is_not_known_here_tells_outage_from_mistake(
    server: InProcess, host: DocumentHost
) -> None:
    host.break_down()
    answer = server.refresh(CLIENT, "ort_x")
    assert (answer.status, answer.json["error"]) == (503, "temporarily_unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    host.publish(b"{}")
    answer = server.refresh(CLIENT, "ort_x")
    assert (answer.status, answer.json["error"]) == (401, "invalid_client")
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="oauth"'


@pytest.mark.requirement("CIMD-18")
def test_a_registry_that_forgot_the_document_reads_it_again_and_the_grant_lives(
    server: InProcess, host: DocumentHost
) -> None:
    token = server.tokens(CLIENT)["refresh_token"]
    server.middleware.server.documents.delete(URL)
    host.break_down()
    assert server.refresh(CLIENT, token).status == 503
    host.publish(document())
    assert server.refresh(CLIENT, token).status == 200


def test_a_document_client_can_revoke(server: InProcess) -> None:
    tokens = server.tokens(CLIENT)
    assert server.revoke(CLIENT, tokens["refresh_token"]).status == 200
    assert server.api(tokens["access_token"]).status == 401


def test_a_secret_proves_nothing_for_a_client_that_can_have_none(server: InProcess) -> None:
    token = server.tokens(CLIENT)["refresh_token"]
    answer = server.refresh(Registered(URL, "secret", auth="client_secret_post"), token)
    assert (answer.status, answer.json["error"]) == (401, "invalid_client")
    assert server.refresh(CLIENT, token).status == 200


@pytest.mark.requirement("CIMD-01")
def test_a_client_of_the_settings_wins_over_a_document_with_its_id(host: DocumentHost) -> None:
    server = serve(host, clients={URL: {"redirect_uris": ["https://mine.dev/cb"], "client_name": "Mine"}})
    mine = Registered(URL, redirect_uri="https://mine.dev/cb")
    assert server.tokens(mine)
    assert refusal(server) == "redirect_uri: not one of those that the client registered"
    assert host.requests == []


@pytest.mark.requirement("CIMD-22")
@pytest.mark.requirement("DCR-12")
def test_a_registration_never_gets_a_url_for_an_id(server: InProcess) -> None:
    assert not server.register(client_id=URL).client_id.startswith("https:")


@pytest.mark.requirement("DISC-16")
@pytest.mark.requirement("Q-15")
@pytest.mark.parametrize(("setting", "offered"), [("auto", True), ("on", True), ("off", False)])
def test_the_metadata_offers_what_is_on(host: DocumentHost, setting: str, offered: bool) -> None:
    server = serve(host, client_id_metadata=setting)
    told = server.get(WELL_KNOWN).json
    assert told.get("client_id_metadata_document_supported", False) is offered
    assert "none" in told["token_endpoint_auth_methods_supported"]
    if offered:
        assert server.tokens(CLIENT)
    else:
        assert refusal(server) == "client_id: this server reads no client metadata documents"
        assert host.requests == []


def test_turning_it_off_logs_nobody_out(host: DocumentHost, tmp_path: Path) -> None:
    registry = f"sqlite://{tmp_path}/oauth.db"
    token = serve(host, registry=registry).tokens(CLIENT)["refresh_token"]
    off = serve(host, registry=registry, client_id_metadata="off")
    assert off.refresh(CLIENT, token).status == 200


def test_operators_see_document_clients_beside_the_others(server: InProcess) -> None:
    server.tokens(CLIENT)
    clients = server.middleware.server.clients
    assert [client.client_id for client in clients.list()] == [URL]
    assert clients.delete(URL)
    assert clients.get(URL) is None


def test_in_development_a_document_lies_on_loopback(host: DocumentHost) -> None:
    server = InProcess(client_id_metadata_loopback=True)

    class Publisher(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(document(url)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with HTTPServer(("127.0.0.1", 0), Publisher) as publisher:
        url = f"http://localhost:{publisher.server_port}/client.json"
        threading.Thread(target=publisher.handle_request, daemon=True).start()
        client = Registered(url, redirect_uri="http://127.0.0.1:9/callback")
        assert server.tokens(client)
    assert refusal(serve(host), client) == "client_id: this client is not registered here, or no longer"


def test_the_code_challenge_and_everything_else_counts_as_for_any_client(server: InProcess) -> None:
    answer = server.signed_in("alice").get(server.authorize_url(CLIENT, code_challenge=CHALLENGE + "x"))
    assert answer.parameters["error"] == "invalid_request"
    assert answer.parameters["iss"] == ORIGIN
