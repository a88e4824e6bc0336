"""How long an engine may think: time controls as users write them, and the clock of one player in one game."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TIME_CONTROL = re.compile(r"(?:(\d+)/)?(?:(\d+):)?(\d+(?:\.\d+)?)(?:\+(\d+(?:\.\d+)?))?")


class PaceError(ValueError):
    """A pace that cannot be played; the message is one sentence."""


@dataclass(frozen=True)
class TimeControl:
    """A clock: `seconds` for `moves` moves, or for the game, and `increment` seconds a move."""

    seconds: float
    increment: float = 0.0
    moves: int | None = None

    @classmethod
    def parse(cls, text: str) -> TimeControl:
        """Read [MOVES/][MINUTES:]SECONDS[+INCREMENT], cutechess's and fastchess's notation. Raises PaceError."""
        match = _TIME_CONTROL.fullmatch(text)
        if match is None:
            raise PaceError(f"'{text}' is not a time control such as 10+0.1, 2:30+1 or 40/60+1")
        moves, minutes, seconds, increment = match.groups()
        control = cls(60 * int(minutes or 0) + float(seconds), float(increment or 0), int(moves) if moves else None)
        if control.moves == 0 or control.seconds + control.increment <= 0:
            raise PaceError(f"the time control '{text}' leaves no time")
        return control

    def __str__(self) -> str:
        moves = f"{self.moves}/" if self.moves else ""
        return f"{moves}{self.seconds:g}" + (f"+{self.increment:g}" if self.increment else "")


@dataclass(frozen=True)
class Pace:
    """All that limits an engine's thought on a move; None is no limit."""

    time_control: TimeControl | None = None
    movetime: float | None = None
    """Seconds."""
    nodes: int | None = None
    depth: int | None = None

    @property
    def is_timed(self) -> bool:
        """Whether a move can come too late."""
        return self.time_control is not None or self.movetime is not None

    def __str__(self) -> str:
        parts = [str(self.time_control)] if self.time_control else []
        parts += [f"{self.movetime:g}/move"] if self.movetime is not None else []
        parts += [f"{self.nodes} nodes"] if self.nodes is not None else []
        parts += [f"{self.depth} plies"] if self.depth is not None else []
        return ", ".join(parts) or "no limit"


class Clock:
    """One player's time in one game, in seconds."""

    def __init__(self, pace: Pace) -> None:
        self._control = pace.time_control
        self._movetime = pace.movetime
        self.left = 0.0
        """Until the flag falls: of the clock, or of the move time."""
        self.moves_to_go: int | None = None
        if self._control is not None:
            # The first move has its increment from the start, as in fastchess and cutechess.
            self.left = self._control.seconds + self._control.increment
            self.moves_to_go = self._control.moves
        elif self._movetime is not None:
            self.left = self._movetime

    @property
    def increment(self) -> float:
        return 0.0 if self._control is None else self._control.increment

    def spend(self, seconds: float, margin: float) -> bool:
        """A move took so long; False if it came more than `margin` seconds after the flag fell."""
        if self._control is None:
            return self._movetime is None or seconds <= self._movetime + margin
        self.left -= seconds
        if self.left < -margin:
            return False
        self.left = max(self.left, 0.0) + self._control.increment
        if self.moves_to_go is not None:
            self.moves_to_go -= 1
            if self.moves_to_go == 0:
                self.left += self._control.seconds
                self.moves_to_go = self._control.moves
        return True
