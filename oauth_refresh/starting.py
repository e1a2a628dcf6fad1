"""How is a start that fails told, where nobody could do anything with a traceback?"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from .errors import ConfigurationError

_NEVER_AGAIN = 3
"""By this exit code gunicorn knows that another worker would end the same way."""


@contextmanager
def plainly_under_gunicorn() -> Iterator[None]:
    """Mistakes in the settings end the server with what has to be mended, and nothing else."""
    try:
        yield
    except ConfigurationError as error:
        if "gunicorn.arbiter" not in sys.modules:
            raise
        # Else every worker shows a traceback, and what has to be mended stands somewhere in the middle.
        sys.stderr.write(f"oauth_refresh cannot start:\n{error}\n")
        sys.stderr.flush()
        raise SystemExit(_NEVER_AGAIN) from None
