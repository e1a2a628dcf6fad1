"""What the well-known documents say, as a rule without HTTP."""

from __future__ import annotations

import pytest

from oauth_refresh.addresses import from_issuer
from oauth_refresh.metadata import authorization_server, protected_resource

HERE = from_issuer("https://as.example")


@pytest.mark.requirement("DISC-22")
@pytest.mark.requirement("PRM-12")
@pytest.mark.requirement("PRM-13")
def test_no_document_claims_what_is_not_there() -> None:
    server = authorization_server(HERE, "/oauth", scopes=["a"], resources=["x"], registration=True)
    resource = protected_resource(HERE, "/mcp", scopes=["a"], service_name="")
    absent = {
        "signed_metadata",
        "tls_client_certificate_bound_access_tokens",
        "authorization_details_types_supported",
        "resource_signing_alg_values_supported",
    }
    assert absent.isdisjoint(server)
    assert absent.isdisjoint(resource)


@pytest.mark.requirement("DISC-16")
@pytest.mark.requirement("DISC-20")
@pytest.mark.requirement("DISC-07")
@pytest.mark.requirement("DISC-08")
@pytest.mark.requirement("DISC-09")
@pytest.mark.requirement("DISC-10")
@pytest.mark.requirement("DISC-11")
@pytest.mark.requirement("DISC-12")
@pytest.mark.requirement("DISC-14")
@pytest.mark.requirement("DISC-17")
@pytest.mark.requirement("DISC-18")
@pytest.mark.requirement("DISC-21")
@pytest.mark.requirement("DISC-24")
def test_the_document_of_the_authorization_server() -> None:
    document = authorization_server(
        HERE,
        "/oauth",
        scopes=["a", "b"],
        resources=["https://as.example", "https://as.example/mcp"],
        registration=True,
    )
    assert document == {
        "issuer": "https://as.example",
        "authorization_endpoint": "https://as.example/oauth/authorize",
        "token_endpoint": "https://as.example/oauth/token",
        "revocation_endpoint": "https://as.example/oauth/revoke",
        "registration_endpoint": "https://as.example/oauth/register",
        "introspection_endpoint": "https://as.example/oauth/introspect",
        "introspection_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
        "revocation_endpoint_auth_methods_supported": ["none", "client_secret_basic", "client_secret_post"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        "scopes_supported": ["a", "b", "offline_access"],
        "protected_resources": ["https://as.example", "https://as.example/mcp"],
    }


@pytest.mark.requirement("DISC-15")
def test_registration_is_announced_only_where_it_works() -> None:
    document = authorization_server(HERE, "/oauth", scopes=[], resources=["x"], registration=False)
    assert "registration_endpoint" not in document


@pytest.mark.requirement("DISC-16")
@pytest.mark.parametrize("on", [True, False])
def test_client_metadata_documents_are_announced_only_where_they_are_read(on: bool) -> None:
    document = authorization_server(
        HERE, "/oauth", scopes=[], resources=["x"], registration=True, client_documents=on
    )
    assert document.get("client_id_metadata_document_supported") is (True if on else None)


@pytest.mark.requirement("DISC-02")
@pytest.mark.requirement("GEN-19")
def test_a_slash_at_the_end_of_the_issuer_is_kept_there_and_doubled_nowhere() -> None:
    document = authorization_server(
        from_issuer("https://as.example/t/"), "/o", scopes=[], resources=["x"], registration=True
    )
    assert document["issuer"] == "https://as.example/t/"
    assert document["token_endpoint"] == "https://as.example/t/o/token"
    assert not [
        text for text in document.values() if isinstance(text, str) and ("#" in text or "//o" in text)
    ]


@pytest.mark.requirement("PRM-01")
@pytest.mark.requirement("PRM-06")
@pytest.mark.requirement("PRM-08")
@pytest.mark.requirement("PRM-09")
def test_the_document_of_a_resource() -> None:
    assert protected_resource(HERE, "/mcp", scopes=["a"], service_name="Notes") == {
        "resource": "https://as.example/mcp",
        "authorization_servers": ["https://as.example"],
        "bearer_methods_supported": ["header"],
        "scopes_supported": ["a"],
        "resource_name": "Notes",
    }


@pytest.mark.requirement("PRM-05")
def test_what_there_is_none_of_is_left_out() -> None:
    assert protected_resource(HERE, "", scopes=[], service_name="") == {
        "resource": "https://as.example",
        "authorization_servers": ["https://as.example"],
        "bearer_methods_supported": ["header"],
    }


@pytest.mark.requirement("MCP-06")
@pytest.mark.requirement("Q-23")
@pytest.mark.requirement("PRM-07")
@pytest.mark.requirement("DISC-14")
def test_offline_access_belongs_to_the_server_and_to_no_resource() -> None:
    scopes = ["offline_access", "a"]
    server = authorization_server(HERE, "/oauth", scopes=scopes, resources=["x"], registration=True)
    assert server["scopes_supported"] == ["offline_access", "a"]
    assert protected_resource(HERE, "", scopes=scopes, service_name="")["scopes_supported"] == ["a"]
    alone = protected_resource(HERE, "", scopes=["offline_access"], service_name="")
    assert "scopes_supported" not in alone


@pytest.mark.requirement("DISC-13")
@pytest.mark.requirement("DISC-19")
@pytest.mark.requirement("PRM-10")
@pytest.mark.requirement("PRM-11")
def test_nothing_is_said_of_keys_where_no_key_is_used() -> None:
    server = authorization_server(HERE, "/oauth", scopes=["a"], resources=["x"], registration=True)
    resource = protected_resource(HERE, "/mcp", scopes=["a"], service_name="Notes")
    methods = [method for name in server if "auth_methods" in name for method in server[name]]  # type: ignore[attr-defined]
    assert not [method for method in methods if method.endswith("_jwt")]
    for name in [*server, *resource]:
        assert not any(part in name for part in ("jwks", "signed", "_alg_", "dpop", "certificate")), name
