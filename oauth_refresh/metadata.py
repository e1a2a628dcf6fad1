"""What the well-known documents say: RFC 8414 of the authorization server, RFC 9728 of each resource."""

from __future__ import annotations

from collections.abc import Iterable

from .addresses import Addresses
from .registration import AUTH_METHODS, GRANT_TYPES
from .scopes import OFFLINE_ACCESS


def authorization_server(
    addresses: Addresses,
    prefix: str,
    *,
    scopes: Iterable[str],
    resources: Iterable[str],
    registration: bool,
    grant_types: Iterable[str] = GRANT_TYPES,
    client_documents: bool = False,
) -> dict[str, object]:
    """RFC 8414 section 2. Lists are explicit wherever the default would promise what is not there."""
    endpoints = addresses.base + prefix
    document: dict[str, object] = {
        "issuer": addresses.issuer,
        "authorization_endpoint": f"{endpoints}/authorize",
        "token_endpoint": f"{endpoints}/token",
        "revocation_endpoint": f"{endpoints}/revoke",
        "introspection_endpoint": f"{endpoints}/introspect",
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": list(grant_types),
        "token_endpoint_auth_methods_supported": list(AUTH_METHODS),
        "revocation_endpoint_auth_methods_supported": list(AUTH_METHODS),
        "introspection_endpoint_auth_methods_supported": [m for m in AUTH_METHODS if m != "none"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        # Some clients ask for a refresh token only where they see this scope; it is never needed here.
        "scopes_supported": list(dict.fromkeys([*scopes, OFFLINE_ACCESS])),
        "protected_resources": list(resources),
    }
    if registration:
        document["registration_endpoint"] = f"{endpoints}/register"
    if client_documents:
        document["client_id_metadata_document_supported"] = True
    return document


def protected_resource(
    addresses: Addresses, prefix: str, *, scopes: Iterable[str], service_name: str
) -> dict[str, object]:
    """RFC 9728 section 2, for the resource below this prefix ("" for the whole server)."""
    document: dict[str, object] = {
        "resource": addresses.resource(prefix),
        "authorization_servers": [addresses.issuer],
        "bearer_methods_supported": ["header"],
    }
    # A client asks for what it finds here; whether it wants to stay is its own matter.
    if listed := [scope for scope in scopes if scope != OFFLINE_ACCESS]:
        document["scopes_supported"] = listed
    if service_name:
        document["resource_name"] = service_name
    return document
