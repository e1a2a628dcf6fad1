"""Blinker signals of events."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from oauth_refresh import signals
from oauth_refresh.events import CATALOGUE, Events
from oauth_refresh.flask import OAuthRefresh


@pytest.fixture
def heard() -> Iterator[list[tuple[object, dict[str, object]]]]:
    told: list[tuple[object, dict[str, object]]] = []

    def receive(sender: object, **fields: object) -> None:
        told.append((sender, fields))

    with signals.token_rotated.connected_to(receive), signals.event.connected_to(receive):
        yield told


def test_a_signal_carries_the_fields_of_its_event(heard: list[tuple[object, dict[str, object]]]) -> None:
    Events(sender="me").emit("token_rotated", {"grant": "ab"})
    Events(sender="me").emit("token_reused", {"grant": "cd"})
    assert heard == [
        ("me", {"name": "token_rotated", "fields": {"grant": "ab"}}),
        ("me", {"grant": "ab"}),
        ("me", {"name": "token_reused", "fields": {"grant": "cd"}}),
    ]


def test_the_sender_is_the_flask_application(heard: list[tuple[object, dict[str, object]]]) -> None:
    app = Flask(__name__)
    extension = OAuthRefresh(app, registry="memory:", secret_key="a secret of enough bytes")
    with app.app_context():
        extension.middleware.registry.create("alice", [])
    assert {sender for sender, _ in heard} == {app}


def test_every_event_has_a_signal_and_nothing_else_has() -> None:
    assert {getattr(signals, name).name for name in CATALOGUE} == set(CATALOGUE)
    with pytest.raises(AttributeError, match="there is no event 'token_rotate'"):
        _ = signals.token_rotate


def test_a_receiver_that_fails_costs_nobody_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    def fail(sender: object, **fields: object) -> None:
        raise ZeroDivisionError

    with signals.login.connected_to(fail):
        Events().emit("login", {"subject": "alice"})
    assert caplog.messages[-1] == "a listener failed at the event login"


def test_a_server_without_signals_does_not_import_blinker() -> None:
    code = (
        "from oauth_refresh import OAuthMiddleware; import sys\n"
        "OAuthMiddleware(print, environ={}, registry='memory:').registry.create('a', [])\n"
        "print('blinker' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "False\n"


def test_the_receivers_of_the_documentation_hear_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parent.parent / "docs" / "observability.md").read_text()
    (block,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(block, names)
    Events().emit("token_reused", {"subject": "alice", "client": "probe", "outcome": "reused"})
    signals.token_reused.disconnect(names["tell_the_user"])
    signals.event.disconnect(names["count"])
    assert capsys.readouterr().out.splitlines() == [
        "token_reused reused",
        "somebody else may have had alice's access by probe",
    ]
