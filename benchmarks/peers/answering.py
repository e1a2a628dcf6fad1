"""The side of the peer: it does what a line on standard input asks, and answers with a line.

{"do": "check", "count": 20}    microseconds per check of a bearer token
{"do": "bare", "count": 20}     microseconds per GET that nothing guards
{"do": "rotate", "count": 20}   microseconds per exchange of the newest refresh token
{"do": "newest"}                the newest pair
{"do": "good", "token": …}      whether an access token lets in
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.calling import Rotator, forged, reader, refresh
from benchmarks.timing import timed

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

CLIENT_ID = "reference"
REDIRECT_URI = "http://127.0.0.1/callback"
SCOPES = ("notes:read", "notes:write")
SETTLE = 2
"""Calls before each batch that are not timed: the parent's turn has pushed this process out of the caches."""


class Peer(NamedTuple):
    """An application, and what creates a pair (access, refresh), as after a code was redeemed."""

    app: WSGIApplication
    create: Callable[[], tuple[str, str]]


def main(build: Callable[[str], Peer]) -> None:
    """`build` is given the address of its store; see `asking.address`."""
    peer = build(sys.argv[1])
    access, token = peer.create()
    rotator = Rotator(peer.app, token, CLIENT_ID)
    operations: dict[str, Callable[[], object]] = {
        "check": reader(peer.app, access),
        "bare": reader(peer.app, None, "/open"),
        "rotate": rotator,
    }
    _prove(peer, access, rotator)
    operations["check"] = reader(peer.app, rotator.access_token)
    _say("ready")
    for line in sys.stdin:
        asked: dict[str, Any] = json.loads(line)
        what = asked["do"]
        if what == "good":
            _say(reader(peer.app, asked["token"])().startswith("200"))
        elif what == "newest":
            _say([rotator.access_token, rotator.refresh_token])
        else:
            timed(operations[what], SETTLE)
            _say(timed(operations[what], asked["count"]))


def _say(what: object) -> None:
    print(json.dumps(what), flush=True)


def _prove(peer: Peer, access: str, rotator: Rotator) -> None:
    """What is timed must be right: forged tokens are refused, a spent one is recognised."""
    assert reader(peer.app, None, "/open")().startswith("200")
    assert reader(peer.app, access)().startswith("200")
    for wrong in (forged(access), None):
        assert reader(peer.app, wrong)()[:3] in ("401", "403")
    spent = rotator.refresh_token
    assert rotator().startswith("200")
    assert rotator.refresh_token != spent
    assert reader(peer.app, rotator.access_token)().startswith("200")
    for wrong in (spent, forged(rotator.refresh_token)):
        status, answer = refresh(peer.app, wrong, CLIENT_ID)
        assert status[:3] in ("400", "401"), status
        assert answer["error"] == "invalid_grant", answer
    # Not each of them ends the grant then, and what it costs to go on is what is timed.
    fresh = peer.create()
    rotator.access_token, rotator.refresh_token = fresh
    assert rotator().startswith("200")
