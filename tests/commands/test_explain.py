"""`oauth-refresh explain`: the right story for each row of the rule table, after it really happened."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner, Result

from oauth_refresh.cli import main
from oauth_refresh.commands.deployment import Deployment
from oauth_refresh.errors import OAuthError
from oauth_refresh.records import decode
from oauth_refresh.server import Server
from oauth_refresh.tokens import mint_access, mint_refresh, read

from ..driving import Clock
from ..settings_loading import load
from .conftest import Run, as_json

KEY, NEW_KEY = "a server secret of enough bytes", "a newer server secret of enough bytes"


class Told(NamedTuple):
    """The story as a program reads it, and as people do."""

    story: dict[str, Any]
    text: str

    @property
    def outcome(self) -> str:
        return str(self.story["verdict"]["outcome"])

    @property
    def happened(self) -> list[str]:
        return [each["what"] for each in self.story["timeline"]]


class Stage:
    """One deployment with a clock of its own, a client's line of tokens, and what is told of it."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.folder = folder
        self.server = self.serve()
        self.line: list[str] = []

    def serve(self, **settings: object) -> Server:
        given = {
            "registry": f"sqlite://{self.folder}/oauth.db",
            "secret_key": KEY,
            "event_log": f"{self.folder}/events.jsonl",
            "clients": {"probe": {"redirect_uris": ["http://127.0.0.1/"]}},
            **settings,
        }
        self.server = Server(
            load(keywords={k: v for k, v in given.items() if v is not None}), clock=self.clock
        )
        return self.server

    def connect(self) -> str:
        issued = self.server.registry.create_with_refresh("alice", ["notes:read"], client_id="probe")
        self.line, self.grant = [issued.refresh_token or ""], issued.grant_id
        self.access = issued.access_token
        return self.line[0]

    def refresh(self, token: str | None = None, seconds: float = 1.0, client: str = "probe") -> str | None:
        """Present the newest token, or another one, some seconds later; the answer or None."""
        self.clock.forward(seconds)
        rotate = self.server.registry.rotate_via_refresh_token
        try:
            issued = rotate(token or self.line[-1], client_id=client)
        except OAuthError:
            return None
        self.access = issued.access_token
        if issued.refresh_token not in self.line:
            self.line.append(issued.refresh_token or "")
        return issued.refresh_token

    def use(self) -> None:
        self.server.registry.check(self.access)

    def body(self) -> Any:
        return self.server.backend.get(b"g" + bytes.fromhex(self.grant))

    def go_back_to(self, body: Any) -> None:
        assert self.server.backend.swap(b"g" + bytes.fromhex(self.grant), self.body(), body.body)

    def explain(self, text: str, *options: str) -> Told:
        before = self.body()
        told = json.loads(self.run(*options, "--json", input=text).stdout)
        shown = self.run(*options, input=text).stdout
        # Whatever it says: nothing has changed, and the token is not in it.
        assert self.body() == before
        assert text == self.grant or text not in shown + json.dumps(told)
        return Told(told, shown)

    def run(self, *options: str, input: str) -> Result:  # noqa: A002 - click's word for it
        done = CliRunner().invoke(main, ["explain", *options], input=input, obj=Deployment(self.server))
        assert done.exit_code == 0, done.output
        return done


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    stage = Stage(tmp_path)
    stage.connect()
    return stage


# --- each row of the rule table: how it comes to be, what is explained, and what is told of it ----


def current(stage: Stage) -> str:
    stage.refresh()
    return stage.line[-1]


def previous_within_the_grace(stage: Stage) -> str:
    stage.refresh()
    stage.use()
    stage.clock.forward(59)
    return stage.line[0]


def previous_of_a_lost_answer(stage: Stage) -> str:
    stage.refresh()
    stage.clock.forward(86400)
    return stage.line[0]


def previous_too_late(stage: Stage) -> str:
    stage.refresh()
    stage.use()
    stage.clock.forward(60)
    return stage.line[0]


def older(stage: Stage) -> str:
    stage.refresh()
    stage.refresh()
    return stage.line[0]


def older_that_came_back(stage: Stage) -> str:
    stage.refresh(older(stage))
    return stage.line[-1]


def older_where_reuse_is_only_refused(stage: Stage) -> str:
    stage.serve(reuse_policy="refuse")
    token = older(stage)
    assert stage.refresh(token) is None
    assert stage.refresh() is not None
    return token


def behind_in_a_fleet(stage: Stage) -> str:
    stage.serve(reuse_policy="catch-up")
    stage.refresh()
    stage.refresh()
    stage.clock.forward(3600)
    return stage.line[0]


