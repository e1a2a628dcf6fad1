"""`oauth-refresh explain`: how a grant came to its end, and what its program then hears, told as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from oauth_refresh.cli import main
from oauth_refresh.commands.deployment import Deployment
from oauth_refresh.errors import InvalidGrant
from oauth_refresh.tokens import mint_refresh

from ..driving import ORIGIN, InProcess, Registered

ROBOT_SECRET = "a secret of a robot, long enough"


class Site(InProcess):
    """A server over SQLite with an event log, and the commands of its operator."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        robot = {"client_secret": ROBOT_SECRET, "grant_types": ["client_credentials"]}
        given = {
            "registry": f"sqlite://{folder}/oauth.db",
            "event_log": f"{folder}/events.jsonl",
            "clients": {"robot": robot},
            **settings,
        }
        super().__init__(**given)

    def command(self, *arguments: str, text: str | None = None) -> str:
        deployment = Deployment(self.middleware.server)
        done = CliRunner().invoke(main, arguments, input=text, obj=deployment)
        assert done.exit_code == 0, done.output
        return done.stdout

    def explain(self, text: str) -> Any:
        """What is told of a grant or token, which is not repeated."""
        told = self.command("explain", "--json", text=text)
        assert len(text) == 32 or text not in told + self.command("explain", text=text)
        return json.loads(told)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def connected(site: Site) -> tuple[Registered, dict[str, Any], str]:
    """A client with its tokens, and the id of their grant."""
    client = site.register()
    tokens = site.tokens(client)
    return client, tokens, grant_of(site, tokens)


def grant_of(site: Site, tokens: dict[str, Any]) -> str:
    presented = site.registry.read(tokens["access_token"])
    assert presented is not None
    return presented.grant_id.hex()


# --- the client is gone ---------------------------------------------------------------------------


def test_of_a_deleted_client_the_token_endpoint_and_the_story_say_the_same(site: Site) -> None:
    client, tokens, grant = connected(site)
    site.command("client", "delete", client.client_id, "--yes")
    assert site.refresh(client, tokens["refresh_token"]).json["error"] == "invalid_client"
    for named in (tokens["refresh_token"], grant):
        verdict = site.explain(named)["verdict"]
        assert verdict["outcome"] == "revoked"
        assert verdict["text"] == "The client was deleted, and its grants were ended."
        assert verdict["hears"] == "invalid_client."
    assert site.explain(tokens["access_token"])["verdict"]["hears"].startswith("401 invalid_token")


def test_a_grant_of_a_client_that_is_gone_is_not_called_alive(site: Site) -> None:
    client, _, grant = connected(site)
    site.middleware.server.clients.delete(client.client_id)
    verdict = site.explain(grant)["verdict"]
    assert (verdict["outcome"], verdict["hears"]) == ("client_gone", "invalid_client.")


def test_a_grant_that_is_renewed_nowhere_does_not_ask_for_its_client(site: Site) -> None:
    client = site.register(grant_types=["authorization_code"])
    tokens = site.tokens(client)
    assert "refresh_token" not in tokens
    site.middleware.server.clients.delete(client.client_id)
    for grant in (grant_of(site, tokens), site.registry.create("alice", [], client_id="a script").grant_id):
        assert site.explain(grant)["verdict"]["outcome"] == "good"


def test_who_has_an_access_token_alone_hears_of_that_and_not_of_a_grant(site: Site) -> None:
    revoked, expired = grant_of(site, by_hand(site)), grant_of(site, by_hand(site))
    site.command("grant", "revoke", revoked, "--yes")
    site.clock.forward(2 * 86400)
    for grant, outcome in ((revoked, "revoked"), (expired, "access_expired")):
        verdict = site.explain(grant)["verdict"]
        assert (verdict["outcome"], verdict["hears"]) == (
            outcome,
            "401 invalid_token, and renews or asks its user.",
        )


# --- how it is made anew depends on how it was made -----------------------------------------------

BROWSER = "The user connects the program again; nothing else brings the grant back."
BY_HAND = (
    "Make a new one: flask oauth token create, or as the application did. "
    "If a user had connected the program, that is done again."
)
OF_CLIENT = "The program asks for a new one by itself, with its own credentials: no user is needed."

THIEF = (
    "If it happens again, find out who else has the token: "
    "several processes that share one credential look like a thief."
)
AWAY = "OAUTH_REFRESH_TOKEN_TTL sets how long a program may stay away."


