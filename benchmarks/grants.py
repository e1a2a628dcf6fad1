"""python -m benchmarks.grants URL COUNT: fill a registry with grants as a deployment has them.

Every grant has a pair of tokens that works under `SECRET_KEY` of `driving`, a user (three grants each on
average), and one of a hundred clients; all rotate as any other. The same number gives the same grant, so that
`tokens_of` names the tokens of each without keeping any, and a run that was cut off is run again.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from hashlib import sha256

from oauth_refresh import grants
from oauth_refresh.backends import open_backend
from oauth_refresh.backends.base import Backend
from oauth_refresh.backends.bulk import Row, batches, create_many
from oauth_refresh.cases import Issue, Policy
from oauth_refresh.records import Grant, encode, forget_at, index_terms
from oauth_refresh.tokens import Secrets

from .driving import SECRET_KEY

CLIENTS = 100
GRANTS_PER_USER = 3
SECRETS = Secrets((SECRET_KEY.encode(),))
POLICY = Policy(access_ttl=900.0, refresh_ttl=90 * 86400.0)
AT_ONCE = 1000


def tokens_of(number: int, now: float) -> Issue:
    """The tokens of this grant. `now` (seconds since 1970) is when it begins, the same for the same grant."""
    grant = _grant(number, now)
    return grants.open_pair(grant, _draw(number, "secret"), now, POLICY, SECRETS)


def rows(count: int, now: float, first: int = 0) -> Iterator[Row]:
    """The records of so many grants."""
    for number in range(first, first + count):
        grant = tokens_of(number, now).store
        assert grant is not None
        yield b"g" + grant.id, encode(grant), forget_at(grant), index_terms(grant)


def fill(backend: Backend, count: int, now: float, first: int = 0) -> int:
    """Store so many grants; how many were not there yet."""
    return sum(create_many(backend, batch) for batch in batches(rows(count, now, first), AT_ONCE))


def _grant(number: int, now: float) -> Grant:
    return Grant(
        id=_draw(number, "id")[:16],
        client_id=f"oc_{_draw(number % CLIENTS, 'client')[:12].hex()}",
        subject=f"user{number // GRANTS_PER_USER}@example.org",
        access=None,
        previous=None,
        used=False,
        last_used_at=None,
        revoked_at=None,
        ends_at=None,
        properties={},
        seed=_draw(number, "seed"),
        scopes=("notes:read", "notes:write"),
        resources=("http://127.0.0.1:8000",),
        created_at=now,
    )


def _draw(number: int, what: str) -> bytes:
    return sha256(f"{what} {number}".encode()).digest()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.grants", description=__doc__)
    parser.add_argument("url")
    parser.add_argument("count", type=int)
    parser.add_argument("--now", type=float, default=float(int(time.time())), help="when the grants begin")
    chosen = parser.parse_args()
    backend, begun = open_backend(chosen.url), time.perf_counter()
    created = fill(backend, chosen.count, chosen.now)
    backend.close()
    seconds = time.perf_counter() - begun
    sys.stdout.write(
        f"{created} grants in {seconds:.1f} s, {created / seconds:.0f} a second, now={chosen.now:.0f}\n"
    )


if __name__ == "__main__":
    main()
