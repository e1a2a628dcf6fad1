"""What a server without any logging set up writes: with the time, and once."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from oauth_refresh.events import log
from oauth_refresh.last_resort import LastResort, is_set_up, let_warnings_be_seen

LINE = re.compile(
    r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}\] \[\d+\] \[WARNING\] oauth_refresh: no path is protected\n"
)
SERVER = """
import logging, sys
{before}
from oauth_refresh import OAuthMiddleware
application = OAuthMiddleware(lambda environ, start_response: [], registry="memory:", secret_key="x" * 32)
OAuthMiddleware(application, registry="memory:", secret_key="x" * 32)
{after}
log = logging.getLogger({logger!r})
log.info("nobody asked for this")
sys.stderr.write("--\\n")
log.warning("no path is %s", "protected")
"""


def written(tmp_path: Path, before: str = "", after: str = "", logger: str = "oauth_refresh") -> str:
    """What this server writes to standard error after it has started."""
    program = SERVER.format(before=before, after=after, logger=logger)
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stderr.rpartition("--\n")[2]


def forget_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if nobody had set up logging: pytest has, for each phase of a test anew."""
    monkeypatch.setattr(log, "handlers", [])
    monkeypatch.setattr(log, "propagate", False)


def test_a_warning_has_the_time_and_the_process(tmp_path: Path) -> None:
    assert LINE.fullmatch(written(tmp_path))


@pytest.mark.parametrize("when", ["before", "after"])
def test_whoever_sets_up_logging_finds_each_line_once(tmp_path: Path, when: str) -> None:
    told = written(tmp_path, **{when: "logging.basicConfig(format='theirs: %(message)s')"})
    assert told == "theirs: no path is protected\n"


@pytest.mark.parametrize("logger", ["oauth_refresh", "oauth_refresh.settings"])
def test_logging_that_is_configured_before_the_middleware_is_made_does_not_silence_it(
    tmp_path: Path, logger: str
) -> None:
    """`disable_existing_loggers` is true by default, and the package has been imported."""
    before = """
import logging.config, oauth_refresh.middleware
theirs = dict([("class", "logging.StreamHandler"), ("formatter", "theirs")])
logging.config.dictConfig(dict(
    version=1,
    formatters=dict(theirs=dict(format="theirs: %(message)s")),
    handlers=dict(theirs=theirs),
    root=dict(handlers=["theirs"]),
))
"""
    assert written(tmp_path, before=before, logger=logger) == "theirs: no path is protected\n"


def test_without_a_last_resort_it_is_silent(tmp_path: Path) -> None:
    assert written(tmp_path, before="logging.lastResort = None") == ""


def test_a_server_without_standard_error_goes_on(tmp_path: Path) -> None:
    lost = "stderr, sys.stderr = sys.stderr, None; logging.getLogger('oauth_refresh').warning('lost')"
    assert LINE.fullmatch(written(tmp_path, after=f"{lost}; sys.stderr = stderr"))


@pytest.mark.parametrize("end", ["close", "detach"])
def test_a_standard_error_that_is_gone_fails_no_request(tmp_path: Path, end: str) -> None:
    """What it cannot write it cannot complain of either."""
    lost = f"sys.stderr.{end}(); logging.getLogger('oauth_refresh').warning('lost')"
    written(tmp_path, after=f"{lost}; sys.stderr = open('another', 'w')")
    assert LINE.fullmatch((tmp_path / "another").read_text().rpartition("--\n")[2])


def test_a_standard_error_that_only_writes_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    class OnlyWrites:
        def __init__(self) -> None:
            self.written: list[str] = []

        def write(self, text: str) -> None:
            self.written.append(text)

    forget_logging(monkeypatch)
    stream = OnlyWrites()
    let_warnings_be_seen()
    monkeypatch.setattr(sys, "stderr", stream)
    log.warning("no path is protected")
    assert len(stream.written) == 1
    assert LINE.fullmatch(stream.written[0])


def test_it_is_there_once_and_does_not_count_as_set_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    forget_logging(monkeypatch)
    let_warnings_be_seen()
    let_warnings_be_seen()
    assert [type(handler) for handler in log.handlers] == [LastResort]
    assert not is_set_up()
    log.warning("one line\nand what belongs to it")
    assert capsys.readouterr().err.count("oauth_refresh: one line") == 1