def by_hand(site: Site, *options: str) -> dict[str, Any]:
    made = site.command("token", "create", "--subject", "alice", *options, "--json")
    return dict(json.loads(made))


def of_client(site: Site) -> dict[str, Any]:
    robot = Registered("robot", ROBOT_SECRET, auth="client_secret_basic")
    return dict(site.token(robot, grant_type="client_credentials").json)


def used_again(site: Site, token: str) -> None:
    newer = site.registry.rotate_via_refresh_token(token).refresh_token
    site.registry.rotate_via_refresh_token(newer or "")
    with pytest.raises(InvalidGrant):
        site.registry.rotate_via_refresh_token(token)


def test_of_a_reuse_both_is_said_how_to_begin_anew_and_what_to_look_for(site: Site) -> None:
    _, connected_tokens, _ = connected(site)
    for tokens, again in ((connected_tokens, BROWSER), (by_hand(site, "--refresh"), BY_HAND)):
        used_again(site, tokens["refresh_token"])
        assert site.explain(tokens["refresh_token"])["verdict"]["advice"] == f"{again} {THIEF}"


def test_one_that_expired_is_made_anew_as_it_was_made(site: Site) -> None:
    _, connected_tokens, _ = connected(site)
    made = (connected_tokens, BROWSER), (by_hand(site, "--refresh"), BY_HAND)
    site.clock.forward(31 * 86400)
    for tokens, again in made:
        assert site.explain(tokens["refresh_token"])["verdict"]["advice"] == f"{again} {AWAY}"


def test_an_access_token_alone_that_expired_is_made_to_last(site: Site) -> None:
    client = site.register(grant_types=["authorization_code"])
    longer = {
        site.tokens(client)["access_token"]: f"{BROWSER} OAUTH_REFRESH_NEEDS_OFFLINE_ACCESS and the client's "
        "grant_types say why it had no refresh token.",
        by_hand(site)["access_token"]: f"{BY_HAND} It lasts longer with a longer --ttl or with --refresh.",
        of_client(site)["access_token"]: f"{OF_CLIENT} OAUTH_ACCESS_TOKEN_TTL sets how long it lasts.",
    }
    site.clock.forward(2 * 86400)
    for token, advice in longer.items():
        verdict = site.explain(token)["verdict"]
        assert (verdict["outcome"], verdict["advice"]) == ("expired", advice)


def test_what_was_ended_is_made_anew_as_it_was_made(site: Site) -> None:
    _, connected_tokens, _ = connected(site)
    for tokens, again in (
        (connected_tokens, BROWSER),
        (by_hand(site), BY_HAND),
        (of_client(site), OF_CLIENT),
    ):
        grant = grant_of(site, tokens)
        site.command("grant", "revoke", grant, "--yes")
        assert site.explain(grant)["verdict"]["advice"] == again


def test_what_ended_with_its_client_or_user_needs_that_first(site: Site) -> None:
    removed, deleted = grant_of(site, by_hand(site)), grant_of(site, by_hand(site))
    site.registry.revoke_grant(bytes.fromhex(removed), "user_removed")
    site.registry.revoke_grant(bytes.fromhex(deleted), "client_deleted")
    assert site.explain(removed)["verdict"]["advice"] == f"Add the user again first. {BY_HAND}"
    assert site.explain(deleted)["verdict"]["advice"] == (
        f"The program registers again first, or is registered: flask oauth client create. {BY_HAND}"
    )


# --- a registry that is older than the log --------------------------------------------------------

OLDER = (
    "The registry is older than the event log: the record is at generation 1, the log tells of generation 3. "
    "A backup was restored, a failover lost writes, or this is another registry than the server's."
)
BROUGHT_UP = (
    "The program renews with its refresh token, and the record is brought up to it unless OAUTH_ROLL_FORWARD "
    "is off; if that is refused, explain that token. If nobody restored a backup, check OAUTH_REGISTRY."
)


def set_back(site: Site) -> tuple[Registered, dict[str, Any], dict[str, Any]]:
    """A client, its first tokens and its newest, with a record from before the newest were issued."""
    client, first, grant = connected(site)
    backend, key = site.middleware.server.backend, b"g" + bytes.fromhex(grant)
    before = backend.get(key)
    assert before is not None
    newest = site.refresh(client, site.refresh(client, first["refresh_token"]).json["refresh_token"]).json
    assert backend.swap(key, backend.get(key), before.body, None)
    return client, first, newest


