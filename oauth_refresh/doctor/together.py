"""From both sides: is the server that clients reach the one that these settings and this registry belong to?

A client and a grant of the doctor's own are put into the registry, the grant is renewed at the public token
endpoint as often as there may be workers, and both are taken out again. They can reach no resource: the grant
has no user and no scope.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

from ..clients import Client
from ..errors import RegistryError
from ..registry import Issued
from ..server import Server
from ..tokens import read, verifying_key
from . import Finding, error, ok, warning
from .fetching import Answer, fetch

TIMES = 12
"""Requests, each on a connection of its own: most workers get one."""

SKEW_SECONDS = 5.0
LIFETIME_SECONDS = 400 * 86400
"""Of the doctor's own token. To a server whose clock is further ahead it has expired, and looks unknown."""
NAME = "oauth-refresh doctor"


class Probe(NamedTuple):
    """A client and a grant that only the doctor uses."""

    client: Client
    issued: Issued


def examine(server: Server, token_endpoint: str) -> Iterator[Finding]:
    try:
        probe = _begin(server)
    except RegistryError as trouble:
        yield error(
            "registry",
            f"The registry cannot be written: {trouble}",
            "See what the message says, and run this again.",
        )
        return
    try:
        yield from _renew(server, probe, token_endpoint)
    finally:
        _end(server, probe)


def _begin(server: Server) -> Probe:
    client, _ = server.clients.register(
        {"client_name": NAME}, redirect_uris=("http://127.0.0.1/",), auth_method="none"
    )
    issued = server.registry.create_with_refresh(
        "", [], client_id=client.client_id, label=NAME, ttl=86400, refresh_ttl=LIFETIME_SECONDS
    )
    return Probe(client, issued)


def _end(server: Server, probe: Probe) -> None:
    server.clients.delete(probe.client.client_id)
    key = b"g" + bytes.fromhex(probe.issued.grant_id)
    entry = server.backend.get(key)
    if entry is not None:
        server.backend.swap(key, entry, None)


def _renew(server: Server, probe: Probe, token_endpoint: str) -> Iterator[Finding]:
    form = {
        "grant_type": "refresh_token",
        "refresh_token": probe.issued.refresh_token or "",
        "client_id": probe.client.client_id,
    }
    asked = time.time()
    first = fetch(token_endpoint, form)
    answered = time.time()
    if first.status != 200 or first.json is None:
        yield _refused(first)
        return
    yield ok("same registry", "The server that clients reach keeps its grants in this registry.")
    yield from _clock(server, probe, asked, answered)
    yield from _secret(server, probe, str(first.json.get("refresh_token")))
    if server.settings.refresh_grace > 0:
        yield _workers(fetch(token_endpoint, form) for _ in range(TIMES))


def _refused(answer: Answer) -> Finding:
    told = str((answer.json or {}).get("error"))
    if told in ("invalid_client", "invalid_grant"):
        return error(
            "same registry",
            f"The server that clients reach does not know what stands in this registry ({told}): it uses "
            "another one, or memory:, where each worker has its own.",
            "Give server and commands the same OAUTH_REGISTRY, with its whole path, and restart the server.",
        )
    if answer.status == 503:
        return error(
            "same registry",
            "The server that clients reach cannot use its registry: it answers 503.",
            "Look for registry_unavailable in its log, which says what to do.",
        )
    text = f"A token of the doctor's own was not renewed: {answer.shown}, error {told}."
    return error("same registry", text, "Look at the log of the server at this moment.")


def _clock(server: Server, probe: Probe, asked: float, answered: float) -> Iterator[Finding]:
    grant = server.registry.get(probe.issued.grant_id)
    if grant is None or grant.previous is None:
        return
    there = grant.previous.rotated_at
    skew = max(there - answered, asked - there)
    if skew <= SKEW_SECONDS:
        yield ok("clock", "The clocks of server and this host agree.")
        return
    way = "ahead" if there > answered else "behind"
    yield error(
        "clock",
        f"The server's clock is {skew:.0f} seconds {way} of this host's: lifetimes and grace are wrong.",
        "Run NTP on all hosts.",
    )


def _secret(server: Server, probe: Probe, refresh_token: str) -> Iterator[Finding]:
    presented, grant = read(refresh_token), server.registry.get(probe.issued.grant_id)
    if presented is None or grant is None:
        return
    secrets = server.registry.secrets
    key = verifying_key(presented, grant.seed, secrets)
    if key is None:
        yield error(
            "same secret",
            "The server signs with a server secret that is not known here: hosts that differ end grants.",
            "Give all hosts the same OAUTH_SECRET_KEY and OAUTH_SECRET_KEY_FALLBACKS, and restart them.",
        )
    elif key != secrets.keys[0]:
        yield warning(
            "same secret",
            "The server signs with a secret that is a fallback here: a change of the secret is half done.",
            "Restart the hosts that still run with the older settings.",
        )
    else:
        yield ok("same secret", "The server signs with the server secret of these settings.")


def _workers(answers: Iterator[Answer]) -> Finding:
    seen = {(each.status, str((each.json or {}).get("refresh_token"))) for each in answers}
    if len(seen) == 1 and next(iter(seen))[0] == 200:
        return ok(
            "workers", f"{TIMES} repeats of one refresh were answered alike, by whatever workers there are."
        )
    statuses = ", ".join(sorted({str(status) for status, _ in seen}))
    return error(
        "workers",
        f"{TIMES} repeats of one refresh were answered differently (status {statuses}): workers or hosts do "
        "not share registry and secret.",
        "Restart all of them with the same settings, and with a registry that they share.",
    )
