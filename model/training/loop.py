"""The training loop of both stages: batch, loss, update; log, evaluate, checkpoint; resume after a kill."""

from __future__ import annotations

import csv
import io
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch

from dejavu.model.training.batches import Batch, prefetch
from dejavu.model.training.checkpoint import MasterWeights, load_checkpoint, save_checkpoint
from dejavu.model.training.losses import Average
from dejavu.model.training.ranks import Ranks
from dejavu.model.training.replicas import Replicas
from dejavu.retrieval.progress import print_above, progress_bar

LOG_FIELDS = ("step", "samples", "seconds", "learning_rate", "gradient_norm", "policy_loss", "value_loss", "top1")


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train."""

    steps: int = field(repr=False)
    """Updates in all, where the seconds suffice."""
    batch: int
    """Samples an update."""
    learning_rate: float
    """Peak, reached after the warm-up and held until the decay."""
    warm_up: int = 100
    """Steps of linear warm-up."""
    decay: float = field(default=0.5, repr=False)
    """Last share of the steps, over which the rate falls linearly to zero."""
    weight_decay: float = 0.05
    averaging: float = 0.998
    """Decay of the running average of the weights; the average is what is evaluated and shipped."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    seconds: float = field(default=math.inf, repr=False)
    """After which training ends, if the steps are not done before; the rate then falls by the clock. No property of
    the run, which may be given more time when it goes on."""

    def rate(self, step: int, seconds: float) -> float:
        """Learning rate of `step`, counted from 0, begun after so many seconds."""
        warm = min(1.0, (step + 1) / self.warm_up)
        left = (self.steps - step) / max(1.0, self.decay * self.steps)
        if self.seconds < math.inf:
            left = min(left, (1 - seconds / self.seconds) / max(1 / self.steps, self.decay))
        return self.learning_rate * warm * max(0.0, min(1.0, left))

    def is_over(self, steps: int, seconds: float) -> bool:
        """Whether so many steps, done in so many seconds, are all."""
        return steps >= self.steps or seconds >= self.seconds

    @property
    def falls_after(self) -> int:
        """Steps after which the rate falls, where the seconds do not make it fall before."""
        return int(self.steps * (1 - self.decay))

    def settings(self, steps: int) -> dict[str, str]:
        """What a run that has done so many steps shares with those before and after it.

        How long it is to be does not matter until the rate has begun to fall.
        """
        fallen = steps > self.falls_after
        falling = f"over the last {self.decay:g} of {self.steps} steps" if fallen else "none yet"
        return {"schedule": str(self), "falling rate": falling}

    def falls(self, steps: int, seconds: float) -> bool:
        """Whether the rate begins to fall once so many steps are done in so many seconds, or has begun to."""
        return steps >= self.falls_after or seconds >= self.seconds * (1 - self.decay)


@dataclass(frozen=True)
class Run:
    """Where a run writes and how often (in steps)."""

    folder: Path
    log_every: int = 50
    evaluate_every: int = 1000
    checkpoint_every: int = 500

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.safetensors"


class CsvLog:
    """A CSV file that a resumed run continues: rows past the checkpoint are dropped, those before it not repeated."""

    def __init__(self, path: Path, step: int, writes: bool) -> None:
        """Of several ranks only one `writes`."""
        rows = []
        if path.exists():
            with path.open(newline="") as file:
                rows = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
        if writes:
            partial = path.with_name(path.name + ".partial")
            with partial.open("w", newline="") as file:
                kept = csv.DictWriter(file, LOG_FIELDS)
                kept.writeheader()
                kept.writerows(rows)
            os.replace(partial, path)
        self.file: IO[str] = path.open("a", newline="") if writes else io.StringIO()
        self.writer = csv.DictWriter(self.file, LOG_FIELDS)
        self.seconds = float(rows[-1]["seconds"]) if rows else 0.0
        self._last_step = int(rows[-1]["step"]) if rows else -1

    def write(self, step: int, **values: float) -> None:
        """Add the row of a step, unless an earlier run has written it."""
        if step <= self._last_step:
            return
        self.writer.writerow(
            {"step": step}
            | {key: f"{value:.6g}" if isinstance(value, float) else value for key, value in values.items()}
        )
        self.file.flush()


class Trained(NamedTuple):
    """What a run came to: its steps, and the losses on held-out positions."""

    steps: int
    policy: float
    value: float
    top1: float


