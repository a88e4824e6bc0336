"""Nets compared on the same held-out positions, without memory: sees smaller differences than games do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from dejavu.model.data.dataset import Dataset
from dejavu.model.inference import NetworkEvaluator
from dejavu.model.measurement.evaluate import drawn_rows, measure_all
from dejavu.model.measurement.report import Rows, summaries, table


@dataclass(frozen=True)
class CompareRun:
    """Which nets, and on what."""

    data: Path
    nets: Sequence[Path]
    """Weights, with or without a retrieval part; the others are compared with the first."""
    source: str | None = None
    """Only game files with this in their name."""
    positions: int = 8192
    """At most so many."""
    threads: int = field(default_factory=torch.get_num_threads)


@dataclass(frozen=True)
class CompareReport:
    """The measures of every position."""

    measured: Mapping[str, Rows]
    """By net; the first is what the others are compared with."""

    def changes(self) -> dict[str, Rows]:
        """By net, less those of the first one."""
        (_, first), *others = self.measured.items()
        return {net: rows - first for net, rows in others}

    def __str__(self) -> str:
        tables = [table("held-out positions", summaries(self.measured))]
        if len(self.measured) > 1:
            tables.append(table("minus the first", summaries(self.changes())))
        return "\n".join(tables)

    def as_json(self) -> dict[str, Any]:
        """Means and standard errors."""
        return {**summaries(self.measured), "minus the first": summaries(self.changes())}


def compare(run: CompareRun) -> CompareReport:
    """Measure all nets; says what is left out. Raises DatasetError and WeightsError."""
    dataset = Dataset.open(run.data)
    rows = drawn_rows(run.data, dataset, run.source, run.positions)
    measured: dict[str, Rows] = {}
    for net in run.nets:
        # Computed as in training.
        evaluator = NetworkEvaluator.load(net, None, run.threads, backend="torch")
        measured[str(net)], _ = measure_all(evaluator, dataset, rows, net.name, memory=False)
    return CompareReport(measured)
