"""What the line that names a game says: players, event, year, opening, result."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dejavu.retrieval.text import shortened

RESULTS = ("1-0", "1/2-1/2", "0-1")

LONGEST_SHOWN = 160
"""Letters of a game's name that are shown: a name may be as long as whoever wrote the file liked."""

_UNNAMED = "a game without a name"
_YEAR = re.compile(r"[12]\d{3}")
_OPENING = re.compile(r"(.*?) ?\(([A-E]\d\d)\)")


@dataclass(frozen=True)
class GameName:
    """The parts of a line "White - Black, Event, Year, Opening (ECO), Result", empty where the line has none.

    Names may have commas themselves. What cannot be told apart from the event counts as the event.
    """

    players: str
    event: str
    year: str
    opening: str
    eco: str
    result: str
    """One of RESULTS, or empty."""

    @classmethod
    def parse(cls, line: str) -> GameName:
        """Take a game's line apart."""
        parts = line.split(", ") if line else []
        result = parts.pop() if parts and parts[-1] in RESULTS else ""
        # The year stands behind players and event; what looks like one in an opening's name comes later.
        index = next((index for index in range(1, len(parts)) if _YEAR.fullmatch(parts[index])), None)
        if index is not None:
            year, head, tail = parts[index], parts[:index], ", ".join(parts[index + 1 :])
        elif len(parts) > 1 and _OPENING.fullmatch(parts[-1]):
            year, head, tail = "", parts[:-1], parts[-1]
        else:
            year, head, tail = "", parts, ""
        event = head.pop() if len(head) > 1 else ""
        match = _OPENING.fullmatch(tail)
        opening, eco = (match[1], match[2]) if match else (tail, "")
        return cls(", ".join(head), event, year, opening, eco, result)

    def __str__(self) -> str:
        """As a person would write it: "rofChade - Pedone, TCEC 2020 (Sicilian B50), 1-0".

        Who plays against itself is named once.
        """
        event = f"{self.event} {self.year}".strip()
        opening = f"{self.opening} {self.eco}".strip()
        white, dash, black = self.players.partition(" - ")
        players = white if dash and white == black else self.players
        text = ", ".join(part for part in (players, event) if part)
        text = shortened(f"{text} ({opening})" if opening else text, LONGEST_SHOWN) or _UNNAMED
        return f"{text}, {self.result}" if self.result else text
