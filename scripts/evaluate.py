"""How well the network knows held-out games: policy, value and how far its chances can be trusted, memory on and off.

    python scripts/evaluate.py --data runs/data.safetensors --source teacher
    python scripts/evaluate.py --data runs/data.safetensors --dedupe --calibration runs/calibration.png
    python scripts/evaluate.py --data runs/data.safetensors --source teacher --teach 200

Policy top-1 is what the engine plays at `go nodes 1`: the legal move with the largest policy. The held-out games
are in neither the training nor the memory of nets and memories made from the same data set; openings are shared
by many games, and --dedupe leaves out positions that another split holds, too.

What the memory changes is told by the distance of the nearest neighbour, too: up to 1,000 it is the very position, as a
rule, and beyond --reach the memory is not asked.

Calibration: the chances of win, draw and loss, in ten bins each, against those that the evaluation stands for and
against how the games ended. The calibration error is the mean distance of the two over all positions.

--teach is another measurement: so many held-out positions where the engine errs at one node are added to a copy of
the memory, as a game of one move each, the right one. It tells how many of them the engine plays right then, and what
became of the other held-out positions.
"""

from __future__ import annotations

import argparse
import json
import queue
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import chess
import chess.pgn
import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from dejavu.engine.limits import Limits
from dejavu.engine.lines import BestMove
from dejavu.engine.loader import load_network, wanted
from dejavu.engine.options import Config
from dejavu.engine.session import Session
from dejavu.model.config import MEMORY_REACH
from dejavu.model.encoding import REPEATED, index_to_move, move_to_index, unpack
from dejavu.model.evaluations import Evaluations
from dejavu.model.inference import NetworkEvaluator, load_backbone
from dejavu.model.training.calibration import OUTCOMES, Calibration, plot_calibration
from dejavu.model.training.dataset import HELD_OUT, MEMORY, NO_EVALUATION, NO_RESULT, Dataset, DatasetError
from dejavu.model.training.duplicates import occurs_in
from dejavu.model.training.games import read_game
from dejavu.model.training.records import join, positions
from dejavu.model.weights import WeightsError
from dejavu.retrieval.memory import Memory, MemoryFileError
from dejavu.retrieval.remember import add

BATCH = 64
MEASURES = ("policy_loss", "value_loss", "top1", "top3")
MODES = {"memory off": False, "memory on": True}
DISTANCES = (0, 1_000, 5_000, 10_000, 20_000, 40_000, 80_000)
"""Lower ends of the classes of squared distance to the nearest neighbour."""
Calibrations = dict[str, dict[str, Calibration]]
"""[kind of truth][mode]"""


def measure(answer: Evaluations, best: NDArray[np.uint16], wdl: NDArray[np.float32]) -> NDArray[np.float64]:
    """[B, 4] policy loss, value loss (less the target's entropy), top-1, top-3 of every position."""
    rows = np.empty((len(best), len(MEASURES)))
    for b in range(len(best)):
        part = slice(answer.offsets[b], answer.offsets[b + 1])
        logits = answer.logits[part].astype(np.float64)
        target = logits[answer.moves[part] == best[b]][0]
        better = int((logits > target).sum())
        rows[b, 0] = np.log(np.exp(logits - logits.max()).sum()) + logits.max() - target
        rows[b, 2:] = better < 1, better < 3
    known = np.maximum(wdl, 1e-12)
    rows[:, 1] = (wdl * (np.log(known) - np.log(np.maximum(answer.wdl, 1e-12)))).sum(axis=1)
    return rows


