"""How static clients are written: those that the operator knows and lists in the settings."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from .setting_addresses import read_redirect_uri
from .setting_protection import read_scope_text
from .setting_values import BOOLEAN, NAME, Kind, Refused, list_of, read_each, read_lifetime, shown

CLIENT_CREDENTIALS = "client_credentials"
GRANT_TYPES = ("authorization_code", "refresh_token")
GRANT_TYPES_KNOWN = (*GRANT_TYPES, CLIENT_CREDENTIALS)
AUTH_METHODS = ("none", "client_secret_basic", "client_secret_post")

_CLIENT_ID = re.compile(r"[\x21-\x7e]{1,255}")
_CLIENT_SECRET = re.compile(r"[\x20-\x7e]{1,512}")  # RFC 6749 appendix A.2
_PROTECTED_PATH = re.compile(r"/[^\s?#]*")
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def _read_secret(value: object) -> str:
    if not isinstance(value, str) or not _CLIENT_SECRET.fullmatch(value):
        raise Refused("is no text of 1 to 512 printable ASCII characters")
    return value


def _read_secret_hash(value: object) -> str:
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise Refused("is no SHA-256 in 64 hex digits")
    return value.lower()


def _one_or_several(read_one: Callable[[object], str]) -> Callable[[object], str | tuple[str, ...]]:
    """A secret, or a list of those that are valid side by side while one replaces the other."""

    def read(value: object) -> str | tuple[str, ...]:
        if not isinstance(value, (list, tuple)):
            return read_one(value)
        if not value:
            raise Refused("is an empty list")
        return tuple(read_one(item) for item in value)

    return read


def _read_grant_type(text: str) -> str:
    if text not in GRANT_TYPES_KNOWN:
        raise Refused(f"{shown(text)} is not one of {', '.join(GRANT_TYPES_KNOWN)}")
    return text


def _read_method(value: object) -> str:
    if not isinstance(value, str) or value not in AUTH_METHODS:
        raise Refused(f"is not one of {', '.join(AUTH_METHODS)}")
    return value


def _read_introspect(value: object) -> bool | tuple[str, ...]:
    """Whose tokens a client may look at: everybody's, nobody's, or those for some protected paths."""
    if not isinstance(value, (list, tuple)) and "/" not in str(value):
        return BOOLEAN.read(value)
    return list_of(_read_protected_path, "").read(value)


def _read_protected_path(text: str) -> str:
    if not _PROTECTED_PATH.fullmatch(text):
        raise Refused(f"{shown(text)} is no protected path such as /api")
    return text.rstrip("/") or "/"


def _read_status(value: object) -> int:
    if str(value) not in ("400", "401"):
        raise Refused("is neither 400 nor 401")
    return int(str(value))


_MEMBERS: Mapping[str, Callable[[object], object]] = {
    "client_secret": _one_or_several(_read_secret),
    "client_secret_hash": _one_or_several(_read_secret_hash),
    "redirect_uris": list_of(read_redirect_uri, "").read,
    "client_name": NAME.read,
    "scope": read_scope_text,
    "grant_types": list_of(_read_grant_type, "").read,
    "access_token_ttl": read_lifetime,
    "refresh_token_ttl": read_lifetime,
    "token_endpoint_auth_method": _read_method,
    "trusted": BOOLEAN.read,
    "introspect": _read_introspect,
    "dead_refresh_token_status": _read_status,
}


def _read_clients(value: object) -> Mapping[str, Mapping[str, object]]:
    if isinstance(value, str):
        value = _from_json(value)
    if value is None:
        value = {}
    if not isinstance(value, Mapping):
        raise Refused("is no table of clients")
    clients: dict[str, Mapping[str, object]] = {}

    def read(item: tuple[object, object]) -> None:
        client_id, members = item
        if not isinstance(client_id, str) or not _CLIENT_ID.fullmatch(client_id):
            raise Refused(f"{shown(client_id)} is no client id: at most 255 printable ASCII characters")
        try:
            clients[client_id] = _read_client(members)
        except Refused as refusal:
            raise Refused(*(f"client {shown(client_id)}: {reason}" for reason in refusal.reasons)) from None

    read_each(value.items(), read)
    return MappingProxyType(clients)


def _from_json(text: str) -> object:
    import json

    if text.strip().lower() in {"", "none"}:
        return {}
    try:
        return json.loads(text, object_pairs_hook=_without_repeats)
    except json.JSONDecodeError as error:
        # Not the error's text alone: some versions quote what they met, which may be a secret.
        raise Refused(f"is no JSON (line {error.lineno}, column {error.colno})") from None
    except RecursionError:
        raise Refused("is no JSON that could be read") from None


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    names = [name for name, _ in pairs]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise Refused(*(f"{shown(name)} is named twice" for name in sorted(repeated)))
    return dict(pairs)


def _read_client(members: object) -> Mapping[str, object]:
    if not isinstance(members, Mapping):
        raise Refused("is no table")
    client: dict[str, object] = {}

    def read(item: tuple[object, object]) -> None:
        name, value = item
        if not isinstance(name, str) or name not in _MEMBERS:
            raise Refused(f"{shown(name)} is no member{_suggestion(name)}")
        try:
            client[name] = _MEMBERS[name](value)
        except Refused as refusal:
            raise Refused(*(f"{name} {reason}" for reason in refusal.reasons)) from None

    read_each(members.items(), read)
    reasons = list(_contradictions(client))
    if reasons:
        raise Refused(*reasons)
    return MappingProxyType(client)


def _suggestion(name: object) -> str:
    from difflib import get_close_matches

    near = get_close_matches(str(name), _MEMBERS, n=1)
    return f", did you mean {near[0]}?" if near else ""


def _contradictions(client: Mapping[str, object]) -> list[str]:
    reasons: list[str] = []
    secrets = [name for name in ("client_secret", "client_secret_hash") if name in client]
    method = client.get("token_endpoint_auth_method")
    if len(secrets) == 2:
        reasons.append("has both client_secret and client_secret_hash")
    if method == "none" and secrets:
        reasons.append(f"has a {secrets[0]}, but token_endpoint_auth_method none")
    if client.get("introspect") and not secrets:
        reasons.append("has no client_secret, which introspect needs")
    if method not in (None, "none") and not secrets:
        reasons.append(f"has no client_secret, but token_endpoint_auth_method {method}")
    grant_types = client.get("grant_types", GRANT_TYPES)
    if not secrets and isinstance(grant_types, tuple) and CLIENT_CREDENTIALS in grant_types:
        reasons.append(f"has no client_secret, which {CLIENT_CREDENTIALS} needs")
    codes = isinstance(grant_types, tuple) and "authorization_code" in grant_types
    if codes and not client.get("redirect_uris"):
        reasons.append("has no redirect_uris, which authorization_code needs")
    return reasons


TOKEN_HASHES = list_of(_read_secret_hash, "a list of SHA-256 hashes, each in 64 hex digits")
CLIENTS = Kind(
    _read_clients,
    f"a table of client id and a table with any of {', '.join(_MEMBERS)}; as text, the same in JSON",
)
