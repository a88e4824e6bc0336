"""How far long work has come: a bar on a terminal, and a line now and then where the output goes to a file.

    with progress_bar("embed", "positions", total=1000) as progress:
        progress.update(64)

writes to a file, where a bar would be thousands of lines:

    embed: 0 of 1,000 positions
    embed: 704 of 1,000 positions, 12 a second, 0:25 left
    embed: 1,000 of 1,000 positions, 12 a second, 1:25
"""

from __future__ import annotations

import datetime
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from types import TracebackType
from typing import TextIO, TypeVar

from tqdm import tqdm

SECONDS_A_LINE = 60.0
"""A file gets a line this often, beside the first and the last."""

_LARGE = 10_000
"""From so many on, a bar tells thousands and millions."""

_SMOOTHING = 0.05
"""Weight of the latest speed in a bar's: work of this kind goes in bursts."""

T = TypeVar("T")


class Progress:
    """How much of some work is done; this one tells nobody."""

    def __init__(self, total: int | None, done: int) -> None:
        self.total = total
        """None if nobody knows."""
        self.done = done

    def update(self, count: int = 1) -> None:
        """So much more is done."""
        self.done += count

    def reach(self, done: int) -> None:
        """So much is done in all."""
        self.update(done - self.done)

    def note(self, text: str) -> None:
        """Show this beside the numbers from now on."""

    def close(self) -> None:
        """The work has ended, finished or not."""

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()


class _Bar(Progress):
    """On a terminal."""

    def __init__(self, name: str, unit: str, total: int | None, done: int, stream: TextIO) -> None:
        super().__init__(total, done)
        self._bar = tqdm(
            desc=name,
            unit=f" {unit}",
            total=total,
            initial=done,
            unit_scale=total is not None and total >= _LARGE,
            smoothing=_SMOOTHING,
            file=stream,
        )

    def update(self, count: int = 1) -> None:
        super().update(count)
        self._bar.update(count)

    def note(self, text: str) -> None:
        self._bar.set_postfix_str(text, refresh=False)

    def close(self) -> None:
        self._bar.close()


class _Lines(Progress):
    """In a file."""

    def __init__(
        self, name: str, unit: str, total: int | None, done: int, stream: TextIO, clock: Callable[[], float]
    ) -> None:
        super().__init__(total, done)
        self._name, self._unit, self._stream, self._clock = name, unit, stream, clock
        self._note = ""
        self._closed = False
        self._began = self._told = clock()
        self._done_before = done
        self._tell()

    def update(self, count: int = 1) -> None:
        super().update(count)
        if self._clock() - self._told >= SECONDS_A_LINE:
            self._tell(*self._speed(), *self._left())

    def note(self, text: str) -> None:
        self._note = text

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._tell(*self._speed(), _duration(self._clock() - self._began))

    def _tell(self, *more: str) -> None:
        self._told = self._clock()
        count = f"{self.done:,}" if self.total is None else f"{self.done:,} of {self.total:,}"
        parts = [f"{count} {self._unit}", *more, *([self._note] if self._note else [])]
        print(f"{self._name}: {', '.join(parts)}", file=self._stream, flush=True)

    def _speed(self) -> list[str]:
        seconds, done = self._clock() - self._began, self.done - self._done_before
        if seconds <= 0 or done <= 0:
            return []
        speed = done / seconds
        return [f"{speed:,.0f} a second" if speed >= 1 else f"{60 * speed:.1f} a minute"]

    def _left(self) -> list[str]:
        done = self.done - self._done_before
        if self.total is None or done <= 0:
            return []
        return [_duration((self.total - self.done) * (self._clock() - self._began) / done) + " left"]


def _duration(seconds: float) -> str:
    """As 1:02:03 or 2:03."""
    text = str(datetime.timedelta(seconds=round(seconds)))
    return text.removeprefix("0:").removeprefix("0") if seconds < 3600 else text


def progress_bar(
    name: str,
    unit: str,
    total: int | None = None,
    done: int = 0,
    silent: bool = False,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Progress:
    """Show, on `stream` (standard error), how much of `total` is done: a bar on a terminal, else lines.

    What an earlier run has `done` counts for the whole and not for the speed. `unit` is a plural.
    """
    stream = stream or sys.stderr
    if silent:
        return Progress(total, done)
    if stream.isatty():
        return _Bar(name, unit, total, done, stream)
    return _Lines(name, unit, total, done, stream, clock)


def followed(items: Iterable[T], name: str, unit: str, total: int | None = None, silent: bool = False) -> Iterator[T]:
    """The items, with a progress bar for what becomes of them; of `total`, or of as many as there are."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with progress_bar(name, unit, total, silent=silent) as progress:
        for item in items:
            yield item
            progress.update()


class Stages:
    """One progress bar after the other, for work that reports its stage, how much is done, and of how much."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._stage = ""
        self._progress = Progress(None, 0)

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Take note of what is done; a new stage ends the one before."""
        if stage != self._stage:
            self.close()
            self._stage, self._progress = stage, progress_bar(stage, self._unit, total, done)
        self._progress.reach(done)

    def close(self) -> None:
        """The last stage has ended."""
        self._progress.close()


def print_above(text: str, stream: TextIO | None = None) -> None:
    """Print a line to `stream` (standard error) and leave a bar under it whole."""
    tqdm.write(text, file=stream or sys.stderr)
