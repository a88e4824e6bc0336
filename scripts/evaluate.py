"""How well the network knows held-out games: policy, value and how far its chances can be trusted, memory on and off.

    python scripts/evaluate.py --data runs/data.safetensors --source tcec --plot runs/evaluate.png
    python scripts/evaluate.py --data runs/data.safetensors --dedupe --calibration runs/calibration.png

Policy top-1 is what the engine plays at `go nodes 1`: the legal move with the largest policy. The held-out games
are in neither the training nor the memory of nets and memories made from the same data set. Games that share more than
half of their positions with those are copies, and left out. Openings are shared by many games; --dedupe leaves out all
positions that another split holds, too.

The same is measured with the memory off, on, and lying in two ways: "shuffled" gives positions each other's neighbours,
"random" gives them neighbours drawn at random at the distances of their own. What is gained only by the right
neighbours comes from the memory. The difference on minus off is told for every phase of the game (by the pieces left)
and by the distance of the nearest neighbour: up to 1,000 it is the very position, as a rule, and beyond --reach the
memory is not asked.

Calibration: the chances of win, draw and loss, in ten bins each, against those that the evaluation stands for and
against how the games ended. The calibration error is the mean distance of the two over all positions.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from command_line.ending import one_sentence
from numpy.typing import NDArray
from tqdm import tqdm

from dejavu.engine.options import Config
from dejavu.engine.uci.loader import wanted
from dejavu.model.config import MEMORY_REACH
from dejavu.model.data.dataset import HELD_OUT, NO_EVALUATION, NO_RESULT, Dataset, DatasetError
from dejavu.model.data.duplicates import occurs_in
from dejavu.model.inference import NetworkEvaluator
from dejavu.model.measurement.ablation import RandomRetriever, ShuffledRetriever
from dejavu.model.measurement.calibration import OUTCOMES, Calibration, plot_calibration
from dejavu.model.measurement.measures import MEASURES, PHASES, measure, phases
from dejavu.model.weights import WeightsError
from dejavu.retrieval.atomic import atomic_write, write_text
from dejavu.retrieval.memory import MemoryFileError

BATCH = 64
OFF, ON = "memory off", "memory on"
LIES = {"shuffled": ShuffledRetriever, "random": RandomRetriever}
DISTANCES = (0, 1_000, 5_000, 10_000, 20_000, 40_000, 80_000)
"""Lower ends of the classes of squared distance to the nearest neighbour."""
NEAR = {"but the exact positions": 1_000, "but the exact and the near": 10_000}
"""What is left out below such a distance."""
COPIED_SHARE = 0.5
"""A held-out game with more of its positions in games of other splits is a copy of one of them, or hardly a game."""
Calibrations = dict[str, dict[str, Calibration]]
"""[kind of truth][mode]"""
Rows = NDArray[np.float64]
"""[B, 4] MEASURES of B positions."""


def measure_all(
    evaluator: NetworkEvaluator, dataset: Dataset, rows: NDArray[np.int64], name: str
) -> tuple[Rows, NDArray[np.float32]]:
    """`measure` over all rows, in batches, and the predicted win, draw and loss [B, 3]."""
    parts, chances = [], []
    for start in tqdm(range(0, len(rows), BATCH), desc=name, unit="batch", file=sys.stderr):
        some = rows[start : start + BATCH]
        answer = evaluator.evaluate(dataset.planes[some], dataset.clocks[some])
        parts.append(measure(answer, dataset.best[some], dataset.wdl_target(some)))
        chances.append(answer.wdl)
    return np.concatenate(parts), np.concatenate(chances)


def measure_modes(
    evaluator: NetworkEvaluator, dataset: Dataset, rows: NDArray[np.int64]
) -> tuple[dict[str, Rows], dict[str, NDArray[np.float32]]]:
    """Measures, and chances [B, 3], of every mode: the memory off, on and lying."""
    measured, chances = {}, {}
    truthful = evaluator.retriever
    for mode, use_memory in ((OFF, False), (ON, truthful is not None)):
        evaluator.use_memory = use_memory
        measured[mode], chances[mode] = measure_all(evaluator, dataset, rows, mode)
    if truthful is not None:
        for mode, lying in LIES.items():
            evaluator.retriever = lying(evaluator.weights.config, truthful.memory, threads=1)
            measured[mode], _ = measure_all(evaluator, dataset, rows, mode)
        evaluator.retriever = truthful
    return measured, chances


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


def summarise(values: Rows) -> dict[str, Any]:
    """Number of positions, mean and standard error of every measure."""
    means, errors = values.mean(axis=0), values.std(axis=0) / len(values) ** 0.5
    return {"positions": len(values)} | {
        key: {"mean": mean, "standard_error": error}
        for key, mean, error in zip(MEASURES, means.tolist(), errors.tolist(), strict=True)
    }


def show(title: str, groups: Mapping[str, Rows]) -> dict[str, Any]:
    """Print mean and standard error of all measures of every group that has positions; the same for JSON."""
    print(f"{title:28}{'positions':>10}" + "".join(f"{measure:>20}" for measure in MEASURES))
    summaries = {name: summarise(values) for name, values in groups.items() if len(values)}
    for name, summary in summaries.items():
        cells = (f"{summary[key]['mean']:+.4f} +- {summary[key]['standard_error']:.4f}" for key in MEASURES)
        print(f"  {name:26}{summary['positions']:10,}" + "".join(f"{cell:>20}" for cell in cells))
    return summaries


def kinds(dataset: Dataset, rows: NDArray[np.int64], distances: NDArray[np.float32]) -> dict[str, NDArray[np.bool_]]:
    """[B] which positions are of each phase, at each distance, and left when duplicates are taken out."""
    phase = phases(dataset.planes[rows])
    place = np.searchsorted(DISTANCES, distances, side="right") - 1
    return (
        {f"all {name}": distances >= least for name, least in NEAR.items()}
        | {name: phase == number for number, name in enumerate(PHASES)}
        | {f"distance from {least:,}": place == number for number, least in enumerate(DISTANCES)}
    )


def plot(title: str, groups: Mapping[str, Any], path: Path) -> None:
    """Draw the differences (summaries of `show`) and twice their standard errors: a panel a measure, a line a group."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    panels = {"policy_loss": "policy loss, nats", "value_loss": "value loss, nats", "top1": "top-1"}
    figure, axes = plt.subplots(1, len(panels), figsize=(14, 1.5 + 0.32 * len(groups)), sharey=True)
    labels = [f"{name} ({group['positions']:,})" for name, group in groups.items()]
    for axis, (key, label) in zip(axes, panels.items(), strict=True):
        means = [group[key]["mean"] for group in groups.values()]
        errors = [2 * group[key]["standard_error"] for group in groups.values()]
        axis.errorbar(means, labels, xerr=errors, fmt="o", ms=4, capsize=3)
        axis.axvline(0, color="grey", linewidth=1)
        axis.set(xlabel=label)
        axis.set_xscale("symlog", linthresh=0.01)
        axis.grid(alpha=0.3)
    axes[0].invert_yaxis()
    figure.suptitle(title)
    figure.tight_layout()
    with atomic_write(path) as file:
        figure.savefig(file, dpi=100, format="png")
    plt.close(figure)


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
    parser.add_argument(
        "--reach", type=float, default=MEMORY_REACH, metavar="DISTANCE", help="MemoryReach (its default)"
    )
    parser.add_argument("--dedupe", action="store_true", help="leave out what occurs in training or memory games, too")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--calibration", type=Path, metavar="FILE.png", help="draw the calibration there")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw what the memory changes there")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args()


