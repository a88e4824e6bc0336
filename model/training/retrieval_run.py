"""Stage 2: neighbour encoder and chunked cross-attention, on the frozen backbone and heads of stage 1."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from dejavu.model.config import NetworkConfig
from dejavu.model.data.dataset import TRAIN
from dejavu.model.data.shards import open_data
from dejavu.model.neighbours import Retriever, arrange
from dejavu.model.network import Network, Retrieval
from dejavu.model.training.batches import Batch, add_neighbours, add_twins, make_batch
from dejavu.model.training.loop import evaluate
from dejavu.model.training.losses import Losses, losses
from dejavu.model.training.precompute import NeighbourShards
from dejavu.model.training.run import TrainingReport, TrainingRun, started, train_and_save
from dejavu.model.training.trust import changed_by, multiply_odds
from dejavu.model.weights import fingerprint, load_weights
from dejavu.retrieval.memory import Memory


@dataclass(frozen=True, kw_only=True)
class RetrievalRun(TrainingRun):
    """A run of stage 2; what of the network's config is None stays as stage 1 has it."""

    weights: Path
    """Of stage 1."""
    memory: Path
    """Built with these weights."""
    start_from: Path | None = None
    """A network, with any backbone, to go on from the retrieval part of."""
    twins: float = 0.15
    """Share of the samples whose own position the memory holds."""
    neighbours: int | None = None
    """Neighbours a chunk attends."""
    neighbour_width: int | None = None
    """Numbers a token of an encoded neighbour."""
    retrieve_by: str | None = None
    shifted: bool | None = None
    interpolation: bool = True

    SPLITS: ClassVar[tuple[int, ...]] = (TRAIN,)
    """The games of the memory to train beside are others."""

    def config(self, stage1: NetworkConfig) -> NetworkConfig:
        """That of the network with its retrieval part."""
        names = ("neighbours", "neighbour_width", "retrieve_by", "shifted", "interpolation")
        wanted = {name: getattr(self, name) for name in names}
        return replace(stage1, **{name: value for name, value in wanted.items() if value is not None})


@dataclass(frozen=True)
class RetrievalReport(TrainingReport):
    """What a run of stage 2 came to."""

    taught: float
    """Share of held-out positions, each taught a random move, where that is played."""

    def __str__(self) -> str:
        return (
            f"{super().__str__()}\n"
            f"held-out positions, each taught a random move: {self.taught:.1%} of the moves are played"
        )


def train_retrieval(run: RetrievalRun) -> RetrievalReport | None:
    """Run stage 2 to its end; only the first rank has a report.

    Raises DatasetError, WeightsError, MemoryFileError, CheckpointError, RanksError, ValueError and WriteError.
    """
    with started(run) as ranks:
        dataset = open_data(run.data)
        device = torch.device(run.device)
        stage1, _ = load_weights(run.weights)
        config = run.config(stage1.config)
        memory = Memory.open(run.memory, fingerprint(stage1))
        torch.manual_seed(run.seed)
        network = Network(config, retrieval=True).to(device, torch.bfloat16)
        network.load_state_dict(stage1.state_dict(), strict=False)
        network.requires_grad_(False)
        assert network.retrieval is not None
        if run.start_from:
            take_over_retrieval(network.retrieval, run.start_from)
        network.retrieval.requires_grad_(True)
        trained = sum(value.numel() for value in network.retrieval.parameters())
        print(f"{trained:,} parameters to train, {config}")

        order = run.rows(dataset)
        retriever = Retriever(config, memory, run.threads)
        found_in = zlib.crc32(memory.keys.tobytes() + fingerprint(stage1).encode())
        wanted = zlib.crc32(b"".join(order.rows(step).tobytes() for step in (0, run.steps - 1)), found_in)
        folder = run.folder / f"neighbours-{wanted:08x}"
        shards = NeighbourShards(folder, order.rows, run.steps, dataset, network, retriever, ranks)
        shards.compute()
        held_out = [add_neighbours(batch, shards.search(batch.rows), memory) for batch in run.held_out_batches(dataset)]
        taught = [add_twins(batch, 1.0, run.seed, random_moves=1.0).to(device) for batch in held_out]

        def parts_of(step: int) -> list[Batch]:
            rows, found = order.rows(step), shards.of_step(step)
            return [
                add_twins(
                    add_neighbours(make_batch(dataset, rows[part], run.result_weight), found.take(part), memory),
                    run.twins,
                    run.seed,
                )
                for part in run.share(run.cut(np.arange(len(rows)), ranks), ranks)
            ]

        without_memory = run.replicate(network, lambda replica, batch: losses(replica(batch.inputs), batch))
        off = evaluate(without_memory, held_out, ranks)
        print("held-out without memory: policy loss {:.4f}, value loss {:.4f}, top-1 {:.2%}".format(*off))
        replicas = run.replicate(network, losses_with_memory)
        settings = {"backbone": fingerprint(stage1), "twins": str(run.twins), "memory": f"{found_in:08x}"}
        on_device = [batch.to(device) for batch in held_out]
        report = train_and_save(run, ranks, network, replicas, parts_of, on_device, settings)
        top1 = evaluate(replicas, taught, ranks)[2]
        return RetrievalReport(**vars(report), taught=top1) if report is not None else None


def losses_with_memory(replica: Network, batch: Batch) -> Losses:
    """Losses of a batch with its neighbours, without a gradient for the backbone."""
    assert replica.retrieval is not None
    assert batch.neighbours is not None
    with torch.no_grad():
        hidden = replica.backbone(batch.inputs)
    tokens = replica.retrieval.encoder(batch.neighbours.records)
    encoded = arrange(tokens, batch.neighbours.slots, batch.neighbours.found)
    return losses(replica.heads(hidden, encoded), batch)


def take_over_retrieval(retrieval: Retrieval, path: Path) -> None:
    """Give the retrieval part what that of another net, whose backbone may be an earlier one, has learnt."""
    earlier, metadata = load_weights(path)
    if earlier.retrieval is None:
        raise ValueError(f"{path} has no retrieval part to go on from")
    try:
        retrieval.load_state_dict(earlier.retrieval.state_dict())
    except RuntimeError:
        raise ValueError(f"the retrieval part of {path} has another shape: {earlier.config}") from None
    if retrieval.interpolation is not None:
        multiply_odds(retrieval.interpolation, 1 / changed_by(metadata))  # without what was added by hand
