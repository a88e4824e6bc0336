"""Stage 1: backbone and heads from evaluated games."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dejavu.model.backbone import Inputs
from dejavu.model.config import PRESETS
from dejavu.model.data.dataset import TRAIN, Dataset
from dejavu.model.data.shards import open_data
from dejavu.model.network import Network
from dejavu.model.training.auxiliary import AuxiliaryHeads, continuation
from dejavu.model.training.batches import Batch, Sampler, make_batch, mirrored_rows
from dejavu.model.training.children import make_children
from dejavu.model.training.distillation import Student, losses_with_teacher
from dejavu.model.training.losses import losses_with_auxiliary
from dejavu.model.training.narrow import narrowed
from dejavu.model.training.ranks import Ranks
from dejavu.model.training.replicas import Replicas
from dejavu.model.training.run import TrainingReport, TrainingRun, started, train_and_save
from dejavu.model.weights import Weights, load_weights

SAMPLE = 512
"""Positions by which a network is narrowed."""


@dataclass(frozen=True, kw_only=True)
class BackboneRun(TrainingRun):
    """A run of stage 1."""

    preset: str = "small"
    """The network's config; not asked for where it starts from a trained one."""
    start_from: Path | None = None
    """Weights of an earlier run to go on from."""
    keep_layers: Sequence[int] | None = None
    """Those layers of the earlier run's network, counted from 0, that this one has; None: all."""
    teacher: Path | None = None
    """Weights of a net that it learns of, too, instead of how the games go on."""
    dynamic_bias: int | None = None
    """As NetworkConfig says; an earlier run's network may be given one so."""
    key_width: int | None = None
    """As NetworkConfig says; the network is narrowed to it."""
    attack_width: int | None = None
    """The same."""
    children: Mapping[str, float] | None = None
    """Shares of a batch that are positions after the best move of these game files, on the scale of `sources`; only for
    games whose best move is that of the evaluation."""
    plain: float = 1.0
    """Of the positions in which the men on the board tell who wins, the share that is kept."""
    auxiliary: bool = True
    """Whether it learns of how the games go on, too, where it has no teacher."""
    compile: bool = False
    """Whether torch.compile is used, which wants a C++ compiler."""

    @property
    def foresees(self) -> bool:
        """Whether its batches are to say how the games go on."""
        return self.auxiliary and self.teacher is None

    def order_seed(self) -> int:
        """Another one for every net that a run starts from: it must not see again what that net saw last."""
        return self.seed if self.start_from is None else self.seed + zlib.crc32(self.start_from.read_bytes())

    def rows_of(self, dataset: Dataset, source: str) -> NDArray[np.int64]:
        rows = super().rows_of(dataset, source)
        if self.plain == 1:
            return rows
        kept = np.random.default_rng(self.seed).random(len(rows)) < self.plain
        return rows[kept | ~dataset.is_plain(rows)]

    def orders(self, dataset: Dataset) -> tuple[Sampler, Sampler | None]:
        """The orders in which positions are taken, and those whose children are."""
        own, children = self.sources or {"": 1.0}, self.children or {}
        share = sum(children.values()) / (sum(own.values()) + sum(children.values()))
        count = round(share * self.batch)
        order = replace(self, batch=self.batch - count).rows(dataset)
        if not count:
            return order, None
        return order, replace(self, batch=count, sources=children, seed=self.seed + 1).rows(dataset)

    def network(self) -> Network:
        """The network before training. Raises WeightsError, and ValueError for layers that there are not."""
        if self.keep_layers is not None and self.start_from is None:
            raise ValueError("there is no earlier net to keep the layers of")
        trained = load_weights(self.start_from)[0] if self.start_from else None
        if trained and self.keep_layers is not None:
            trained = of_layers(trained, self.keep_layers)
        config = replace(trained.config, interpolation=False) if trained else PRESETS[self.preset]
        if self.dynamic_bias is not None:
            config = replace(config, dynamic_bias=self.dynamic_bias)
        network = Network(config, retrieval=False)
        if trained:
            network.load_state_dict(trained.state_dict(), strict=False)
        return network