def test_an_access_token_from_after_the_backup_is_not_said_never_to_have_been_issued(site: Site) -> None:
    client, first, newest = set_back(site)
    assert site.api(newest["access_token"]).status == 401
    story = site.explain(newest["access_token"])
    assert story["token"]["standing"] == (
        "The grant's record does not know it, and is older than the event log: "
        "it may have been issued after the backup that was restored."
    )
    assert story["verdict"] == {
        "outcome": "unknown",
        "text": f"{OLDER} This access token may have been issued after that backup, "
        "so that the record does not know it.",
        "hears": "401 invalid_token, and renews or asks its user.",
        "advice": BROUGHT_UP,
    }
    assert site.explain(first["access_token"])["verdict"]["outcome"] == "good"
    assert site.refresh(client, newest["refresh_token"]).status == 200
    assert site.explain(newest["access_token"])["token"]["standing"].startswith(
        "It is not one that this grant"
    )


def test_the_grant_itself_is_told_to_be_older_than_the_log(site: Site) -> None:
    client, _, newest = set_back(site)
    verdict = site.explain(grant_of(site, newest))["verdict"]
    assert verdict["text"] == f"The grant is alive: its newest refresh token is good. {OLDER}"
    assert verdict["advice"] == BROUGHT_UP
    site.refresh(client, newest["refresh_token"])
    assert site.explain(grant_of(site, newest))["verdict"]["advice"] == "Nothing has to be done."


def test_a_grant_that_a_backup_brought_back_is_not_told_that_nothing_has_to_be_done(site: Site) -> None:
    client, tokens, grant = connected(site)
    backend, key = site.middleware.server.backend, b"g" + bytes.fromhex(grant)
    before = backend.get(key)
    assert before is not None
    site.command("grant", "revoke", grant, "--yes")
    assert backend.swap(key, backend.get(key), before.body, None)
    for named in (grant, tokens["access_token"], tokens["refresh_token"]):
        verdict = site.explain(named)["verdict"]
        assert verdict["text"].endswith(
            "and the registry is older: a restored backup or a failover brought it back. "
            "The operator ended the grant: flask oauth grant revoke."
        )
        assert verdict["advice"].startswith("If it is to stay ended, end it again: flask oauth grant revoke.")
    assert site.refresh(client, tokens["refresh_token"]).status == 200


# --- good, and refused at a path ------------------------------------------------------------------

OF_PROTECT = "If nothing there should need it, correct OAUTH_PROTECT."
OF_RESOURCE = "If it should be good there, correct OAUTH_PROTECT or OAUTH_ISSUER."
LACKS = f"refused at {ORIGIN}/api/notes: it lacks notes:write."
ELSEWHERE = f"refused at {ORIGIN}/api: it was issued for {ORIGIN}/mcp."


def last_refusal(story: dict[str, Any]) -> str:
    return str([each["text"] for each in story["timeline"] if each["what"] == "access_refused"][-1])


def test_a_token_that_lacks_a_scope_is_not_told_that_nothing_has_to_be_done(site: Site) -> None:
    tokens = site.tokens(scope="notes:read")
    assert site.api(tokens["access_token"], "/api/notes", "POST").status == 403
    story = site.explain(tokens["access_token"])
    assert last_refusal(story) == f"An access token was {LACKS}"
    assert story["verdict"] == {
        "outcome": "scope",
        "text": f"It is good, but it was {LACKS}",
        "hears": "403 insufficient_scope there.",
        "advice": f"The program asks for that scope, and its user connects it again. {OF_PROTECT}",
    }
    story = site.explain(grant_of(site, tokens))
    assert story["verdict"]["text"] == f"The grant is alive, but its access token was {LACKS}"


def test_a_token_for_another_resource_is_told_which(site: Site) -> None:
    tokens = site.tokens(resource=f"{ORIGIN}/mcp")
    assert site.api(tokens["access_token"]).status == 401
    story = site.explain(tokens["access_token"])
    assert last_refusal(story) == f"An access token was {ELSEWHERE}"
    assert story["verdict"] == {
        "outcome": "audience",
        "text": f"It is good, but it was {ELSEWHERE}",
        "hears": "401 invalid_token there.",
        "advice": "The program names that resource (parameter resource), and its user connects it again. "
        + OF_RESOURCE,
    }


