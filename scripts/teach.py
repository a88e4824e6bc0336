"""Does the engine learn from a memory alone? Positions where it errs are added, and it is asked again.

    python scripts/teach.py --data runs/data.safetensors --source teacher --positions 200

Held-out positions where the engine errs at one node are added to a copy of the memory, as a game of one move each, the
right one. Told is how many of them the engine plays right then, at 1 node and at 100, and what became of other held-out
positions.
"""

import argparse
from pathlib import Path

from command_line.arguments import positive
from command_line.exit import one_sentence
from command_line.talk import tell, write_json

from dejavu.engine.loader import wanted
from dejavu.engine.match.teach import TeachRun, teach
from dejavu.engine.options import Config
from dejavu.model.data.dataset import DatasetError
from dejavu.model.weights import WeightsError
from dejavu.retrieval.memory import MemoryFileError


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,  # what is not given is as TeachRun has it
    )
    add, shipped = parser.add_argument, wanted(Config())
    add("--data", type=Path, required=True, help="data set of scripts/prepare_data.py")
    add("--weights", type=Path, default=shipped.weights, help="default: the shipped ones")
    add("--memory", type=Path, default=shipped.memory, help="default: the shipped one")
    add("--source", help="only game files with this in their name")
    add("--positions", type=positive, help="taught (200)")
    add("--others", type=positive, help="other positions looked at before and after (8192)")
    add("--threads", type=positive, help="CPU cores (all)")
    add("--json", type=Path, default=None, metavar="FILE")
    arguments = vars(parser.parse_args())
    path = arguments.pop("json")
    with one_sentence("teach", DatasetError, WeightsError, MemoryFileError, OSError):
        report = teach(TeachRun(**arguments))
        tell(str(report))
        write_json(path, report.as_json())


if __name__ == "__main__":
    main()
