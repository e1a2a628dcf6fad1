"""A client that never registered: its metadata document, over TLS, takes it to refreshed tokens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import requests

from tests.document_host import NAME, URL, DocumentHost, document, document_host
from tests.flows.client import OAuthClient, error, pair
from tests.flows.headless import User
from tests.flows.racers import racers
from tests.flows.secret import Secret
from tests.flows.servers import Gunicorn

PROCESSES = 6


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DocumentHost]:
    with document_host(tmp_path_factory.mktemp("host")) as host:
        yield host


@pytest.fixture(scope="module")
def server(host: DocumentHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    settings = {"DOCUMENT_HOST_PORT": str(host.port), "DOCUMENT_HOST_CA": str(host.authority.root)}
    folder: Path = tmp_path_factory.mktemp("server")
    with closing(Gunicorn(folder, settings, app="tests.flows.document_app:create()")) as server:
        yield server.start()


class Editor(OAuthClient):
    """One process of a program that listens at a port of its own, each time another one."""

    def __init__(self, base: str, port: int, client_id: str = URL) -> None:
        super().__init__(base)
        self.discover()
        self.client_id = client_id
        self.redirect_uri = f"http://localhost:{port}/callback"

    def sign_in_at_its_port(self, user: User) -> tuple[str, str]:
        """Code and verifier, with the answer at the very port that was asked for."""
        attempt = self.begin(redirect_uri=self.redirect_uri)
        landed = user.visit(attempt.url, self.redirect_uri)
        assert landed.startswith(f"{self.redirect_uri}?")
        code = next(part[5:] for part in landed.partition("?")[2].split("&") if part.startswith("code="))
        return code, attempt.verifier.text

    def exchange(self, code: str, verifier: str) -> requests.Response:
        return self.post(
            "token",
            grant_type="authorization_code",
            code=code,
            code_verifier=verifier,
            redirect_uri=self.redirect_uri,
        )


@pytest.mark.requirement("CIMD-01")
@pytest.mark.requirement("CIMD-05")
@pytest.mark.requirement("CIMD-14")
@pytest.mark.requirement("CIMD-18")
@pytest.mark.requirement("Q-17")
def test_a_document_takes_a_client_from_authorize_to_a_refreshed_token(
    server: Gunicorn, host: DocumentHost
) -> None:
    host.publish(document(), headers={"Cache-Control": "max-age=3600"})
    editor = Editor(server.base, 58135)
    assert editor.server["client_id_metadata_document_supported"] is True
    assert "none" in editor.server["token_endpoint_auth_methods_supported"]
    user = User()
    code, verifier = editor.sign_in_at_its_port(user)
    assert any(NAME in page.text and "Notes on the desk" in page.text for page in user.seen)
    first = pair(editor.exchange(code, verifier))
    assert editor.call(first.access).status_code == 200

    host.break_down()
    second = pair(editor.refresh(first.refresh))
    assert editor.call(second.access).status_code == 200
    # All workers share what one of them has fetched: other ports, and users of other browsers, need no more.
    others = [Editor(server.base, port) for port in (49152, 65535)]
    for other in others:
        code, verifier = other.sign_in_at_its_port(User())
        assert pair(other.exchange(code, verifier))
    assert len(host.requests) == 1
    assert editor.revoke(second.refresh).status_code == 200
    assert error(editor.call(second.access)) == (401, "invalid_token")


@pytest.mark.requirement("CIMD-18")
def test_many_processes_of_one_editor_stay_connected_by_one_stored_credential(
    server: Gunicorn, host: DocumentHost
) -> None:
    url = f"{URL}?many"
    host.publish(document(url))
    editor = Editor(server.base, 50001, url)
    code, verifier = editor.sign_in_at_its_port(User())
    stored = pair(editor.exchange(code, verifier))
    host.break_down()
    form = {"grant_type": "refresh_token", "client_id": url, "refresh_token": stored.refresh.text}
    with racers(PROCESSES) as processes:
        answers = processes.race(server.port, "/oauth/token", form)
    assert [status for status, _ in answers] == [200] * PROCESSES
    (refreshed,) = {Secret(str(told["refresh_token"])) for _, told in answers}
    assert pair(editor.refresh(refreshed)).expires_in == 86400
