"""The log file of `LogFile`: every line in and out with its time, and what went wrong. Never stdout."""

from __future__ import annotations

import contextlib
import logging
import sys

from dejavu.engine.options import file_path

_FORMAT = "%(asctime)s.%(msecs)03d %(levelname).1s %(message)s"


class LogError(ValueError):
    """The log file cannot be written; the message is one sentence for the user."""


class _File(logging.FileHandler):
    """A log file that is given up at the first line it cannot take, on a full disk for instance."""

    problem = ""
    """Why it was given up."""

    def emit(self, record: logging.LogRecord) -> None:
        if not self.problem:
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        error = sys.exc_info()[1]
        self.problem = str((isinstance(error, OSError) and error.strerror) or error)

    def close(self) -> None:
        with contextlib.suppress(OSError):  # what could not be written still cannot
            super().close()


class LogFile:
    """The `dejavu` logger and its file. Without a file nothing is written anywhere: GUIs show stderr, too."""

    def __init__(self) -> None:
        self._logger = logging.getLogger("dejavu")
        self._logger.setLevel(logging.DEBUG)
        self._logger.propagate = False
        self._logger.addHandler(logging.NullHandler())
        self._handler: _File | None = None
        self._path = ""

    def open(self, path: str) -> None:
        """Append to `path` from now on, or to nothing if it is empty; raises LogError, the old file stays."""
        if path == self._path:
            return
        handler: _File | None = None
        if path:
            try:
                handler = _File(file_path(path), encoding="utf-8", errors="replace")
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) and error.strerror else error
                raise LogError(f"cannot write the log file {path}: {reason}") from None
            handler.setFormatter(logging.Formatter(_FORMAT, "%Y-%m-%d %H:%M:%S"))
            self._logger.addHandler(handler)
        if self._handler is not None:
            self._logger.removeHandler(self._handler)
            self._handler.close()
        self._handler, self._path = handler, path

    def problem(self) -> str:
        """One sentence, once, where the file could not be written any more and has been given up; else empty."""
        if self._handler is None or not self._handler.problem:
            return ""
        sentence = f"the log file {self._path} cannot be written any more: {self._handler.problem}"
        self.open("")
        return sentence

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
