"""Where do warnings go if nobody set up logging? To standard error, and with the time.

Python's own last resort writes the bare message. Servers such as gunicorn set up loggers of their own alone,
so that is what most deployments have.
"""

from __future__ import annotations

import logging
import sys
from contextlib import suppress

from .events import log

_FORMAT = "[%(asctime)s] [%(process)d] [%(levelname)s] %(name)s: %(message)s"
_TIME = "%Y-%m-%d %H:%M:%S %z"
"""As gunicorn writes, among whose lines they will stand."""


class LastResort(logging.Handler):
    """Writes warnings and errors while logging is set up by nobody else, so that no line comes twice.

    Who has set `logging.lastResort` to None wants silence.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.setFormatter(logging.Formatter(_FORMAT, _TIME))

    def emit(self, record: logging.LogRecord) -> None:
        stream = sys.stderr
        if logging.lastResort is None or stream is None or is_set_up():
            return
        try:
            stream.write(self.format(record) + "\n")
            if hasattr(stream, "flush"):
                stream.flush()
        except Exception:
            # `handleError` writes to the same place. A request must not fail because that is closed.
            with suppress(Exception):
                self.handleError(record)


def is_set_up() -> bool:
    """Whether what this package logs has a handler, its own last resort aside."""
    logger: logging.Logger | None = log
    while logger is not None:
        if any(not isinstance(handler, LastResort) for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False


def let_warnings_be_seen() -> None:
    """From now on, in this process: by the handlers that there are, else by a last resort."""
    # `logging.config` switches off every logger that it is not told of, unless it is told not to: those of
    # all packages that were imported before. Nobody means this one, and what it warns of is theft.
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and f"{name}.".startswith(f"{log.name}."):
            logger.disabled = False
    if not log.hasHandlers():
        log.addHandler(LastResort())
