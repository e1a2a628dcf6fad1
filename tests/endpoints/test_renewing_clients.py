"""A client that renews again and again is recognised by its record: what changes there counts at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from oauth_refresh.clients import Client, client_of, hash_secret, record_of
from oauth_refresh.endpoints import renewal

from ..driving import InProcess, Registered


def changed(server: InProcess, client: Registered, **members: Any) -> None:
    """As another process changes what is registered."""
    backend = server.registry.backend
    key, _ = record_of(Client(client.client_id, ()))
    entry = backend.get(key)
    assert entry is not None
    after = replace(client_of(entry.body), **members)
    assert backend.swap(key, entry, record_of(after)[1], after.forget_at)


@pytest.fixture
def token(server: InProcess, client: Registered) -> str:
    """Of a client that has renewed before."""
    return str(server.refresh(client, server.tokens(client)["refresh_token"]).json["refresh_token"])


def test_lifetimes_that_change_count_at_the_next_renewal(
    server: InProcess, client: Registered, token: str
) -> None:
    changed(server, client, access_ttl=60.0)
    answer = server.refresh(client, token).json
    assert answer["expires_in"] == 60
    changed(server, client, access_ttl=None)
    assert server.refresh(client, answer["refresh_token"]).json["expires_in"] == 86400


def test_a_client_that_may_renew_no_more_is_refused_and_keeps_its_token(
    server: InProcess, client: Registered, token: str
) -> None:
    changed(server, client, grant_types=("authorization_code",))
    assert server.refresh(client, token).json["error"] == "unauthorized_client"
    changed(server, client, grant_types=("authorization_code", "refresh_token"))
    assert server.refresh(client, token).status == 200


@pytest.mark.requirement("RT-04")
def test_a_client_that_was_given_a_secret_must_send_it(
    server: InProcess, client: Registered, token: str
) -> None:
    changed(server, client, secret_hash=hash_secret("its secret"), auth_method="client_secret_post")
    assert server.refresh(client, token).json["error"] == "invalid_client"
    with_secret = Registered(client.client_id, "its secret", auth="client_secret_post")
    again = server.refresh(with_secret, token).json["refresh_token"]
    # That it was right does not vouch for a request without it.
    assert server.refresh(client, again).json["error"] == "invalid_client"
    assert server.refresh(with_secret, again).status == 200


def test_a_secret_that_a_client_does_not_have_is_wrong_however_well_the_client_is_known(
    server: InProcess, client: Registered, token: str
) -> None:
    for auth in ("client_secret_post", "client_secret_basic"):
        answer = server.refresh(Registered(client.client_id, "invented", auth=auth), token)
        assert answer.json["error"] == "invalid_client"
    assert server.refresh(client, token).status == 200


def test_a_client_that_is_deleted_is_unknown(server: InProcess, client: Registered, token: str) -> None:
    key, _ = record_of(Client(client.client_id, ()))
    backend = server.registry.backend
    entry = backend.get(key)
    assert backend.swap(key, entry, None)
    assert server.refresh(client, token).json["error"] == "invalid_client"
    assert entry is not None
    assert backend.swap(key, None, entry.body)
    assert server.refresh(client, token).status == 200


def test_a_use_that_is_due_is_noted_by_a_client_that_was_recognised(
    server: InProcess, client: Registered, token: str
) -> None:
    changed(server, client, used=False)
    token = server.refresh(client, token).json["refresh_token"]
    key, _ = record_of(Client(client.client_id, ()))
    entry = server.registry.backend.get(key)
    assert entry is not None
    assert client_of(entry.body).used
    assert server.refresh(client, token).status == 200


def test_few_clients_are_remembered_whoever_comes(server: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[renewal._Renewing] = []
    made = renewal._Renewing.__init__

    def noted(self: renewal._Renewing, *arguments: Any) -> None:
        made(self, *arguments)
        seen.append(self)

    monkeypatch.setattr(renewal, "_KNOWN_MAX", 3)
    monkeypatch.setattr(renewal._Renewing, "__init__", noted)
    server = InProcess()
    (renewing,) = seen
    for number in range(7):
        client = server.register(client_name=f"program {number}")
        token = server.refresh(client, server.tokens(client)["refresh_token"]).json["refresh_token"]
        assert server.refresh(client, token).status == 200
        assert client.client_id in renewing.known
        assert len(renewing.known) <= 3


@pytest.mark.parametrize("reuse", ["revoke", "catch-up"])
def test_an_everyday_renewal_asks_the_plain_way_alone(reuse: str) -> None:
    """To ask one rule after the other takes a third longer, and would be seen in the figures alone."""
    server = InProcess(reuse_policy=reuse)
    client = server.register()
    token = server.tokens(client)["refresh_token"]
    server.registry._refresh = lambda case: pytest.fail("the rules were asked")
    for _ in range(3):
        token = server.refresh(client, token).json["refresh_token"]


def test_a_request_refused_for_what_it_asks_draws_no_secret(tmp_path: Path) -> None:
    configured = {"probe": {"redirect_uris": ["https://app.example/cb"]}}
    server = InProcess(registry=f"sqlite://{tmp_path}/oauth.db", secret_key=None, clients=configured)
    client = Registered("probe")
    token = "ort_" + 91 * "A"
    assert server.refresh(client, token, scope='a"b').json["error"] == "invalid_scope"
    assert not (tmp_path / "oauth.db.secret").exists()
    assert server.refresh(client, token).json["error"] == "invalid_grant"
    assert (tmp_path / "oauth.db.secret").exists()