def of_layers(network: Network, layers: Sequence[int]) -> Network:
    """A network of these of the layers, in their order, without a retrieval part; its weights are those of `network`.

    Raises ValueError unless they are some of its layers, in order.
    """
    count = network.config.layers
    if not layers or list(layers) != sorted(set(layers)) or not set(layers) <= set(range(count)):
        raise ValueError(f"{list(layers)} are not some of the layers 0 to {count - 1}, in order")
    config = replace(network.config, layers=len(layers))
    shallower = Network(config, retrieval=False).to(next(network.parameters()).dtype)
    shallower.load_state_dict({**network.state_dict(), **_renumbered(network, layers)}, strict=False)
    return shallower


def sample(dataset: Dataset, seed: int) -> Inputs:
    """Some training positions, the same in all ranks."""
    rows = np.random.default_rng(seed).permutation(dataset.rows_to_learn((TRAIN,)))[:SAMPLE]
    return make_batch(dataset, rows).inputs


def _renumbered(network: Network, layers: Sequence[int]) -> dict[str, Tensor]:
    return {
        f"backbone.layers.{number}.{name}": value
        for number, layer in enumerate(layers)
        for name, value in network.backbone.layers[layer].state_dict().items()
    }


def train_backbone(run: BackboneRun) -> TrainingReport | None:
    """Run stage 1 to its end; only the first rank has a report.

    Raises DatasetError, WeightsError, CheckpointError, RanksError, ValueError and WriteError.
    """
    with started(run) as ranks:
        dataset = open_data(run.data)
        order, children = run.orders(dataset)

        def part_of(rows: NDArray[np.int64]) -> Batch:
            mirrored = mirrored_rows(dataset, rows, order.seed)
            batch = make_batch(dataset, rows, run.result_weight, mirrored)
            return batch._replace(continuation=continuation(dataset, rows, mirrored)) if run.foresees else batch

        def children_of(rows: NDArray[np.int64]) -> Batch:
            return make_children(dataset, rows, order.seed)

        def parts_of(step: int) -> list[Batch]:
            parts: list[tuple[Callable[[NDArray[np.int64]], Batch], NDArray[np.int64]]]
            parts = [(part_of, rows) for rows in run.cut(order.rows(step), ranks)]
            if children is not None:
                parts += [(children_of, rows) for rows in run.cut(children.rows(step), ranks)]
            return [make(rows) for make, rows in run.share(parts, ranks)]

        return train_stage1(run, ranks, dataset, parts_of)


def train_stage1(
    run: BackboneRun, ranks: Ranks, dataset: Dataset, parts_of: Callable[[int], list[Batch]]
) -> TrainingReport | None:
    """Train the network of a run on batches wherever they come from; the data set is there to evaluate.

    Raises WeightsError, CheckpointError, ValueError and WriteError.
    """
    device = torch.device(run.device)
    torch.manual_seed(run.seed)
    network = run.network()
    if run.key_width is not None or run.attack_width is not None:
        network = narrowed(network, sample(dataset, run.seed), run.key_width, run.attack_width)
        # What singular vectors are made of may be rounded otherwise on another processor.
        ranks.check_equal(zlib.crc32(Weights.of(network).checksum.encode()) % 2**24, "narrowed networks (checksums)")
    print(f"{sum(value.numel() for value in network.parameters()):,} parameters, {network.config}")
    replicas: Replicas[Student] | Replicas[AuxiliaryHeads]
    if run.teacher is None:
        auxiliary = AuxiliaryHeads(network).to(device, torch.bfloat16)
        replicas = run.replicate(auxiliary, losses_with_auxiliary, run.compile)
        taught_by = "nobody"
    else:
        teacher = load_weights(run.teacher)[0]
        student = Student(network, teacher).to(device, torch.bfloat16)
        replicas = run.replicate(student, losses_with_teacher, run.compile)
        taught_by = Weights.of(teacher).checksum
    held_out = [batch.to(device) for batch in run.held_out_batches(dataset)]
    settings = {"auxiliary": str(run.auxiliary), "teacher": taught_by}
    settings |= {"children": str(run.children), "plain": str(run.plain)}
    return train_and_save(run, ranks, network, replicas, parts_of, held_out, settings)
