"""Train the network, in two stages.

    python scripts/train.py backbone --data runs/data.safetensors --run runs/small --preset small --steps 8000
    python scripts/train.py retrieval --data runs/data.safetensors --run runs/small-retrieval \\
        --weights runs/small/weights.safetensors --memory runs/memory.safetensors --steps 2000

    torchrun --nnodes 4 --nproc-per-node 1 --rdzv-backend c10d --rdzv-endpoint HOST:29400 -- \\
        scripts/train.py backbone ...

The last trains on four machines that share the run folder (or, with --nproc-per-node alone, on the GPUs of one): each
computes its part of every batch, so the outcome is that of one machine up to rounding.

A run folder holds the checkpoint, the logs (CSV), the curves (PNG) and at the end the averaged weights. Started again
with the same arguments after a kill, a run goes on from its checkpoint to the same loss curve. It also keeps the
averaged weights of before the learning rate fell (undecayed.safetensors): a longer run starts best from those.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from command_line.ending import one_sentence
from numpy.typing import NDArray

from dejavu.model.config import PRESETS
from dejavu.model.data.dataset import HELD_OUT, TRAIN, Dataset, DatasetError
from dejavu.model.data.shards import open_data
from dejavu.model.neighbours import Retriever, arrange
from dejavu.model.network import Network, Retrieval
from dejavu.model.training.batches import Batch, RowOrder, add_neighbours, add_twins, make_batch, mirrored_rows
from dejavu.model.training.checkpoint import CheckpointError
from dejavu.model.training.foresight import Foresight, continuation
from dejavu.model.training.loop import Run, Schedule, evaluate, train
from dejavu.model.training.losses import Losses, losses, losses_with_foresight
from dejavu.model.training.plot import plot_run
from dejavu.model.training.precompute import NeighbourShards
from dejavu.model.training.ranks import Ranks, RanksError, join_ranks
from dejavu.model.training.replicas import M, Replicas
from dejavu.model.weights import WeightsError, fingerprint, load_weights, save_weights
from dejavu.retrieval.memory import Memory, MemoryFileError

HELD_OUT_BATCH = 256


def parse_sources(text: str) -> dict[str, float]:
    """ "teacher=2,tcec=1" -> parts of game-file names and their weights in a batch."""
    try:
        return {name: float(weight) for name, weight in (part.split("=") for part in text.split(","))}
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=WEIGHT,NAME=WEIGHT,...") from None


def held_out_batches(dataset: Dataset, source: str | None, positions: int) -> list[Batch]:
    """The same random held-out positions in every evaluation."""
    rows = dataset.rows(HELD_OUT, source)
    if not len(rows):
        raise DatasetError("the data set has no held-out positions" + (f" from {source}" if source else ""))
    chosen = np.random.default_rng(0).permutation(rows)[:positions]
    return [make_batch(dataset, chosen[i : i + HELD_OUT_BATCH]) for i in range(0, len(chosen), HELD_OUT_BATCH)]


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        type=Path,
        nargs="+",
        required=True,
        help="data sets of scripts/prepare_data.py, folders of scripts/selfplay.py",
    )
    parser.add_argument("--run", type=Path, required=True, help="folder of this run")
    parser.add_argument("--name", help="what the net is called, for instance dejavu-11; goes into the weights file")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--batch", type=int, default=256, help="samples an update")
    parser.add_argument("--part", type=int, default=64, help="samples computed at once; the whole batch on a GPU")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--decay", type=float, default=Schedule.decay, help="last share of the steps, rate to zero")
    parser.add_argument(
        "--sources",
        type=parse_sources,
        metavar="NAME=WEIGHT,...",
        help="shares of the game files in a batch, by a part of their name (default: all alike)",
    )
    parser.add_argument("--result-weight", type=float, default=0.0, help="share of the game's result in the value")
    parser.add_argument("--held-out", type=int, default=8192, help="held-out positions evaluated")
    parser.add_argument("--held-out-source", help="only those of game files with this in their name")
    parser.add_argument("--evaluate-every", type=int, default=1000, metavar="STEPS")
    parser.add_argument("--checkpoint-every", type=int, default=500, metavar="STEPS")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU cores, a replica on each")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")


def row_order(arguments: argparse.Namespace, dataset: Dataset) -> RowOrder:
    weights = arguments.sources or {"": 1.0}
    rows = {name: dataset.rows(TRAIN, name) for name in weights}
    return RowOrder(rows, weights, arguments.batch, arguments.seed)


def replicate(
    arguments: argparse.Namespace, network: M, objective: Callable[[M, Batch], Losses], compiled: bool = False
) -> Replicas[M]:
    """A replica on every core, each computing with one thread; a GPU has one."""
    if arguments.device != "cpu":
        return Replicas(network, 1, objective, compiled)
    torch.set_num_threads(1)
    return Replicas(network, arguments.threads, objective, compiled)


def cut(arguments: argparse.Namespace, rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """This rank's rows of a batch, in parts of the size that is computed at once."""
    ranks: Ranks = arguments.ranks
    size = arguments.part if arguments.device == "cpu" else math.ceil(len(rows) / ranks.count)
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]
    if len(parts) < ranks.count:
        raise ValueError(f"{len(rows)} samples in parts of {size} are too few for {ranks.count} ranks")
    return ranks.share(parts)


