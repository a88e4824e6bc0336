"""Train the network, in two stages.

    python scripts/train.py backbone --data runs/data.safetensors --run runs/small --preset small --steps 8000
    python scripts/train.py retrieval --data runs/data.safetensors --run runs/small-retrieval \\
        --weights runs/small/weights.safetensors --memory runs/memory.safetensors --steps 2000

    torchrun --nnodes 4 --nproc-per-node 1 --rdzv-backend c10d --rdzv-endpoint HOST:29400 -- \\
        scripts/train.py backbone ...

The last trains on four machines that share the run folder (or, with --nproc-per-node alone, on the GPUs of one): each
computes its part of every batch, so the outcome is that of one machine up to rounding.

A run folder holds the checkpoint, the logs (CSV), the curves (PNG) and at the end the averaged weights. Started again
with the same arguments after a kill, a run goes on from its checkpoint to the same loss curve; until its learning rate
falls, --steps and --decay may be changed. It also keeps the averaged weights of before the learning rate fell
(undecayed.safetensors): a longer run starts best from those.
"""

import argparse
import shlex
import sys
from pathlib import Path

from command_line.arguments import parse_sources, share
from command_line.exit import need_matplotlib, one_sentence
from command_line.training import GIVEN, add_run_arguments, add_start_arguments

from dejavu.model.data.dataset import DatasetError
from dejavu.model.training.backbone_run import BackboneRun, train_backbone
from dejavu.model.training.checkpoint import CheckpointError
from dejavu.model.training.ranks import RanksError
from dejavu.model.training.retrieval_run import RetrievalRun, train_retrieval
from dejavu.model.training.run import TrainingRun
from dejavu.model.weights import WeightsError
from dejavu.retrieval.memory import MemoryFileError

ERRORS = (DatasetError, CheckpointError, WeightsError, MemoryFileError, RanksError, ValueError, OSError)


def common_arguments() -> argparse.ArgumentParser:
    """What both stages take."""
    parser = argparse.ArgumentParser(add_help=False, argument_default=GIVEN)
    add_run_arguments(parser, TrainingRun)
    add = parser.add_argument
    add("--steps", type=int, required=True)
    add("--part", type=int, help="samples computed at once (64); the whole batch on a GPU")
    add("--result-weight", type=float, help="share of the game's result in the value (0)")
    add("--threads", type=int, help="CPU cores, a replica on each (all)")
    return parser


def add_backbone_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_start_arguments(parser)
    parser.set_defaults(train=train_backbone, run=BackboneRun)
    add("--dynamic-bias", type=int, metavar="G", help="as NetworkConfig says; an earlier run's net may be given one so")
    add("--key-width", type=int, metavar="F", help="as NetworkConfig says; an earlier run's net is narrowed to it")
    add("--attack-width", type=int, metavar="A", help="the same")
    after = "positions after the best move of these sources, in a batch beside --sources, to learn the value of"
    add("--children", type=parse_sources, metavar="NAME=WEIGHT,...", help=after)
    add("--plain", type=share, metavar="SHARE", help="kept of positions where the men on the board tell who wins (1)")
    add("--no-auxiliary", dest="auxiliary", action="store_false", help="learn nothing of how games go on (an ablation)")
    add("--compile", action="store_true", help="torch.compile (wants a C++ compiler)")


def add_retrieval_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    parser.set_defaults(train=train_retrieval, run=RetrievalRun)
    add("--weights", type=Path, required=True, help="weights of stage 1")
    add("--memory", type=Path, required=True, help="memory built with these weights")
    add("--start-from", type=Path, metavar="WEIGHTS", help="go on from a net's retrieval part, with any backbone")
    add("--neighbours", type=int, metavar="K", help="neighbours a chunk attends")
    add("--neighbour-width", type=int, metavar="C", help="numbers a token of an encoded neighbour")
    add("--retrieve-by", choices=["position", "chunk"])
    add("--twins", type=float, metavar="SHARE", help="samples whose own position the memory holds (0.15)")
    add("--unshifted", dest="shifted", action="store_false", help="chunks attend their own neighbours (an ablation)")
    add("--attention-alone", dest="interpolation", action="store_false", help="no interpolation (an ablation)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    stages, common = parser.add_subparsers(required=True), [common_arguments()]
    backbone, retrieval = "stage 1: backbone and heads", "stage 2: neighbour encoder and chunked cross-attention"
    add_backbone_arguments(stages.add_parser("backbone", parents=common, argument_default=GIVEN, help=backbone))
    add_retrieval_arguments(stages.add_parser("retrieval", parents=common, argument_default=GIVEN, help=retrieval))
    arguments = vars(parser.parse_args()) | {"command": shlex.join(["train.py", *sys.argv[1:]])}
    need_matplotlib("train.py")
    train, run = arguments.pop("train"), arguments.pop("run")
    with one_sentence("train", *ERRORS, stopped="the same command goes on from the last checkpoint"):
        if (report := train(run(**arguments))) is not None:
            print(report)


if __name__ == "__main__":
    main()
