"""The metadata documents, in every form that clients probe."""

from __future__ import annotations

from typing import Any

import pytest

from ..driving import ORIGIN, SCOPES, InProcess

AS = "oauth-authorization-server"
OIDC = "openid-configuration"
PRM = "oauth-protected-resource"
SERVER_FORMS = (AS, OIDC)
NOT_FOUND = {"error": "not_found", "error_description": "no such document"}


def served(server: InProcess, origin: str, path: str) -> Any:
    """What `GET origin + path` answers: the document, or None for a JSON 404. Never a redirect."""
    answer = server.browser().get(origin + path)
    if answer.status == 404:
        assert answer.json == NOT_FOUND
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        return None
    assert answer.status == 200
    return answer.json


# --- the issuer at the root of its host -----------------------------------------------------------


@pytest.fixture
def server() -> InProcess:
    return InProcess(issuer="https://as.example", service_name="Notes")


@pytest.mark.requirement("BCP-11")
@pytest.mark.requirement("BCP-03")
@pytest.mark.requirement("Q-36")
@pytest.mark.requirement("MCP-05")
@pytest.mark.requirement("DISC-03")
@pytest.mark.requirement("DISC-04")
@pytest.mark.requirement("DISC-09")
@pytest.mark.requirement("CONF-01")
def test_both_forms_of_the_server_document_are_the_same(server: InProcess) -> None:
    documents = [served(server, server.base, f"/.well-known/{form}") for form in SERVER_FORMS]
    assert documents[0] == documents[1]
    assert documents[0]["issuer"] == "https://as.example"
    assert documents[0]["token_endpoint"] == "https://as.example/oauth/token"
    assert documents[0]["code_challenge_methods_supported"] == ["S256"]
    assert documents[0]["scopes_supported"] == ["notes:read", "notes:write", "offline_access"]


@pytest.mark.requirement("PRM-05")
@pytest.mark.requirement("PRM-06")
@pytest.mark.requirement("PRM-02")
@pytest.mark.requirement("PRM-03")
@pytest.mark.requirement("PRM-14")
@pytest.mark.requirement("PRM-15")
def test_every_resource_has_its_document(server: InProcess) -> None:
    listed = served(server, server.base, f"/.well-known/{AS}")["protected_resources"]
    for resource in listed:
        path = resource.removeprefix("https://as.example")
        document = served(server, server.base, f"/.well-known/{PRM}{path}")
        assert document["resource"] == resource
        assert document["authorization_servers"] == ["https://as.example"]
        assert document["resource_name"] == "Notes"
    assert listed == ["https://as.example" + path for path in ("", "/api", "/api/notes", "/mcp")]


@pytest.mark.requirement("PRM-07")
def test_a_resource_lists_the_scopes_that_it_asks_for(server: InProcess) -> None:
    root, api, mcp = (
        served(server, server.base, f"/.well-known/{PRM}{path}") for path in ("", "/api", "/mcp")
    )
    assert root["scopes_supported"] == api["scopes_supported"] == ["notes:read", "notes:write"]
    assert "scopes_supported" not in mcp


@pytest.mark.requirement("PRM-05")
@pytest.mark.requirement("Q-02")
@pytest.mark.requirement("Q-04")
@pytest.mark.requirement("DISC-05")
@pytest.mark.requirement("DISC-06")
@pytest.mark.requirement("HTTP-15")
@pytest.mark.requirement("CORS-11")
@pytest.mark.parametrize(
    "path",
    [
        *(f"/.well-known/{form}/mcp" for form in SERVER_FORMS),
        *(f"/.well-known/{form}/api/notes" for form in SERVER_FORMS),
        *(f"/mcp/.well-known/{form}" for form in SERVER_FORMS),
        f"/.well-known/{PRM}/other",
        f"/.well-known/{PRM}/ap",
        f"/.well-known/{PRM}/api/notes/7",
        f"/.well-known/{PRM}/API",
        f"/mcp/.well-known/{PRM}",
        f"/.well-known/{AS}//",
    ],
)
def test_what_names_no_document_is_a_json_404(server: InProcess, path: str) -> None:
    assert served(server, server.base, path) is None


@pytest.mark.requirement("Q-04")
@pytest.mark.requirement("HTTP-18")
@pytest.mark.parametrize("path", [f"/.well-known/{AS}", f"/.well-known/{OIDC}", f"/.well-known/{PRM}/mcp"])
def test_one_slash_at_the_end_does_no_harm(server: InProcess, path: str) -> None:
    assert served(server, server.base, path + "/") == served(server, server.base, path)


@pytest.mark.parametrize("path", [f"/.well-known/{AS}x", "/.well-known/other", "/.well-known/", f"/{PRM}"])
def test_other_well_known_paths_belong_to_the_application(server: InProcess, path: str) -> None:
    assert server.get(path).json["path"] == path


