"""How well the network knows held-out games: policy, value and how far its chances can be trusted, memory on and off.

    python scripts/evaluate.py --data runs/data.safetensors --source teacher
    python scripts/evaluate.py --data runs/data.safetensors --dedupe --calibration runs/calibration.png

Policy top-1 is what the engine plays at `go nodes 1`: the legal move with the largest policy. The held-out games
are in neither the training nor the memory of nets and memories made from the same data set; openings are shared
by many games, and --dedupe leaves out positions that another split holds, too.

Calibration: the chances of win, draw and loss, in ten bins each, against those that the evaluation stands for and
against how the games ended. The calibration error is the mean distance of the two over all positions.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from dejavu.engine.loader import wanted
from dejavu.engine.options import Config
from dejavu.model.evaluations import Evaluations
from dejavu.model.inference import NetworkEvaluator
from dejavu.model.training.calibration import OUTCOMES, Calibration, plot_calibration
from dejavu.model.training.dataset import HELD_OUT, NO_EVALUATION, NO_RESULT, Dataset, DatasetError
from dejavu.model.training.duplicates import occurs_in
from dejavu.model.weights import WeightsError
from dejavu.retrieval.memory import MemoryFileError

BATCH = 64
MEASURES = ("policy_loss", "value_loss", "top1", "top3")
MODES = {"memory off": False, "memory on": True}
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


def show_calibrations(calibrations: Calibrations) -> dict[str, Any]:
    """Print the calibration errors; the same and the bins for JSON."""
    title = "calibration error against"
    print(f"{title:40}{'positions':>10}" + "".join(f"{name:>9}" for name in (*OUTCOMES, "overall")))
    for truth, modes in calibrations.items():
        for mode, calibration in modes.items():
            cells = "".join(f"{error:9.4f}" for error in calibration.errors.values())
            print(f"{f'  {truth}, {mode}':40}{calibration.positions:10,}{cells}")
    return {truth: {mode: c.as_json() for mode, c in modes.items()} for truth, modes in calibrations.items()}


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="data set of scripts/prepare_data.py")
    shipped = wanted(Config())
    parser.add_argument("--weights", type=Path, default=shipped.weights, help="default: the shipped ones")
    parser.add_argument("--memory", type=Path, default=shipped.memory, help="default: the shipped one")
    parser.add_argument("--source", help="only game files with this in their name")
    parser.add_argument("--positions", type=int, default=8192)
    parser.add_argument("--dedupe", action="store_true", help="leave out what occurs in training or memory games, too")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--calibration", type=Path, metavar="FILE.png", help="draw the calibration there")
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


def main() -> None:
    arguments = parse_arguments()
    try:
        dataset = Dataset.open(arguments.data)
        # Computed as in training, whose numbers these are compared with.
        evaluator = NetworkEvaluator.load(arguments.weights, arguments.memory, arguments.threads, "torch")
    except (DatasetError, WeightsError, MemoryFileError) as error:
        sys.exit(f"evaluate: {error}")
    allowed = held_out_rows(dataset, arguments.source, arguments.dedupe)
    if not len(allowed):
        sys.exit(f"evaluate: {arguments.data} has no held-out positions of {arguments.source or 'any file'}")
    rows = np.random.default_rng(0).permutation(allowed)[: arguments.positions]

    print(evaluator.describe())
    measured, chances = {}, {}
    for mode, use_memory in MODES.items():
        evaluator.use_memory = use_memory
        measured[mode], chances[mode] = measure_all(evaluator.evaluate, dataset, rows, mode)
    measured["on minus off"] = measured["memory on"] - measured["memory off"]
    calibrations = calibrate(dataset, rows, chances)

    print(f"{len(rows):,} held-out positions; mean and standard error")
    summary = {"positions": len(rows), **show_measures(measured), "calibration": show_calibrations(calibrations)}
    if arguments.calibration:
        arguments.calibration.parent.mkdir(parents=True, exist_ok=True)
        plot_calibration(calibrations, arguments.calibration)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(summary, indent=2) + "\n")


if __name__ == "__main__":
    main()
