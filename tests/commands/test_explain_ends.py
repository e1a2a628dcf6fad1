"""`oauth-refresh explain`: how a grant came to its end, and what its program then hears, told as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from oauth_refresh.cli import main
from oauth_refresh.commands.deployment import Deployment

from ..driving import InProcess, Registered


class Site(InProcess):
    """A server over SQLite with an event log, and the commands of its operator."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        given = {"registry": f"sqlite://{folder}/oauth.db", "event_log": f"{folder}/events.jsonl", **settings}
        super().__init__(**given)

    def command(self, *arguments: str, text: str | None = None) -> str:
        deployment = Deployment(self.middleware.server)
        done = CliRunner().invoke(main, arguments, input=text, obj=deployment)
        assert done.exit_code == 0, done.output
        return done.stdout

    def explain(self, text: str) -> Any:
        """What is told of a grant or token, which is not repeated."""
        told = self.command("explain", "--json", text=text)
        assert len(text) == 32 or text not in told + self.command("explain", text=text)
        return json.loads(told)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def connected(site: Site) -> tuple[Registered, dict[str, Any], str]:
    """A client with its tokens, and the id of their grant."""
    client = site.register()
    tokens = site.tokens(client)
    return client, tokens, grant_of(site, tokens)


def grant_of(site: Site, tokens: dict[str, Any]) -> str:
    presented = site.registry.read(tokens["access_token"])
    assert presented is not None
    return presented.grant_id.hex()


# --- the client is gone ---------------------------------------------------------------------------


def test_of_a_deleted_client_the_token_endpoint_and_the_story_say_the_same(site: Site) -> None:
    client, tokens, grant = connected(site)
    site.command("client", "delete", client.client_id, "--yes")
    assert site.refresh(client, tokens["refresh_token"]).json["error"] == "invalid_client"
    for named in (tokens["refresh_token"], grant):
        verdict = site.explain(named)["verdict"]
        assert verdict["outcome"] == "revoked"
        assert verdict["text"] == "The client was deleted, and its grants were ended."
        assert verdict["hears"] == "invalid_client."
    assert site.explain(tokens["access_token"])["verdict"]["hears"].startswith("401 invalid_token")


def test_a_grant_of_a_client_that_is_gone_is_not_called_alive(site: Site) -> None:
    client, _, grant = connected(site)
    site.middleware.server.clients.delete(client.client_id)
    verdict = site.explain(grant)["verdict"]
    assert (verdict["outcome"], verdict["hears"]) == ("client_gone", "invalid_client.")


def test_a_grant_that_is_renewed_nowhere_does_not_ask_for_its_client(site: Site) -> None:
    client = site.register(grant_types=["authorization_code"])
    tokens = site.tokens(client)
    assert "refresh_token" not in tokens
    site.middleware.server.clients.delete(client.client_id)
    for grant in (grant_of(site, tokens), site.registry.create("alice", [], client_id="a script").grant_id):
        assert site.explain(grant)["verdict"]["outcome"] == "good"