def measure_all(
    evaluate: Callable[[NDArray[np.uint64], NDArray[np.uint8]], Evaluations],
    dataset: Dataset,
    rows: NDArray[np.int64],
    name: str,
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """`measure` over all rows [B, 4], in batches, and the predicted win, draw and loss [B, 3]."""
    parts, chances = [], []
    for start in tqdm(range(0, len(rows), BATCH), desc=name, unit="batch", file=sys.stderr):
        some = rows[start : start + BATCH]
        answer = evaluate(dataset.planes[some], dataset.clocks[some])
        parts.append(measure(answer, dataset.best[some], dataset.wdl_target(some)))
        chances.append(answer.wdl)
    return np.concatenate(parts), np.concatenate(chances)


def calibrate(dataset: Dataset, rows: NDArray[np.int64], chances: dict[str, NDArray[np.float32]]) -> Calibrations:
    """Compare the predictions of each mode with the evaluations and the results, wherever these are known."""
    result = dataset.result[rows]
    finished = result != NO_RESULT
    truths = {
        "evaluation": (dataset.centipawns[rows] != NO_EVALUATION, dataset.wdl_target(rows)),
        "result": (finished, np.eye(3)[1 - np.where(finished, result, 0)]),
    }
    return {
        truth: {mode: Calibration.measure(wdl[known], observed[known]) for mode, wdl in chances.items()}
        for truth, (known, observed) in truths.items()
    }


def show_measures(measured: dict[str, NDArray[np.float64]]) -> dict[str, Any]:
    """Print mean and standard error of all measures; the same for JSON."""
    print(f"{'':14}" + "".join(f"{measure:>22}" for measure in MEASURES))
    summary = {}
    for name, values in measured.items():
        means, errors = values.mean(axis=0), values.std(axis=0) / len(values) ** 0.5
        cells = (f"{mean:+.4f} +- {error:.4f}" for mean, error in zip(means, errors, strict=True))
        print(f"{name:14}" + "".join(f"{cell:>22}" for cell in cells))
        summary[name] = {
            key: {"mean": mean, "standard_error": error}
            for key, mean, error in zip(MEASURES, means.tolist(), errors.tolist(), strict=True)
        }
    return summary


def nearest_distances(
    evaluator: NetworkEvaluator, dataset: Dataset, rows: NDArray[np.int64]
) -> NDArray[np.float32] | None:
    """[B] squared distance of each position's nearest neighbour; None without a memory."""
    if evaluator.retriever is None:
        return None
    distances = []
    for start in tqdm(range(0, len(rows), BATCH), desc="distances", unit="batch", file=sys.stderr):
        some = rows[start : start + BATCH]
        found = evaluator.retriever.search(evaluator.embeddings(dataset.planes[some], dataset.clocks[some]))
        distances.append(np.where(found.entries >= 0, found.distances, np.inf).min(axis=(1, 2)))
    return np.concatenate(distances)


def show_by_distance(difference: NDArray[np.float64], distances: NDArray[np.float32]) -> dict[str, Any]:
    """Print what the memory changes [B, 4] in each class of distance [B]; the same for JSON."""
    classes = np.searchsorted(DISTANCES, distances, side="right") - 1
    measured = {f"from {DISTANCES[number]:,}": difference[classes == number] for number in np.unique(classes)}
    print("on minus off, by the distance of the nearest neighbour:")
    summary = show_measures(measured)
    for name, values in measured.items():
        summary[name]["positions"] = len(values)
        print(f"    {name}: {len(values):,} positions")
    return summary


def show_calibrations(calibrations: Calibrations) -> dict[str, Any]:
    """Print the calibration errors; the same and the bins for JSON."""
    title = "calibration error against"
    print(f"{title:40}{'positions':>10}" + "".join(f"{name:>9}" for name in (*OUTCOMES, "overall")))
    for truth, modes in calibrations.items():
        for mode, calibration in modes.items():
            cells = "".join(f"{error:9.4f}" for error in calibration.errors.values())
            print(f"{f'  {truth}, {mode}':40}{calibration.positions:10,}{cells}")
    return {truth: {mode: c.as_json() for mode, c in modes.items()} for truth, modes in calibrations.items()}


class Player:
    """The engine with one memory, asked for its move position by position."""

    def __init__(self, arguments: argparse.Namespace, memory: Path) -> None:
        self.session = Session(load_network, lambda text: tqdm.write(text, file=sys.stderr))
        self.session.configure(
            Config(threads=arguments.threads, weights_file=str(arguments.weights), memory_file=str(memory))
        )

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


def teach(arguments: argparse.Namespace, dataset: Dataset, rows: NDArray[np.int64]) -> dict[str, Any]:
    """Teach positions where the engine errs, and tell what it plays then; see above."""
    # A board alone does not say that it is repeated, so such a position would be another one as a game.
    rows = rows[dataset.clocks[rows] < REPEATED]
    before = Player(arguments, arguments.memory)
    taught: list[int] = []
    for row in tqdm(rows.tolist(), desc="looking for errors", unit="position", file=sys.stderr):
        if len(taught) == arguments.teach:
            break
        if not before.plays(dataset, row, nodes=1):
            taught.append(row)
    backbone = load_backbone(arguments.weights)
    memory = Memory.open(arguments.memory, backbone.fingerprint)
    games = [read_game(lesson(dataset, row)) for row in taught]
    lessons = join(games, [MEMORY] * len(games), [0] * len(games), ["lessons"])
    new = positions(lessons, np.arange(len(lessons)))
    names = [game.name for game in games]
    larger, _ = add(memory, new, names, "lessons", "2026-01-01", backbone.embed_chunks, lambda done, total: None)

    others = np.setdiff1d(rows, taught)[: arguments.positions]
    figures: dict[str, Any] = {"taught": len(taught), "others": len(others)}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "memory.safetensors"
        larger.write(path)
        after = Player(arguments, path)
        for nodes in (1, 100):
            found = [after.plays(dataset, row, nodes) for row in tqdm(taught, desc=f"{nodes} nodes", file=sys.stderr)]
            figures[f"played at {nodes} nodes"] = sum(found) / len(found)
        for name, used in (("before", arguments.memory), ("after", path)):
            evaluator = NetworkEvaluator.load(arguments.weights, used, arguments.threads)
            measured, _ = measure_all(evaluator.evaluate, dataset, others, name)
            figures[f"top1 of others {name}"] = measured[:, MEASURES.index("top1")].mean()
    print(f"{len(taught):,} positions taught where the engine erred at 1 node; it plays the lesson in")
    print(f"{figures['played at 1 nodes']:.1%} at 1 node, {figures['played at 100 nodes']:.1%} at 100 nodes")
    tops = figures["top1 of others before"], figures["top1 of others after"]
    print(f"top-1 of {len(others):,} others: {tops[0]:.2%} before, {tops[1]:.2%} after")
    return figures


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="data set of scripts/prepare_data.py")
    shipped = wanted(Config())
    parser.add_argument("--weights", type=Path, default=shipped.weights, help="default: the shipped ones")
    parser.add_argument("--memory", type=Path, default=shipped.memory, help="default: the shipped one")
    parser.add_argument("--source", help="only game files with this in their name")
    parser.add_argument("--positions", type=int, default=8192)
    parser.add_argument(
        "--reach", type=float, default=MEMORY_REACH, metavar="DISTANCE", help="MemoryReach (its default)"
    )
    parser.add_argument("--dedupe", action="store_true", help="leave out what occurs in training or memory games, too")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--calibration", type=Path, metavar="FILE.png", help="draw the calibration there")
    parser.add_argument("--teach", type=int, metavar="N", help="teach so many positions instead, and look again")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args()


