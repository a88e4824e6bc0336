"""Which of several nets predicts better, and by how much: policy and value on held-out positions, without memory.

    python scripts/compare.py --data runs/data.safetensors --source teacher model/shipped/dejavu.safetensors \\
        runs/next/weights.safetensors

All nets face the same positions, so that the difference to the first one, told with its standard error, is much surer
than the losses themselves. What predicts better need not win more games: let match.py confirm it.
"""

import argparse
from pathlib import Path

from command_line.arguments import positive
from command_line.exit import one_sentence
from command_line.talk import write_json

from dejavu.model.data.dataset import DatasetError
from dejavu.model.measurement.compare import CompareRun, compare
from dejavu.model.weights import WeightsError


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,  # what is not given is as CompareRun has it
    )
    add = parser.add_argument
    add("nets", type=Path, nargs="+", metavar="WEIGHTS", help="nets; the others are compared with the first")
    add("--data", type=Path, required=True, help="data set of scripts/prepare_data.py")
    add("--source", help="only game files with this in their name")
    add("--positions", type=positive, help="8192")
    add("--threads", type=positive, help="CPU cores (all)")
    add("--json", type=Path, default=None, metavar="FILE")
    arguments = vars(parser.parse_args())
    figures = arguments.pop("json")
    with one_sentence("compare", DatasetError, WeightsError, OSError):
        report = compare(CompareRun(**arguments))
        print(report)
        write_json(figures, report.as_json())


if __name__ == "__main__":
    main()
