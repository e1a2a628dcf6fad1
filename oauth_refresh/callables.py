"""Does a callable take these arguments? Asked at start, of what the operator hands over or names."""

from __future__ import annotations

from typing import Any


def takes(called: Any, *arguments: object) -> bool:
    """Whether it can be called with so many arguments, as far as it tells."""
    # Here, because it is not needed to guard an application that is set up without callables.
    from inspect import signature

    if not callable(called):
        return False
    try:
        # What a decorator passes on says nothing of what it takes: werkzeug's takes a WSGI request.
        found = signature(called, follow_wrapped=False)
    except (TypeError, ValueError):
        # Nothing can be known of some callables, such as those written in C.
        return True
    try:
        found.bind(*arguments)
    except TypeError:
        return False
    return True