def held_out_rows(dataset: Dataset, source: str | None, dedupe: bool) -> NDArray[np.int64]:
    """All rows that may be measured; says how many `dedupe` leaves out."""
    rows = dataset.rows(HELD_OUT, source)
    if not dedupe:
        return rows
    others = dataset.planes[dataset.split[dataset.game] != HELD_OUT]
    known = occurs_in(dataset.planes[rows], others)
    print(f"{known.sum():,} of {len(rows):,} held-out positions left out: they occur in training or memory games, too")
    return rows[~known]


def write_json(path: Path | None, figures: dict[str, Any]) -> None:
    """Write the figures where they are wanted."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(figures, indent=2) + "\n")


def main() -> None:
    arguments = parse_arguments()
    try:
        dataset = Dataset.open(arguments.data)
        # Computed as in training.
        evaluator = NetworkEvaluator.load(arguments.weights, arguments.memory, arguments.threads, backend="torch")
    except (DatasetError, WeightsError, MemoryFileError) as error:
        sys.exit(f"evaluate: {error}")
    allowed = held_out_rows(dataset, arguments.source, arguments.dedupe)
    if not len(allowed):
        sys.exit(f"evaluate: {arguments.data} has no held-out positions of {arguments.source or 'any file'}")
    shuffled = np.random.default_rng(0).permutation(allowed)
    if arguments.teach:
        write_json(arguments.json, teach(arguments, dataset, shuffled))
        return
    rows = shuffled[: arguments.positions]

    print(evaluator.describe())
    evaluator.memory_reach = arguments.reach
    measured, chances = {}, {}
    for mode, use_memory in MODES.items():
        evaluator.use_memory = use_memory
        measured[mode], chances[mode] = measure_all(evaluator.evaluate, dataset, rows, mode)
    measured["on minus off"] = measured["memory on"] - measured["memory off"]
    calibrations = calibrate(dataset, rows, chances)

    print(f"{len(rows):,} held-out positions; mean and standard error")
    summary = {"positions": len(rows), **show_measures(measured), "calibration": show_calibrations(calibrations)}
    distances = nearest_distances(evaluator, dataset, rows)
    if distances is not None:
        summary["by distance"] = show_by_distance(measured["on minus off"], distances)
    if arguments.calibration:
        arguments.calibration.parent.mkdir(parents=True, exist_ok=True)
        plot_calibration(calibrations, arguments.calibration)
    write_json(arguments.json, summary)


if __name__ == "__main__":
    main()
