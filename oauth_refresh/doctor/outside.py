"""From outside: does a client find at the public URL what it needs?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ..addresses import Addresses, from_issuer
from ..setting_addresses import is_loopback_host
from . import Finding, error, ok, warning
from .fetching import Answer, fetch

PROXY = "Let the proxy pass this path, as it is, to the application"

_AT_THE_ROOT = f"{PROXY}: /.well-known/ stands at the root of the host."


class Seen(NamedTuple):
    """What was found, and the token endpoint, if there is one at the address that was looked at."""

    findings: list[Finding]
    token_endpoint: str | None = None


def examine(url: str, prefixes: Iterable[str] | None) -> Seen:
    """Look at the server at this public URL. `prefixes` are its protected ones, None where nobody knows."""
    addresses = from_issuer(url)
    first = fetch(_inserted(addresses, "oauth-authorization-server"))
    if not first.status:
        return Seen([_unreachable(url, first)])
    if first.status in (502, 504):
        return Seen([*_transport(url), _nobody_behind(url, first)])
    findings = [*_transport(url), *_documents(addresses)]
    document = _metadata(addresses)
    if document is not None:
        findings += _issuer(url, document)
    token_endpoint = str((document or {}).get("token_endpoint"))
    if document is None or not token_endpoint.startswith(f"{addresses.base}/"):
        # Nothing is sent to a place that only the document names.
        for prefix in prefixes or ():
            findings += _open_door(addresses.resource(prefix))
        return Seen(findings)
    answers = list(_token_endpoint(token_endpoint))
    findings += answers
    for resource in _resources(addresses, prefixes, document):
        findings += _resource(resource)
    return Seen(findings, token_endpoint if all(each.severity == "ok" for each in answers) else None)


def _unreachable(url: str, answer: Answer) -> Finding:
    if answer.untrusted:
        text = f"The certificate of {url} is not trusted: {answer.trouble}"
        return error(
            "https", text, "Install the whole certificate chain, for this host name, and renew it in time."
        )
    text = f"{url} cannot be reached: {answer.trouble}"
    return error(
        "reach", text, "Start the server, look at DNS and firewall, and at the address it listens on."
    )


def _nobody_behind(url: str, answer: Answer) -> Finding:
    return error(
        "reach",
        f"The proxy at {url} answers {answer.status}: it reaches no application behind it.",
        "Start the server, and compare the address or socket it listens on with that of the proxy.",
    )


def _transport(url: str) -> Iterator[Finding]:
    parts = urlsplit(url)
    if parts.scheme == "https":
        yield ok("https", "The certificate is trusted.")
    elif not is_loopback_host(parts.hostname or ""):
        text = f"{url} is http: tokens and passwords cross the network readable, and many clients refuse it."
        yield error("https", text, "Put TLS in front of the server.")


# --- the documents --------------------------------------------------------------------------------


def _inserted(addresses: Addresses, name: str) -> str:
    return f"{addresses.origin}/.well-known/{name}{addresses.path}"


def _places(addresses: Addresses) -> Iterator[tuple[str, bool]]:
    """Where clients look for the server's metadata, and whether every client looks there."""
    for name in ("oauth-authorization-server", "openid-configuration"):
        yield _inserted(addresses, name), name == "oauth-authorization-server"
        if addresses.path:
            yield f"{addresses.base}/.well-known/{name}", False


def _metadata(addresses: Addresses) -> dict[str, Any] | None:
    answers = (fetch(place) for place, _ in _places(addresses))
    return next((each.json for each in answers if each.status == 200 and each.json), None)


def _documents(addresses: Addresses) -> Iterator[Finding]:
    missing = 0
    for place, is_needed in _places(addresses):
        answer = fetch(place)
        if answer.status != 200 or answer.json is None:
            missing += 1
            text = f"The server's metadata is not at {place}: {answer.shown}."
            make = error if is_needed else warning
            yield make("metadata", text, _passed_on(addresses, place))
    place = f"{addresses.base}/.well-known/oauth-protected-resource"
    answer = fetch(place)
    if answer.status != 200 or answer.json is None:
        missing += 1
        text = f"The metadata of the protected resource is not at {place}: {answer.shown}."
        yield error("metadata", text, f"{PROXY}: clients begin there.")
    if not missing:
        yield ok("metadata", "All forms of the metadata can be read.")


