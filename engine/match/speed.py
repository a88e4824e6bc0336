"""Nodes a second of several engines, in turns, so that an hour's mood of the machine falls on all of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import chess
import numpy as np
from numpy.typing import NDArray

from dejavu.engine.match.external import ExternalEngine
from dejavu.engine.match.players import FailureError, PlayerError, PlayerSettings
from dejavu.retrieval.progress import progress_bar

PATIENCE = 60.0
"""Seconds of silence after which an engine has failed."""


@dataclass(frozen=True)
class SpeedRun:
    """Which engines search which positions."""

    fens: Sequence[str]
    engines: Sequence[PlayerSettings]
    turns: int = 5
    """How often each engine searches all positions, after once that does not count."""


@dataclass(frozen=True)
class SpeedReport:
    """What came of it."""

    engines: Sequence[PlayerSettings]
    nodes_per_second: NDArray[np.float64]
    """[turns, engines] nodes of all positions over the seconds of all, by the clock."""

    @property
    def medians(self) -> NDArray[np.float64]:
        """[engines] of the turns."""
        medians: NDArray[np.float64] = np.median(self.nodes_per_second, axis=0)
        return medians

    def __str__(self) -> str:
        width = max(len(engine.name) for engine in self.engines)
        turns = self.nodes_per_second.T
        lines = [
            f"{engine.name:<{width}}  {median:,.0f} nodes a second ({each.min():,.0f} to {each.max():,.0f}), "
            f"{median / self.medians[0]:.2f} of {self.engines[0].name}'s  ({engine})"
            for engine, median, each in zip(self.engines, self.medians, turns, strict=True)
        ]
        return "\n".join([f"medians of {len(self.nodes_per_second)} turns", *lines])

    def as_json(self) -> list[dict[str, Any]]:
        """All figures by engine."""
        return [
            {"engine": str(engine), "name": engine.name, "nodes_per_second": turns.tolist()}
            for engine, turns in zip(self.engines, self.nodes_per_second.T, strict=True)
        ]


def measure_speed(run: SpeedRun, say: Callable[[str], None]) -> SpeedReport:
    """Let the engines search in turns; each position is a game of its own.

    `say` gets what the engines say of themselves. Raises PlayerError for one that fails, or does not tell its nodes.
    """
    found = np.zeros((run.turns + 1, len(run.engines)))
    with contextlib.ExitStack() as stack:
        engines = [stack.enter_context(ExternalEngine(settings, PATIENCE, say)) for settings in run.engines]
        for engine in engines:
            engine.start()
        with progress_bar("measuring", "turns", found.size) as bar:
            for turn in range(run.turns + 1):
                for number, engine in enumerate(engines):
                    found[turn, number] = _nodes_per_second(engine, run.fens)
                    bar.update()
    return SpeedReport(run.engines, found[1:])


def _nodes_per_second(engine: ExternalEngine, fens: Sequence[str]) -> float:
    nodes, seconds = 0, 0.0
    for fen in fens:
        try:
            answer = engine.play(chess.Board(fen))
        except FailureError as error:
            raise PlayerError(f"{engine.settings.name} failed in {fen}: {error}") from error
        if answer.nodes is None:
            raise PlayerError(f"{engine.settings.name} does not tell its nodes")
        nodes, seconds = nodes + answer.nodes, seconds + answer.seconds
    return nodes / seconds
