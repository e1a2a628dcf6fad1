"""Who an access token speaks for: what the guard hands to the application behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


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
