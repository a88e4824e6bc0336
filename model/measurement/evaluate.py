"""How well a network knows held-out games: policy, value and how far its wdl can be trusted, memory on and off.

The same positions are evaluated with the memory off, on, and lying: what is gained only by the right neighbours comes
from the memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dejavu.model.config import MEMORY_REACH
from dejavu.model.data.columns import NO_EVALUATION, NO_RESULT
from dejavu.model.data.dataset import HELD_OUT, Dataset, DatasetError
from dejavu.model.data.duplicates import occurs_in
from dejavu.model.inference import NetworkEvaluator
from dejavu.model.measurement.ablation import RandomRetriever, ShuffledRetriever
from dejavu.model.measurement.calibration import Calibration
from dejavu.model.measurement.measures import PHASES, measure, phases
from dejavu.model.measurement.report import Calibrations, EvaluationReport, Rows
from dejavu.retrieval.progress import followed

BATCH = 64
OFF, ON = "memory off", "memory on"
LIES = {"shuffled": ShuffledRetriever, "random": RandomRetriever}
DISTANCES = (0, 1_000, 5_000, 10_000, 20_000, 40_000, 80_000)
"""Lower ends of the classes of squared distance to the nearest neighbour."""
NEAR = {"but the exact positions": 1_000, "but the exact and the near": 10_000}
"""What is left out below such a distance."""
COPIED_SHARE = 0.5
"""A held-out game with more of its positions in games of other splits is a copy of one of them, or hardly a game."""


@dataclass(frozen=True)
class EvaluateRun:
    """What is measured."""

    data: Path
    weights: Path
    memory: Path | None
    source: str | None = None
    """Only game files with this in their name."""
    positions: int = 8192
    """At most so many."""
    reach: float = MEMORY_REACH
    """The option MemoryReach: beyond this distance the memory is not asked."""
    dedupe: bool = False
    """Whether positions are left out that occur in training or memory games, too."""
    threads: int = field(default_factory=torch.get_num_threads)


def evaluate(run: EvaluateRun) -> EvaluationReport:
    """Measure; says what is left out. Raises DatasetError, WeightsError and MemoryFileError."""
    dataset = Dataset.open(run.data)
    # Computed as in training.
    evaluator = NetworkEvaluator.load(run.weights, run.memory, run.threads, backend="torch")
    rows = drawn_rows(run.data, dataset, run.source, run.positions, run.dedupe)

    evaluator.memory_reach = run.reach
    measured, wdl = measure_modes(evaluator, dataset, rows)
    difference = measured[ON] - measured[OFF]
    changes = {"on": difference} | {mode: measured[mode] - measured[OFF] for mode in LIES if mode in measured}
    distances = nearest_distances(evaluator, dataset, rows)
    if distances is not None:
        changes |= {f"on, {name}": difference[kind] for name, kind in kinds(dataset, rows, distances).items()}
    return EvaluationReport(
        evaluator.describe(),
        measured,
        changes if distances is not None else {},
        calibrate(dataset, rows, wdl),
    )


def drawn_rows(
    path: Path, dataset: Dataset, source: str | None, positions: int, dedupe: bool = False
) -> NDArray[np.int64]:
    """At most so many held-out rows, always the same; raises DatasetError, which names `path`, if there are none."""
    allowed = held_out_rows(dataset, source, dedupe)
    if not len(allowed):
        raise DatasetError(f"{path} has no held-out positions of {source or 'any file'}")
    return np.random.default_rng(0).permutation(allowed)[:positions]


def held_out_rows(dataset: Dataset, source: str | None, dedupe: bool) -> NDArray[np.int64]:
    """All rows that may be measured, none of them out of a book; says how many are left out."""
    rows = dataset.rows_to_learn((HELD_OUT,), source)
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


def measure_all(
    evaluator: NetworkEvaluator, dataset: Dataset, rows: NDArray[np.int64], name: str, memory: bool = True
) -> tuple[Rows, NDArray[np.float32]]:
    """`measure` over all rows, in batches, and the predicted win, draw and loss [B, 3]."""
    parts, wdl = [], []
    for start in followed(range(0, len(rows), BATCH), name, "batches"):
        some = rows[start : start + BATCH]
        answer = evaluator.evaluate(dataset.planes[some], dataset.clocks[some], memory)
        parts.append(measure(answer, dataset.best[some], dataset.wdl_target(some)))
        wdl.append(answer.wdl)
    return np.concatenate(parts), np.concatenate(wdl)


def measure_modes(
    evaluator: NetworkEvaluator, dataset: Dataset, rows: NDArray[np.int64]
) -> tuple[dict[str, Rows], dict[str, NDArray[np.float32]]]:
    """Measures, and wdl [B, 3], of every mode: the memory off, on and lying."""
    measured, wdl = {}, {}
    truthful, stored = evaluator.retriever, evaluator.stored
    for mode, memory in ((OFF, False), (ON, True)):
        measured[mode], wdl[mode] = measure_all(evaluator, dataset, rows, mode, memory)
    if truthful is not None:
        evaluator.stored = None  # which was evaluated with the true neighbours
        for mode, lying in LIES.items():
            evaluator.retriever = lying(evaluator.weights.config, truthful.memory, threads=1)
            measured[mode], _ = measure_all(evaluator, dataset, rows, mode)
        evaluator.retriever, evaluator.stored = truthful, stored
    return measured, wdl


def calibrate(dataset: Dataset, rows: NDArray[np.int64], wdl: dict[str, NDArray[np.float32]]) -> Calibrations:
    """Compare the predictions of each mode with the evaluations and the results, wherever these are known."""
    result = dataset.result[rows]
    finished = result != NO_RESULT
    truths = {
        "evaluation": (dataset.centipawns[rows] != NO_EVALUATION, dataset.wdl_target(rows)),
        "result": (finished, np.eye(3)[1 - np.where(finished, result, 0)]),
    }
    return {
        truth: {mode: Calibration.measure(wdl[known], observed[known]) for mode, wdl in wdl.items()}
        for truth, (known, observed) in truths.items()
    }


def kinds(dataset: Dataset, rows: NDArray[np.int64], distances: NDArray[np.float32]) -> dict[str, NDArray[np.bool_]]:
    """[B] which positions are of each phase, at each distance, and left when duplicates are taken out."""
    phase = phases(dataset.planes[rows])
    bin_of = np.searchsorted(DISTANCES, distances, side="right") - 1
    return (
        {f"all {name}": distances >= least for name, least in NEAR.items()}
        | {name: phase == number for number, name in enumerate(PHASES)}
        | {f"distance from {least:,}": bin_of == number for number, least in enumerate(DISTANCES)}
    )


def nearest_distances(
    evaluator: NetworkEvaluator, dataset: Dataset, rows: NDArray[np.int64]
) -> NDArray[np.float32] | None:
    """[B] squared distance of each position's nearest neighbour; None without a memory."""
    if evaluator.retriever is None:
        return None
    distances = []
    for start in followed(range(0, len(rows), BATCH), "distances", "batches"):
        some = rows[start : start + BATCH]
        found = evaluator.retriever.search(evaluator.embeddings(dataset.planes[some], dataset.clocks[some]))
        distances.append(np.where(found.entries >= 0, found.distances, np.inf).min(axis=(1, 2)))
    return np.concatenate(distances)
