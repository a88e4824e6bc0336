"""The file that the games go to, and what a run has added to it."""

from __future__ import annotations

import io
import os
import time
from collections import Counter
from pathlib import Path

import chess.pgn

from dejavu.engine.annotation.games import RESULTS, SOURCE_TAG, GameAnswer
from dejavu.model.data.game_files import name_broken
from dejavu.model.data.games import split_games


class OutputError(ValueError):
    """A file that is not this run's; the message is one sentence."""


def games_done(out: Path, teacher: str, seed: int) -> set[str]:
    """The games in the output, after a last one that a kill has cut short is taken off.

    Raises OutputError for a file that holds anything else than games of this teacher and seed.
    """
    done: set[str] = set()
    if not out.exists():
        return done
    whole = 0
    # Every byte has to be counted, also those of a letter that was cut in two.
    with out.open(encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        games = split_games(file)
        for text in games:
            headers = chess.pgn.read_headers(io.StringIO(text)) or chess.pgn.Headers()
            is_ours = headers.get("Annotator") == teacher
            is_ours &= SOURCE_TAG in headers or headers.get("Seed") == str(seed)
            is_ours |= text.startswith("[") and "\n\n" not in text  # cut short before it could say so
            is_whole = text.endswith("\n\n") and text.count("\n\n") == 2
            if not is_ours or (not is_whole and next(games, None) is not None):
                raise OutputError(
                    f"{out}, game {len(done) + 1} is not by '{teacher}' with these arguments; choose another --out"
                )
            if is_whole:
                done.add(headers.get(SOURCE_TAG) or headers.get("Round", ""))
                whole += len(text.encode("utf-8", "surrogateescape"))
    os.truncate(out, whole)
    return done


class Totals:
    """What this run has done."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.results: Counter[str] = Counter()
        self.positions = self.moves = self.random_moves = 0
        self.problems: list[str] = []

    def add(self, done: GameAnswer) -> None:
        if done.problem:
            self.problems.append(done.problem)
        elif done.text:
            self.results[done.result] += 1
            self.positions += done.positions
            self.moves += done.positions - 1
            self.random_moves += done.random_moves

    def print(self) -> None:
        """Sum up, and name the games that were not done."""
        seconds = time.monotonic() - self.start
        name_broken(self.problems)
        lost = sum(line.startswith("lost:") for line in self.problems)
        broken = len(self.problems) - lost
        print(f"{self.results.total():,} games, {broken:,} broken games skipped, {lost:,} lost by the teacher")
        print(f"{self.positions:,} positions, {self.positions / seconds:,.0f} a second")
        wins, draws, losses, none = (self.results[result] for result in RESULTS)
        print(f"White won {wins:,}, drew {draws:,}, lost {losses:,}; {none:,} without a result")
        print(f"random moves: {100 * self.random_moves / max(self.moves, 1):.1f} %")
