"""The record of a reinforcement learning run: a line of JSON for each generation, and a picture of its rise."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path


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

    def row(self) -> str:
        """A line of the table for people."""
        elo = "-" if self.elo is None else f"{self.elo:+.0f}"
        error = "-" if self.elo_error is None else f"{self.elo_error:.0f}"
        score = f"+{self.wins} ={self.draws} -{self.losses}"
        verdict = "promoted" if self.promoted else "rejected"
        return (
            f"{self.number:>10} {self.opponent:>8} {self.positions:>9,} {self.memory_entries:>7,} {score:>14} "
            f"{elo:>6} {error:>5} {self.llr:>6.2f} {verdict:>9} {sum(self.seconds.values()):>8,}  {self.held_out}"
        )


TABLE_HEAD = (
    f"{'generation':>10} {'against':>8} {'positions':>9} {'memory':>7} {'score':>14} "
    f"{'Elo':>6} {'+-':>5} {'LLR':>6} {'':>9} {'seconds':>8}  held-out"
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
    """Replace the record, atomically."""
    draft = path.with_name(path.name + ".partial")
    draft.write_text("".join(json.dumps(asdict(item)) + "\n" for item in generations), encoding="utf-8")
    os.replace(draft, path)


def best_of(generations: Sequence[Generation]) -> int:
    """The generation that was promoted last; 0 is the network of the start."""
    return next((item.number for item in reversed(generations) if item.promoted), 0)


def draw(generations: Sequence[Generation], path: Path) -> None:
    """Draw the Elo of all generations, above the start by the sum of the matches between."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    heights = {0: 0.0}
    for item in generations:
        heights[item.number] = heights[item.opponent] + (item.elo or 0.0)
    figure, axis = plt.subplots(figsize=(7, 4))
    best = [0, *(item.number for item in generations if item.promoted)]
    axis.step(
        [*best, len(generations)], [*(heights[n] for n in best), heights[best[-1]]], where="post", label="the best"
    )
    for promoted, marker, label in ((True, "o", "promoted"), (False, "x", "rejected")):
        some = [item for item in generations if item.promoted == promoted]
        axis.errorbar(
            [item.number for item in some],
            [heights[item.number] for item in some],
            [item.elo_error or 0.0 for item in some],
            fmt=marker,
            capsize=3,
            label=label,
        )
    axis.set(xlabel="generation", ylabel="Elo above the start")
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right")
    figure.tight_layout()
    draft = path.with_name(path.name + ".partial")
    figure.savefig(draft, dpi=80, format="png")
    plt.close(figure)
    os.replace(draft, path)
