"""`oauth-refresh token create`: tokens for scripts."""

from __future__ import annotations

import pytest

from oauth_refresh.identity import Identity
from oauth_refresh.server import Server

from .conftest import Run, as_json, error, ok


def test_the_token_alone_is_on_standard_output_and_works(run: Run, server: Server) -> None:
    made = run(
        "token", "create", "--subject", "ci", "--scope", "notes:read", "--ttl", "1h", "--label", "nightly"
    )
    identity = server.registry.check(ok(made).strip())
    assert isinstance(identity, Identity)
    assert (identity.subject, identity.scopes) == ("ci", ("notes:read",))
    assert made.stderr == f"grant {identity.grant_id}: the access token is good for 3600 seconds\n"


def test_a_program_that_can_renew_gets_a_refresh_token_too(run: Run, server: Server) -> None:
    client, _ = server.clients.register({}, redirect_uris=("http://127.0.0.1/",), auth_method="none")
    options = ("--refresh", "--client", client.client_id, "--json")
    made = as_json(run("token", "create", "--subject", "ci", *options))
    assert server.registry.rotate_via_refresh_token(made["refresh_token"], client_id=client.client_id)
    access, refresh = ok(run("token", "create", "--subject", "ci", "--refresh")).splitlines()
    assert (access[:4], refresh[:4]) == ("oat_", "ort_")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--scope", "notes:reed"], "there is no scope 'notes:reed'"),
        (["--scope", 'a"b'], "scope contains a character that is not allowed"),
        (["--client", "oc_nosuch"], "there is no client 'oc_nosuch': oauth-refresh client list shows all"),
        (["--ttl", "0s"], "ttl is 0.0 seconds, at least 1 is needed"),
        (["--label", "x" * 201], "label has 201 characters"),
    ],
)
def test_a_mistake_makes_no_grant(run: Run, server: Server, options: list[str], told: str) -> None:
    assert told in error(run("token", "create", "--subject", "ci", *options))
    assert list(server.registry.list()) == []


def test_scopes_may_be_given_one_by_one(run: Run, server: Server) -> None:
    made = as_json(
        run("token", "create", "--subject", "ci", "--scope", "notes:read", "--scope", "notes:write", "--json")
    )
    assert made["scope"] == "notes:read notes:write"


def test_a_token_without_a_scope_is_told(run: Run, server: Server) -> None:
    assert "it has no scope" in run("token", "create", "--subject", "ci").stderr


@pytest.mark.parametrize("subject", ["", " ", "a\nb", "client:x"])
def test_what_is_no_user_gets_no_token(run: Run, server: Server, subject: str) -> None:
    told = error(run("token", "create", "--subject", subject))
    assert told.startswith(("Error: --subject: the name of a user", "Error: --subject: names that begin"))
    assert list(server.registry.list()) == []
