"""Every example in the help of a command is run, on a deployment that has what the example speaks of."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import pytest

from oauth_refresh.cli import main
from oauth_refresh.clients import Client, record_of
from oauth_refresh.server import Server

from .conftest import Run

KNOWN = {"49f647a5fb808543c99ce4ef96d0f0fb": "the grant's id", "oc_3q2-7w": "oc_3q2-7w"}
ELSEWHERE = ("doctor https", "doctor --outside", "--config /etc")
"""What needs a host or a folder of its own; tests of those commands are elsewhere."""


def examples(command: click.Command) -> Iterator[str]:
    text = (command.help or "").partition("Examples:")[2]
    yield from re.findall(r"^\s*(\S.*)$", text, re.MULTILINE)
    if isinstance(command, click.Group):
        for each in command.commands.values():
            yield from examples(each)


EXAMPLES = [each for each in examples(main) if "oauth-refresh" in each]


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 15
    assert sum(any(word in each for word in ELSEWHERE) for each in EXAMPLES) == 3


@pytest.mark.parametrize(
    "example", [each for each in EXAMPLES if not any(word in each for word in ELSEWHERE)]
)
def test_an_example_does_what_it_says(example: str, run: Run, server: Server) -> None:
    client = Client("oc_3q2-7w", ("http://127.0.0.1/callback",), forget_at=None)
    key, body = record_of(client)
    assert server.backend.swap(key, None, body)
    issued = server.registry.create_with_refresh("alice", ["notes:read"], client_id=client.client_id)
    piped, _, command = example.rpartition("oauth-refresh ")
    words = shlex.split(re.split(r"\s{2,}\(", command.rstrip(")"))[0])
    arguments = [issued.grant_id if word in KNOWN and word != client.client_id else word for word in words]
    if words[0] == "explain" and len([word for word in words if not word.startswith("-")]) == 1:
        answer = f"{issued.refresh_token}\n"
    elif words[:2] == ["user", "add"]:
        answer = "a long password\n" if piped else "a long password\na long password\n"
    else:
        answer = "y\n"
    result = run(*arguments, input=answer)
    found_nothing = "no grant that is alive is meant by this" in result.output
    assert result.exit_code == 0 or found_nothing, result.output
    assert found_nothing is ("--created-before" in words)