# --- headers and methods --------------------------------------------------------------------------


@pytest.mark.requirement("HTTP-16")
@pytest.mark.requirement("HTTP-10")
@pytest.mark.requirement("DISC-07")
@pytest.mark.requirement("CORS-01")
def test_a_document_may_be_cached_for_minutes_and_revalidated(server: InProcess) -> None:
    answer = server.get(f"/.well-known/{AS}")
    etag = answer.headers["ETag"]
    assert dict(answer.headers) == {
        "Content-Type": "application/json",
        "Content-Length": str(len(answer.body)),
        "Cache-Control": "public, max-age=300",
        "X-Content-Type-Options": "nosniff",
        "ETag": etag,
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Expose-Headers": "WWW-Authenticate, DPoP-Nonce, Mcp-Session-Id, "
        "MCP-Protocol-Version, Retry-After",
    }
    again = server.get(f"/.well-known/{AS}", {"If-None-Match": etag})
    assert (again.status, again.body) == (304, b"")
    assert server.get(f"/.well-known/{AS}", {"If-None-Match": '"other"'}).status == 200


@pytest.mark.requirement("HTTP-16")
def test_a_document_that_depends_on_the_host_says_so() -> None:
    server = InProcess()
    assert server.get(f"/.well-known/{AS}").headers["Vary"] == "Host"
    other = server.get(f"/.well-known/{AS}", {"Host": "127.0.0.1:9"}).json
    assert other["issuer"] == "http://127.0.0.1:9"


@pytest.mark.requirement("HTTP-16")
@pytest.mark.requirement("CORS-04")
def test_with_a_list_of_origins_it_depends_on_those_too() -> None:
    server = InProcess(cors_origins=["https://app.example"])
    headers = server.get(f"/.well-known/{AS}", {"Origin": "https://app.example"}).headers
    assert headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert set(headers.getlist("Vary")) == {"Host", "Origin"}


@pytest.mark.requirement("MCP-07")
@pytest.mark.requirement("DISC-23")
def test_no_request_header_changes_a_document(server: InProcess) -> None:
    odd = {"MCP-Protocol-Version": "2099-01-01", "Authorization": "Bearer noise", "Accept": "text/html"}
    assert server.get(f"/.well-known/{AS}", odd) == server.get(f"/.well-known/{AS}")


@pytest.mark.requirement("HTTP-04")
def test_head_has_the_headers_and_no_body(server: InProcess) -> None:
    head = server.send("HEAD", f"/.well-known/{AS}")
    assert (head.status, head.body) == (200, b"")
    assert dict(head.headers) == dict(server.get(f"/.well-known/{AS}").headers)


@pytest.mark.requirement("HTTP-03")
@pytest.mark.requirement("HTTP-04")
def test_other_methods_are_refused(server: InProcess) -> None:
    for method in ("POST", "PUT", "DELETE"):
        answer = server.send(method, f"/.well-known/{AS}")
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
        assert answer.json["error"] == "invalid_request"
    options = server.send("OPTIONS", f"/.well-known/{AS}")
    assert (options.status, options.headers["Allow"], options.body) == (204, "GET, HEAD, OPTIONS", b"")


@pytest.mark.requirement("Q-34")
@pytest.mark.requirement("CORS-03")
@pytest.mark.parametrize(
    "path", [f"/.well-known/{AS}", f"/.well-known/{PRM}/mcp", f"/.well-known/{OIDC}/none"]
)
def test_a_preflight_is_answered_for_every_probe(server: InProcess, path: str) -> None:
    asked = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "mcp-protocol-version",
    }
    answer = server.send("OPTIONS", path, b"", asked)
    assert (answer.status, answer.body) == (204, b"")
    assert dict(answer.headers) == {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
        "Access-Control-Allow-Headers": "mcp-protocol-version",
        "Access-Control-Max-Age": "3600",
        "Access-Control-Expose-Headers": "WWW-Authenticate, DPoP-Nonce, Mcp-Session-Id, "
        "MCP-Protocol-Version, Retry-After",
    }


# --- an issuer with a path, and mounts ------------------------------------------------------------

# How the request for https://as.example/t1/… arrives: SCRIPT_NAME, and what of the path is in PATH_INFO.
ARRIVALS = {
    "mounted": ("/t1", ""),
    "whole": ("", "/t1"),
    "taken off": ("", ""),
    "other mount": ("/inner", ""),
}


def arriving(server: InProcess, how: str, path: str) -> Any:
    script_name, before = ARRIVALS[how]
    environ = server.environ("GET", "https://as.example/")
    answer = server.call({**environ, "SCRIPT_NAME": script_name, "PATH_INFO": before + path})
    assert answer.status in (200, 404)
    return answer.json if answer.status == 200 else None


