"""POST /oauth/token with grant_type=refresh_token: what a refresh token is worth, and to whom."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from oauth_refresh.backends.memory import MemoryBackend

from ..driving import ORIGIN, REDIRECT, SCOPES, InProcess, Registered, basic
from .test_token import NOT_VALID_TOKEN, SILENT_CLIENT, told

MALFORMED_TOKEN = {"error": "invalid_grant", "error_description": "refresh_token: not valid"}


@pytest.mark.requirement("Q-35")
@pytest.mark.requirement("RT-05")
@pytest.mark.requirement("GEN-13")
@pytest.mark.requirement("RT-20")
@pytest.mark.parametrize(
    ("token", "error", "description"),
    [
        (None, "invalid_request", "refresh_token: missing"),
        ("", "invalid_request", "refresh_token: missing"),
        ("x", *MALFORMED_TOKEN.values()),
        ("ort_" + "A" * 91, *NOT_VALID_TOKEN.values()),
        ("oac_" + "A" * 64, "invalid_grant", "refresh_token: this is an authorization code"),
        ("oat_" + "A" * 64, "invalid_grant", "refresh_token: this is an access token"),
        ("é", "invalid_request", "refresh_token: only printable ASCII characters are allowed"),
    ],
)
@pytest.mark.parametrize("named", [True, False], ids=["with client_id", "without"])
def test_what_is_no_refresh_token_of_ours_is_refused(
    server: InProcess, client: Registered, token: str | None, error: str, description: str, named: bool
) -> None:
    asking = client if named else Registered("")
    told(server.token(asking, grant_type="refresh_token", refresh_token=token), error, description)


@pytest.mark.requirement("RT-20")
def test_a_token_with_one_character_changed_is_noise(server: InProcess, client: Registered) -> None:
    token = server.tokens(client)["refresh_token"]
    for place in (5, 40, 80, -1):
        forged = list(token)
        forged[place] = "A" if forged[place] != "A" else "B"
        answer = server.refresh(client, "".join(forged))
        assert answer.json["error"] == "invalid_grant"
    assert server.refresh(client, token).status == 200


@pytest.mark.requirement("RT-03")
@pytest.mark.requirement("RT-04")
@pytest.mark.requirement("RT-09")
@pytest.mark.requirement("RT-12")
def test_a_refresh_token_belongs_to_its_client(
    server: InProcess, client: Registered, web: Registered
) -> None:
    mine, theirs = server.tokens(client)["refresh_token"], server.tokens(web)["refresh_token"]
    for asking, token in ((web, mine), (server.register(), mine), (client, theirs)):
        for _ in range(2):
            answer = server.refresh(asking, token)
            assert (answer.status, answer.json) == (400, NOT_VALID_TOKEN)
    assert server.refresh(client, mine).status == 200
    # Also while a repeat would be answered to the right one.
    assert server.refresh(web, mine).json == NOT_VALID_TOKEN
    assert server.refresh(client, mine).status == 200
    assert server.refresh(web, theirs).status == 200


@pytest.mark.requirement("RT-04")
def test_a_public_client_may_leave_its_name_out_and_a_confidential_one_may_not(
    server: InProcess, client: Registered, web: Registered
) -> None:
    nobody = Registered("")
    first = server.refresh(nobody, server.tokens(client)["refresh_token"])
    assert first.status == 200
    assert server.refresh(client, first.json["refresh_token"]).status == 200
    token = server.tokens(web)["refresh_token"]
    answer = server.refresh(nobody, token)
    assert (answer.status, answer.json) == (401, SILENT_CLIENT)
    assert server.refresh(web, token).status == 200


@pytest.mark.requirement("RT-19")
@pytest.mark.requirement("Q-11")
@pytest.mark.requirement("Q-12")
@pytest.mark.requirement("CAUTH-14")
def test_a_client_whose_registration_is_gone_is_told_so(server: InProcess, client: Registered) -> None:
    token = server.tokens(client)["refresh_token"]
    backend = server.registry.backend
    key = b"c" + client.client_id.encode()
    backend.swap(key, backend.get(key), None)
    for asking in (client, Registered("")):
        answer = server.refresh(asking, token)
        assert (answer.status, answer.json) == (401, SILENT_CLIENT)


@pytest.mark.requirement("Q-25")
@pytest.mark.requirement("RT-14")
@pytest.mark.requirement("RT-15")
@pytest.mark.requirement("RT-17")
@pytest.mark.requirement("TOK-09")
@pytest.mark.requirement("RES-02")
@pytest.mark.requirement("RES-03")
@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"scope": "notes:read notes:write"}, "invalid_scope"),
        ({"scope": "admin"}, "invalid_scope"),
        ({"scope": "a\\b"}, "invalid_scope"),
        ({"resource": ORIGIN + "/mcp"}, "invalid_target"),
        ({"resource": ORIGIN}, "invalid_target"),
        ({"resource": "https://other.example/"}, "invalid_target"),
        ({"resource": ORIGIN + "/api#x"}, "invalid_target"),
        ({"resource": "/api"}, "invalid_target"),
    ],
)
def test_a_wrong_request_rotates_nothing(
    server: InProcess, client: Registered, change: dict[str, str], error: str
) -> None:
    tokens = server.tokens(client, scope="notes:read", resource=ORIGIN + "/api")
    for _ in range(2):
        answer = server.refresh(client, tokens["refresh_token"], **change)
        assert (answer.status, answer.json["error"]) == (400, error)
    assert server.api(tokens["access_token"]).status == 200
    assert next(server.registry.list()).generation == 1
    assert server.refresh(client, tokens["refresh_token"]).status == 200


@pytest.mark.requirement("RT-15")
@pytest.mark.requirement("RT-16")
@pytest.mark.requirement("TOK-05")
def test_a_scope_narrows_one_token_and_the_grant_keeps_its_own(server: InProcess, client: Registered) -> None:
    first = server.tokens(client)
    narrow = server.refresh(client, first["refresh_token"], scope="notes:read offline_access").json
    assert narrow["scope"] == "notes:read"
    assert server.api(narrow["access_token"], "/api/notes", "POST").status == 403
    wide = server.refresh(client, narrow["refresh_token"]).json
    assert wide["scope"] == "notes:read notes:write"
    assert server.api(wide["access_token"], "/api/notes", "POST").status == 200


@pytest.mark.requirement("Q-08")
@pytest.mark.requirement("RT-17")
@pytest.mark.requirement("RES-05")
def test_a_resource_selects_and_without_one_the_audience_stays(server: InProcess, client: Registered) -> None:
    tokens = server.tokens(client, resource=ORIGIN + "/mcp")
    for resource in (None, "", "HTTP://LocalHost:8000/mcp"):
        tokens = server.refresh(client, tokens["refresh_token"], resource=resource).json
        answers = [server.api(tokens["access_token"], path).status for path in ("/mcp", "/api")]
        assert answers == [200, 401]


@pytest.mark.requirement("Q-27")
def test_a_grant_of_the_whole_server_is_renewed_for_the_endpoint_that_is_called(
    server: InProcess, client: Registered
) -> None:
    token = server.tokens(client)["refresh_token"]
    renewed = server.refresh(client, token, resource=ORIGIN + "/mcp").json
    assert [server.api(renewed["access_token"], path).status for path in ("/mcp", "/api")] == [200, 401]
    again = server.refresh(client, renewed["refresh_token"]).json
    assert server.api(again["access_token"], "/api").status == 200


@pytest.mark.requirement("RES-01")
def test_several_resources_may_be_named_at_the_token_endpoint(server: InProcess, client: Registered) -> None:
    token = server.tokens(client)["refresh_token"]
    body = f"grant_type=refresh_token&refresh_token={token}&resource={ORIGIN}/mcp&resource={ORIGIN}/api/notes"
    answer = server.post("/oauth/token", body)
    access = answer.json["access_token"]
    assert [server.api(access, path).status for path in ("/mcp", "/api/notes", "/api")] == [200, 200, 401]


@pytest.mark.requirement("BCP-07")
@pytest.mark.requirement("RT-06")
@pytest.mark.requirement("RT-10")
@pytest.mark.requirement("RT-11")
def test_a_request_that_is_repeated_gets_the_same_pair(server: InProcess, client: Registered) -> None:
    token = server.tokens(client)["refresh_token"]
    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(lambda _: server.refresh(client, token), range(5)))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert answers[0].json["refresh_token"] != token


@pytest.mark.requirement("RT-22")
def test_a_client_may_come_from_anywhere(server: InProcess, client: Registered) -> None:
    server.extra = {"REMOTE_ADDR": "203.0.113.7", "HTTP_USER_AGENT": "one"}
    tokens = server.tokens(client)
    server.extra = {"REMOTE_ADDR": "2001:db8::8", "HTTP_USER_AGENT": "another"}
    assert server.refresh(client, tokens["refresh_token"]).status == 200


@pytest.mark.requirement("RT-19")
@pytest.mark.requirement("RT-27")
def test_a_user_who_may_no_more_is_refused_and_one_who_may_less_gets_less() -> None:
    allowed: list[Any] = [None]
    server = InProcess(subject_check=lambda subject, client_id, scopes: allowed[0])
    client = server.register()
    tokens = server.tokens(client)
    answer = server.refresh(client, tokens["refresh_token"])
    assert (answer.status, answer.json) == (400, NOT_VALID_TOKEN)
    allowed[0] = ["notes:read"]
    answer = server.refresh(client, tokens["refresh_token"])
    assert answer.json["scope"] == "notes:read"
    # Text would be read letter by letter, and the token have no scope at all.
    allowed[0] = "notes:read notes:write"
    assert server.refresh(client, answer.json["refresh_token"]).status == 500
    allowed[0] = list(SCOPES)
    assert server.refresh(client, answer.json["refresh_token"]).json["scope"] == "notes:read notes:write"


def test_a_client_may_have_lifetimes_of_its_own() -> None:
    members = {"redirect_uris": [REDIRECT], "access_token_ttl": "15m", "refresh_token_ttl": "1h"}
    server = InProcess(clients={"c": members})
    client = Registered("c")
    tokens = server.tokens(client)
    assert tokens["expires_in"] == 900
    server.clock.forward(3599)
    tokens = server.refresh(client, tokens["refresh_token"]).json
    assert tokens["expires_in"] == 900
    server.clock.forward(3600)
    assert server.refresh(client, tokens["refresh_token"]).json == NOT_VALID_TOKEN


@pytest.mark.requirement("TOK-11")
def test_the_lifetime_is_a_setting() -> None:
    assert InProcess(access_token_ttl="1h").tokens()["expires_in"] == 3600


@pytest.mark.requirement("DCR-18")
@pytest.mark.requirement("DCR-20")
def test_a_registration_that_was_used_outlives_its_day(server: InProcess) -> None:
    used, unused = server.register(), server.register()
    server.tokens(used)
    server.clock.forward(2 * 86400)
    server.registry.cleanup()
    assert server.tokens(used)["access_token"]
    assert server.browser().get(server.authorize_url(unused)).status == 400


@pytest.mark.requirement("DCR-18")
def test_a_client_that_renews_its_tokens_is_not_forgotten() -> None:
    server = InProcess(idle_client_ttl="1d", refresh_token_ttl="2d")
    client = server.register()
    token = server.tokens(client)["refresh_token"]
    for _ in range(5):
        server.clock.forward(2 * 86400 - 60)
        token = server.refresh(client, token).json["refresh_token"]
        server.registry.cleanup()
    assert server.browser().get(server.authorize_url(client)).status == 200
    server.clock.forward(3 * 86400)
    server.registry.cleanup()
    assert server.browser().get(server.authorize_url(client)).status == 400


@pytest.mark.parametrize(
    ("idle", "expected"),
    [
        pytest.param("90d", [False, False, False, True, False, True], id="kept for a while"),
        pytest.param("never", [False] * 6, id="kept for ever"),
    ],
)
def test_the_use_of_a_client_is_written_down_once_a_day_however_often_it_renews(
    idle: str, expected: list[bool]
) -> None:
    backend = MemoryBackend()
    server = InProcess(registry=backend, idle_client_ttl=idle, refresh_token_ttl="10d")
    client = server.register()
    token = server.tokens(client)["refresh_token"]
    (key,) = backend.keys(b"c")
    written = []
    for seconds in (0, 43200, 43199, 2, 86399, 2):
        server.clock.forward(seconds)
        before = backend.get(key)
        token = server.refresh(client, token).json["refresh_token"]
        written.append(backend.get(key) != before)
    assert written == expected


@pytest.mark.requirement("Q-35")
def test_a_client_may_hear_401_of_a_dead_token_and_no_other_does() -> None:
    members = {"client_secret": "its secret", "redirect_uris": [REDIRECT]}
    server = InProcess(clients={"loops": {**members, "dead_refresh_token_status": 401}, "web": members})
    loops, web = (Registered(name, "its secret", auth="client_secret_basic") for name in ("loops", "web"))
    told = {}
    for client in (loops, web):
        token = server.tokens(client)["refresh_token"]
        assert server.refresh(client, token, scope="admin").status == 400
        assert server.refresh(client, token).status == 200
        server.registry.revoke_subject("alice")
        answers = [server.refresh(client, dead) for dead in (token, "noise")]
        assert {answer.json["error"] for answer in answers} == {"invalid_grant"}
        told[client.client_id] = [(answer.status, "WWW-Authenticate" in answer.headers) for answer in answers]
    assert told == {"loops": [(401, True)] * 2, "web": [(400, False)] * 2}


@pytest.mark.requirement("CAUTH-02")
@pytest.mark.parametrize("client_id", ["mail+calendar", "50%25off", "web"])
@pytest.mark.parametrize("encode", [True, False], ids=["form-encoded", "raw"])
def test_a_client_renews_however_it_spells_its_id_in_basic(client_id: str, encode: bool) -> None:
    members = {"client_secret": "its secret", "redirect_uris": [REDIRECT]}
    server = InProcess(clients={client_id: members})
    token = server.tokens(Registered(client_id, "its secret"))["refresh_token"]
    header = {"Authorization": basic(client_id, "its secret", encode=encode)}
    fields = {"grant_type": "refresh_token", "refresh_token": token}
    assert server.post("/oauth/token", fields, header).status == 200


@pytest.mark.parametrize(("idle", "refresh"), [("2h", "2h"), ("10s", "30m"), ("1h", "30d"), ("90d", "30d")])
def test_a_client_outlives_every_grant_of_its_however_short_it_is_kept(idle: str, refresh: str) -> None:
    server = InProcess(idle_client_ttl=idle, refresh_token_ttl=refresh, access_token_ttl="15m")
    client = server.register()
    token = server.tokens(client)["refresh_token"]
    for part in (0.25, 0.5, 0.999, 0.01, 0.999, 0.25, 0.999):
        # To the last second of the grant, and of the client if its use was noted at the one before.
        server.clock.forward(int(server.middleware.settings.refresh_token_ttl * part))
        server.registry.cleanup()
        answer = server.refresh(client, token)
        assert answer.status == 200
        token = answer.json["refresh_token"]


@pytest.mark.requirement("RT-17")
@pytest.mark.parametrize(
    "rules",
    [{"/": ""}, {"/mcp/v1": ""}, lambda environ: ""],
    ids=["everything", "a part of it", "a callable decides"],
)
def test_a_resource_that_was_granted_may_be_named_whatever_the_rules_have_become(
    rules: object, tmp_path: Path
) -> None:
    registry = f"sqlite:///{tmp_path}/oauth.db"
    before = InProcess(registry=registry, protect={"/mcp": ""})
    client = before.register()
    tokens = before.tokens(client, resource=f"{ORIGIN}/mcp")
    server = InProcess(registry=registry, protect=rules)
    assert server.api(tokens["access_token"], "/mcp/v1/tools").status == 200
    named = server.refresh(client, tokens["refresh_token"], resource=f"{ORIGIN}/mcp")
    assert named.status == 200
    silent = server.refresh(client, named.json["refresh_token"])
    for answer in (named, silent):
        assert server.api(answer.json["access_token"], "/mcp/v1/tools").status == 200
    never = server.refresh(client, silent.json["refresh_token"], resource=f"{ORIGIN}/never")
    assert never.json["error"] == "invalid_target"
    assert "/mcp " not in never.json["error_description"] + " "


@pytest.mark.requirement("Q-35")
def test_a_client_that_leaves_its_name_out_may_hear_401_as_well() -> None:
    server = InProcess(clients={"loops": {"redirect_uris": [REDIRECT], "dead_refresh_token_status": 401}})
    client = Registered("loops")
    token = server.tokens(client)["refresh_token"]
    server.revoke(client, token)
    for asking in (client, Registered("")):
        answer = server.refresh(asking, token)
        assert (answer.status, answer.json["error"]) == (401, "invalid_grant")


@pytest.mark.requirement("CAUTH-09")
@pytest.mark.parametrize("encode", [True, False], ids=["form-encoded", "raw"])
@pytest.mark.parametrize("client_id", ["mail+calendar", "a%62c", "web"])
def test_a_public_client_may_spell_its_id_in_basic_either_way(client_id: str, encode: bool) -> None:
    server = InProcess(clients={client_id: {"redirect_uris": [REDIRECT]}})
    token = server.tokens(Registered(client_id))["refresh_token"]
    header = {"Authorization": basic(client_id, "", encode=encode)}
    renewed = server.post("/oauth/token", {"grant_type": "refresh_token", "refresh_token": token}, header)
    assert renewed.status == 200
    assert server.post("/oauth/revoke", {"token": renewed.json["refresh_token"]}, header).status == 200


def test_a_client_that_is_given_no_successor_keeps_its_access_token(tmp_path: Path) -> None:
    registry = f"sqlite:///{tmp_path}/oauth.db"
    before = InProcess(registry=registry)
    client = before.register()
    token = before.tokens(client)["refresh_token"]
    server = InProcess(registry=registry, refresh_needs_offline_access=True)
    first = server.refresh(client, token)
    assert (first.status, "refresh_token" in first.json) == (200, False)
    # A lost answer, or two processes at once.
    assert server.refresh(client, token).json == first.json
    assert server.api(first.json["access_token"]).status == 200
    server.clock.forward(3600)
    assert server.refresh(client, token).json == NOT_VALID_TOKEN
    assert server.api(first.json["access_token"]).status == 200
