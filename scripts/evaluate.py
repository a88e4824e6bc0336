"""How well the network knows held-out games: policy, value and how far its chances can be trusted, memory on and off.

    python scripts/evaluate.py --data runs/data.safetensors --source tcec --plot runs/evaluate.png
    python scripts/evaluate.py --data runs/data.safetensors --dedupe --calibration runs/calibration.png

Policy top-1 is what the engine plays at `go nodes 1`: the legal move with the largest policy. The held-out games
are in neither the training nor the memory of nets and memories made from the same data set. Games that share more than
half of their positions with those are copies, and left out. Openings are shared by many games; --dedupe leaves out all
positions that another split holds, too.

The same is measured with the memory off, on, and lying in two ways: "shuffled" gives positions each other's neighbours,
"random" gives them neighbours drawn at random at the distances of their own. What is gained only by the right
neighbours comes from the memory. The difference on minus off is told for every phase of the game (by the pieces left)
and by the distance of the nearest neighbour: up to 1,000 it is the very position, as a rule, and beyond --reach the
memory is not asked.

Calibration: the chances of win, draw and loss, in ten bins each, against those that the evaluation stands for and
against how the games ended. The calibration error is the mean distance of the two over all positions.
"""

import argparse
from pathlib import Path

from command_line.exit import need_matplotlib, one_sentence
from command_line.talk import write_json

from dejavu.engine.loader import wanted
from dejavu.engine.options import Config
from dejavu.model.data.dataset import DatasetError
from dejavu.model.measurement.calibration import plot_calibration
from dejavu.model.measurement.evaluate import EvaluateRun, evaluate
from dejavu.model.measurement.report import plot_changes
from dejavu.model.weights import WeightsError
from dejavu.retrieval.memory import MemoryFileError


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,  # what is not given is as EvaluateRun has it
    )
    add, shipped = parser.add_argument, wanted(Config())
    add("--data", type=Path, required=True, help="data set of scripts/prepare_data.py")
    add("--weights", type=Path, default=shipped.weights, help="default: the shipped ones")
    add("--memory", type=Path, default=shipped.memory, help="default: the shipped one")
    add("--source", help="only game files with this in their name")
    add("--positions", type=int, help="8192")
    add("--reach", type=float, metavar="DISTANCE", help="MemoryReach (its default)")
    add("--dedupe", action="store_true", help="leave out what occurs in training or memory games, too")
    add("--threads", type=int, help="CPU cores (all)")
    add("--calibration", type=Path, default=None, metavar="FILE.png", help="draw the calibration there")
    add("--plot", type=Path, default=None, metavar="FILE.png", help="draw what the memory changes there")
    add("--json", type=Path, default=None, metavar="FILE")
    arguments = vars(parser.parse_args())
    calibration, plot, figures = (arguments.pop(name) for name in ("calibration", "plot", "json"))
    if calibration or plot:
        need_matplotlib("evaluate.py")
    run = EvaluateRun(**arguments)
    with one_sentence("evaluate", DatasetError, WeightsError, MemoryFileError, OSError):
        report = evaluate(run)
        print(report)
        if calibration:
            plot_calibration(report.calibrations, calibration)
        if plot and report.changes and run.memory:
            positions, games = len(next(iter(report.measured.values()))), run.source or "all"
            title = f"What {run.memory.name} changes, of {positions:,} positions of {games} games"
            plot_changes(title, report.changes, plot)
        write_json(figures, report.as_json())


if __name__ == "__main__":
    main()
