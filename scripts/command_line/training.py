"""The arguments that training runs of every kind take."""

from __future__ import annotations

import argparse
from pathlib import Path

from command_line.arguments import Arguments, parse_sources
from dejavu.model.config import PRESETS
from dejavu.model.training.run import TrainingRun

GIVEN = argparse.SUPPRESS
"""What is not given is as the dataclasses of the runs have it."""


def add_run_arguments(parser: Arguments, run: type[TrainingRun]) -> None:
    """Add them; `run` has the defaults."""
    add = parser.add_argument
    add("--data", type=Path, nargs="+", required=True, help="of scripts/prepare_data.py, or folders of selfplay.py")
    add("--run", dest="folder", type=Path, required=True, metavar="RUN", help="folder of this run")
    add("--name", help="what the net is called, for instance mine-1; goes into the weights file")
    add("--batch", type=int, help=f"samples an update ({run.batch})")
    add("--learning-rate", type=float, help=f"{run.learning_rate:g}")
    add("--decay", type=float, help=f"last share of the run, rate to zero ({run.decay:g})")
    add("--sources", type=parse_sources, metavar="NAME=WEIGHT,...", help="in a batch, by a part of the sources' names")
    add("--held-out", type=int, help=f"held-out positions evaluated ({run.held_out})")
    add("--held-out-source", help="only those of game files with this in their name")
    add("--evaluate-every", type=int, metavar="STEPS", help=f"{run.evaluate_every}")
    add("--checkpoint-every", type=int, metavar="STEPS", help=f"{run.checkpoint_every}")
    add("--seed", type=int, help=f"{run.seed}")
    add("--device", help="cpu or cuda (where there is a GPU)")


def add_start_arguments(parser: argparse.ArgumentParser) -> None:
    """What stage 1 begins as, and of whom it learns beside the data."""
    start, add = parser.add_mutually_exclusive_group(), parser.add_argument
    start.add_argument("--preset", choices=PRESETS, help="small")
    start.add_argument("--start-from", type=Path, metavar="WEIGHTS", help="go on from the weights of an earlier run")
    add("--keep-layers", type=int, nargs="+", metavar="N", help="these layers of it alone, counted from 0")
    add("--teacher", type=Path, metavar="WEIGHTS", help="learn of this net, too, instead of how games go on")