def held_out_rows(dataset: Dataset, source: str | None, dedupe: bool) -> NDArray[np.int64]:
    """All rows that may be measured; says how many are left out."""
    rows = dataset.rows(HELD_OUT, source)
    if not len(rows):
        return rows
    others = dataset.planes[dataset.split[dataset.game] != HELD_OUT]
    known = occurs_in(dataset.planes[rows], others)
    games = dataset.game[rows]
    share = np.bincount(games, weights=known) / np.maximum(np.bincount(games), 1)
    copies = share > COPIED_SHARE
    print(f"{copies.sum():,} of {len(np.unique(games)):,} held-out games left out: copies of training or memory games")
    left_out = copies[games]
    if dedupe:
        left_out |= known
        print(f"{left_out.sum():,} of {len(rows):,} held-out positions left out: they occur in other games, too")
    return rows[~left_out]


def write_json(path: Path | None, figures: dict[str, Any]) -> None:
    """Write the figures where they are wanted."""
    if path is not None:
        write_text(path, json.dumps(figures, indent=2) + "\n")


def run(arguments: argparse.Namespace) -> None:
    """Measure, tell, draw and write what `arguments` ask for."""
    dataset = Dataset.open(arguments.data)
    # Computed as in training.
    evaluator = NetworkEvaluator.load(arguments.weights, arguments.memory, arguments.threads, backend="torch")
    allowed = held_out_rows(dataset, arguments.source, arguments.dedupe)
    if not len(allowed):
        raise DatasetError(f"{arguments.data} has no held-out positions of {arguments.source or 'any file'}")
    rows = np.random.default_rng(0).permutation(allowed)[: arguments.positions]

    print(evaluator.describe())
    evaluator.memory_reach = arguments.reach
    measured, chances = measure_modes(evaluator, dataset, rows)
    figures = show("held-out positions", measured)
    difference = measured[ON] - measured[OFF]
    changes = {"on": difference} | {mode: measured[mode] - measured[OFF] for mode in LIES if mode in measured}
    distances = nearest_distances(evaluator, dataset, rows)
    if distances is not None:
        changes |= {f"on, {name}": difference[kind] for name, kind in kinds(dataset, rows, distances).items()}
        figures["minus off"] = show("minus memory off", changes)
    calibrations = calibrate(dataset, rows, chances)
    figures["calibration"] = show_calibrations(calibrations)
    if arguments.calibration:
        plot_calibration(calibrations, arguments.calibration)
    if arguments.plot and distances is not None:
        title = f"What {arguments.memory.name} changes, of {len(rows):,} positions of {arguments.source or 'all'} games"
        plot(title, figures["minus off"], arguments.plot)
    write_json(arguments.json, figures)


def main() -> None:
    arguments = parse_arguments()
    with one_sentence("evaluate", DatasetError, WeightsError, MemoryFileError, OSError):
        run(arguments)


if __name__ == "__main__":
    main()
