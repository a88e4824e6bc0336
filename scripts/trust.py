"""Let a net trust the moves that it remembers more, or less, than it has learnt to.

    python scripts/trust.py runs/retrieval/weights.safetensors --factor 5 --out runs/trusting.safetensors

The odds of a remembered move, p / (1 - p), are multiplied by the factor where the very position is remembered, and by
the less the further away it is. Backbone and memory stay as they are; evaluate the memory anew (evaluate_memory.py).
"""

import argparse
import shlex
import sys
from pathlib import Path

from command_line.arguments import number_between
from command_line.exit import one_sentence

from dejavu.model.training.trust import change_trust
from dejavu.model.weights import WeightsError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="a net with its retrieval part")
    parser.add_argument("--factor", type=number_between(float, 0.01, 100), required=True, help="1 changes nothing")
    parser.add_argument("--out", type=Path, required=True, help="weights file to write")
    parser.add_argument("--name", default="", help="what the net is called (as before)")
    arguments = parser.parse_args()
    with one_sentence("trust", WeightsError, OSError):
        command = shlex.join(["trust.py", *sys.argv[1:]])
        print(change_trust(arguments.weights, arguments.factor, arguments.out, arguments.name, command))


if __name__ == "__main__":
    main()
