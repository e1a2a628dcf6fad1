"""`oauth-refresh client`: registering by hand."""

from __future__ import annotations

import pytest

from oauth_refresh.credentials import Credentials
from oauth_refresh.server import Server

from .conftest import Run, as_json, error, ok

URI = "https://backup.example.org/callback"


def create(run: Run, *options: str) -> dict[str, object]:
    made = as_json(run("client", "create", "Backup", "--redirect-uri", URI, "--json", *options))
    assert isinstance(made, dict)
    return made


def test_a_confidential_client_can_authenticate_with_the_secret_that_is_shown_once(
    run: Run, server: Server
) -> None:
    made = create(run, "--confidential", "--scope", "notes:read")
    client_id, secret = str(made["client_id"]), str(made["client_secret"])
    client = server.clients.authenticate(Credentials(client_id, ((client_id, secret),)))
    assert (client.name, client.redirect_uris, client.scopes) == ("Backup", (URI,), ("notes:read",))
    assert secret not in run("client", "list", "--json").output + run("client", "show", client_id).output


def test_a_public_client_has_no_secret_and_is_kept_though_nobody_used_it(run: Run, server: Server) -> None:
    made = create(run)
    assert "client_secret" not in made
    server.registry.backend.purge(server.clock() + 10 * 86400)
    assert as_json(run("client", "show", str(made["client_id"]), "--json")) == made


def test_people_are_shown_id_and_secret_and_warned(run: Run, server: Server) -> None:
    shown = run("client", "create", "Backup", "--redirect-uri", URI, "--confidential")
    lines = dict(line.split() for line in ok(shown).splitlines())
    assert sorted(lines) == ["client_id", "client_secret"]
    assert "not shown again" in shown.stderr


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--redirect-uri", "http://example.org/cb"], "http is allowed on"),
        (
            ["--redirect-uri", URI, "--scope", "notes:reed"],
            "there is no scope 'notes:reed'; known are",
        ),
    ],
)
def test_a_client_is_judged_like_one_that_registers_itself(
    run: Run, server: Server, options: list[str], told: str
) -> None:
    assert told in error(run("client", "create", "Backup", *options))
    assert list(server.clients.list()) == []


def test_clients_of_the_settings_are_listed_and_stay(run: Run, server: Server, tmp_path: object) -> None:
    config = f"{tmp_path}/oauth.toml"
    with open(config, "w") as file:
        file.write('[clients.nightly]\nclient_name = "Nightly"\nredirect_uris = ["https://a.example/cb"]\n')
    made = create(run)
    heads, *rows = ok(run("client", "list", "--config", config)).splitlines()
    assert heads.split() == ["CLIENT", "ID", "NAME", "TYPE", "FROM", "REDIRECT", "URI"]
    assert [row.split()[0] for row in rows] == ["nightly", made["client_id"]]
    assert "take it out of OAUTH_CLIENTS" in error(
        run("client", "delete", "nightly", "-y", "--config", config)
    )


def test_deleting_a_client_ends_its_grants(run: Run, server: Server) -> None:
    client_id = str(create(run)["client_id"])
    issued = server.registry.create("alice", [], client_id=client_id)
    other = server.registry.create("alice", [], client_id="other")
    asked = run("client", "delete", client_id, input="n\n")
    assert asked.stderr.startswith("Delete 'Backup' and end 1 grant? [y/N]")
    assert server.clients.get(client_id) is not None
    assert ok(run("client", "delete", client_id, "-y")) == f"client {client_id} deleted, 1 grant ended\n"
    assert server.clients.get(client_id) is None
    assert not hasattr(server.registry.check(issued.access_token), "subject")
    assert hasattr(server.registry.check(other.access_token), "subject")
    assert "there is no client" in error(run("client", "delete", client_id, "-y"))
