"""Loss curves of a run as a picture."""

from __future__ import annotations

import csv
from pathlib import Path

from dejavu.retrieval.atomic import atomic_write

PANELS = (("policy_loss", "policy loss (nats)"), ("value_loss", "value loss (nats)"), ("top1", "policy top-1"))


def _columns(path: Path) -> dict[str, list[float]]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [float(row[name]) for row in rows] for name in ("samples", *(key for key, _ in PANELS))}


def plot_run(folder: Path) -> Path:
    """Draw train.csv and held_out.csv of a run folder into curves.png. Raises WriteError."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(PANELS), figsize=(15, 4))
    for name, style in (("train", "-"), ("held_out", "o-")):
        columns = _columns(folder / f"{name}.csv")
        for axis, (key, label) in zip(axes, PANELS, strict=True):
            axis.plot(columns["samples"], columns[key], style, markersize=4, linewidth=1, label=name.replace("_", "-"))
            axis.set(xlabel="samples", ylabel=label)
            axis.grid(alpha=0.3)
            axis.legend()
    figure.tight_layout()
    path = folder / "curves.png"
    with atomic_write(path) as file:
        figure.savefig(file, dpi=110, format="png")
    plt.close(figure)
    return path
