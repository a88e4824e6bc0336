"""How well the network knows held-out games: policy and value, with memory on and off.

    python scripts/evaluate.py --data runs/data.safetensors --source teacher

Policy top-1 is what the engine plays at `go nodes 1`: the legal move with the largest policy. The held-out games
are in neither the training nor the memory of nets and memories made from the same data set.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from dejavu.engine.loader import wanted
from dejavu.engine.options import Config
from dejavu.model.evaluations import Evaluations
from dejavu.model.inference import NetworkEvaluator
from dejavu.model.training.dataset import HELD_OUT, Dataset, DatasetError
from dejavu.model.weights import WeightsError
from dejavu.retrieval.memory import MemoryFileError

BATCH = 64
MEASURES = ("policy_loss", "value_loss", "top1", "top3")


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
) -> NDArray[np.float64]:
    """`measure` over all rows, in batches."""
    parts = []
    for start in tqdm(range(0, len(rows), BATCH), desc=name, unit="batch", file=sys.stderr):
        some = rows[start : start + BATCH]
        answer = evaluate(dataset.planes[some], dataset.clocks[some])
        parts.append(measure(answer, dataset.best[some], dataset.wdl_target(some)))
    return np.concatenate(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="data set of scripts/prepare_data.py")
    shipped = wanted(Config())
    parser.add_argument("--weights", type=Path, default=shipped.weights, help="default: the shipped ones")
    parser.add_argument("--memory", type=Path, default=shipped.memory, help="default: the shipped one")
    parser.add_argument("--source", help="only game files with this in their name")
    parser.add_argument("--positions", type=int, default=8192)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    try:
        dataset = Dataset.open(arguments.data)
        evaluator = NetworkEvaluator.load(arguments.weights, arguments.memory, arguments.threads)
    except (DatasetError, WeightsError, MemoryFileError) as error:
        sys.exit(f"evaluate: {error}")
    rows = dataset.rows(HELD_OUT, arguments.source)
    if not len(rows):
        sys.exit(f"evaluate: {arguments.data} has no held-out positions of {arguments.source or 'any file'}")
    rows = np.random.default_rng(0).permutation(rows)[: arguments.positions]

    print(evaluator.describe())
    measured = {}
    for name, use_memory in (("memory off", False), ("memory on", True)):
        evaluator.use_memory = use_memory
        measured[name] = measure_all(evaluator.evaluate, dataset, rows, name)
    measured["on minus off"] = measured["memory on"] - measured["memory off"]

    print(f"{len(rows):,} held-out positions; mean and standard error")
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
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps({"positions": len(rows), **summary}, indent=2) + "\n")


if __name__ == "__main__":
    main()
