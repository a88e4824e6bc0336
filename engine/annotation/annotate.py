"""Games whose every position a teacher labels: its own, begun at random openings, or given ones."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from dejavu.engine.annotation.games import GameTask, OwnGames
from dejavu.engine.annotation.output import Totals, games_done
from dejavu.engine.annotation.teacher import TeacherSettings
from dejavu.engine.annotation.workers import answers, workers
from dejavu.engine.match.openings import read_openings
from dejavu.model.data.game_files import read_games
from dejavu.retrieval.atomic import append
from dejavu.retrieval.progress import progress_bar


@dataclass(frozen=True)
class AnnotateRun:
    """What is labelled; the same run goes on after the games that are whole in its file."""

    teacher: TeacherSettings
    out: Path
    """PGN file to write or to go on with."""
    openings: Path
    """Of the teacher's own games."""
    given: Sequence[Path] = ()
    """Game files to label ..."""
    games: int = 0
    """... or how many games of the teacher's own there are to be in the whole file."""
    seed: int = 1
    """Changes the random moves."""
    random_plies: tuple[int, int] = (0, 6)
    """Least and most random moves at the start."""
    random_moves: float = 0.1
    """Share of random moves after that."""
    plies: int = 200
    """Length at which a game of its own stops without a result."""
    processes: int = field(default_factory=lambda: os.cpu_count() or 1)
    """One teacher each."""

    def tasks_left(self, done: set[str]) -> Iterator[GameTask]:
        """The games that are not in the output yet. Raises GameFileError."""
        for number in map(str, range(1, self.games + 1)):
            if number not in done:
                yield GameTask(number)
        for path in self.given:
            for index, text in enumerate(read_games(path), 1):
                if (where := f"{path}, game {index}") not in done:
                    yield GameTask(where, text)


def annotate(run: AnnotateRun) -> None:
    """Do what is left of the work, and sum it up however it ends.

    Raises WorkerError, OutputError, OpeningError, GameFileError, OSError and EOFError.
    """
    openings = read_openings(run.openings) if run.games else []
    # A sorted table would otherwise give a few games nothing but its first letters.
    Random(run.seed).shuffle(openings)
    own = OwnGames(tuple(openings), run.seed, run.random_plies, run.random_moves, run.plies)
    run.out.parent.mkdir(parents=True, exist_ok=True)
    with workers(run.processes, run.teacher, own) as (connections, teacher):
        done = games_done(run.out, teacher, run.seed)
        totals = Totals()
        try:
            with progress_bar("labelling", "positions") as progress:
                for answered in answers(run.tasks_left(done), connections):
                    if answered.text:
                        append(run.out, answered.text.encode())
                        progress.update(answered.positions)
                    totals.add(answered)  # a game counts once it is on the disk
        finally:
            totals.print()
            print(f"{run.out} holds {len(done) + totals.results.total():,} games, {len(done):,} from before")
