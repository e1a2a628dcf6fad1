"""An application as many still run: one WSGI function, years old, that takes REMOTE_USER for granted.

Nothing in this file knows of tokens, and nothing in it was changed to get them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

REPORTS = {"ada": ["Engine output, week 46"], "grace": ["Compiler output, week 46"]}


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    if environ["PATH_INFO"] == "/":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"The reports office. Your reports are at /reports.\n"]
    if environ["PATH_INFO"] == "/reports":
        user = environ["REMOTE_USER"]
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps({"user": user, "reports": REPORTS.get(user, [])}).encode() + b"\n"]
    start_response("404 Not Found", [("Content-Type", "text/plain")])
    return [b"There is no such page.\n"]
