"""What clients see of a registry in trouble, and what they must not see."""

from __future__ import annotations

import requests

from tests.flows.client import OAuthClient, error
from tests.flows.headless import TIMEOUT
from tests.flows.secret import Pair

UNAVAILABLE = (503, "temporarily_unavailable")


def assert_unavailable(answer: requests.Response) -> None:
    assert error(answer) == UNAVAILABLE
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.headers["Cache-Control"] == "no-store"


def assert_writes_are_refused(client: OAuthClient, held: Pair) -> None:
    known = client.client_id
    assert_unavailable(client.refresh(held.refresh))
    assert_unavailable(client.revoke(held.refresh))
    assert_unavailable(client.revoke(held.access))
    # Under a name that is not known yet: what is registered already is answered without a write.
    assert_unavailable(client.register(client_name="Somebody new"))
    assert client.client_id == known


def assert_the_rest_is_untouched(client: OAuthClient) -> None:
    assert client.session.get(f"{client.base}/", timeout=TIMEOUT).status_code == 200
    well_known = f"{client.base}/.well-known/oauth-authorization-server"
    assert client.session.get(well_known, timeout=TIMEOUT).status_code == 200
    assert client.call(None).status_code == 401