def _passed_on(addresses: Addresses, place: str) -> str:
    """How this document comes to the application."""
    if place.startswith(f"{addresses.base}/"):
        return f"{PROXY}: some clients look there." if addresses.path else _AT_THE_ROOT
    below = place.removeprefix(addresses.origin).removesuffix(addresses.path)
    return (
        f"{_AT_THE_ROOT} A server of the application that was told of the mount (gunicorn by SCRIPT_NAME, "
        f"Waitress by --url-prefix) has it below that alone: there, pass it on as {addresses.path}{below}."
    )


def _issuer(url: str, document: dict[str, Any]) -> Iterator[Finding]:
    issuer = str(document.get("issuer"))
    if issuer == url:
        yield ok("public URL", f"The server calls itself {issuer}, as clients do.")
        return
    yield error(
        "public URL",
        f"Clients reach the server as {url}, and it calls itself {issuer}: they compare the two and stop.",
        f"Set OAUTH_ISSUER={url}, or let clients use {issuer}: it is compared byte for byte.",
    )


# --- the endpoints --------------------------------------------------------------------------------


def _token_endpoint(url: str) -> Iterator[Finding]:
    answer = fetch(url, {})
    told = answer.json or {}
    if answer.status != 400 or told.get("error") != "invalid_request":
        yield error(
            "token endpoint",
            f"POST {url} is not answered as a token endpoint does, but with {answer.shown}.",
            f"{PROXY}, with its method and body: a redirect, a firewall or a CSRF check takes it first.",
        )
        return
    # Nobody's token, of a client that cannot be: to say so the server has to look into its registry.
    answer = fetch(url, {"grant_type": "refresh_token", "refresh_token": "x", "client_id": "oc_doctor"})
    if answer.status == 503:
        yield error(
            "registry of the server",
            "The server cannot use its registry: it answers 503 to whatever needs one.",
            "Look for registry_unavailable in its log, which says what to do.",
        )
        return
    yield ok("token endpoint", f"{url} answers, and can use its registry.")


def _resources(addresses: Addresses, prefixes: Iterable[str] | None, document: dict[str, Any]) -> list[str]:
    if prefixes is not None:
        return [addresses.resource(prefix) for prefix in prefixes]
    named = document.get("protected_resources")
    found = named if isinstance(named, list) else []
    return [str(each) for each in found if str(each).rstrip("/") != addresses.base]


def _open_door(url: str) -> Iterator[Finding]:
    """Where the endpoints are missing, the middleware may be, too."""
    bare = fetch(url)
    if 200 <= bare.status < 300:
        yield error(
            "protection",
            f"{url} is not protected: without a token it answers {bare.shown}.",
            "Start oauth_refresh.wsgi:application, or what the middleware wraps, not the application alone, "
            "and let the proxy send all requests there.",
        )


def _resource(url: str) -> Iterator[Finding]:
    bare = fetch(url)
    if bare.status != 401 or "resource_metadata=" not in bare.headers.get("www-authenticate", ""):
        yield error(
            "protection",
            f"{url} is not protected: without a token it answers {bare.shown}.",
            "Let the proxy send all requests through the middleware, and wrap what it serves.",
        )
        return
    guess = fetch(url, headers={"Authorization": "Bearer oauth-refresh-doctor"})
    if "invalid_token" not in guess.headers.get("www-authenticate", ""):
        yield error(
            "Authorization header",
            f"A token that is sent to {url} does not arrive: the answer is the one to a request without any.",
            "Let the proxy pass the Authorization header on; mod_wsgi needs WSGIPassAuthorization On.",
        )
        return
    yield ok("protection", f"{url} asks for a token, and looks at it.")
