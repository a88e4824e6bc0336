"""The record of a reinforcement learning run: a line of JSON for each generation, and a picture of its rise."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from dejavu.engine.match.elo import elo_difference, score_interval
from dejavu.retrieval.atomic import atomic_write, write_text


class GenerationError(ValueError):
    """A record that cannot be gone on with; the message is one sentence."""


@dataclass(frozen=True)
class Generation:
    """A network that was trained, and what came of its match against the best one before it."""

    number: int
    """From 1; 0 is the network that the run began with."""
    opponent: int
    """The generation that was the best."""
    self_play_games: int
    positions: int
    """Of this generation's games of self-play."""
    wrong_resignations: float | None
    """Share of the games played on that the side which would have given up did not lose; None without any."""
    held_out: str
    """Losses after the training."""
    memory_entries: int
    wins: int
    draws: int
    losses: int
    elo: float | None
    """Against the opponent, from pairs of games; None where all were won, or all lost."""
    elo_error: float | None
    """Half of the 95 % interval."""
    llr: float
    """Log likelihood ratio of the sequential test."""
    promoted: bool
    """Whether this generation is the best from now on."""
    seconds: dict[str, int]
    """What each stage took, as far as it ran in the process that ended it."""

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the Elo against the opponent; infinite at the side where all was won, or lost."""
        if self.elo is not None and self.elo_error is not None:
            return self.elo - self.elo_error, self.elo + self.elo_error
        games = self.wins + self.draws + self.losses
        if not games:
            return -math.inf, math.inf
        # Nearly all was won, or lost: pairs of games that hardly differ tell nothing of how far they may.
        low, high = score_interval((self.wins + self.draws / 2) / games, games)
        return elo_difference(low), elo_difference(high)

    @property
    def height(self) -> float:
        """The Elo against the opponent as far as it is known: of a score of 0 or 100 % the end of its interval."""
        low, high = self.interval
        if self.elo is not None:
            return self.elo
        return low if math.isfinite(low) else high if math.isfinite(high) else 0.0

    def row(self) -> str:
        """A line of the table for people."""
        elo = "-" if self.elo is None else f"{self.elo:+.0f}"
        low, high = self.interval
        error = f"{self.elo_error:.0f}" if self.elo_error is not None else f"{low:+.0f} to {high:+.0f}"
        score = f"+{self.wins} ={self.draws} -{self.losses}"
        verdict = "promoted" if self.promoted else "rejected"
        return (
            f"{self.number:>10} {self.opponent:>8} {self.positions:>9,} {self.memory_entries:>7,} {score:>14} "
            f"{elo:>6} {error:>12} {self.llr:>6.2f} {verdict:>9} {sum(self.seconds.values()):>8,}  {self.held_out}"
        )


TABLE_HEAD = (
    f"{'generation':>10} {'against':>8} {'positions':>9} {'memory':>7} {'score':>14} "
    f"{'Elo':>6} {'+-':>12} {'LLR':>6} {'':>9} {'seconds':>8}  held-out"
)


def read_generations(path: Path) -> list[Generation]:
    """The finished generations; none if there is no file yet. Raises GenerationError."""
    if not path.exists():
        return []
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            values = json.loads(line)
            found.append(Generation(**values))
        except (ValueError, TypeError):
            names = ", ".join(field.name for field in fields(Generation))
            raise GenerationError(f"{path}, line {number} is no generation with {names}") from None
        if found[-1].number != number:
            raise GenerationError(f"{path}, line {number} is of generation {found[-1].number}")
    return found


def write_generations(path: Path, generations: Sequence[Generation]) -> None:
    """Replace the record, atomically. Raises WriteError."""
    write_text(path, "".join(json.dumps(asdict(item)) + "\n" for item in generations))


def best_of(generations: Sequence[Generation]) -> int:
    """The generation that was promoted last; 0 is the network of the start."""
    return next((item.number for item in reversed(generations) if item.promoted), 0)


ARROW = 60.0
"""Elo that the arrow of an open interval is long."""


def draw(generations: Sequence[Generation], path: Path) -> None:
    """Draw the Elo of all generations, above the start by the sum of the matches between.

    An arrow is where an interval has no end.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import MaxNLocator

    heights = {0: 0.0}
    for item in generations:
        heights[item.number] = heights[item.opponent] + item.height
    figure, axis = plt.subplots(figsize=(7, 4))
    best = [0, *(item.number for item in generations if item.promoted)]
    axis.step(
        [*best, len(generations)], [*(heights[n] for n in best), heights[best[-1]]], where="post", label="the best"
    )
    for promoted, marker, label in ((True, "o", "promoted"), (False, "x", "rejected")):
        some = [item for item in generations if item.promoted == promoted]
        if not some:
            continue
        ends = [(item.height - item.interval[0], item.interval[1] - item.height) for item in some]
        axis.errorbar(
            [item.number for item in some],
            [heights[item.number] for item in some],
            [[end[side] if math.isfinite(end[side]) else ARROW for end in ends] for side in (0, 1)],
            lolims=[math.isinf(end[1]) for end in ends],
            uplims=[math.isinf(end[0]) for end in ends],
            fmt=marker,
            capsize=3,
            label=label,
        )
    axis.set(xlabel="generation", ylabel="Elo above the start")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right")
    figure.tight_layout()
    with atomic_write(path) as file:
        figure.savefig(file, dpi=80, format="png")
    plt.close(figure)