def ahead(stage: Stage) -> str:
    before = stage.body()
    stage.refresh()
    stage.refresh()
    stage.go_back_to(before)
    return stage.line[-1]


def ahead_where_rolling_forward_is_off(stage: Stage) -> str:
    token = ahead(stage)
    stage.serve(roll_forward=False)
    assert stage.refresh(token) is None
    return token


def ahead_with_a_secret_beside_the_data(stage: Stage) -> str:
    stage.serve(secret_key=None)
    stage.connect()
    return ahead(stage)


def stray(stage: Stage) -> str:
    before = stage.body()
    lost = stage.refresh() or ""
    stage.go_back_to(before)
    stage.serve(secret_key=NEW_KEY, secret_key_fallbacks=[KEY])
    stage.refresh(stage.line[0])
    assert stage.refresh(lost) is None
    return lost


def a_secret_that_this_host_does_not_know(stage: Stage) -> str:
    stage.serve(secret_key=NEW_KEY, secret_key_fallbacks=[KEY])
    stage.refresh()
    stage.serve()
    assert stage.refresh(stage.line[0]) is None
    return stage.line[0]


def expired(stage: Stage) -> str:
    assert stage.refresh(seconds=30 * 86400) is None
    return stage.line[0]


def ended(stage: Stage) -> str:
    stage.serve(grant_max_age="90d")
    stage.connect()
    for _ in range(4):
        stage.refresh(seconds=25 * 86400)
    return stage.line[-1]


def revoked_by_the_operator(stage: Stage) -> str:
    stage.server.registry.revoke_grant(bytes.fromhex(stage.grant), "revoked_by_operator")
    assert stage.refresh() is None
    return stage.line[0]


def given_back(stage: Stage) -> str:
    presented = read(stage.line[0])
    assert presented is not None
    stage.server.registry.revoke_presented(presented, "probe")
    return stage.line[0]


def noise(stage: Stage) -> str:
    guess = mint_refresh(bytes.fromhex(stage.grant), 1, bytes(32), bytes(16))
    assert stage.refresh(guess) is None
    return guess


def no_such_grant(stage: Stage) -> str:
    return mint_refresh(bytes(16), 1, bytes(32), bytes(16))


Row = tuple[Callable[[Stage], str], str, str, str]

ROWS: dict[str, Row] = {
    "current": (current, "rotated", "generation 2; the grant is at 2. It is the newest", "good"),
    "previous, grace": (
        previous_within_the_grace,
        "repeated",
        "exchanged by the last rotation",
        "same new tokens",
    ),
    "previous, lost": (
        previous_of_a_lost_answer,
        "repeated",
        "exchanged by the last rotation",
        "answer that was lost",
    ),
    "previous, late": (
        previous_too_late,
        "reused",
        "exchanged by the last rotation",
        "theft, or a program that lost",
    ),
    "older": (
        older,
        "reused",
        "generation 1; the grant is at 3. It was exchanged two or more",
        "theft, or a program",
    ),
    "reused": (
        older_that_came_back,
        "revoked",
        "generation 3; the grant is at 3",
        "came back that had been replaced",
    ),
    "reused, refuse": (older_where_reuse_is_only_refused, "reused", "two or more rotations ago", "theft"),
    "catch-up": (behind_in_a_fleet, "caught_up", "two or more rotations ago", "current tokens"),
    "ahead": (
        ahead,
        "rolled_forward",
        "generation 3; the grant is at 1. It is newer",
        "lost its last writes",
    ),
    "ahead, off": (ahead_where_rolling_forward_is_off, "ahead", "It is newer", "rolling forward is off"),
    "ahead, beside": (ahead_with_a_secret_beside_the_data, "ahead", "It is newer", "kept with the data"),
    "stray": (stray, "stray", "no longer follows", "rollback together with a change"),
    "not known here": (
        a_secret_that_this_host_does_not_know,
        "not_reproduced_yet",
        "last rotation",
        "does not know yet",
    ),
    "expired": (expired, "expired", "It is the newest one", "did not renew in time"),
    "ended": (ended, "ended", "It is the newest one", "absolute end"),
    "operator": (revoked_by_the_operator, "revoked", "It is the newest one", "The operator ended the grant"),
    "given back": (given_back, "revoked", "It is the newest one", "gave the grant back"),
    "noise": (noise, "noise", "It is no refresh token of this grant", "a guess"),
}


@pytest.mark.parametrize("row", ROWS)
def test_each_row_of_the_rule_table_is_told_right(stage: Stage, row: str) -> None:
    happen, outcome, standing, text = ROWS[row]
    told = stage.explain(happen(stage))
    assert told.outcome == outcome
    assert standing in told.story["token"]["standing"]
    assert text in told.story["verdict"]["text"]
    for said in (
        told.story["token"]["standing"],
        told.story["verdict"]["text"],
        told.story["verdict"]["advice"],
    ):
        assert said in told.text


