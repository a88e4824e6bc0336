"""What both stages of training have in common: what a run is told, its batches, and its end."""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from dejavu.model.data.dataset import HELD_OUT, MEMORY, TRAIN, Dataset, DatasetError
from dejavu.model.network import Network
from dejavu.model.training.batches import Batch, Sampler, make_batch
from dejavu.model.training.loop import Run, Schedule, train
from dejavu.model.training.losses import Losses
from dejavu.model.training.plot import plot_run
from dejavu.model.training.ranks import Ranks, joined_ranks
from dejavu.model.training.replicas import M, Replicas
from dejavu.model.weights import save_weights

T = TypeVar("T")
HELD_OUT_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """A run of either stage; started again with the same values after a kill, it goes on from its checkpoint."""

    data: Sequence[Path]
    """Data sets, and folders of games of self-play."""
    folder: Path
    """Of the checkpoint, the logs, the curves and at the end the weights."""
    steps: int
    seconds: float = math.inf
    """Of training, after which it ends even if not all steps are done; for one process."""
    batch: int = 256
    """Samples an update."""
    part: int = 64
    """Samples computed at once; on a GPU it is the whole batch."""
    learning_rate: float = 1e-3
    decay: float = Schedule.decay
    """Last share of the run, over which the rate falls to zero."""
    sources: Mapping[str, float] | None = None
    """Shares of the game files in a batch, by a part of their name; None: all alike."""
    result_weight: float = 0.0
    """Share of the game's result in the value."""
    held_out: int = 8192
    """Held-out positions evaluated."""
    held_out_source: str | None = None
    """Only those of game files with this in their name."""
    evaluate_every: int = 1000
    """Steps."""
    checkpoint_every: int = 500
    """Steps."""
    seed: int = 1
    threads: int = field(default_factory=torch.get_num_threads)
    """CPU cores, a replica of the network on each."""
    device: str = field(default_factory=lambda: "cuda" if torch.cuda.is_available() else "cpu")
    name: str = ""
    """What the net is called, for instance mine-1; kept with the weights."""
    command: str = ""
    """What was asked for, in words that are kept with the weights."""

    SPLITS: ClassVar[tuple[int, ...]] = (TRAIN, MEMORY)
    """Whose positions are learned from."""

    def order_seed(self) -> int:
        """What decides the order of the samples."""
        return self.seed

    def rows(self, dataset: Dataset) -> Sampler:
        """The order in which training positions are taken."""
        weights = self.sources or {"": 1.0}
        rows = {name: self.rows_of(dataset, name) for name in weights}
        return Sampler(rows, weights, self.batch, self.order_seed())

    def rows_of(self, dataset: Dataset, source: str) -> NDArray[np.int64]:
        """Those that are learned from of game files with `source` in their names."""
        return dataset.rows_to_learn(self.SPLITS, source)

    def held_out_batches(self, dataset: Dataset) -> list[Batch]:
        """The same random held-out positions in every evaluation. Raises DatasetError where there are none."""
        rows = dataset.rows_to_learn((HELD_OUT,), self.held_out_source)
        if not len(rows):
            source = f" from {self.held_out_source}" if self.held_out_source else ""
            raise DatasetError(f"the data set has no held-out positions{source}")
        chosen = np.random.default_rng(0).permutation(rows)[: self.held_out]
        return [make_batch(dataset, chosen[i : i + HELD_OUT_BATCH]) for i in range(0, len(chosen), HELD_OUT_BATCH)]

    def replicate(self, network: M, objective: Callable[[M, Batch], Losses], compiled: bool = False) -> Replicas[M]:
        """A replica on every core, each computing with one thread; a GPU has one."""
        if self.device != "cpu":
            return Replicas(network, 1, objective, compiled)
        torch.set_num_threads(1)
        return Replicas(network, self.threads, objective, compiled)

    def cut(self, rows: NDArray[np.int64], ranks: Ranks) -> list[NDArray[np.int64]]:
        """The rows of a batch in parts of the size that is computed at once."""
        size = self.part if self.device == "cpu" else math.ceil(len(rows) / ranks.count)
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def share(self, parts: Sequence[T], ranks: Ranks) -> list[T]:
        """Those parts of a batch that are this rank's. Raises ValueError where there are too few."""
        if len(parts) < ranks.count:
            raise ValueError(f"{self.batch} samples in parts of {self.part} are too few for {ranks.count} ranks")
        return ranks.share(parts)


@dataclass(frozen=True)
class TrainingReport:
    """What a run came to, on held-out positions, and its files."""

    policy_loss: float
    value_loss: float
    top1: float
    weights: Path
    curves: Path

    def __str__(self) -> str:
        return f"wrote {self.weights} and {self.curves}"


@contextlib.contextmanager
def started(run: TrainingRun) -> Iterator[Ranks]:
    """Make the run's folder and find the other ranks, of which only the first prints. Raises RanksError."""
    torch.set_num_threads(run.threads)  # for all but the training itself
    run.folder.mkdir(parents=True, exist_ok=True)
    with joined_ranks(torch.device(run.device)) as ranks, contextlib.ExitStack() as silence:
        if not ranks.is_first:
            silence.enter_context(contextlib.redirect_stdout(io.StringIO()))
        yield ranks


def train_and_save(
    run: TrainingRun,
    ranks: Ranks,
    network: Network,
    replicas: Replicas[Any],
    parts_of: Callable[[int], list[Batch]],
    held_out: list[Batch],
    settings: dict[str, str],
) -> TrainingReport | None:
    """Train either stage to its end, from its checkpoint if it has one; write the weights of `network` and curves.

    `settings` are what a resumed run must share with the first, beside the config, the schedule and the sources.
    Only the first rank has a report.
    """
    schedule = Schedule(run.steps, run.batch, run.learning_rate, decay=run.decay, seconds=run.seconds)
    files = Run(run.folder, evaluate_every=run.evaluate_every, checkpoint_every=run.checkpoint_every)
    settings = {
        "config": network.config.to_json(),
        "sources": str(run.sources),
        "result_weight": str(run.result_weight),
        **settings,
    }

    def save(name: str, steps: int, **results: str) -> Path:
        training = {"command": run.command, "samples": str(steps * schedule.batch), **results}
        training["date"] = datetime.now(timezone.utc).date().isoformat()
        if run.name:
            training["name"] = run.name
        path = run.folder / name
        save_weights(path, network, network.config, training)
        return path

    def save_undecayed(steps: int) -> None:
        save("undecayed.safetensors", steps)

    steps, policy, value, top1 = train(replicas, parts_of, held_out, schedule, files, settings, ranks, save_undecayed)
    if not ranks.is_first:
        return None
    held_out_losses = f"policy loss {policy:.4f}, value loss {value:.4f}, top-1 {top1:.4f}"
    weights = save("weights.safetensors", steps, held_out=held_out_losses)
    return TrainingReport(policy, value, top1, weights, plot_run(run.folder))