def test_a_refresh_token_is_as_good_as_before_and_what_was_refused_is_told(site: Site) -> None:
    tokens = site.tokens(scope="notes:read")
    site.api(tokens["access_token"], "/api/notes", "POST")
    verdict = site.explain(tokens["refresh_token"])["verdict"]
    assert (verdict["outcome"], verdict["hears"]) == ("rotated", "")
    assert verdict["text"].endswith(f"for the next pair. Its access token was {LACKS}")
    assert verdict["advice"].endswith(OF_PROTECT)


def test_what_the_user_has_granted_comes_with_the_next_renewal_and_then_nothing_is_wrong(site: Site) -> None:
    client = site.register()
    tokens = site.tokens(client, scope="notes:read notes:write")
    narrow = site.refresh(client, tokens["refresh_token"], scope="notes:read").json
    site.api(narrow["access_token"], "/api/notes", "POST")
    advice = site.explain(narrow["access_token"])["verdict"]["advice"]
    assert advice == f"The user has granted it: the program asks for it when it renews. {OF_PROTECT}"
    wide = site.refresh(client, narrow["refresh_token"]).json
    assert site.explain(wide["access_token"])["verdict"]["outcome"] == "good"
    assert site.explain(grant_of(site, wide))["verdict"]["outcome"] == "good"


def test_a_token_made_without_a_browser_is_made_anew_with_what_it_lacks(site: Site) -> None:
    script = by_hand(site, "--scope", "notes:read", "--resource", f"{ORIGIN}/api")["access_token"]
    site.api(script, "/api/notes", "POST")
    made = "Make one with that scope: flask oauth token create --scope, or as it was made."
    assert site.explain(script)["verdict"]["advice"] == f"{made} {OF_PROTECT}"
    site.clock.forward(60)
    site.api(script, "/mcp")
    made = "Make one for that resource: flask oauth token create --resource, or as it was made."
    assert site.explain(script)["verdict"]["advice"] == f"{made} {OF_RESOURCE}"


@pytest.mark.parametrize(
    ("reason", "why"),
    [("scope", "it lacks a scope that is needed there"), ("audience", "it was issued for another resource")],
)
def test_an_event_that_does_not_say_where_is_told_as_far_as_it_goes(
    site: Site, reason: str, why: str
) -> None:
    tokens = site.tokens()
    event = {"time": "2027-01-15T08:00:00Z", "event": "access_refused", "reason": reason}
    with (site.folder / "events.jsonl").open("a") as log:
        log.write(json.dumps({**event, "grant": grant_of(site, tokens), "count": 1}) + "\n")
    verdict = site.explain(tokens["access_token"])["verdict"]
    assert verdict["text"] == f"It is good, but it was refused at a protected path: {why}."


def test_an_access_token_that_had_expired_is_not_told_in_the_words_of_a_renewal(site: Site) -> None:
    tokens = site.tokens()
    site.clock.forward(2 * 86400)
    assert site.api(tokens["access_token"]).status == 401
    assert last_refusal(site.explain(tokens["access_token"])).endswith(
        " was refused. It had expired: the program renews with its refresh token, if it has one."
    )


def test_what_stands_in_the_event_log_moves_no_cursor(site: Site) -> None:
    tokens = site.tokens()
    event = {
        "time": "2027-01-15T08:00:00Z",
        "event": "access_refused",
        "reason": "scope",
        "lacking": "x\rIt is good.",
    }
    with (site.folder / "events.jsonl").open("a") as log:
        log.write(json.dumps({**event, "grant": grant_of(site, tokens)}) + "\n")
    shown = site.command("explain", grant_of(site, tokens))
    assert (shown.count("lacks x?It is good."), "\r" in shown) == (2, False)


# --- the record is gone, and the log is not -------------------------------------------------------

BEGAN = "The registry holds this grant no more. It was made 2027-01-15 08:00:00 and"
REMOVED = "says the event log; its record has been removed since."
MONTH = 31 * 86400


def forget(site: Site) -> None:
    site.clock.forward(MONTH)
    site.registry.cleanup()