@pytest.mark.parametrize("row", ROWS)
def test_what_is_told_is_what_then_happens(stage: Stage, row: str) -> None:
    token = ROWS[row][0](stage)
    explained = stage.explain(token)
    told, hears = explained.outcome, explained.story["verdict"]["hears"]
    heard: list[Any] = []
    stage.server.events.listen(
        lambda name, fields: heard.append(fields.get("reason") or fields.get("outcome"))
    )
    ended = decode(stage.body().body, bytes.fromhex(stage.grant)).revoked_at
    answer = ""
    try:
        stage.server.registry.rotate_via_refresh_token(token, client_id="probe")
    except OAuthError as error:
        ends = (
            ""
            if decode(stage.body().body, bytes.fromhex(stage.grant)).revoked_at == ended
            else ", and the grant ends"
        )
        answer = f"{error.code}{ends}."
    assert hears == answer
    assert (f"The program hears: {hears}" in explained.text) == bool(answer)
    assert told in heard


def test_another_client_is_told_from_its_own(stage: Stage) -> None:
    assert stage.refresh(client="other") is None
    told = stage.explain(stage.line[0], "--client", "other")
    assert (told.outcome, told.happened[-1]) == ("other_client", "refresh_expires")
    assert "client_mismatch" in told.happened
    assert stage.explain(stage.line[0]).outcome == "rotated"


def test_where_there_is_no_such_grant_the_event_log_may_still_know_it(stage: Stage) -> None:
    told = stage.explain(no_such_grant(stage))
    assert (told.outcome, told.story["grant"]["state"], told.happened) == ("unknown_grant", "unknown", [])
    stage.clock.forward(31 * 86400)
    stage.server.registry.cleanup()
    told = stage.explain(stage.line[0])
    assert (told.outcome, told.happened) == ("unknown_grant", ["grant_created"])
    assert told.story["verdict"]["hears"] == "invalid_grant."
    assert stage.explain(stage.access).story["verdict"]["hears"].startswith("401 invalid_token")


# --- codes and access tokens ----------------------------------------------------------------------


def test_access_tokens_are_explained_too(stage: Stage) -> None:
    first = stage.access
    assert stage.explain(first).outcome == "good"
    stage.refresh()
    told = stage.explain(first)
    assert (told.outcome, "half the grace period" in told.text) == ("good", True)
    stage.clock.forward(30)
    assert stage.explain(first).outcome == "expired"
    stage.refresh()
    assert "Of access tokens only the last two are kept" in stage.explain(first).text
    unknown = stage.explain(mint_access(bytes.fromhex(stage.grant), bytes(32)))
    assert unknown.outcome == "unknown"
    assert unknown.story["verdict"]["hears"].startswith("401 invalid_token")


def test_a_token_of_a_script_that_has_expired_is_made_anew(stage: Stage) -> None:
    alone = stage.server.registry.create("alice", ["notes:read"]).access_token
    stage.clock.forward(86400)
    told = stage.explain(alone)
    assert told.outcome == "expired"
    assert "Make a new one: flask oauth token create" in told.story["verdict"]["advice"]


def test_a_token_of_a_script_that_was_ended_is_made_anew(stage: Stage) -> None:
    issued = stage.server.registry.create("alice", ["notes:read"])
    stage.server.registry.revoke_grant(bytes.fromhex(issued.grant_id), "revoked_by_operator")
    told = stage.explain(issued.access_token)
    assert told.outcome == "revoked"
    assert "Make a new one: flask oauth token create" in told.story["verdict"]["advice"]


def test_a_token_whose_client_is_gone_is_not_called_good(stage: Stage) -> None:
    stage.refresh()
    stage.serve(clients=None)
    told = stage.explain(stage.line[-1])
    assert told.outcome == "client_gone"
    assert told.story["verdict"]["hears"] == "invalid_client."
    assert "not registered here" in told.text
    assert stage.explain(stage.access).outcome == "good"


def test_the_advice_names_the_commands_as_they_are_called_here(run: Run, server: Server) -> None:
    issued = server.registry.create("alice", [])
    server.registry.revoke_grant(bytes.fromhex(issued.grant_id), "revoked_by_operator")
    verdict = as_json(run("explain", issued.grant_id, "--json"))["verdict"]
    assert "oauth-refresh grant revoke" in verdict["text"]
    assert "oauth-refresh token create" in verdict["advice"]


