"""A server that moves to another registry: its settings, its secret, and what others hear meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from oauth_refresh.backends import open_backend
from oauth_refresh.backends.moving import MovingBackend
from oauth_refresh.errors import ConfigurationError, RegistryError
from oauth_refresh.kinds import describe
from oauth_refresh.server import Server
from oauth_refresh.statistics import Statistics

from .settings_loading import load

NOW = 1_900_000_000.0
SECRET = {"OAUTH_SECRET_KEY": "a server secret of enough bytes"}


def _server(tmp_path: Path, **names: str) -> Server:
    environ = {f"OAUTH_{name.upper()}": f"sqlite://{tmp_path}/{file}" for name, file in names.items()}
    return Server(load(environ={"OAUTH_TRUST_REMOTE_USER": "yes", **environ}), clock=lambda: NOW)


def test_a_session_goes_on_in_the_new_registry_with_the_secret_that_was_drawn_for_the_old(
    tmp_path: Path,
) -> None:
    old = _server(tmp_path, registry="old.db")
    issued = old.registry.create_with_refresh("alice", [])
    assert issued.refresh_token is not None
    moving = _server(tmp_path, registry="new.db", registry_fallback="old.db")
    rotated = moving.registry.rotate_via_refresh_token(issued.refresh_token)
    with pytest.raises(RegistryError, match="format 255: it has moved to another registry"):
        old.registry.rotate_via_refresh_token(issued.refresh_token)
    with pytest.raises(RegistryError):
        old.registry.check(rotated.access_token)
    moved = _server(tmp_path, registry="new.db")
    assert moved.registry.rotate_via_refresh_token(issued.refresh_token) == rotated
    assert [grant.subject for grant in moved.registry.list(subject="alice")] == ["alice"]


def test_a_grant_that_was_revoked_in_the_old_registry_is_revoked_in_the_new(tmp_path: Path) -> None:
    old = _server(tmp_path, registry="old.db")
    issued = old.registry.create("alice", [])
    old.registry.revoke(issued.grant_id)
    moving = _server(tmp_path, registry="new.db", registry_fallback="old.db")
    assert isinstance(moving.backend, MovingBackend)
    assert moving.backend.move(b"g" + bytes.fromhex(issued.grant_id))
    found = _server(tmp_path, registry="new.db").registry.get(issued.grant_id)
    assert found is not None
    assert found.revoked_at == NOW


def test_all_grants_of_a_user_are_ended_wherever_they_are(tmp_path: Path) -> None:
    old = _server(tmp_path, registry="old.db")
    moving = _server(tmp_path, registry="new.db", registry_fallback="old.db")
    tokens = [server.registry.create("alice", []).access_token for server in (old, old, moving)]
    assert moving.registry.revoke_subject("alice") == 3
    assert not any(hasattr(moving.registry.check(token), "subject") for token in tokens)
    # An old process cannot be told that there is nothing left to end.
    with pytest.raises(RegistryError):
        old.registry.revoke_subject("alice")


def test_the_registry_cannot_be_its_own_fallback(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        _server(tmp_path, registry="one.db", registry_fallback="one.db?timeout=9")
    assert "OAUTH_REGISTRY_FALLBACK (environment): is the registry itself" in str(caught.value)


class _Watched:
    """A backend that notes what every record is stored with."""

    def __init__(self) -> None:
        self._backend = open_backend("memory:")
        self.stored: dict[bytes, tuple[bytes, float | None, frozenset[bytes]]] = {}

    def __getattr__(self, name: str) -> object:
        return getattr(self._backend, name)

    def swap(self, key: bytes, old: Any, body: Any, expires_at: Any = None, *more: Any) -> bool:
        self.stored[key] = (body, expires_at, frozenset(more[0] if more else ()))
        return self._backend.swap(key, old, body, expires_at, *more)


def test_every_record_tells_when_it_ends_and_how_it_is_found(tmp_path: Path) -> None:
    watched = _Watched()
    server = Server(
        load(keywords={"registry": watched}, environ={**SECRET, "OAUTH_TRUST_REMOTE_USER": "yes"}),
        clock=lambda: NOW,
    )
    server.registry.create_with_refresh("alice", [], client_id="desktop")
    server.registry.create("bob", [], ttl=60)
    client, _ = server.clients.register({}, redirect_uris=("https://a.example/",), auth_method="none")
    server.clients.mark_used(client)
    server.clients.register({}, redirect_uris=("https://b.example/",), auth_method="none")
    server.attempts.reserve("account", "alice")
    server.challenges.claim("desktop", "challenge", bytes(16))
    server.housekeeping.purge_if_due()
    statistics = Statistics(server.backend, lambda: NOW, later=lambda *_: None)
    statistics("grant_created", {})
    statistics.flush()
    assert {key[:1] for key in watched.stored} == {b"g", b"c", b"l", b"h", b"p", b"m"}
    for key, (body, expires_at, terms) in watched.stored.items():
        found_expires_at, found_terms = describe(key, body, NOW)
        assert (found_expires_at, frozenset(found_terms)) == (expires_at, terms), key
