"""Whatever is presented that this client was not given is refused, and no byte of the record changes."""

from __future__ import annotations

import base64
import os
import string
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.flows.client import OAuthClient, error, pair
from tests.flows.clocked import Clocked
from tests.flows.headless import User
from tests.flows.secret import Pair, Secret

ALPHABET = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"


class Story(NamedTuple):
    """A grant after three rotations: its tokens, oldest first."""

    server: Clocked
    client: OAuthClient
    line: list[Pair]

    @property
    def newest(self) -> Secret:
        return self.line[-1].refresh

    @property
    def older(self) -> Secret:
        return self.line[0].refresh


@pytest.fixture
def story(tmp_path: Path) -> Story:
    server = Clocked(tmp_path)
    client = server.client()
    line = [client.connected()]
    for _ in range(3):
        line.append(pair(client.refresh(line[-1].refresh)))
    return Story(server, client, line)


def raw(token: Secret) -> bytes:
    """The 68 bytes of a refresh token: grant id (16), generation (4), secret (32), tag (16)."""
    return base64.urlsafe_b64decode(token.text[4:] + "=")


def spelled(content: bytes) -> Secret:
    return Secret("ort_" + base64.urlsafe_b64encode(content).rstrip(b"=").decode())


def with_tag(token: Secret, tag: bytes) -> Secret:
    return spelled(raw(token)[:52] + tag)


def with_generation(token: Secret, generation: int) -> Secret:
    content = raw(token)
    return spelled(content[:16] + generation.to_bytes(4, "big") + content[20:])


def respelled(token: Secret) -> Iterator[Secret]:
    """The other spellings of the same bytes: the last character has two spare bits, which decoders ignore."""
    last = ALPHABET.index(token.text[-1])
    for spare in range(1, 4):
        other = Secret(token.text[:-1] + ALPHABET[last ^ spare])
        assert base64.urlsafe_b64decode(other.text[4:] + "=") == raw(token)
        yield other


GUESSES: dict[str, Callable[[Story], Secret]] = {
    "a guess for this grant": lambda story: spelled(raw(story.newest)[:16] + os.urandom(52)),
    "a guess at the secret": lambda story: spelled(
        raw(story.newest)[:20] + os.urandom(32) + raw(story.newest)[52:]
    ),
    "a guess for no grant": lambda story: spelled(os.urandom(68)),
    "the newest, its tag forged": lambda story: with_tag(story.newest, os.urandom(16)),
    "an older, its tag forged": lambda story: with_tag(story.older, os.urandom(16)),
    "an older with the tag of the newest": lambda story: with_tag(story.older, raw(story.newest)[52:]),
    "the newest, called the next generation": lambda story: with_generation(story.newest, 5),
    "the newest, called the last generation": lambda story: with_generation(story.newest, 2**32 - 1),
    "the newest, called the first generation": lambda story: with_generation(story.newest, 1),
    "padded": lambda story: Secret(story.newest.text + "="),
    "in the alphabet with plus and slash": lambda story: Secret(
        story.newest.text[:4] + base64.b64encode(raw(story.newest)).decode().rstrip("=") + "+"
    ),
    "with a space after it": lambda story: Secret(story.newest.text + " "),
    "cut short": lambda story: Secret(story.newest.text[:-1]),
    "in other case": lambda story: Secret("ORT_" + story.newest.text[4:]),
    "another kind's prefix": lambda story: Secret("oat_" + story.newest.text[4:]),
    "the access token": lambda story: story.line[-1].access,
    "no token at all": lambda story: Secret("x"),
} | {
    f"respelled, way {number + 1}": lambda story, number=number: list(respelled(story.newest))[number]
    for number in range(3)
}


@pytest.fixture(params=GUESSES.values(), ids=list(GUESSES))
def guess(request: pytest.FixtureRequest, story: Story) -> Secret:
    made: Secret = request.param(story)
    return made


@pytest.mark.requirement("RT-20")
def test_a_guess_is_refused_and_changes_nothing(story: Story, guess: Secret) -> None:
    before = story.server.record(story.newest)
    assert error(story.client.refresh(guess)) == (400, "invalid_grant")
    unnamed = {"grant_type": "refresh_token", "refresh_token": guess.text}
    answer = story.client.session.post(story.client.server["token_endpoint"], unnamed)
    assert error(answer) == (400, "invalid_grant")
    assert story.server.record(story.newest) == before
    assert pair(story.client.refresh(story.newest))


@pytest.mark.requirement("REV-04")
def test_a_guess_revokes_nothing(story: Story, guess: Secret) -> None:
    if guess == story.line[-1].access:
        # The one of them that is no guess here: an access token may be revoked.
        guess = Secret(guess.text[:-1])
    before = story.server.record(story.newest)
    assert story.client.revoke(guess).status_code == 200
    assert story.server.record(story.newest) == before
    assert pair(story.client.refresh(story.newest))