def train_and_save(
    arguments: argparse.Namespace,
    network: Network,
    replicas: Replicas[Any],
    parts_of: Callable[[int], list[Batch]],
    held_out: list[Batch],
    settings: dict[str, str],
) -> None:
    """Run either stage to its end, from its checkpoint if it has one; write the weights of `network` and curves.

    `settings` are what a resumed run must share with the first, beside the config, the schedule and the sources.
    """
    schedule = Schedule(arguments.steps, arguments.batch, arguments.learning_rate, decay=arguments.decay)
    run = Run(arguments.run, evaluate_every=arguments.evaluate_every, checkpoint_every=arguments.checkpoint_every)
    settings = {
        "config": network.config.to_json(),
        "schedule": str(schedule),
        "sources": str(arguments.sources),
        "result_weight": str(arguments.result_weight),
        **settings,
    }

    def save(name: str, steps: int, **results: str) -> Path:
        training = {"command": arguments.command, "samples": str(steps * schedule.batch), **results}
        training["date"] = datetime.now(timezone.utc).date().isoformat()
        if arguments.name:
            training["name"] = arguments.name
        path = run.folder / name
        save_weights(path, network, network.config, training)
        return path

    def save_undecayed() -> None:
        save("undecayed.safetensors", schedule.decay_start)

    policy, value, top1 = train(replicas, parts_of, held_out, schedule, run, settings, arguments.ranks, save_undecayed)
    if not arguments.ranks.is_first:
        return
    held_out_losses = f"policy loss {policy:.4f}, value loss {value:.4f}, top-1 {top1:.4f}"
    weights = save("weights.safetensors", schedule.steps, held_out=held_out_losses)
    print(f"wrote {weights} and {plot_run(arguments.run)}")


def train_backbone(arguments: argparse.Namespace) -> None:
    """Stage 1: backbone and heads from evaluated games."""
    dataset = open_data(arguments.data)
    device = torch.device(arguments.device)
    torch.manual_seed(arguments.seed)
    trained = load_weights(arguments.start_from)[0] if arguments.start_from else None
    config = trained.config if trained else PRESETS[arguments.preset]
    if arguments.dynamic_bias is not None:
        config = replace(config, dynamic_bias=arguments.dynamic_bias)
    network = Network(config, retrieval=False)
    if trained:
        network.load_state_dict(trained.state_dict(), strict=False)
    print(f"{sum(value.numel() for value in network.parameters()):,} parameters, {network.config}")
    foresight = Foresight(network).to(device, torch.bfloat16)
    order = row_order(arguments, dataset)

    def part_of(rows: NDArray[np.int64]) -> Batch:
        mirrored = mirrored_rows(dataset, rows, arguments.seed)
        batch = make_batch(dataset, rows, arguments.result_weight, mirrored)
        return batch if arguments.no_foresight else batch._replace(continuation=continuation(dataset, rows, mirrored))

    train_and_save(
        arguments,
        network,
        replicate(arguments, foresight, losses_with_foresight, arguments.compile),
        lambda step: [part_of(rows) for rows in cut(arguments, order.rows(step))],
        [batch.to(device) for batch in held_out_batches(dataset, arguments.held_out_source, arguments.held_out)],
        {"foresight": str(not arguments.no_foresight)},
    )


def take_over_retrieval(retrieval: Retrieval, path: Path) -> None:
    """Give the retrieval part the weights of that of another net, whose backbone may be an earlier one."""
    earlier, _ = load_weights(path)
    if earlier.retrieval is None:
        raise ValueError(f"{path} has no retrieval part to go on from")
    try:
        retrieval.load_state_dict(earlier.retrieval.state_dict())
    except RuntimeError:
        raise ValueError(f"the retrieval part of {path} has another shape: {earlier.config}") from None


