"""What the operator says of single grants: whether they may last, and how long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ..driving import InProcess
from .test_token import NOT_VALID_TOKEN


@pytest.mark.requirement("RT-02")
@pytest.mark.requirement("DISC-14")
def test_refresh_tokens_may_be_for_those_who_ask_to_stay() -> None:
    server = InProcess(refresh_needs_offline_access=True)
    client = server.register()
    for scope in (None, "notes:read"):
        assert "refresh_token" not in server.tokens(client, scope=scope)
    tokens = server.tokens(client, scope="notes:read offline_access")
    assert tokens["scope"] == "notes:read offline_access"
    again = server.refresh(client, tokens["refresh_token"]).json
    assert again["refresh_token"] != tokens["refresh_token"]
    assert server.refresh(client, again["refresh_token"], scope="notes:read").json["refresh_token"]
    document = server.get("/.well-known/oauth-protected-resource/mcp").json
    assert "offline_access" not in document.get("scopes_supported", [])


# --- lives that the operator shortens -------------------------------------------------------------

Lifetimes = Callable[[str, str, tuple[str, ...]], Any]


def test_a_hook_shortens_lives_and_never_lengthens_them() -> None:
    asked: list[tuple[str, str, tuple[str, ...]]] = []
    answers: list[Any] = [(60, None), (None, 120), (10**9, 10**9), None]

    def lifetimes(*of: Any) -> Any:
        asked.append(of)
        return answers.pop(0)

    server = InProcess(grant_lifetimes=lifetimes)
    client = server.register()
    first = server.tokens(client, scope="notes:read")
    assert first["expires_in"] == 60
    second = server.refresh(client, first["refresh_token"]).json
    assert second["expires_in"] == 86400
    server.clock.forward(119)
    third = server.refresh(client, second["refresh_token"]).json
    assert third["expires_in"] == 86400
    assert asked == [("alice", client.client_id, ("notes:read",))] * 3
    assert server.refresh(client, third["refresh_token"]).json["expires_in"] == 86400
    assert answers == []


@pytest.mark.parametrize("too_short", [(0.5, None), (None, 0), (-1, -1)])
def test_less_than_a_second_refuses_and_changes_nothing(too_short: Any) -> None:
    answers: list[Any] = []
    server = InProcess(grant_lifetimes=lambda *of: answers.pop() if answers else None)
    client = server.register()
    code = server.code(client)
    answers.append(too_short)
    assert (server.redeem(client, code).status, answers) == (400, [])
    tokens = server.redeem(client, code).json
    answers.append(too_short)
    refused = server.refresh(client, tokens["refresh_token"])
    assert (refused.status, refused.json) == (400, NOT_VALID_TOKEN)
    assert server.refresh(client, tokens["refresh_token"]).json["expires_in"] == 86400
    assert server.api(tokens["access_token"]).status == 200


@pytest.mark.parametrize("answer", ["soon", 600, (600,), ("1h", None), [600, 600, 600]])
def test_a_hook_that_fails_costs_one_request_and_no_grant(
    answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    answers: list[Any] = [None, answer]
    server = InProcess(grant_lifetimes=lambda *of: answers.pop(0) if answers else None)
    client = server.register()
    tokens = server.tokens(client)
    broken = server.refresh(client, tokens["refresh_token"])
    assert (broken.status, broken.json["error"]) == (500, "server_error")
    assert f"OAUTH_GRANT_LIFETIMES: the answer is {type(answer).__name__}, not None" in caplog.text
    assert server.refresh(client, tokens["refresh_token"]).status == 200
