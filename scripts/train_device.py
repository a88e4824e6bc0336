"""Train backbone and heads on one GPU, with all data in its memory.

    python scripts/train_device.py prepare --data runs/data.safetensors runs/visited.safetensors \\
        --all-moves all_move_values.txt.zst --out runs/arrays.safetensors
    python scripts/train_device.py train --data runs/data.safetensors --arrays runs/arrays.safetensors \\
        --run runs/wide --preset medium --seconds 780 --compile

`prepare` makes plain arrays of data sets, and of a table of positions with the values of all moves. `train` makes every
batch of them on the device; the data sets are there for the held-out positions. The run folder is that of train.py:
started again after a kill, a run goes on from its checkpoint. By `--seconds` the rate falls with the clock.
"""

import argparse
import shlex
import sys
from pathlib import Path

from command_line.arguments import game_file, positive, seconds
from command_line.exit import need_matplotlib, one_sentence
from command_line.training import GIVEN, add_run_arguments, add_start_arguments

from dejavu.model.data.dataset import DatasetError
from dejavu.model.data.device_arrays import ArraysRun, prepare_arrays
from dejavu.model.data.game_files import GameFileError
from dejavu.model.training.checkpoint import CheckpointError
from dejavu.model.training.device_run import DeviceRun, train_on_device
from dejavu.model.weights import WeightsError

ERRORS = (DatasetError, GameFileError, CheckpointError, WeightsError, ValueError, OSError)


def add_prepare_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    parser.set_defaults(work=prepare_arrays, run=ArraysRun, stopped="nothing was written")
    add("--data", type=Path, nargs="+", required=True, help="of scripts/prepare_data.py")
    add("--all-moves", type=game_file, metavar="TABLE", help="lines FEN|e2e4 31|d2d4 28|..., plain or .zst, .bz2, .gz")
    add("--out", type=Path, required=True, help="file of arrays to write")
    add("--processes", type=positive, help="CPUs")


def add_train_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(
        work=train_on_device, run=DeviceRun, stopped="the same command goes on from the last checkpoint"
    )
    add_run_arguments(parser, DeviceRun)
    add_start_arguments(parser)
    add = parser.add_argument
    add("--arrays", type=Path, required=True, help="of `prepare`")
    add("--seconds", type=seconds, help="of training, the compilation included")
    add("--steps", type=positive, help="instead of seconds, or at most")
    add("--compile", action="store_true", help="torch.compile: a minute, then much faster")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    add_prepare_arguments(commands.add_parser("prepare", argument_default=GIVEN, help="data sets to arrays"))
    add_train_arguments(commands.add_parser("train", argument_default=GIVEN, help="train on arrays"))
    arguments = vars(parser.parse_args())
    work, run, stopped = (arguments.pop(name) for name in ("work", "run", "stopped"))
    if run is DeviceRun:
        need_matplotlib("train_device.py")
        arguments["command"] = shlex.join(["train_device.py", *sys.argv[1:]])
    with one_sentence("train_device", *ERRORS, stopped=stopped):
        if (report := work(run(**arguments))) is not None:
            print(report)


if __name__ == "__main__":
    main()
