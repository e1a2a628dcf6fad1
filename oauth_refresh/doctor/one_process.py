"""Does one process alone answer at the public URL? A registry in memory serves no more than that one.

A client of the doctor's own is registered there, looked up as often as there may be workers, and deleted. One
that could not be deleted is forgotten as others that nobody uses, after OAUTH_UNUSED_CLIENT_TTL.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

from ..server import Server
from . import Finding, error, ok, warning
from .fetching import fetch
from .together import NAME, TIMES

_WATCH = (
    "Start one process, with threads (gunicorn --workers 1 --threads 8; Waitress is one process), and expect "
    "each restart to log everybody out; or set OAUTH_REGISTRY to one that all processes share."
)
_NOBODY_ASKED = (
    "Nobody was asked: that takes the URL, as in doctor https://notes.example.org, and a token endpoint that "
    "answers there."
)
_CLIENT = {
    "client_name": NAME,
    "redirect_uris": ["http://127.0.0.1/"],
    "token_endpoint_auth_method": "client_secret_basic",
}
"""With a secret: such a client may look itself up and delete itself."""


def examine(server: Server, token_endpoint: str | None) -> Iterator[Finding]:
    """`token_endpoint` is None where the server was not looked at from outside, or did not answer there."""
    if token_endpoint is None:
        yield _unknown(_NOBODY_ASKED)
        return
    if server.settings.registration != "open":
        yield _unknown("To find out, clients have to be allowed to register themselves (OAUTH_REGISTRATION).")
        return
    register = f"{token_endpoint.removesuffix('/token')}/register"
    answer = fetch(register, document=_CLIENT)
    made = answer.json or {}
    if answer.status != 201 or "registration_access_token" not in made:
        yield _unknown(f"A client of the doctor's own could not be registered: {answer.shown}.")
        return
    # The address is put together here: the token is sent to no place that only an answer names.
    own = f"{register}/{quote(str(made.get('client_id')), safe='')}"
    token = {"Authorization": f"Bearer {made['registration_access_token']}"}
    try:
        # At once: a worker that is busy leaves the next one to another.
        with ThreadPoolExecutor(TIMES) as pool:
            seen = set(pool.map(lambda _: fetch(own, headers=token).status, range(TIMES)))
    finally:
        any(fetch(own, headers=token, method="DELETE").status == 204 for _ in range(TIMES))
    if seen == {200}:
        yield ok(
            "workers",
            f"All of {TIMES} requests made at once found what one process holds in memory: no other was met.",
        )
    elif 401 in seen:
        yield error(
            "workers",
            f"Of {TIMES} requests made at once some did not find what one process holds in memory: there are "
            "several, each with grants of its own.",
            _WATCH,
        )
    else:
        statuses = ", ".join(sorted(map(str, seen)))
        yield _unknown(f"{TIMES} requests made at once were answered with status {statuses}.")


def _unknown(why: str) -> Finding:
    text = f"memory: serves one process alone, and how many there are is not known. {why}"
    return warning("workers", text, _WATCH)
