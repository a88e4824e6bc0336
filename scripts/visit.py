"""Let a stronger engine judge the positions that this engine's searches look at, to train on them.

    python scripts/visit.py --data runs/data.safetensors --sources teacher tcec --engine stockfish --nodes 1200 \\
        --positions 200000 --out runs/visited.pgn
    python scripts/prepare_data.py runs/visited.pgn --out runs/visited.safetensors
    python scripts/train.py backbone --data runs/data.safetensors runs/visited.safetensors \\
        --sources teacher=2,tcec=1,visited=1.5 --start-from runs/backbone/weights.safetensors ...

A search tries moves that nobody plays, and sees what no game holds; there the network is wrong more often than in
games. Positions of training games are searched for a few nodes each, and some of every tree are drawn and judged.

The output is PGN in the Lichess convention, a game of one move a position: its evaluation and the teacher's move.
What was drawn is kept beside the output (.drawn), and so are the judgements (.judged); started again with the same
arguments, the script goes on from there.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import chess
import chess.pgn
import numpy as np
import torch
from annotation.games import to_text
from annotation.judgements import Judgement, Judgements, whole_lines
from annotation.output import OutputError
from annotation.teacher import TEACHER_ERRORS, Teacher, add_teacher_arguments, after_best, teacher_settings
from command_line.arguments import positive
from command_line.ending import GOES_ON, one_sentence
from tqdm import tqdm

from dejavu.engine.match.batch import SharedPlayer, play_together
from dejavu.engine.match.pace import Pace
from dejavu.engine.match.players import PlayerError, PlayerSettings
from dejavu.engine.selfplay.visited import VisitingSearch
from dejavu.engine.uci.loader import load_network
from dejavu.model.chess.encoding import REPEATED, unpack
from dejavu.model.data.dataset import TRAIN, Dataset, DatasetError
from dejavu.retrieval.atomic import append, write_text


def roots(dataset: Dataset, sources: Sequence[str], seed: int) -> Iterator[int]:
    """Rows of training games in random order, of each source in turn; raises DatasetError."""
    orders = []
    for source in sources:
        rows = dataset.rows(TRAIN, source)
        rows = rows[dataset.clocks[rows] < REPEATED]  # a board alone does not say that it is repeated
        if not len(rows):
            raise DatasetError(f"the data set has no training positions from '{source}'")
        orders.append(np.random.default_rng(seed).permutation(rows).tolist())
    return (row for together in zip(*orders, strict=False) for row in together)


def drawn(line: Any) -> tuple[int, list[str]]:
    """A line of the file of drawn positions: the row that was searched, and what was drawn from its tree, as FEN."""
    row, fens = line
    for fen in fens:
        chess.Board(fen)
    return int(row), fens


def draw(args: argparse.Namespace, path: Path) -> list[chess.Board]:
    """Search, and draw positions from the trees until there are enough; those of `path` need no search again."""
    options = {"Threads": "1", "MemoryFile": "", "WeightsFile": args.weights}
    settings = PlayerSettings("visitor", (), Pace(nodes=args.search_nodes), options)
    player = SharedPlayer(settings, lambda text: tqdm.write(text, file=sys.stderr), load_network)
    dataset = Dataset.open(args.data)
    known = dict(whole_lines(path, drawn))
    fens: dict[str, None] = {fen: None for found in known.values() for fen in found}
    searches = (
        VisitingSearch(row, unpack(dataset.planes[row], int(dataset.clocks[row])), player, args.draw, args.seed)
        for row in roots(dataset, args.sources, args.seed)
        if row not in known
    )
    with tqdm(total=args.positions, initial=len(fens), desc="drawn", unit="position", file=sys.stderr) as bar:
        finished = play_together(searches, args.at_once)
        while len(fens) < args.positions:
            search = next(finished, None)
            if search is None:
                break
            found = [board.fen() for board in search.found]
            append(path, (json.dumps([search.number, found]) + "\n").encode(), sync=False)
            fens |= dict.fromkeys(found)
            bar.update(len(fens) - bar.n)
    return [chess.Board(fen) for fen in islice(fens, args.positions)]


def as_game(board: chess.Board, judgement: Judgement, teacher: str) -> chess.pgn.Game:
    """A game of one move, the teacher's."""
    game = chess.pgn.Game()
    game.headers.update({"Event": "Visited by searches", "White": teacher, "Black": teacher, "Result": "*"})
    game.setup(board)
    game.set_eval(judgement.score)
    game.add_main_variation(judgement.best).set_eval(after_best(judgement.score))
    return game


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="data set of scripts/prepare_data.py")
    parser.add_argument(
        "--sources", nargs="+", default=[""], metavar="NAME", help="search positions of game files with these names"
    )
    add_teacher_arguments(parser)
    parser.add_argument("--processes", type=positive, default=os.cpu_count() or 1, help="teachers (CPUs)")
    parser.add_argument("--positions", type=positive, default=200_000, help="positions to judge (200000)")
    parser.add_argument("--search-nodes", type=positive, default=64, metavar="N", help="nodes of each search (64)")
    parser.add_argument("--draw", type=positive, default=28, metavar="N", help="positions of each tree (28)")
    parser.add_argument("--at-once", type=positive, default=64, metavar="N", help="searches at once (64)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--weights", default="<shipped>", help="default: the shipped ones")
    parser.add_argument("--out", type=Path, required=True, help="PGN file to write")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    torch.set_num_threads(1)
    began = time.monotonic()
    with one_sentence("visit", DatasetError, PlayerError, OutputError, *TEACHER_ERRORS, stopped=GOES_ON):
        args.out.parent.mkdir(parents=True, exist_ok=True)
        teachers = [Teacher(teacher_settings(args)) for _ in range(args.processes)]
        judgements = Judgements(args.out.with_name(args.out.name + ".judged"), teachers)
        games: list[str] = []
        try:
            teachers[0].start()
            boards = draw(args, args.out.with_name(args.out.name + ".drawn"))
            with ThreadPoolExecutor(args.processes) as pool:
                found = pool.map(judgements.of, boards)
                bar = tqdm(found, desc="judged", total=len(boards), unit="position", smoothing=0.02, file=sys.stderr)
                for board, judgement in zip(boards, bar, strict=True):
                    if judgement is not None:
                        games.append(to_text(as_game(board, judgement, teachers[0].name)))
        finally:
            judgements.close()
        write_text(args.out, "".join(games))
    print(f"{len(games):,} positions judged in {time.monotonic() - began:.0f} s, in {args.out}")


if __name__ == "__main__":
    main()
