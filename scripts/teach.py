"""Does the engine learn from a memory alone? Positions where it errs are added, and it is asked again.

    python scripts/teach.py --data runs/data.safetensors --source teacher --positions 200

Held-out positions where the engine errs at one node are added to a copy of the memory, as a game of one move each, the
right one. Told is how many of them the engine plays right then, at 1 node and at 100, and what became of other held-out
positions.
"""

from __future__ import annotations

import argparse
import json
import queue
import sys
import tempfile
from pathlib import Path
from typing import Any

import chess
import chess.pgn
import numpy as np
import torch
from command_line.ending import one_sentence
from numpy.typing import NDArray
from tqdm import tqdm

from dejavu.engine.options import Config
from dejavu.engine.search.limits import Limits
from dejavu.engine.search.lines import BestMove
from dejavu.engine.uci.loader import load_network, wanted
from dejavu.engine.uci.session import Session
from dejavu.model.chess.encoding import REPEATED, index_to_move, move_to_index, unpack
from dejavu.model.data.dataset import HELD_OUT, MEMORY, Dataset, DatasetError
from dejavu.model.data.games import read_game
from dejavu.model.data.records import join, positions
from dejavu.model.inference import NetworkEvaluator, load_backbone
from dejavu.model.measurement.measures import MEASURES, measure
from dejavu.model.weights import WeightsError, read_weights
from dejavu.retrieval.atomic import write_text
from dejavu.retrieval.memory import Memory, MemoryFileError
from dejavu.retrieval.remember import add

BATCH = 64


class Player:
    """The engine with one memory, asked for its move position by position."""

    def __init__(self, weights: Path, memory: Path, threads: int) -> None:
        self.session = Session(load_network, lambda text: tqdm.write(text, file=sys.stderr))
        self.session.configure(Config(threads=threads, weights_file=str(weights), memory_file=str(memory)))

    def plays(self, dataset: Dataset, row: int, nodes: int) -> bool:
        """Whether the engine finds the best move of a position with so many nodes."""
        board = unpack(dataset.planes[row], int(dataset.clocks[row]))
        answers: queue.Queue[BestMove] = queue.Queue()
        self.session.new_game()
        self.session.set_position(board.fen(), [])
        self.session.go(Limits(nodes=nodes), lambda info: None, answers.put)
        move = answers.get().move
        return move is not None and move_to_index(chess.Move.from_uci(move), board) == dataset.best[row]


def lesson(dataset: Dataset, row: int) -> str:
    """A game of one move, the best one, as PGN."""
    game = chess.pgn.Game()
    board = unpack(dataset.planes[row], int(dataset.clocks[row]))
    game.setup(board)
    game.add_variation(index_to_move(int(dataset.best[row]), board))
    return str(game)


def errors(player: Player, dataset: Dataset, rows: NDArray[np.int64], wanted: int) -> list[int]:
    """The first so many of `rows` where the engine errs at one node."""
    found: list[int] = []
    for row in tqdm(rows.tolist(), desc="looking for errors", unit="position", file=sys.stderr):
        if len(found) == wanted:
            break
        if not player.plays(dataset, row, nodes=1):
            found.append(row)
    return found


def with_lessons(memory: Memory, weights: Path, threads: int, dataset: Dataset, rows: list[int]) -> Memory:
    """The memory, and a lesson for each of `rows`."""
    games = [read_game(lesson(dataset, row)) for row in rows]
    lessons = join(games, [MEMORY] * len(games), [0] * len(games), ["lessons"])
    new = positions(lessons, np.arange(len(lessons)))
    names = [game.name for game in games]
    embed = load_backbone(weights, threads).embed_chunks
    return add(memory, new, names, "lessons", "2026-01-01", embed, lambda done, total: None)[0]


def top1(weights: Path, memory: Path, threads: int, dataset: Dataset, rows: NDArray[np.int64], name: str) -> float:
    """Share of `rows` whose best move the policy has first."""
    evaluator = NetworkEvaluator.load(weights, memory, threads)
    shares = []
    for start in tqdm(range(0, len(rows), BATCH), desc=name, unit="batch", file=sys.stderr):
        some = rows[start : start + BATCH]
        answer = evaluator.evaluate(dataset.planes[some], dataset.clocks[some])
        shares.append(measure(answer, dataset.best[some], dataset.wdl_target(some))[:, MEASURES.index("top1")])
    return float(np.concatenate(shares).mean())


def teach(arguments: argparse.Namespace) -> dict[str, Any]:
    """Teach, ask again, and say what came of it."""
    weights, memory_file, threads = arguments.weights, arguments.memory, arguments.threads
    dataset = Dataset.open(arguments.data)
    rows = np.random.default_rng(0).permutation(dataset.rows(HELD_OUT, arguments.source))
    # A board alone does not say that it is repeated, so such a position would be another one as a game.
    rows = rows[dataset.clocks[rows] < REPEATED]
    memory = Memory.open(memory_file, read_weights(weights)[0].fingerprint)
    taught = errors(Player(weights, memory_file, threads), dataset, rows, arguments.positions)
    if not taught:
        raise DatasetError(f"{arguments.data} has no held-out position where the engine errs")
    others = np.setdiff1d(rows, taught)[: arguments.others]
    figures: dict[str, Any] = {"taught": len(taught), "others": len(others)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "memory.safetensors"
        with_lessons(memory, weights, threads, dataset, taught).write(path)
        after = Player(weights, path, threads)
        for nodes in (1, 100):
            found = [after.plays(dataset, row, nodes) for row in tqdm(taught, desc=f"{nodes} nodes", file=sys.stderr)]
            figures[f"played at {nodes} nodes"] = sum(found) / len(found)
        for name, used in (("before", memory_file), ("after", path)):
            figures[f"top1 of others {name}"] = top1(weights, used, threads, dataset, others, name)
    print(f"{len(taught):,} positions taught where the engine erred at 1 node; it plays the lesson in")
    print(f"{figures['played at 1 nodes']:.1%} at 1 node, {figures['played at 100 nodes']:.1%} at 100 nodes")
    tops = figures["top1 of others before"], figures["top1 of others after"]
    print(f"top-1 of {len(others):,} others: {tops[0]:.2%} before, {tops[1]:.2%} after")
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="data set of scripts/prepare_data.py")
    shipped = wanted(Config())
    parser.add_argument("--weights", type=Path, default=shipped.weights, help="default: the shipped ones")
    parser.add_argument("--memory", type=Path, default=shipped.memory, help="default: the shipped one")
    parser.add_argument("--source", help="only game files with this in their name")
    parser.add_argument("--positions", type=int, default=200, help="taught")
    parser.add_argument("--others", type=int, default=8192, help="other positions looked at before and after")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    with one_sentence("teach", DatasetError, WeightsError, MemoryFileError, OSError):
        figures = teach(arguments)
        if arguments.json:
            write_text(arguments.json, json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
