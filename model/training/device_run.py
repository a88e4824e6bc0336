"""Stage 1 on one GPU, with all data in its memory: what a run reads, and how it begins."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch

from dejavu.model.data.device_arrays import DeviceArrays
from dejavu.model.data.shards import open_data
from dejavu.model.training.backbone_run import BackboneRun, train_stage1
from dejavu.model.training.batches import Batch, Sampler
from dejavu.model.training.device_batches import DeviceBatches
from dejavu.model.training.run import TrainingReport, started

MANY_STEPS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class DeviceRun(BackboneRun):
    """A run of stage 1 whose batches are made on the device; every batch is computed at once.

    `data` are there to evaluate, the positions to train on are those of the arrays. Their value targets are made
    already, of evaluations alone.
    """

    arrays: Path
    """Of data.device_arrays."""
    steps: int = MANY_STEPS
    batch: int = 4096
    learning_rate: float = 4e-3
    decay: float = 0.6

    def __post_init__(self) -> None:
        if self.result_weight:
            raise ValueError("the results of the games have no part in the value targets of arrays")
        if self.steps == MANY_STEPS and self.seconds == math.inf:
            raise ValueError("a run needs a number of steps or of seconds")


def train_on_device(run: DeviceRun) -> TrainingReport | None:
    """Run stage 1 to its end. Raises what train_backbone does."""
    with started(run) as ranks:
        if ranks.count > 1:
            raise ValueError("a run with its data in the memory of a GPU is for one process")
        dataset = open_data(run.data)
        arrays = DeviceArrays.open(run.arrays)
        weights = run.sources or {"": 1.0}
        order = Sampler({name: arrays.rows(name) for name in weights}, weights, run.batch, run.order_seed())
        batches = DeviceBatches(arrays, torch.device(run.device))

        def parts_of(step: int) -> list[Batch]:
            batch = batches.make(order.rows(step), order.seed)
            return [batch if run.foresees else batch._replace(continuation=None)]

        return train_stage1(run, ranks, dataset, parts_of)
