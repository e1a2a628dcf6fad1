"""Every token request is told of by exactly one event with an outcome, and every refusal has its reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from oauth_refresh.errors import OAuthError

from .driving import ORIGIN, InProcess

Heard = list[tuple[str, Mapping[str, object]]]


@pytest.fixture
def server() -> InProcess:
    return InProcess(users_file=None)


@pytest.fixture
def heard(server: InProcess) -> Heard:
    told: Heard = []
    server.registry.events.listen(lambda name, fields: told.append((name, fields)))
    return told


def outcomes(heard: Heard) -> list[Any]:
    return [fields["outcome"] for _, fields in heard if "outcome" in fields]


def refresh_later(server: InProcess, seconds: float, token: str) -> str | None:
    server.clock.forward(seconds)
    try:
        return server.registry.rotate_via_refresh_token(token).refresh_token
    except OAuthError:
        return None


@pytest.mark.requirement("RT-26")
def test_refreshes_are_split_by_outcome(server: InProcess, heard: Heard) -> None:
    first = server.registry.create_with_refresh("alice", []).refresh_token or ""
    second = refresh_later(server, 1, first) or ""
    assert refresh_later(server, 1, first) == second
    refresh_later(server, 1, second)
    refresh_later(server, 1, first)
    refresh_later(server, 1, second)
    assert outcomes(heard) == ["rotated", "repeated", "rotated", "reused", "refused"]
    assert [name for name, _ in heard][-2:] == ["token_reused", "token_refused"]
    grant = next(server.registry.list()).id.hex()
    assert heard[-1][1] == {
        "grant": grant,
        "client": "",
        "subject": "alice",
        "generation": 3,
        "outcome": "refused",
        "reason": "revoked",
        "presented": "refresh token",
        "presented_generation": 2,
    }


def test_a_catch_up_has_an_outcome_of_its_own() -> None:
    server = InProcess(reuse_policy="catch-up")
    told: Heard = []
    server.registry.events.listen(lambda name, fields: told.append((name, fields)))
    first = server.registry.create_with_refresh("alice", []).refresh_token or ""
    refresh_later(server, 1, refresh_later(server, 1, first) or "")
    assert refresh_later(server, 100, first) is not None
    assert outcomes(told) == ["rotated", "rotated", "caught_up"]


REFUSED: dict[str, tuple[Callable[[InProcess], object], str, dict[str, object]]] = {
    "another client": (
        lambda server: server.refresh(server.register(), server.tokens()["refresh_token"]),
        "token_refused",
        {"outcome": "refused", "reason": "other_client"},
    ),
    "too much": (
        lambda server: server.refresh(
            client := server.register(), server.tokens(client)["refresh_token"], scope="notes:read x"
        ),
        "token_refused",
        {"outcome": "refused", "reason": "scope"},
    ),
    "no such grant": (
        lambda server: server.refresh(server.register(), InProcess().tokens()["refresh_token"]),
        "token_refused",
        {"outcome": "refused", "reason": "unknown_grant"},
    ),
    "no such grant, and no client named": (
        lambda server: server.post(
            "/oauth/token",
            {"grant_type": "refresh_token", "refresh_token": InProcess().tokens()["refresh_token"]},
        ),
        "token_refused",
        {"outcome": "refused", "reason": "noise"},
    ),
    "a code twice": (
        lambda server: [
            server.redeem(client := server.register(), code := server.code(client)),
            server.redeem(client, code),
        ],
        "code_reused",
        {"outcome": "reused", "reason": "code_reused"},
    ),
    "not a token": (
        lambda server: server.refresh(server.register(), "x"),
        "token_refused",
        {"outcome": "refused", "reason": "malformed", "presented": "refresh token", "grant": None},
    ),
    "not a code": (
        lambda server: server.redeem(server.register(), server.tokens()["refresh_token"]),
        "token_refused",
        {"outcome": "refused", "reason": "malformed", "presented": "code", "grant": None},
    ),
    "not a grant type": (
        lambda server: server.token(server.register(), grant_type="password"),
        "request_refused",
        {"error": "unsupported_grant_type"},
    ),
    "a wrong secret": (
        lambda server: server.revoke(
            server.register(token_endpoint_auth_method="client_secret_post")._replace(secret="no"), "x"
        ),
        "request_refused",
        {"error": "invalid_client"},
    ),
    "an access token that is none": (
        lambda server: server.api("x"),
        "access_refused",
        {"reason": "noise", "count": 1, "grant": None},
    ),
    "an access token of another path": (
        lambda server: server.api(server.tokens(resource=f"{server.base}/mcp")["access_token"]),
        "access_refused",
        {
            "reason": "audience",
            "subject": "alice",
            "resource": f"{ORIGIN}/api",
            "audience": f"{ORIGIN}/mcp",
        },
    ),
    "an access token without the scope": (
        lambda server: server.api(server.tokens(scope="notes:read")["access_token"], "/api/notes", "POST"),
        "access_refused",
        {
            "reason": "scope",
            "subject": "alice",
            "resource": f"{ORIGIN}/api/notes",
            "lacking": "notes:write",
        },
    ),
}


@pytest.mark.requirement("OPS-05")
@pytest.mark.parametrize("case", REFUSED)
def test_every_refusal_is_told_with_its_reason(server: InProcess, heard: Heard, case: str) -> None:
    refuse, name, fields = REFUSED[case]
    refuse(server)
    assert (heard[-1][0], {**heard[-1][1], **fields}) == (name, heard[-1][1])
    assert sum("refused" in told or "reused" in told for told, _ in heard) == 1
