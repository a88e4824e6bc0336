"""Compare settings of the search on positions whose best move is known: far cheaper than games.

    python scripts/tune.py --data runs/data.safetensors --source teacher --each nodes=100 --engine name=usual \\
        --engine name=wide option.CPuct=2.5 --engine name=flat option.PolicyTemperature=2
    python scripts/tune.py --suite wac.epd --each nodes=800 --engine name=usual --engine name=wide option.CPuct=2.5

Engines are described as in match.py; all are this Dejavu, at fixed nodes. Positions come from held-out games of a data
set (the best move is the teacher's) or from an EPD file with bm or am. All engines face the same positions and share
the network's answers, so that the difference to the first engine, told with its standard error, is much surer than
the shares themselves. What finds more best moves need not win more games: let match.py confirm it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from command_line.ending import one_sentence
from numpy.typing import NDArray
from suite import read_suite
from tqdm import tqdm

from dejavu.engine.match.players import PlayerError, PlayerSettings, parse_player
from dejavu.engine.match.solving import Problem, Share, legal_problem, solve
from dejavu.engine.uci.loader import load_network
from dejavu.model.chess.encoding import REPEATED, index_to_move, unpack
from dejavu.model.data.dataset import HELD_OUT, Dataset, DatasetError
from dejavu.retrieval.atomic import write_text


class TuneError(ValueError):
    """A command line that cannot be obeyed; the message is one sentence."""


def held_out_problems(path: Path, source: str | None, positions: int, seed: int) -> list[Problem]:
    """Random held-out positions with a choice of moves; raises DatasetError and TuneError."""
    dataset = Dataset.open(path)
    rows = dataset.rows(HELD_OUT, source)
    # A board alone does not say that it is repeated.
    rows = rows[dataset.clocks[rows] < REPEATED]
    if not len(rows):
        raise TuneError(f"{path} holds no held-out positions" + (f" from {source}" if source else ""))
    problems: list[Problem] = []
    for row in np.random.default_rng(seed).permutation(rows).tolist():
        if len(problems) == positions:
            break
        board = unpack(dataset.planes[row], int(dataset.clocks[row]))
        if board.legal_moves.count() > 1:
            problems.append(legal_problem(board, index_to_move(int(dataset.best[row]), board)))
    return problems


def suite_problems(path: Path) -> list[Problem]:
    """The positions of an EPD file; raises TuneError."""
    found, complaints = read_suite(path)
    for complaint in complaints:
        print(f"tune: {complaint}; left out", file=sys.stderr)
    if not found:
        raise TuneError(f"{path} holds no position that can be used")
    return [
        Problem(
            problem.board.fen(),
            frozenset(move.uci() for move in problem.wanted),
            frozenset(move.uci() for move in problem.unwanted),
        )
        for problem in found
    ]


def table(players: Sequence[PlayerSettings], solved: NDArray[np.float64]) -> str:
    """What each player [problems, players] has solved, and the difference to the first."""
    width = max(len(player.name) for player in players)
    lines = []
    for number, player in enumerate(players):
        line = f"{player.name:<{width}}  {Share.of(solved[:, number])}"
        if number:
            line += f"  {100 * (solved[:, number] - solved[:, 0]).mean():+.2f} +- "
            line += f"{100 * Share.of(solved[:, number] - solved[:, 0]).error:.2f}"
        lines.append(f"{line}  ({player})")
    return "\n".join(lines)


def run(arguments: argparse.Namespace) -> None:
    """Solve, and report."""
    players = [parse_player(words, arguments.each) for words in arguments.engine]
    if arguments.suite is not None:
        problems = suite_problems(arguments.suite)
    else:
        problems = held_out_problems(arguments.data, arguments.source, arguments.positions, arguments.seed)
    rows: list[NDArray[np.bool_]] = []
    bundles = solve(problems, players, arguments.at_once, tqdm.write, load_network)
    with tqdm(total=len(problems), unit="position", file=sys.stderr) as progress:
        for bundle in bundles:
            rows.append(bundle)
            progress.update(len(bundle))
            progress.set_postfix_str(" ".join(f"{share:.1%}" for share in np.concatenate(rows).mean(axis=0)))
    solved = np.concatenate(rows).astype(np.float64)
    print(f"{len(problems):,} positions\n{table(players, solved)}")
    if arguments.json is not None:
        figures = {
            player.name: {
                "settings": str(player),
                "solved": Share.of(solved[:, number]).mean,
                "standard_error": Share.of(solved[:, number]).error,
                "difference": Share.of(solved[:, number] - solved[:, 0]).mean,
                "difference_error": Share.of(solved[:, number] - solved[:, 0]).error,
            }
            for number, player in enumerate(players)
        }
        write_text(arguments.json, json.dumps(figures, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    positions = parser.add_mutually_exclusive_group(required=True)
    positions.add_argument("--data", type=Path, help="data set of scripts/prepare_data.py")
    positions.add_argument("--suite", type=Path, metavar="EPD", help="positions with bm or am")
    parser.add_argument("--source", help="with --data: only game files with this in their name")
    parser.add_argument("--positions", type=int, default=1024, help="with --data: how many (1024)")
    parser.add_argument("--seed", type=int, default=1, help="with --data: draws them (1)")
    parser.add_argument(
        "--engine",
        nargs="+",
        action="append",
        required=True,
        metavar="KEY=VALUE",
        help="settings to compare: name, nodes, option.NAME",
    )
    parser.add_argument("--each", nargs="+", default=[], metavar="KEY=VALUE", help="the same for every engine")
    parser.add_argument("--at-once", type=int, default=32, metavar="N", help="positions searched at once (32)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    with one_sentence("tune", DatasetError, PlayerError, TuneError, OSError):
        run(parser.parse_args())


if __name__ == "__main__":
    main()
