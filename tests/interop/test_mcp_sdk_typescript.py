"""The official TypeScript client of MCP, in both generations: most clients in the wild are built on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.flows.headless import User
from tests.flows.servers import Waitress
from tests.interop.node_programs import NodeClient

pytestmark = pytest.mark.slow


@pytest.fixture(params=["1", "2"], ids=["sdk-1", "client-2"])
def tell(request: pytest.FixtureRequest, tmp_path: Path, base: str) -> Any:
    client = NodeClient(tmp_path)
    return lambda story: client.run("mcp_sdk.mjs", User(), request.param, f"{base}/mcp", story)


@pytest.mark.requirement("CONF-04")
@pytest.mark.requirement("MCP-04")
@pytest.mark.requirement("Q-01")
@pytest.mark.requirement("Q-32")
def test_it_connects_with_nothing_but_the_url_and_renews_at_each_401(tell: Any) -> None:
    found = tell("alone")
    assert [(seen["subject"], seen["scopes"]) for seen in found["seen"]] == [("alice", ["mcp:tools"])] * 4
    assert found["tools"] == ["list_notes", "add_note", "who_am_i"]
    assert (found["pairs"], found["visits"], found["invalidated"]) == (4, 1, [])


@pytest.mark.requirement("Q-11")
@pytest.mark.requirement("Q-20")
@pytest.mark.requirement("RT-10")
def test_eight_connections_that_meet_a_401_at_once_keep_all_eight(tell: Any) -> None:
    found = tell("together")
    assert found["rounds"] == [["alice"] * 8] * 3
    # One of the code, and one for each round.
    assert (found["pairs"], found["visits"], found["invalidated"]) == (4, 1, [])


@pytest.mark.parametrize("generation", ["1", "2"])
@pytest.mark.parametrize(("policy", "late"), [("catch-up", "alice"), ("revoke", "UnauthorizedError")])
def test_a_connection_that_is_overtaken_twice_goes_on_by_catch_up_alone(
    tmp_path: Path, generation: str, policy: str, late: str
) -> None:
    """Its token is then two generations old, which a thief's is, too: I4 wants the grant dead without it."""
    server = Waitress(tmp_path, {"OAUTH_REUSE_POLICY": policy})
    try:
        found = NodeClient(tmp_path).run("mcp_sdk.mjs", User(), generation, f"{server.base}/mcp", "overtaken")
    finally:
        server.close()
    assert (found["others"], found["late"]) == (["alice", "alice"], late)
    # The first one, that of each of the quick ones; catching up makes none.
    assert found["pairs"] == 3
    assert found["invalidated"] == ([] if policy == "catch-up" else ["tokens"])


@pytest.mark.requirement("Q-11")
@pytest.mark.requirement("Q-12")
def test_it_comes_back_when_its_grant_is_gone_and_when_its_registration_is(tell: Any) -> None:
    found = tell("lost")
    assert (found["revoked"], found["refused"], found["again"]) == (200, "UnauthorizedError", "alice")
    # invalid_grant costs the tokens alone, invalid_client the registration too.
    assert found["invalidated"][0] == "tokens"
    assert {"all", "client"} & set(found["invalidated"][1:])
    assert (found["forgotten"], found["last"]) == ("UnauthorizedError", "alice")
