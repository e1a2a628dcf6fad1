"""How a client presents itself. Whether its credentials are believed, `test_clients` shows."""

from __future__ import annotations

import pytest

from oauth_refresh.credentials import Credentials, read_credentials
from oauth_refresh.errors import InvalidRequest
from oauth_refresh.parameters import gather

from .driving import basic


def credentials(authorization: str | None = None, **form: str) -> Credentials:
    return read_credentials(authorization, gather(form.items()))


@pytest.mark.requirement("CAUTH-06")
def test_two_ways_at_once_are_a_malformed_request() -> None:
    with pytest.raises(InvalidRequest, match="client_secret: sent both in the body and as HTTP Basic"):
        credentials(basic("web", "secret"), client_id="web", client_secret="secret")
    once = credentials(basic("web", "secret"), client_id="web", client_secret="")
    assert once == credentials(basic("web", "secret"))


@pytest.mark.requirement("GEN-06")
def test_client_id_and_secret_may_occur_only_once() -> None:
    for name in ("client_id", "client_secret"):
        with pytest.raises(InvalidRequest, match=f"{name}: must occur only once"):
            read_credentials(None, gather([(name, "x"), (name, "x")]))


@pytest.mark.requirement("GEN-13")
@pytest.mark.parametrize("client_id", ["wéb", "web\n", "\0"])
def test_an_id_in_the_body_is_printable_ascii(client_id: str) -> None:
    with pytest.raises(InvalidRequest, match="client_id: only printable ASCII"):
        credentials(client_id=client_id)


def test_a_secret_without_an_id_is_a_malformed_request() -> None:
    with pytest.raises(InvalidRequest, match="client_id: missing"):
        credentials(client_secret="secret")


@pytest.mark.requirement("WSGI-15")
def test_credentials_show_no_secret() -> None:
    assert "secret" not in repr(credentials(basic("web", "secret")))