@pytest.mark.requirement("WSGI-03")
@pytest.mark.requirement("DISC-04")
@pytest.mark.requirement("PRM-04")
@pytest.mark.parametrize("how", ARRIVALS)
@pytest.mark.parametrize("issuer", ["https://as.example/t1", "https://as.example/t1/"])
def test_inside_of_a_mount_the_appended_forms_are_served(how: str, issuer: str) -> None:
    server = InProcess(issuer=issuer)
    assert arriving(server, how, f"/.well-known/{OIDC}")["issuer"] == issuer
    mcp = arriving(server, how, f"/.well-known/{PRM}/mcp")
    assert mcp["resource"] == "https://as.example/t1/mcp"
    assert mcp["authorization_servers"] == [issuer]
    assert arriving(server, how, f"/.well-known/{PRM}")["resource"] == "https://as.example/t1"
    assert arriving(server, how, f"/.well-known/{PRM}/other") is None


@pytest.mark.requirement("DISC-03")
@pytest.mark.requirement("DISC-05")
def test_forms_inserted_at_the_root_are_served_where_they_arrive() -> None:
    server = InProcess(issuer="https://as.example/t1")
    for form in SERVER_FORMS:
        assert arriving(server, "taken off", f"/.well-known/{form}/t1")["issuer"] == "https://as.example/t1"
        assert arriving(server, "taken off", f"/.well-known/{form}/t2") is None
    assert (
        arriving(server, "taken off", f"/.well-known/{PRM}/t1/mcp")["resource"] == "https://as.example/t1/mcp"
    )
    # The root of the host belongs to an issuer without a path, which this one is not.
    assert arriving(server, "taken off", f"/.well-known/{AS}") is None


@pytest.mark.requirement("WSGI-03")
def test_a_server_at_the_root_may_be_mounted_below_inside() -> None:
    server = InProcess(issuer="https://as.example")
    for how in ("mounted", "other mount", "taken off"):
        assert arriving(server, how, f"/.well-known/{AS}")["issuer"] == "https://as.example"
        assert arriving(server, how, f"/.well-known/{PRM}/mcp")["resource"] == "https://as.example/mcp"


@pytest.mark.requirement("WSGI-03")
def test_without_an_issuer_the_mount_is_a_part_of_the_issuer() -> None:
    server = InProcess(mount="/app")
    document = served(server, ORIGIN, f"/app/.well-known/{OIDC}")
    assert document["issuer"] == "http://localhost:8000/app"
    assert document["authorization_endpoint"] == "http://localhost:8000/app/oauth/authorize"
    assert served(server, ORIGIN, f"/app/.well-known/{PRM}/mcp")["resource"] == ORIGIN + "/app/mcp"
    challenge = server.api(None, "/mcp").headers["WWW-Authenticate"]
    assert f'resource_metadata="{ORIGIN}/app/.well-known/{PRM}/mcp"' in challenge


@pytest.mark.requirement("PRM-02")
def test_a_prefix_beyond_ascii_has_its_document() -> None:
    server = InProcess(protect={"/größe x": ""})
    challenge = server.api(None, "/gr%C3%B6%C3%9Fe%20x").headers["WWW-Authenticate"]
    url = challenge.partition('resource_metadata="')[2].rstrip('"')
    assert url == f"{ORIGIN}/.well-known/{PRM}/gr%C3%B6%C3%9Fe%20x"
    assert server.browser().get(url).json["resource"] == ORIGIN + "/gr%C3%B6%C3%9Fe%20x"


def test_where_a_callable_decides_only_the_whole_server_is_a_resource() -> None:
    server = InProcess(protect=lambda environ: "", scopes=SCOPES)
    assert served(server, ORIGIN, f"/.well-known/{PRM}")["resource"] == ORIGIN
    assert served(server, ORIGIN, f"/.well-known/{PRM}/api") is None


@pytest.mark.requirement("Q-37")
@pytest.mark.requirement("MCP-06")
@pytest.mark.requirement("DISC-01")
@pytest.mark.requirement("RESP-04")
def test_the_four_places_name_the_same_issuer() -> None:
    for issuer, mount in (
        ("https://as.example", ""),
        ("https://as.example/", ""),
        ("https://as.example/t1", "/t1"),
    ):
        server = InProcess(issuer=issuer, mount=mount)
        denied = server.browser().decide(server.authorize_url(server.register()), "deny")
        named = {
            served(server, server.base, f"/.well-known/{OIDC}")["issuer"],
            denied.parameters["iss"],
            *served(server, server.base, f"/.well-known/{PRM}/mcp")["authorization_servers"],
        }
        assert named == {issuer}
