"""What does a renewal ask of the system? Counted with strace: waits for the disk, and messages to PostgreSQL.

A renewal over SQLite (synchronous=FULL) waits for the disk once, but where a checkpoint falls due. Over
PostgreSQL what writes is one message and one answer.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from . import driving, stores

STORES = ("sqlite", "sqlite-normal", "postgresql")
HEADS = ("store", "renewals", "waits for the disk, each", "messages sent, each", "of them for the write")
WORDS = 1
RENEWALS = 50
_SYNC, _SEND = ("fsync(", "fdatasync(", "sync_file_range(", "msync("), ("sendto(", "sendmsg(")
_TRACED = "fsync,fdatasync,sync_file_range,msync,sendto,sendmsg,chdir"
_MARK = "/mark/"


class Calls(NamedTuple):
    """Of each renewal: waits for the disk, messages sent in all, and messages sent by the swap."""

    store: str
    waits: list[int]
    sent: list[int]
    sent_by_swap: list[int]

    def cells(self) -> list[str]:
        counts = (self.waits, self.sent, self.sent_by_swap)
        return [self.store, str(len(self.waits)), *(_span(found) for found in counts)]


def run(name: str, *, peers: bool) -> list[Calls]:
    with stores.opened(name) as store:
        return [counted(name, store.url)]


def counted(name: str, url: str) -> Calls:
    """The calls of some renewals over the registry at `url`, in the middle of a run of them."""
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace"
        program = f"from benchmarks.syscalls import renew; renew({url!r})"
        command = ["strace", "-f", "-o", str(trace), "-e", f"trace={_TRACED}", sys.executable, "-c", program]
        kept = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        subprocess.run(command, env=kept, check=True, capture_output=True, timeout=120)
        return _read(name, trace.read_text())


def renew(url: str) -> None:
    """What is counted. Runs under strace, and marks there where a renewal and its swap begin and end."""
    ours = driving.Ours(url)
    rotator = ours.rotator()
    backend: Any = ours.app.registry.backend
    swap = backend.swap

    def marked(*arguments: Any, **named: Any) -> bool:
        _mark("swap")
        try:
            done: bool = swap(*arguments, **named)
        finally:
            _mark("swapped")
        return done

    for _ in range(RENEWALS):
        assert rotator().startswith("200")  # so that all is prepared
    backend.swap = marked
    for _ in range(RENEWALS):
        _mark("renewal")
        assert rotator().startswith("200")
        _mark("renewed")
    ours.close()


def _mark(what: str) -> None:
    """A call that strace shows, and that does nothing."""
    with suppress(OSError):
        os.chdir(f"{_MARK}{what}")


def _read(name: str, trace: str) -> Calls:
    found = Calls(name, [], [], [])
    inside = swapping = False
    for line in trace.splitlines():
        call = line.partition(" ")[2].lstrip()
        if call.startswith("chdir("):
            mark = call.partition(_MARK)[2].partition('"')[0]
            inside = mark not in ("renewed", "")
            swapping = mark == "swap"
            if mark == "renewal":
                for counts in found[1:]:
                    counts.append(0)
        elif inside and call.startswith(_SYNC):
            found.waits[-1] += 1
        elif inside and call.startswith(_SEND):
            found.sent[-1] += 1
            found.sent_by_swap[-1] += swapping
    assert len(found.waits) == RENEWALS
    return found


def _span(counts: list[int]) -> str:
    return str(min(counts)) if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
