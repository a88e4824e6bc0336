"""Let a UCI engine solve a suite of positions, at so many nodes or milliseconds each, and count what it found.

    python scripts/suite.py
    python scripts/suite.py wac.epd --movetime 1000 --option UseMemory=false --json runs/wac.json

A suite is an EPD file, a position a line, with the moves to find (bm, any of them counts) or to avoid (am), and a
name (id). Without FILE it is this repository's forced mates: dm says in how many moves, and bm holds all the moves
that force it. Suites of tactics, such as Win At Chess, are not part of this repository: bring your own copy.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import chess
import chess.engine
from command_line.arguments import MATES, option, options_of, positive
from command_line.ending import one_sentence
from tqdm import tqdm

from dejavu.retrieval.atomic import write_text
from dejavu.retrieval.text import plain

START_SECONDS = 60.0
"""How long the engine may take to load its network before it counts as hung."""
MOVE_SECONDS = 300.0
"""How long it may take over one position, beyond its time to think."""
UNPLAYABLE = (
    chess.STATUS_NO_WHITE_KING
    | chess.STATUS_NO_BLACK_KING
    | chess.STATUS_TOO_MANY_KINGS
    | chess.STATUS_PAWNS_ON_BACKRANK
    | chess.STATUS_OPPOSITE_CHECK
)
"""An engine refuses such positions, or worse. Other oddities, such as castling rights without a rook, are harmless."""


class SuiteError(ValueError):
    """Input that the suite cannot be run with; the message is one sentence."""


@dataclass(frozen=True)
class Problem:
    """One position of a suite."""

    name: str
    board: chess.Board
    wanted: tuple[chess.Move, ...]
    """One of these is to be played; none: any that is not unwanted."""
    unwanted: tuple[chess.Move, ...]
    mate_in: int | None
    """Moves to mate, where the suite says so."""

    def task(self) -> str:
        """What was to be played, for people."""
        parts = [" or ".join(map(self.board.san, self.wanted))] if self.wanted else []
        parts += [f"not {self.board.san(move)}" for move in self.unwanted]
        return ", ".join(parts) + (f" (mate in {self.mate_in})" if self.mate_in else "")


@dataclass(frozen=True)
class Answer:
    """What the engine played, and what it thought of it."""

    problem: Problem
    move: chess.Move | None
    nodes: int
    score: str
    """From the side to move: pawns, or moves to mate as in #+3."""

    @property
    def solved(self) -> bool:
        """Whether the move is one to find, or none to avoid."""
        if self.move is None or self.move in self.problem.unwanted:
            return False
        return not self.problem.wanted or self.move in self.problem.wanted

    def played(self) -> str:
        """The move, for people."""
        return self.problem.board.san(self.move) if self.move else "no move"


def read_problem(line: str, name: str) -> Problem:
    """Read a line of an EPD file; `name` is for one without an id. ValueError says what is wrong."""
    board, operations = chess.Board.from_epd(line)
    find, avoid, mate_in = (operations.get(opcode) for opcode in ("bm", "am", "dm"))
    wanted, unwanted = (tuple(moves) if isinstance(moves, list) else () for moves in (find, avoid))
    if not wanted and not unwanted:
        raise ValueError("neither bm nor am names a move")
    if mate_in is not None and (not isinstance(mate_in, int) or mate_in < 1):
        raise ValueError(f"dm is {mate_in}, not a number of moves")
    if board.status() & UNPLAYABLE:
        raise ValueError("such a position cannot be played")
    return Problem(plain(str(operations.get("id") or name)), board, wanted, unwanted, mate_in)


def read_suite(path: Path) -> tuple[list[Problem], list[str]]:
    """Read an EPD file: its positions, and a sentence for each line that is wrong."""
    problems, complaints = [], []
    # Old suites have names in old encodings. The positions are ASCII in all of them.
    for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        try:
            problems.append(read_problem(line, f"line {number}"))
        except ValueError as error:
            complaints.append(f"{path}, line {number}: {plain(str(error))}")
    return problems, complaints


def score_text(score: chess.engine.PovScore | None) -> str:
    """A score from the side to move, for people; empty if there is none."""
    if score is None:
        return ""
    centipawns = score.relative.score()
    return str(score.relative) if centipawns is None else f"{centipawns / 100:+.2f}"