def evaluate(replicas: Replicas[Any], batches: Sequence[Batch], ranks: Ranks) -> tuple[float, float, float]:
    """Policy loss, value loss and top-1 over `batches`, the same in all ranks; each computes its share of them."""
    average = Average(device_of(replicas))
    own = ranks.share(batches)
    for loss, batch in zip(replicas.evaluate(own), own, strict=True):
        average.add(loss, len(batch.rows))
    ranks.add_up([average.totals])
    return average.means()


def device_of(replicas: Replicas[Any]) -> torch.device:
    """Where they compute."""
    device: torch.device = next(replicas.networks[0].parameters()).device
    return device


def train(
    replicas: Replicas[Any],
    make_parts: Callable[[int], list[Batch]],
    held_out: Sequence[Batch],
    schedule: Schedule,
    run: Run,
    settings: dict[str, str],
    ranks: Ranks,
    save_undecayed: Callable[[int], None],
) -> Trained:
    """Train what requires a gradient in the replicas' network; resumes from the run's checkpoint if there is one.

    `held_out` lies on the network's device; `make_parts(step)`, this rank's parts of a batch, works ahead in a second
    thread. All ranks read the run's folder, the first one writes there. It calls `save_undecayed` with the steps
    done before the rate begins to fall, the averaged weights in the network: a later run loses nothing to a high rate
    there. Leaves the averaged weights in the network.
    """

    def settings_at(steps: int) -> dict[str, str]:
        return settings | schedule.settings(steps)

    device = device_of(replicas)
    parameters = {name: value for name, value in replicas.networks[0].named_parameters() if value.requires_grad}
    masters = MasterWeights(
        parameters, schedule.learning_rate, schedule.weight_decay, schedule.averaging, len(replicas.networks)
    )
    average = Average(device)
    first = 0
    if run.checkpoint.exists():
        first, totals = load_checkpoint(run.checkpoint, masters, settings_at)
        if ranks.is_first:  # they are those of all ranks
            average.totals += totals.to(device)
        print(f"resumed {run.checkpoint} at step {first}")
    ranks.check_equal(first, f"checkpoints in {run.folder}, which all must share (steps)")
    log = CsvLog(run.folder / "train.csv", first, ranks.is_first)
    evaluations = CsvLog(run.folder / "held_out.csv", first, ranks.is_first)
    start = time.monotonic() - log.seconds
    falls = schedule.falls(first, log.seconds)

    def held_out_now(step: int) -> Trained:
        masters.use_averages()
        policy, value, top1 = evaluate(replicas, held_out, ranks)
        evaluations.write(
            step=step,
            samples=step * schedule.batch,
            seconds=time.monotonic() - start,
            policy_loss=policy,
            value_loss=value,
            top1=top1,
        )
        told = f"step {step}: held-out policy loss {policy:.4f}, value loss {value:.4f}, top-1 {top1:.2%}"
        print_above(told, sys.stdout)
        return Trained(step, policy, value, top1)

    total = schedule.steps if schedule.seconds == math.inf else None
    progress = progress_bar("training", "steps", total, first, silent=not ranks.is_first)
    done = first
    with prefetch(make_parts, range(first, schedule.steps)) as batches:
        for step, parts in enumerate(batches, start=first):
            parts = [part.to(device) for part in parts]
            for loss, part in zip(replicas.learn(parts, schedule.batch), parts, strict=True):
                average.add(loss, len(part.rows))
            rate = schedule.rate(step, time.monotonic() - start)
            norm = masters.step(rate, schedule.clip, ranks)
            done, seconds = step + 1, time.monotonic() - start
            is_over = schedule.is_over(done, seconds)
            progress.update()
            if done % run.log_every == 0 or is_over:
                ranks.add_up([average.totals])
                policy, value, top1 = average.means()
                log.write(
                    step=done,
                    samples=done * schedule.batch,
                    seconds=seconds,
                    learning_rate=rate,
                    gradient_norm=float(norm),
                    policy_loss=policy,
                    value_loss=value,
                    top1=top1,
                )
                progress.note(f"policy={policy:.3f} value={value:.3f} top1={top1:.1%}")
                average = Average(device)
            if done % run.evaluate_every == 0 and not is_over:
                held_out_now(done)
                masters.use_weights()
            if ranks.is_first and not falls and schedule.falls(done, seconds):
                falls = True
                masters.use_averages()
                save_undecayed(done)
                masters.use_weights()
            if done % run.checkpoint_every == 0 or is_over:
                totals = average.totals.clone()
                ranks.add_up([totals])
                if ranks.is_first:
                    save_checkpoint(run.checkpoint, masters, totals, done, settings_at(done))
            if is_over:
                break
    progress.close()
    return held_out_now(done)
