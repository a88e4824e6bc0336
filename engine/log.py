"""The log file of `LogFile`: every line in and out with its time, and what went wrong. Never stdout."""

from __future__ import annotations

import logging
from pathlib import Path

_FORMAT = "%(asctime)s.%(msecs)03d %(levelname).1s %(message)s"


class LogError(ValueError):
    """The log file cannot be written; the message is one sentence for the user."""


class Log:
    """The `dejavu` logger and its file. Without a file nothing is written anywhere: GUIs show stderr, too."""

    def __init__(self) -> None:
        self._logger = logging.getLogger("dejavu")
        self._logger.setLevel(logging.DEBUG)
        self._logger.propagate = False
        self._logger.addHandler(logging.NullHandler())
        self._handler: logging.Handler | None = None
        self._path = ""

    def open(self, path: str) -> None:
        """Append to `path` from now on, or to nothing if it is empty; raises LogError, the old file stays."""
        if path == self._path:
            return
        handler: logging.Handler | None = None
        if path:
            try:
                handler = logging.FileHandler(Path(path).expanduser(), encoding="utf-8", errors="replace")
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) and error.strerror else error
                raise LogError(f"cannot write the log file {path}: {reason}") from None
            handler.setFormatter(logging.Formatter(_FORMAT, "%Y-%m-%d %H:%M:%S"))
            self._logger.addHandler(handler)
        if self._handler is not None:
            self._logger.removeHandler(self._handler)
            self._handler.close()
        self._handler, self._path = handler, path

    def received(self, line: str) -> None:
        """Note a line from the GUI."""
        if self._handler is not None:
            self._logger.debug(">> %s", line)

    def sent(self, line: str) -> None:
        """Note a line to the GUI."""
        if self._handler is not None:
            self._logger.debug("<< %s", line)

    def failed(self, what: str) -> None:
        """Note the exception being handled, with its traceback."""
        self._logger.exception(what)
