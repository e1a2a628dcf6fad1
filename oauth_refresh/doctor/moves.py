"""Have moves of the registry left something in it that this server cannot serve?"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from typing import NamedTuple

from ..backends.base import Backend
from ..backends.bulk import batches, get_many
from ..backends.moving import MovingBackend, is_arriving, is_marker
from . import Finding, error

SEEN_MAX = 5000
"""Grants, and as many clients. Their ids are random, so the first ones are a fair sample of all."""

_GO_ALONG = (
    "Set OAUTH_REGISTRY to the registry that they went to, as the other servers have it, and restart; while "
    "that move goes on, this one is OAUTH_REGISTRY_FALLBACK. A marker does not say which registry it is."
)
_TURN_AROUND = (
    "Nothing can be moved into a registry that was itself moved away from: set OAUTH_REGISTRY to the one "
    "that its records went to, and restart. If that is the fallback of now, take OAUTH_REGISTRY_FALLBACK out."
)


class Left(NamedTuple):
    """What was found among the grants and clients of one registry."""

    seen: int = 0
    markers: int = 0
    arriving: int = 0


def examine(backend: Backend) -> Iterator[Finding]:
    """Raises `RegistryError` for what a newer release has left."""
    is_moving = isinstance(backend, MovingBackend)
    left = _look(backend.new if isinstance(backend, MovingBackend) else backend)
    if left.markers:
        yield error(
            "registry",
            f"{left.markers} of {left.seen} grants and clients that were looked at are markers (format 255): "
            "a live move took the records to another registry, and whoever needs one of them here hears 503.",
            _TURN_AROUND if is_moving else _GO_ALONG,
        )
    if left.arriving and not is_moving:
        yield error(
            "registry",
            f"{left.arriving} of {left.seen} grants and clients that were looked at are still arriving "
            "(format 255): a live move to this registry was not finished, so whoever needs one hears 503.",
            "Set OAUTH_REGISTRY_FALLBACK to the registry that they come from, restart, and finish the move: "
            "oauth-refresh migrate --live.",
        )


def _look(registry: Backend) -> Left:
    seen = markers = arriving = 0
    for keys in batches(chain.from_iterable(islice(registry.keys(kind), SEEN_MAX) for kind in (b"g", b"c"))):
        bodies = get_many(registry, keys).values()
        seen += len(bodies)
        markers += sum(map(is_marker, bodies))
        arriving += sum(map(is_arriving, bodies))
    return Left(seen, markers, arriving)
