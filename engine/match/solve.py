"""Suites of positions: how many each engine solves, and how sure the difference of two is."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dejavu.engine.match.players import PlayerSettings
from dejavu.engine.match.solving import solve_batched, solve_by_engines
from dejavu.engine.match.suites import Problem, Solution
from dejavu.retrieval.progress import progress_bar


@dataclass(frozen=True)
class SolveRun:
    """Which engines face which positions."""

    problems: Sequence[Problem]
    engines: Sequence[PlayerSettings]
    batched: int | None = None
    """So many positions at once in this process, for option sets of this Dejavu; None: every engine is a process."""


@dataclass(frozen=True)
class Share:
    """A share of solved problems, or a difference of two, with its standard error."""

    mean: float
    error: float

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Share:
        """The mean of values [B] of independent problems."""
        return cls(float(values.mean()), float(values.std()) / math.sqrt(max(1, len(values) - 1)))

    def __str__(self) -> str:
        return f"{100 * self.mean:.2f} +- {100 * self.error:.2f} %"


@dataclass(frozen=True)
class SolveReport:
    """What every engine played."""

    engines: Sequence[PlayerSettings]
    solutions: Sequence[Sequence[Solution]]
    """[problem][engine]"""

    @property
    def solved(self) -> NDArray[np.float64]:
        """[problems, engines] 1 where a problem is solved."""
        return np.array([[solution.solved for solution in row] for row in self.solutions], np.float64)

    def of(self, engine: int) -> list[Solution]:
        """The solutions of one engine."""
        return [row[engine] for row in self.solutions]

    def difference(self, engine: int) -> Share:
        """What an engine solves more than the first one."""
        return Share.of(self.solved[:, engine] - self.solved[:, 0])

    def __str__(self) -> str:
        return describe(self.of(0), self.engines[0]) if len(self.engines) == 1 else self.table()

    def table(self) -> str:
        """What each engine has solved, and the difference to the first."""
        width = max(len(engine.name) for engine in self.engines)
        lines = [f"{len(self.solutions):,} positions"]
        for number, engine in enumerate(self.engines):
            line = f"{engine.name:<{width}}  {Share.of(self.solved[:, number])}"
            if number:
                more = self.difference(number)
                line += f"  {100 * more.mean:+.2f} +- {100 * more.error:.2f}"
            lines.append(f"{line}  ({engine})")
        return "\n".join(lines)

    def as_json(self) -> list[dict[str, Any]]:
        """All figures and every answer, by engine."""
        return [
            {
                "name": engine.name,
                "settings": str(engine),
                "positions": len(self.solutions),
                "solved": int(self.solved[:, number].sum()),
                "share": Share.of(self.solved[:, number]).mean,
                "standard_error": Share.of(self.solved[:, number]).error,
                "difference": self.difference(number).mean,
                "difference_error": self.difference(number).error,
                "groups": group_rows(self.of(number)),
                "answers": [
                    {
                        "id": solution.problem.name,
                        "fen": solution.problem.board.fen(),
                        "wanted": solution.problem.task(),
                        "played": solution.played(),
                        "solved": solution.solved,
                        "score": solution.score,
                        "nodes": solution.nodes,
                    }
                    for solution in self.of(number)
                ],
            }
            for number, engine in enumerate(self.engines)
        ]


def group_rows(solutions: Sequence[Solution]) -> list[dict[str, Any]]:
    """One row for each distance to mate, nearest first, and one for the positions without."""
    groups: dict[int | None, list[Solution]] = {}
    for solution in solutions:
        groups.setdefault(solution.problem.mate_in, []).append(solution)
    return [
        {
            "mate_in": mate_in,
            "solved": sum(solution.solved for solution in group),
            "positions": len(group),
            "average_nodes": sum(solution.nodes for solution in group) / len(group),
        }
        for mate_in, group in sorted(groups.items(), key=lambda item: item[0] or sys.maxsize)
    ]


def describe(solutions: Sequence[Solution], engine: PlayerSettings) -> str:
    """What one engine has not solved, and how many it has."""
    lines = []
    for solution in solutions:
        if not solution.solved:
            score = f" ({solution.score})" if solution.score else ""
            problem, played = solution.problem, solution.played()
            lines.append(f"{problem.name}  {problem.board.fen()}  wanted {problem.task()}; played {played}{score}")
    groups = group_rows(solutions)
    if len(groups) > 1:
        for row in groups:
            name = f"mate in {row['mate_in']}" if row["mate_in"] else "other"
            lines.append(f"{name}: {row['solved']} of {row['positions']}, {row['average_nodes']:.0f} nodes on average")
    solved = sum(solution.solved for solution in solutions)
    share = 100 * solved / len(solutions)
    return "\n".join([*lines, f"solved {solved} of {len(solutions)} ({share:.1f} %) at {engine}"])


def solve(run: SolveRun, complain: Callable[[str], None]) -> SolveReport:
    """Put every position to every engine; `complain` gets what they say. Raises PlayerError and SuiteError."""
    if run.batched is None:
        rows = solve_by_engines(run.problems, run.engines, complain)
    else:
        rows = solve_batched(run.problems, run.engines, run.batched, complain)
    solutions: list[list[Solution]] = []
    solved = np.zeros(len(run.engines))
    with progress_bar("solving", "positions", len(run.problems)) as progress:
        for row in rows:
            solutions.append(row)
            solved += [solution.solved for solution in row]
            progress.update()
            progress.note(" ".join(f"{share:.1%}" for share in solved / len(solutions)))
    return SolveReport(run.engines, solutions)
