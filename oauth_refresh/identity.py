"""Who an access token speaks for: what the guard hands to the application behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, final


@final
class Identity(NamedTuple):
    """Who an access token speaks for. `subject` is "" where the client speaks for itself.

    `expires_at` is seconds since 1970, None for an imported token without an end.
    """

    subject: str
    client_id: str
    scopes: tuple[str, ...]
    audience: tuple[str, ...]
    expires_at: float | None
    grant_id: str
    properties: Mapping[str, object]


CLIENT_SUBJECT = "client:"
"""How the subject of a client begins where one has to be named. No user is believed to have such a name."""


def subject_of(identity: Identity) -> str:
    """The subject as other systems are told it (RFC 9068 section 5): a client must not pass for a user.

    "" for an imported token of which neither is known.
    """
    if identity.subject or not identity.client_id:
        return identity.subject
    return CLIENT_SUBJECT + identity.client_id
