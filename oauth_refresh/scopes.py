"""Which scopes does a request get? Scopes are sorted tuples of names without duplicates."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from .errors import InvalidScope

OFFLINE_ACCESS = "offline_access"
TOLERATED = frozenset({OFFLINE_ACCESS, "openid", "profile", "email"})
"""OpenID Connect libraries ask for these by habit. Ignored, unless the application has a scope so named."""

_NAMES = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]*")


def parse_scope(text: str) -> tuple[str, ...]:
    """The scopes of a `scope` parameter (RFC 6749 section 3.3), empty for an empty text.

    Raises InvalidScope for a character outside of printable ASCII, a quote or a backslash.
    """
    if _NAMES.fullmatch(text) is None:
        raise InvalidScope("scope contains a character that is not allowed")
    return tuple(sorted({name for name in text.split(" ") if name}))


def grantable(
    requested: Collection[str] | None,
    known: Collection[str],
    default: Collection[str],
    allowed_for_client: Collection[str] | None,
) -> tuple[str, ...]:
    """What an authorization request may be granted, by the user's leave.

    `known` are the application's scopes; `allowed_for_client` those that the client was registered with,
    None or empty for a client registered without any: it may ask for all. Of what was requested, names
    that are unknown or not for this client are left out; raises InvalidScope if nothing remains. A request
    without scopes, or with tolerated ones only, gets `default`, as far as it is for this client.
    """
    open_to_client = set(known).intersection(allowed_for_client) if allowed_for_client else set(known)
    wanted = set(requested or ())
    meant = wanted - (TOLERATED - set(known))
    if not meant:
        return _some_of(set(default), open_to_client, "scope is required: the default is not for this client")
    available = f"available to this client: {join(open_to_client) or 'none'}"
    return _some_of(meant, open_to_client, f"scope: none of those requested is known; {available}")


def of_client_itself(
    requested: Collection[str] | None,
    known: Collection[str],
    default: Collection[str],
    allowed_for_client: Collection[str] | None,
) -> tuple[str, ...]:
    """The scopes of a token that a client gets without a user (RFC 6749 section 4.4.2).

    No user looks at these, so a client without scopes of its own has the default ones and no others, and
    nothing is left out in silence: raises InvalidScope if any of the requested ones is not available.
    """
    available = set(allowed_for_client or default) & set(known)
    meant = set(requested or ()) - (TOLERATED - set(known))
    if not meant <= available:
        raise InvalidScope("scope: not all of it is available to this client")
    return tuple(sorted(meant or available))


def implications(direct: Mapping[str, str]) -> dict[str, frozenset[str]]:
    """All that each scope contains, itself and whatever those contain in turn; cycles make equals."""
    closed: dict[str, frozenset[str]] = {}
    for broad in direct:
        found, left = {broad}, [broad]
        while left:
            new = set(direct.get(left.pop(), "").split()) - found
            found |= new
            left.extend(new)
        closed[broad] = frozenset(found)
    return closed


def join(scopes: Iterable[str]) -> str:
    """The text of a `scope` parameter: sorted, each name once."""
    return " ".join(sorted(set(scopes)))


def _some_of(wanted: set[str], available: set[str], otherwise: str) -> tuple[str, ...]:
    """Raises InvalidScope with the text `otherwise` if something is wanted and nothing of it available."""
    found = wanted & available
    if wanted and not found:
        raise InvalidScope(otherwise)
    return tuple(sorted(found))