def test_a_grant_that_ended_and_was_removed_is_told_from_the_log(site: Site) -> None:
    client, tokens, grant = connected(site)
    site.clock.forward(60)
    site.command("grant", "revoke", grant, "--yes")
    forget(site)
    story = site.explain(grant)
    who = {"grant": grant, "subject": "alice", "client_id": client.client_id}
    assert story["grant"] == {**who, "state": "gone"}
    assert story["verdict"] == {
        "outcome": "unknown_grant",
        "text": f"{BEGAN} ended 2027-01-15 08:01:00 (UTC), {REMOVED} "
        "The operator ended the grant: flask oauth grant revoke.",
        "hears": "invalid_grant.",
        "advice": BROWSER,
    }
    assert site.explain(tokens["access_token"])["verdict"]["hears"].startswith("401 invalid_token")


def test_one_that_was_refused_as_expired_and_was_removed_is_told_so(site: Site) -> None:
    client, tokens, grant = connected(site)
    site.clock.forward(MONTH)
    assert site.refresh(client, tokens["refresh_token"]).status == 400
    forget(site)
    assert site.refresh(client, tokens["refresh_token"]).status == 400
    story = site.explain(tokens["refresh_token"])
    assert story["verdict"]["text"] == (
        f"{BEGAN} had ended by 2027-02-15 08:00:00 (UTC), when it was refused, {REMOVED} "
        "It has expired: the program did not renew in time."
    )
    assert story["verdict"]["advice"] == f"{BROWSER} {AWAY}"
    assert story["timeline"][-1]["text"] == "A refresh token was refused. The registry held no such grant."
    assert "never was" not in site.command("explain", text=grant)


def test_one_whose_end_is_not_in_the_log_is_told_with_what_may_have_been(site: Site) -> None:
    grant = grant_of(site, by_hand(site, "--refresh"))
    forget(site)
    verdict = site.explain(grant)["verdict"]
    assert verdict["text"].startswith(f"{BEGAN} was last heard of 2027-01-15 08:00:00 (UTC), says the event")
    restored = "If it should not have expired yet, check OAUTH_REGISTRY, and whether a backup was restored."
    assert verdict["advice"] == f"{BY_HAND} {restored}"


def test_one_that_ended_by_a_reuse_keeps_the_advice_about_it(site: Site) -> None:
    _, tokens, grant = connected(site)
    used_again(site, tokens["refresh_token"])
    forget(site)
    assert site.explain(grant)["verdict"]["advice"] == f"{BROWSER} {THIEF}"


def test_a_reuse_that_was_only_refused_is_no_end(tmp_path: Path) -> None:
    site = Site(tmp_path, reuse_policy="refuse")
    _, tokens, grant = connected(site)
    used_again(site, tokens["refresh_token"])
    forget(site)
    assert "its end is not told" in site.explain(grant)["verdict"]["text"]


def test_one_whose_client_was_deleted_hears_of_its_client_first(site: Site) -> None:
    client, tokens, grant = connected(site)
    site.command("client", "delete", client.client_id, "--yes")
    forget(site)
    assert site.refresh(client, tokens["refresh_token"]).json["error"] == "invalid_client"
    assert site.explain(grant)["verdict"]["hears"] == "invalid_client."


def test_a_code_that_nobody_redeemed_in_time_is_not_told_in_the_words_of_a_renewal(site: Site) -> None:
    client = site.register()
    code = site.code(client)
    site.clock.forward(60)
    assert site.redeem(client, code).status == 400
    forget(site)
    verdict = site.explain(code)["verdict"]
    assert verdict["text"].endswith("The authorization code expired before the client redeemed it.")


def test_a_token_of_a_client_for_itself_that_is_gone_is_asked_for_again(site: Site) -> None:
    tokens = of_client(site)
    grant = grant_of(site, tokens)
    assert site.command("explain", text=grant).startswith(f"Grant {grant} for robot: alive")
    site.command("grant", "revoke", grant, "--yes")
    forget(site)
    verdict = site.explain(grant)["verdict"]
    assert (verdict["hears"][:17], verdict["advice"]) == ("401 invalid_token", OF_CLIENT)


def test_whoever_names_a_grant_that_never_was_makes_no_story_of_it(site: Site) -> None:
    client = site.register()
    forged = mint_refresh(bytes(16), 1, bytes(32), bytes(16))
    assert site.refresh(client, forged).status == 400
    story = site.explain(forged)
    assert story["grant"] == {"grant": "00" * 16, "state": "unknown"}
    assert story["verdict"]["text"].startswith("The registry holds no such grant. It was forgotten")