def train_retrieval(arguments: argparse.Namespace) -> None:
    """Stage 2: neighbour encoder and chunked cross-attention, on the frozen backbone and heads of stage 1."""
    dataset = open_data(arguments.data)
    device = torch.device(arguments.device)
    stage1, _ = load_weights(arguments.weights)
    changes = {
        "neighbours": arguments.neighbours,
        "neighbour_width": arguments.neighbour_width,
        "retrieve_by": arguments.retrieve_by,
        "shifted": False if arguments.unshifted else None,
        "interpolation": not arguments.attention_alone,
    }
    config = replace(stage1.config, **{name: value for name, value in changes.items() if value is not None})
    memory = Memory.open(arguments.memory, fingerprint(stage1))
    torch.manual_seed(arguments.seed)
    network = Network(config, retrieval=True).to(device, torch.bfloat16)
    network.load_state_dict(stage1.state_dict(), strict=False)
    network.requires_grad_(False)
    assert network.retrieval is not None
    if arguments.start_from:
        take_over_retrieval(network.retrieval, arguments.start_from)
    network.retrieval.requires_grad_(True)
    trained = sum(value.numel() for value in network.retrieval.parameters())
    print(f"{trained:,} parameters to train, {config}")

    order = row_order(arguments, dataset)
    retriever = Retriever(config, memory, arguments.threads)
    shards = NeighbourShards(
        arguments.run / "neighbours", order.rows, arguments.steps, dataset, network, retriever, arguments.ranks
    )
    shards.compute()
    held_out = [
        add_neighbours(batch, shards.search(batch.rows), memory)
        for batch in held_out_batches(dataset, arguments.held_out_source, arguments.held_out)
    ]
    taught = [add_twins(batch, 1.0, arguments.seed, random_moves=1.0).to(device) for batch in held_out]

    def with_memory(replica: Network, batch: Batch) -> Losses:
        assert replica.retrieval is not None
        assert batch.neighbours is not None
        with torch.no_grad():
            hidden = replica.backbone(batch.inputs)
        tokens = replica.retrieval.encoder(batch.neighbours.records)
        encoded = arrange(tokens, batch.neighbours.places, batch.neighbours.found)
        return losses(replica.heads(hidden, encoded), batch)

    def parts_of(step: int) -> list[Batch]:
        rows, found = order.rows(step), shards.of_step(step)
        places = np.arange(len(rows))
        return [
            add_twins(
                add_neighbours(
                    make_batch(dataset, rows[part], arguments.result_weight),
                    found.take(part),
                    memory,
                ),
                arguments.twins,
                arguments.seed,
            )
            for part in cut(arguments, places)
        ]

    without_memory = replicate(arguments, network, lambda replica, batch: losses(replica(batch.inputs), batch))
    off = evaluate(without_memory, held_out, arguments.ranks)
    print("held-out without memory: policy loss {:.4f}, value loss {:.4f}, top-1 {:.2%}".format(*off))
    replicas = replicate(arguments, network, with_memory)
    settings = {"backbone": fingerprint(stage1), "twins": str(arguments.twins)}
    train_and_save(arguments, network, replicas, parts_of, [batch.to(device) for batch in held_out], settings)
    top1 = evaluate(replicas, taught, arguments.ranks)[2]
    print(f"held-out positions, each taught a random move: {top1:.1%} of the moves are played")


def main(words: Sequence[str] | None = None) -> None:
    """Run the command line `words`, or that of the process."""
    words = sys.argv[1:] if words is None else words
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    stages = parser.add_subparsers(required=True)
    backbone = stages.add_parser("backbone", help="stage 1: backbone and heads")
    add_common_arguments(backbone)
    start = backbone.add_mutually_exclusive_group()
    start.add_argument("--preset", choices=PRESETS, default="small")
    start.add_argument("--start-from", type=Path, metavar="WEIGHTS", help="go on from the weights of an earlier run")
    backbone.add_argument(
        "--dynamic-bias", type=int, metavar="G", help="as NetworkConfig says; an earlier run's net may be given one so"
    )
    backbone.add_argument(
        "--no-foresight", action="store_true", help="learn nothing of how the games go on (an ablation)"
    )
    backbone.add_argument("--compile", action="store_true", help="torch.compile (wants a C++ compiler)")
    backbone.set_defaults(stage=train_backbone)
    retrieval = stages.add_parser("retrieval", help="stage 2: neighbour encoder and chunked cross-attention")
    add_common_arguments(retrieval)
    retrieval.add_argument("--weights", type=Path, required=True, help="weights of stage 1")
    retrieval.add_argument("--memory", type=Path, required=True, help="memory built with these weights")
    retrieval.add_argument(
        "--start-from", type=Path, metavar="WEIGHTS", help="go on from the retrieval part of a net with any backbone"
    )
    retrieval.add_argument("--neighbours", type=int, metavar="K", help="neighbours a chunk attends")
    retrieval.add_argument("--neighbour-width", type=int, metavar="C", help="numbers a token of an encoded neighbour")
    retrieval.add_argument("--retrieve-by", choices=["position", "chunk"])
    retrieval.add_argument(
        "--twins", type=float, default=0.15, metavar="SHARE", help="samples whose own position the memory holds"
    )
    retrieval.add_argument(
        "--unshifted", action="store_const", const=True, help="let every chunk attend its own neighbours (an ablation)"
    )
    retrieval.add_argument(
        "--attention-alone", action="store_true", help="nothing of the neighbours but by attention (an ablation)"
    )
    retrieval.set_defaults(stage=train_retrieval)
    arguments = parser.parse_args(words)
    arguments.command = shlex.join(["train.py", *words])
    torch.set_num_threads(arguments.threads)  # for all but the training itself
    with one_sentence(
        "train",
        DatasetError,
        CheckpointError,
        WeightsError,
        MemoryFileError,
        RanksError,
        ValueError,
        OSError,
        stopped="the same command goes on from the last checkpoint",
    ):
        arguments.run.mkdir(parents=True, exist_ok=True)
        arguments.ranks = join_ranks(torch.device(arguments.device))
        with contextlib.nullcontext() if arguments.ranks.is_first else contextlib.redirect_stdout(io.StringIO()):
            arguments.stage(arguments)


if __name__ == "__main__":
    main()
