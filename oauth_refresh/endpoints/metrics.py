"""GET /oauth/metrics: the numbers for Prometheus, for whoever has the token of the settings."""

from __future__ import annotations

import hmac
from ipaddress import ip_address

from werkzeug.wrappers import Request, Response

from ..addresses import Addresses
from ..census import Census
from ..errors import RegistryError
from ..metrics import of_this_process
from ..responses import json_response
from ..server import Server


def metrics(server: Server, request: Request, addresses: Addresses) -> Response:
    if not _may_read(server.settings.metrics_token, request):
        told = {"error": "invalid_token", "error_description": "the metrics need their own bearer token"}
        return json_response(told, 401, [("WWW-Authenticate", 'Bearer realm="metrics"')])
    accept = request.headers.get("Accept", "")
    body, content_type = of_this_process().exposition(accept, _census(server))
    return Response(body, content_type=content_type, headers={"Cache-Control": "no-store"})


def _census(server: Server) -> Census | None:
    """The newest count of grants. One that is begun now is for the next scrape."""
    try:
        return server.census.latest(patience=0)
    except RegistryError:
        return None


def _may_read(token: str | None, request: Request) -> bool:
    """Without a token this machine alone may: the settings see to it that nobody else is served then."""
    if token is None:
        return _is_here(request.environ.get("REMOTE_ADDR", ""))
    scheme, _, sent = request.headers.get("Authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(sent.strip().encode(), token.encode())


def _is_here(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
