"""What an evaluation on held-out games came to: in words, as JSON, and as pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dejavu.model.measurement.calibration import OUTCOMES, Calibration
from dejavu.model.measurement.measures import MEASURES
from dejavu.retrieval.atomic import atomic_write

Calibrations = dict[str, dict[str, Calibration]]
"""[kind of truth][mode]"""
Rows = NDArray[np.float64]
"""[B, 4] MEASURES of B positions."""


@dataclass(frozen=True)
class EvaluationReport:
    """The measures of every position."""

    evaluator: str
    """What was measured."""
    measured: Mapping[str, Rows]
    """By mode: the memory off, on and lying."""
    changes: Mapping[str, Rows]
    """Less those without memory, of all and of groups of positions; none without a memory."""
    calibrations: Calibrations

    def __str__(self) -> str:
        parts = [self.evaluator, table("held-out positions", summaries(self.measured))]
        if self.changes:
            parts.append(table("minus memory off", summaries(self.changes)))
        return "\n".join([*parts, calibration_table(self.calibrations)])

    def as_json(self) -> dict[str, Any]:
        """Means and standard errors, calibration errors and bins."""
        figures: dict[str, Any] = summaries(self.measured)
        if self.changes:
            figures["minus off"] = summaries(self.changes)
        figures["calibration"] = {
            truth: {mode: calibration.as_json() for mode, calibration in modes.items()}
            for truth, modes in self.calibrations.items()
        }
        return figures


def summarise(values: Rows) -> dict[str, Any]:
    """Number of positions, mean and standard error of every measure."""
    means, errors = values.mean(axis=0), values.std(axis=0) / len(values) ** 0.5
    return {"positions": len(values)} | {
        key: {"mean": mean, "standard_error": error}
        for key, mean, error in zip(MEASURES, means.tolist(), errors.tolist(), strict=True)
    }


def summaries(groups: Mapping[str, Rows]) -> dict[str, Any]:
    """`summarise` of every group that has positions."""
    return {name: summarise(values) for name, values in groups.items() if len(values)}


def table(title: str, summaries: Mapping[str, Any]) -> str:
    """Mean and standard error of all measures of every group."""
    width = max([28, *(len(name) + 2 for name in summaries)])
    lines = [f"{title:{width}}{'positions':>10}" + "".join(f"{measure:>20}" for measure in MEASURES)]
    for name, summary in summaries.items():
        cells = (f"{summary[key]['mean']:+.4f} +- {summary[key]['standard_error']:.4f}" for key in MEASURES)
        lines.append(f"{f'  {name}':{width}}{summary['positions']:10,}" + "".join(f"{cell:>20}" for cell in cells))
    return "\n".join(lines)


def calibration_table(calibrations: Calibrations) -> str:
    """The calibration errors."""
    title = "calibration error against"
    lines = [f"{title:40}{'positions':>10}" + "".join(f"{name:>9}" for name in (*OUTCOMES, "overall"))]
    for truth, modes in calibrations.items():
        for mode, calibration in modes.items():
            cells = "".join(f"{error:9.4f}" for error in calibration.errors.values())
            lines.append(f"{f'  {truth}, {mode}':40}{calibration.positions:10,}{cells}")
    return "\n".join(lines)


def plot_changes(title: str, changes: Mapping[str, Rows], path: Path) -> None:
    """Draw the differences and twice their standard errors: a panel a measure, a line a group."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    groups = summaries(changes)
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