@pytest.mark.requirement("RS-10")
def test_nothing_but_the_access_token_opens_the_api(story: Story) -> None:
    before = story.server.record(story.newest)
    access = story.line[-1].access
    tries = [
        story.newest,
        story.older,
        Secret("oat_" + story.newest.text[4:]),
        Secret("oat_" + base64.urlsafe_b64encode(raw(story.newest)[:16] + os.urandom(32)).decode()),
        Secret(access.text + "="),
        Secret(access.text[:-1]),
    ]
    for wrong in tries:
        assert error(story.client.call(wrong)) == (401, "invalid_token")
    assert story.server.record(story.newest) == before
    assert story.client.call(access).status_code == 200


@pytest.mark.requirement("BCP-24")
@pytest.mark.requirement("RT-03")
@pytest.mark.requirement("RT-09")
@pytest.mark.requirement("RT-12")
@pytest.mark.requirement("REV-03")
@pytest.mark.parametrize("which", [0, 1, 2, 3], ids=["three back", "two back", "previous", "current"])
@pytest.mark.parametrize("auth_method", ["none", "client_secret_post"])
def test_another_clients_genuine_token_is_refused_and_changes_nothing(
    story: Story, which: int, auth_method: str
) -> None:
    thief = story.server.client(auth_method=auth_method)
    assert thief.register().status_code == 201
    stolen = story.line[which].refresh
    before = story.server.record(stolen)
    assert error(thief.refresh(stolen)) == (400, "invalid_grant")
    assert error(thief.revoke(stolen)) == (400, "invalid_grant")
    assert story.server.record(stolen) == before
    assert pair(story.client.refresh(story.newest))


@pytest.mark.requirement("RT-04")
@pytest.mark.requirement("RT-09")
@pytest.mark.parametrize("which", [0, 1, 2], ids=["older", "previous", "current"])
def test_a_confidential_clients_token_without_its_secret_is_refused_and_changes_nothing(
    tmp_path: Path, which: int
) -> None:
    server = Clocked(tmp_path)
    client = server.client(auth_method="client_secret_basic")
    line = [client.connected()]
    for _ in range(2):
        line.append(pair(client.refresh(line[-1].refresh)))
    thief = server.client()
    thief.discover()
    stolen = line[which].refresh
    before = server.record(stolen)
    form = {"grant_type": "refresh_token", "refresh_token": stolen.text}
    for named in ({}, {"client_id": client.client_id}, {"client_id": client.client_id, "client_secret": "x"}):
        answer = thief.session.post(thief.server["token_endpoint"], {**form, **named})
        assert error(answer) == (401, "invalid_client")
    assert server.record(stolen) == before
    assert pair(client.refresh(line[-1].refresh))


@pytest.mark.requirement("RT-14")
@pytest.mark.requirement("TOK-09")
@pytest.mark.parametrize(
    ("asked", "refusal"),
    [
        ({"scope": "notes:read notes:write"}, "invalid_scope"),
        ({"scope": 'a"b'}, "invalid_scope"),
        ({"resource": "https://elsewhere.example/"}, "invalid_target"),
    ],
    ids=["wider scope", "malformed scope", "unknown resource"],
)
@pytest.mark.parametrize("which", [0, 2, 3], ids=["older", "previous", "current"])
def test_a_refresh_that_asks_for_too_much_changes_nothing(
    story: Story, asked: dict[str, str], refusal: str, which: int
) -> None:
    before = story.server.record(story.newest)
    assert error(story.client.refresh(story.line[which].refresh, **asked)) == (400, refusal)
    assert story.server.record(story.newest) == before
    assert pair(story.client.refresh(story.newest))


@pytest.mark.requirement("CODE-07")
@pytest.mark.requirement("CODE-02")
def test_a_second_redemption_that_is_wrong_in_anything_changes_nothing(tmp_path: Path) -> None:
    server = Clocked(tmp_path)
    client, thief = server.client(), server.client()
    assert (client.register().status_code, thief.register().status_code) == (201, 201)
    attempt, code = client.sign_in(User(browser=client.connect()))
    first = pair(client.redeem(code, attempt.verifier))
    before = server.record(code)
    assert error(client.redeem(code, Secret("v" * 64))) == (400, "invalid_grant")
    assert error(thief.redeem(code, attempt.verifier)) == (400, "invalid_grant")
    form = {"code": code.text, "code_verifier": attempt.verifier.text}
    elsewhere = client.post(
        "token", grant_type="authorization_code", redirect_uri="http://127.0.0.1:8765/other", **form
    )
    assert error(elsewhere) == (400, "invalid_grant")
    assert server.record(code) == before
    assert client.call(first.access).status_code == 200
    assert error(client.redeem(code, attempt.verifier)) == (400, "invalid_grant")
    assert error(client.call(first.access)) == (401, "invalid_token")