def solve(
    problems: Sequence[Problem], command: list[str], options: dict[str, str], limit: chess.engine.Limit
) -> Iterator[Answer]:
    """Put each position to the engine as a game of its own; SuiteError if it does not start, or fails."""
    where = "start"
    try:
        with chess.engine.SimpleEngine.popen_uci(command, timeout=START_SECONDS) as engine:
            engine.configure(options)
            engine.timeout = START_SECONDS
            engine.ping()
            engine.timeout = MOVE_SECONDS
            for problem in problems:
                where = problem.name
                info = chess.engine.INFO_BASIC | chess.engine.INFO_SCORE
                # A game of its own: nothing may be left over from the position before.
                result = engine.play(problem.board, limit, game=object(), info=info)
                nodes, score = int(result.info.get("nodes", 0)), score_text(result.info.get("score"))
                yield Answer(problem, result.move, nodes, score)
    except (chess.engine.EngineError, TimeoutError, OSError) as error:
        raise SuiteError(f"{' '.join(command)} failed at {where}: {error or 'no answer'}") from error


def group_rows(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """One row for each distance to mate, nearest first, and one for the positions without."""
    groups: dict[int | None, list[Answer]] = {}
    for answer in answers:
        groups.setdefault(answer.problem.mate_in, []).append(answer)
    return [
        {
            "mate_in": mate_in,
            "solved": sum(answer.solved for answer in group),
            "positions": len(group),
            "average_nodes": sum(answer.nodes for answer in group) / len(group),
        }
        for mate_in, group in sorted(groups.items(), key=lambda item: item[0] or sys.maxsize)
    ]


def show(answers: Sequence[Answer], pace: str) -> None:
    """Print what was not solved, and how many were."""
    for answer in answers:
        if not answer.solved:
            score = f" ({answer.score})" if answer.score else ""
            problem = answer.problem
            print(f"{problem.name}  {problem.board.fen()}  wanted {problem.task()}; played {answer.played()}{score}")
    groups = group_rows(answers)
    if len(groups) > 1:
        for row in groups:
            name = f"mate in {row['mate_in']}" if row["mate_in"] else "other"
            print(f"{name}: {row['solved']} of {row['positions']}, {row['average_nodes']:.0f} nodes on average")
    solved = sum(answer.solved for answer in answers)
    print(f"solved {solved} of {len(answers)} ({100 * solved / len(answers):.1f} %) at {pace}")


def as_json(answers: Sequence[Answer], complaints: list[str], pace: str, options: dict[str, str]) -> dict[str, Any]:
    """All figures and every answer."""
    return {
        "pace": pace,
        "options": options,
        "solved": sum(answer.solved for answer in answers),
        "positions": len(answers),
        "groups": group_rows(answers),
        "left_out": complaints,
        "answers": [
            {
                "id": answer.problem.name,
                "fen": answer.problem.board.fen(),
                "wanted": answer.problem.task(),
                "played": answer.played(),
                "solved": answer.solved,
                "score": answer.score,
                "nodes": answer.nodes,
            }
            for answer in answers
        ],
    }


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", default=MATES, metavar="FILE", help="EPD file (forced mates)")
    pace = parser.add_mutually_exclusive_group()
    pace.add_argument("--nodes", type=positive, default=800, help="nodes a position (800)")
    pace.add_argument("--movetime", type=positive, metavar="MS", help="milliseconds a position, instead of nodes")
    parser.add_argument("--engine", metavar="CMD", help="the engine (this Python with -m dejavu.engine)")
    parser.add_argument(
        "--option",
        dest="options",
        type=option,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="UCI option, may be given again",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures and every answer there")
    return parser.parse_args()


def run(arguments: argparse.Namespace) -> None:
    """Solve and report; SuiteError says what prevents it."""
    command = [sys.executable, "-m", "dejavu.engine"]
    if arguments.engine:
        command = shlex.split(arguments.engine, posix=os.name == "posix")
    limit, pace = chess.engine.Limit(nodes=arguments.nodes), f"{arguments.nodes:,} nodes"
    if arguments.movetime:
        limit, pace = chess.engine.Limit(time=arguments.movetime / 1000), f"{arguments.movetime:,} ms"
    problems, complaints = read_suite(arguments.file)
    for complaint in complaints:
        print(f"suite: {complaint}; left out", file=sys.stderr)
    if not problems:
        raise SuiteError(f"{arguments.file} holds no position that can be used")
    options = options_of(arguments.options)
    solving = solve(problems, command, options, limit)
    answers = list(tqdm(solving, total=len(problems), unit="position", file=sys.stderr))
    show(answers, pace)
    if arguments.json is not None:
        figures = as_json(answers, complaints, pace, options)
        write_text(arguments.json, json.dumps(figures, indent=1) + "\n")


def main() -> None:
    """Run the command line."""
    with one_sentence("suite", SuiteError, OSError):
        run(parse_arguments())


if __name__ == "__main__":
    main()
