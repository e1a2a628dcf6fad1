"""GET /.well-known/…: the metadata documents, in every form that clients probe (RFC 8414, RFC 9728)."""

from __future__ import annotations

from hashlib import sha256

import msgspec
from werkzeug.wrappers import Request, Response

from .. import metadata
from ..addresses import Addresses
from ..responses import json_response
from ..server import Server

SERVER_NAMES = ("oauth-authorization-server", "openid-configuration")
RESOURCE_NAME = "oauth-protected-resource"
MAX_AGE = 300


def is_well_known(path: str) -> bool:
    """Whether a path names one of these documents anywhere: where there is none, the answer is ours too.

    Clients try several places in turn and read each answer as JSON; a page of the application, or a
    redirect, would end their search.
    """
    _, marker, after = path.partition("/.well-known/")
    return bool(marker) and after.partition("/")[0] in (*SERVER_NAMES, RESOURCE_NAME)


def well_known(server: Server, request: Request, addresses: Addresses) -> Response:
    server.housekeeping.look_after()
    document = _document(server, request, addresses)
    if document is None:
        return json_response({"error": "not_found", "error_description": "no such document"}, 404)
    body = msgspec.json.encode(document)
    response = Response(body, mimetype="application/json")
    response.headers["Cache-Control"] = f"public, max-age={MAX_AGE}"
    response.headers["X-Content-Type-Options"] = "nosniff"
    if server.addresses.configured is None:
        response.vary.add("Host")
    response.set_etag(sha256(body).hexdigest()[:32])
    response.make_conditional(request)
    # Every server writes a date of its own, and some do not look whether there is one.
    del response.headers["Date"]
    return response


def _document(server: Server, request: Request, addresses: Addresses) -> dict[str, object] | None:
    mount = request.root_path.rstrip("/")
    path = request.path.removesuffix("/")
    asked = {mount + path}
    if mount or not path.endswith(SERVER_NAMES[0]):
        # A proxy that takes the path of the issuer off, or puts another one before, leaves only what
        # follows it. The one exception is what clients ask of the root of the host: that belongs to an
        # issuer without a path.
        asked.add(addresses.path + path)
    if asked & _server_places(addresses):
        return metadata.authorization_server(
            addresses,
            server.settings.prefix,
            scopes=server.settings.known_scopes,
            resources=server.resources(addresses),
            grant_types=server.clients.grant_types,
            registration=server.settings.registration != "off",
            client_documents=server.settings.reads_client_documents,
        )
    for prefix in ("", *server.prefixes):
        if asked & _resource_places(addresses, prefix):
            return metadata.protected_resource(
                addresses,
                prefix,
                scopes=_scopes_below(server, prefix),
                service_name=server.settings.service_name,
            )
    return None


def _server_places(addresses: Addresses) -> set[str]:
    inserted = {f"/.well-known/{name}{addresses.path}" for name in SERVER_NAMES}
    return inserted | {f"{addresses.path}/.well-known/{name}" for name in SERVER_NAMES}


def _resource_places(addresses: Addresses, prefix: str) -> set[str]:
    """Compared with decoded paths, so prefixes stand as they are configured."""
    below = prefix.rstrip("/")
    return {
        f"/.well-known/{RESOURCE_NAME}{addresses.path}{below}",
        f"{addresses.path}/.well-known/{RESOURCE_NAME}{below}",
    }


def _scopes_below(server: Server, prefix: str) -> tuple[str, ...]:
    if not prefix:
        return server.settings.known_scopes
    needed = server.scopes_below(prefix)
    return tuple(scope for scope in server.settings.known_scopes if scope in needed)
