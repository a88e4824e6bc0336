"""How far predicted wdl can be trusted: of all positions given 70 %, are about 70 % won?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dejavu.retrieval.atomic import atomic_write

OUTCOMES = ("win", "draw", "loss")
BINS = 10


class Reliability(NamedTuple):
    """One class, its predictions put into equally wide bins over 0..1; the means of an empty bin are NaN."""

    predicted: NDArray[np.float64]
    """[bins] mean prediction."""
    observed: NDArray[np.float64]
    """[bins] mean of what was so."""
    counts: NDArray[np.int64]
    """[bins]"""


def reliability(
    predicted: NDArray[np.floating[Any]], observed: NDArray[np.floating[Any]], bins: int = BINS
) -> Reliability:
    """Bin probabilities [B] and compare each bin's mean with that of `observed` [B]: wdl, or 0 and 1."""
    # A prediction of exactly 1 belongs to the last bin.
    bin_of = np.minimum((predicted * bins).astype(np.int64), bins - 1)
    counts = np.bincount(bin_of, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(bin_of, weights=values, minlength=bins) / counts for values in (predicted, observed)]
    return Reliability(means[0], means[1], counts)


def expected_calibration_error(binned: Reliability) -> float:
    """How far prediction and truth lie apart in the bins, as an average over all positions; NaN without any."""
    filled = binned.counts > 0
    if not filled.any():
        return float("nan")
    return float(np.average(np.abs(binned.predicted - binned.observed)[filled], weights=binned.counts[filled]))


@dataclass(frozen=True)
class Calibration:
    """Win, draw and loss wdl against one kind of truth."""

    outcomes: tuple[Reliability, ...]
    """One for each of OUTCOMES."""

    @classmethod
    def measure(cls, predicted: NDArray[np.floating[Any]], observed: NDArray[np.floating[Any]]) -> Calibration:
        """From wdl [B, 3] and truths [B, 3]."""
        return cls(tuple(reliability(predicted[:, c], observed[:, c]) for c in range(len(OUTCOMES))))

    @property
    def positions(self) -> int:
        return int(self.outcomes[0].counts.sum())

    @property
    def errors(self) -> dict[str, float]:
        """Expected calibration error of each outcome, and "overall", their mean; NaN without positions."""
        errors = {name: expected_calibration_error(o) for name, o in zip(OUTCOMES, self.outcomes, strict=True)}
        return {**errors, "overall": float(np.mean(list(errors.values())))}

    def as_json(self) -> dict[str, Any]:
        """Errors and bins; null where there is nothing to average."""
        bins = {
            name: [
                {"predicted": predicted, "observed": observed, "count": count} if count else None
                for predicted, observed, count in zip(*(column.tolist() for column in outcome), strict=True)
            ]
            for name, outcome in zip(OUTCOMES, self.outcomes, strict=True)
        }
        errors = {name: error if self.positions else None for name, error in self.errors.items()}
        return {"positions": self.positions, "expected_calibration_error": errors, "bins": bins}


def plot_calibration(calibrations: Mapping[str, Mapping[str, Calibration]], path: Path) -> None:
    """Draw a row for each kind of truth, a column for each outcome and in each a curve for each net: [truth][net]."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    edges = np.linspace(0, 1, BINS + 1)
    figure, axes = plt.subplots(len(calibrations), len(OUTCOMES), figsize=(15, 5 * len(calibrations)), squeeze=False)
    for row, (truth, nets) in zip(axes, calibrations.items(), strict=True):
        for c, (axis, outcome) in enumerate(zip(row, OUTCOMES, strict=True)):
            axis.plot([0, 1], [0, 1], color="grey", linewidth=1, linestyle="--")
            for n, (net, calibration) in enumerate(nets.items()):
                binned, error = calibration.outcomes[c], calibration.errors[outcome]
                width = 0.9 / BINS / len(nets)
                left = edges[:-1] + 0.05 / BINS + n * width
                share = binned.counts / max(calibration.positions, 1)
                axis.bar(left, share, width, align="edge", color=f"C{n}", alpha=0.2)
                filled = binned.counts > 0
                label = f"{net}, error {error:.3f}"
                axis.plot(binned.predicted[filled], binned.observed[filled], "o-", color=f"C{n}", ms=4, label=label)
            positions = max(calibration.positions for calibration in nets.values())
            axis.set(
                xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", title=f"{outcome}: {positions:,} positions"
            )
            axis.set(xlabel="predicted (bars: share of positions)", ylabel=f"by {truth}", xticks=edges)
            axis.grid(alpha=0.3)
            axis.legend(loc="upper left")
    figure.tight_layout()
    with atomic_write(path) as file:
        figure.savefig(file, dpi=110, format="png")
    plt.close(figure)