def test_codes_are_explained_too(stage: Stage) -> None:
    code = stage.server.registry.authorize(
        grant_id=bytes(range(16)),
        secret=bytes(32),
        client_id="probe",
        subject="alice",
        scopes=[],
        resources=[],
        challenge="x",
        redirect_uri="https://app.example/cb",
    )
    stage.grant = bytes(range(16)).hex()
    told = stage.explain(code)
    assert (told.outcome, told.story["grant"]["state"]) == ("good", "pending")
    stage.clock.forward(60)
    told = stage.explain(code)
    assert (told.outcome, told.happened) == ("code_expired", ["code_issued", "code_expired"])
    assert stage.explain(stage.grant).outcome == "code_expired"


# --- the time line --------------------------------------------------------------------------------


def test_the_life_of_a_grant_is_told_with_each_refusal_and_its_reason(stage: Stage) -> None:
    stage.refresh(seconds=60)
    stage.use()
    stage.refresh(seconds=10, client="other")
    stage.refresh(stage.line[0], seconds=50)
    stage.refresh(seconds=10)
    told = stage.explain(stage.grant)
    times = [each["time"][11:19] for each in told.story["timeline"]]
    texts = [each["text"] for each in told.story["timeline"]]
    assert list(zip(times, told.happened, strict=True)) == [
        ("08:00:00", "grant_created"),
        ("08:01:00", "used"),
        ("08:01:00", "token_rotated"),
        ("08:01:10", "client_mismatch"),
        ("08:01:10", "token_refused"),
        ("08:02:00", "token_reused"),
        ("08:02:10", "token_refused"),
    ]
    assert texts[4].startswith("A refresh token of generation 2 was refused. It was issued to another client")
    assert texts[5] == "A refresh token that had been replaced came back. (generation 2, 1 behind)"
    assert texts[6] == "A refresh token of generation 2 was refused. The grant has been revoked."
    assert "2027-01-15 08:02:10  A refresh token of generation 2 was refused." in told.text


def test_the_record_alone_tells_what_it_knows(stage: Stage) -> None:
    stage.serve(event_log=None)
    stage.refresh()
    told = stage.explain(stage.grant)
    assert told.happened == ["created", "rotated", "access_expires", "refresh_expires"]
    assert {each["source"] for each in told.story["timeline"]} == {"record"}


def test_the_log_before_the_last_rotation_is_read_too_and_any_other_that_is_named(
    stage: Stage, tmp_path: Path
) -> None:
    (tmp_path / "events.jsonl").rename(tmp_path / "events.jsonl.1")
    stage.refresh()
    assert stage.explain(stage.grant).happened[:2] == ["grant_created", "token_rotated"]
    (tmp_path / "events.jsonl.1").rename(tmp_path / "old")
    assert stage.explain(stage.grant, "--events", f"{tmp_path}/old").happened[0] == "grant_created"


@pytest.mark.parametrize(
    ("name", "trouble"), [("none", "No such file or directory"), (".", "Is a directory")]
)
def test_a_log_that_cannot_be_read_is_named_with_what_to_do(
    stage: Stage, tmp_path: Path, name: str, trouble: str
) -> None:
    path = str(tmp_path / name)
    arguments = ["explain", "--events", path, stage.grant]
    refused = CliRunner().invoke(main, arguments, obj=Deployment(stage.server))
    assert refused.exit_code == 1
    assert refused.stderr == (
        f"Error: event log {path}: {trouble}: run this as the user that the server runs as, "
        "or name an event log that you can read with --events\n"
    )


@pytest.mark.parametrize("time", ["", '"time":5,', '"time":"yesterday",', '"time":null,'])
def test_a_line_of_the_log_without_a_time_is_left_out(stage: Stage, tmp_path: Path, time: str) -> None:
    with (tmp_path / "events.jsonl").open("a") as log:
        log.write(f'{{{time}"event":"token_rotated","grant":"{stage.grant}"}}\n')
    assert "token_rotated" not in stage.explain(stage.grant).happened


def test_a_story_moves_no_cursor_and_every_word_is_there(stage: Stage) -> None:
    issued = stage.server.registry.create("al\x1b[2Jice", [], client_id="c")
    stage.grant = issued.grant_id
    assert "\x1b" not in stage.explain(issued.access_token).text


def test_what_is_no_token_is_refused_without_repeating_it(stage: Stage) -> None:
    refused = CliRunner().invoke(main, ["explain"], input="ort_half\n", obj=Deployment(stage.server))
    assert refused.exit_code == 1
    assert "neither a grant id (32 hex digits) nor a code or token" in refused.stderr
    assert "ort_half" not in refused.output
