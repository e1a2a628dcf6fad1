"""Which scopes a client gets: for one resource of several, reserved ones, and those that contain others."""

from __future__ import annotations

from typing import Any

import pytest

from oauth_refresh.scopes import implications

from ..driving import ORIGIN, REDIRECT, InProcess, Registered
from .test_token import told

SCOPES = {
    "files": "Everything with files",
    "files:read": "Read files",
    "mail": "Your mail",
    "admin": "Anything",
}
PROTECT = {"/files": "files:read", "POST /files": "files", "/mail": "mail", "/admin": "admin"}
VETTED = Registered("vetted", "secret of vetted", auth="client_secret_basic")
CLIENTS: dict[str, dict[str, Any]] = {
    "vetted": {"client_secret": VETTED.secret, "redirect_uris": [REDIRECT], "scope": "admin mail"},
    "plain": {"client_secret": "secret of plain", "redirect_uris": [REDIRECT]},
    "job": {"client_secret": "secret of job", "grant_types": ["client_credentials"]},
}


def serve(**settings: Any) -> InProcess:
    return InProcess(protect=PROTECT, **{"scopes": SCOPES, "clients": CLIENTS, **settings})


# --- several resources ----------------------------------------------------------------------------


@pytest.mark.requirement("RES-09")
@pytest.mark.requirement("RES-08")
def test_a_client_that_names_a_resource_and_no_scope_gets_what_means_something_there() -> None:
    server = serve(scopes={**SCOPES, "profile:read": "Asked for by the application itself"})
    client = server.register()

    def scope(**fields: Any) -> str:
        return str(server.tokens(client, **fields)["scope"])

    assert scope(resource=f"{ORIGIN}/mail") == "mail profile:read"
    assert scope(resource=f"{ORIGIN}/files") == "files files:read profile:read"
    assert scope() == scope(resource=ORIGIN) == "admin files files:read mail profile:read"
    assert scope(resource=f"{ORIGIN}/mail", scope="mail files") == "files mail"


@pytest.mark.requirement("RES-04")
@pytest.mark.requirement("RS-09")
@pytest.mark.requirement("PRM-14")
def test_each_resource_has_a_document_scopes_and_tokens_of_its_own() -> None:
    server = serve()
    client = server.register()
    for path, scopes in (("/mail", ["mail"]), ("/files", ["files", "files:read"])):
        document = server.get(f"/.well-known/oauth-protected-resource{path}").json
        assert (document["resource"], document["scopes_supported"]) == (ORIGIN + path, scopes)
        token = server.tokens(client, resource=document["resource"])["access_token"]
        opened = [other for other in ("/mail", "/files", "/admin") if server.api(token, other).status == 200]
        assert opened == [path]


@pytest.mark.requirement("RES-07")
@pytest.mark.requirement("RES-08")
def test_of_two_resources_that_were_allowed_each_token_may_be_for_one() -> None:
    server = serve()
    client = server.register()
    both = f"{ORIGIN}/mail&resource={ORIGIN}/files"
    url = server.authorize_url(client) + f"&resource={both}"
    code = server.browser().decide(url).parameters["code"]
    tokens = server.redeem(client, code, resource=f"{ORIGIN}/mail").json
    assert [server.api(tokens["access_token"], path).status for path in ("/mail", "/files")] == [200, 401]
    files = server.refresh(client, tokens["refresh_token"], resource=f"{ORIGIN}/files").json
    assert [server.api(files["access_token"], path).status for path in ("/mail", "/files")] == [401, 200]
    beyond = server.refresh(client, files["refresh_token"], resource=f"{ORIGIN}/admin")
    told(beyond, "invalid_target", "resource: not among those granted")


@pytest.mark.requirement("SCOPE-08")
@pytest.mark.requirement("RS-18")
def test_a_step_up_keeps_what_was_granted_and_the_earlier_token() -> None:
    server = serve()
    client = server.register()
    first = server.tokens(client, scope="files:read")
    refused = server.api(first["access_token"], "/mail")
    assert refused.status == 403
    asked = refused.headers["WWW-Authenticate"].split('scope="')[1].split('"')[0]
    assert asked == "files:read mail"
    second = server.tokens(client, scope=asked)
    for path in ("/mail", "/files"):
        assert server.api(second["access_token"], path).status == 200
    assert server.api(first["access_token"], "/files").status == 200
    assert server.refresh(client, first["refresh_token"]).json["scope"] == "files:read"


# --- reserved scopes ------------------------------------------------------------------------------


@pytest.mark.requirement("SCOPE-06")
def test_a_reserved_scope_is_for_the_clients_that_the_operator_gave_it_to() -> None:
    server = serve(reserved_scopes=["admin"])
    assert server.tokens(VETTED, scope="admin")["scope"] == "admin"
    for client in (server.register(), server.register(scope="admin mail"),
                   Registered("plain", "secret of plain", auth="client_secret_basic")):  # fmt: skip
        assert server.tokens(client, scope="admin mail")["scope"] == "mail"
        assert "admin" not in server.tokens(client)["scope"]
        alone = server.signed_in("alice").get(server.authorize_url(client, scope="admin"))
        assert alone.parameters["error"] == "invalid_scope"


@pytest.mark.requirement("SCOPE-06")
@pytest.mark.requirement("CC-03")
def test_a_client_that_speaks_for_itself_has_no_reserved_scope_by_default() -> None:
    server = serve(reserved_scopes=["admin"])
    job = Registered("job", "secret of job", auth="client_secret_basic")
    asked = server.token(job, grant_type="client_credentials", scope="admin")
    told(asked, "invalid_scope", "scope: not all of it is available to this client")
    assert server.token(job, grant_type="client_credentials").json["scope"] == "files files:read mail"


# --- scopes that contain others -------------------------------------------------------------------


@pytest.mark.requirement("SCOPE-07")
def test_a_broad_scope_passes_where_a_narrow_one_is_asked_for() -> None:
    server = serve(scope_implies={"files": "files:read", "admin": "files mail"})
    client = server.register()

    def opened(scope: str) -> list[str]:
        token = server.tokens(client, scope=scope)["access_token"]
        return [path for path in ("/files", "/mail", "/admin") if server.api(token, path).status == 200]

    assert opened("files") == ["/files"]
    assert opened("admin") == ["/files", "/mail", "/admin"]
    assert opened("mail") == ["/mail"]
    token = server.tokens(client, scope="admin")["access_token"]
    assert server.api(token, "/mail").json["scopes"] == ["admin", "files", "files:read", "mail"]
    assert server.tokens(client, scope="files")["scope"] == "files"


@pytest.mark.parametrize(
    ("direct", "closed"),
    [
        ({}, {}),
        ({"a": "b"}, {"a": {"a", "b"}}),
        ({"a": "b", "b": "c d"}, {"a": {"a", "b", "c", "d"}, "b": {"b", "c", "d"}}),
        ({"a": "b", "b": "a"}, {"a": {"a", "b"}, "b": {"a", "b"}}),
        ({"a": "a"}, {"a": {"a"}}),
    ],
    ids=["none", "one", "in-turn", "cycle", "itself"],
)
def test_implications_are_followed_to_their_end(direct: dict[str, str], closed: dict[str, set[str]]) -> None:
    assert implications(direct) == closed
