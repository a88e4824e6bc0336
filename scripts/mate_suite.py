"""Let a UCI engine solve a set of forced mates at a fixed number of nodes, and count what it found.

A position counts as solved if the engine's move is among the set's `bm` moves, which are all the moves that
force mate in `dm` moves; no shorter mate exists.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import chess
import chess.engine

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60.0
"""How long the engine may take to load its network before it counts as hung."""
MOVE_SECONDS = 300.0
"""How long it may take over one position."""


class MateSuiteError(ValueError):
    """Input that the set cannot be run with; the message is one sentence."""


@dataclass(frozen=True)
class Mate:
    """One forced mate."""

    name: str
    board: chess.Board
    distance: int
    """Moves to mate, at least 1."""
    solutions: frozenset[chess.Move]


@dataclass(frozen=True)
class Answer:
    """What the engine played."""

    mate: Mate
    move: chess.Move | None
    nodes: int

    @property
    def solved(self) -> bool:
        """Whether the move keeps the mate in at most `mate.distance` moves."""
        return self.move in self.mate.solutions


def read_mates(path: Path) -> list[Mate]:
    """Read an EPD file with the operations bm, dm and id; MateSuiteError names a line that is wrong."""
    mates = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            board, operations = chess.Board.from_epd(line)
        except ValueError as error:
            raise MateSuiteError(f"{where}: {error}") from error
        distance, solutions = operations.get("dm"), operations.get("bm")
        if not isinstance(distance, int) or distance < 1 or not isinstance(solutions, list) or not solutions:
            raise MateSuiteError(f"{where} lacks a dm or bm operation")
        moves = frozenset(move for move in solutions if isinstance(move, chess.Move))
        mates.append(Mate(str(operations.get("id", number)), board, distance, moves))
    if not mates:
        raise MateSuiteError(f"{path} holds no positions")
    return mates


def solve(mates: Sequence[Mate], command: list[str], options: dict[str, str], nodes: int) -> list[Answer]:
    """Put each mate to the engine as a game of its own; MateSuiteError if it does not start, or fails."""
    answers: list[Answer] = []
    where = "start"
    try:
        with chess.engine.SimpleEngine.popen_uci(command, timeout=START_SECONDS) as engine:
            engine.configure(options)
            engine.timeout = START_SECONDS
            engine.ping()
            engine.timeout = MOVE_SECONDS
            for mate in mates:
                where = mate.name
                # A game of its own: nothing may be left over from the position before.
                result = engine.play(
                    mate.board, chess.engine.Limit(nodes=nodes), game=mate, info=chess.engine.INFO_BASIC
                )
                answers.append(Answer(mate, result.move, int(result.info.get("nodes", 0))))
    except (chess.engine.EngineError, TimeoutError, OSError) as error:
        raise MateSuiteError(f"{' '.join(command)} failed at {where}: {error or 'no answer'}") from error
    return answers


def table(answers: Iterable[Answer]) -> list[dict[str, float]]:
    """Return one row for each distance: mate in, solved, positions, and the average number of nodes."""
    by_distance: dict[int, list[Answer]] = {}
    for answer in answers:
        by_distance.setdefault(answer.mate.distance, []).append(answer)
    return [
        {
            "mate_in": distance,
            "solved": sum(answer.solved for answer in group),
            "positions": len(group),
            "average_nodes": sum(answer.nodes for answer in group) / len(group),
        }
        for distance, group in sorted(by_distance.items())
    ]


def option(text: str) -> tuple[str, str]:
    """Parse a NAME=VALUE argument."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=VALUE")
    return name, value


def positive(text: str) -> int:
    """Parse a whole number of at least 1."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above 0")
    return int(text)


def main() -> int:
    """Run the command line; exit status 0 however many were solved, 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=positive, default=800, help="nodes a position (800)")
    parser.add_argument(
        "--mates", type=Path, default=ROOT / "tests" / "positions" / "mates.epd", help="EPD file of mates"
    )
    parser.add_argument("--engine", metavar="CMD", help="the engine (this Python with -m dejavu.engine)")
    parser.add_argument("--option", type=option, action="append", default=[], metavar="NAME=VALUE", help="UCI option")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures and every move there")
    args = parser.parse_args()
    command = [sys.executable, "-m", "dejavu.engine"]
    if args.engine:
        command = shlex.split(args.engine, posix=os.name == "posix")
    try:
        answers = solve(read_mates(args.mates), command, dict(args.option), args.nodes)
        rows = table(answers)
        print("mate in  solved  positions  average nodes")
        for row in rows:
            print(f"{row['mate_in']:>7}{row['solved']:>8}{row['positions']:>11}{row['average_nodes']:>15.0f}")
        for answer in answers:
            if not answer.solved:
                played = answer.mate.board.san(answer.move) if answer.move else "no move"
                print(f"{answer.mate.name}: {played} does not mate in {answer.mate.distance}")
        if args.json is not None:
            moves = {a.mate.name: {"move": a.move and a.move.uci(), "solved": a.solved} for a in answers}
            figures = {"nodes": args.nodes, "mates": rows, "moves": moves}
            args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    except (MateSuiteError, OSError, UnicodeDecodeError) as error:
        print(f"mate_suite: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
