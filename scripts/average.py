"""Make one net of several: the mean of their weights.

    python scripts/average.py runs/first/weights.safetensors runs/second/weights.safetensors --out runs/mean.safetensors

The nets must have been trained on from the same one, without their retrieval parts (weights of `train.py backbone`).
Compare the mean with each of them before you use it: it is better where they have learnt of different data.
"""

import argparse
import shlex
import sys
from pathlib import Path

from command_line.exit import one_sentence

from dejavu.model.training.average import average
from dejavu.model.weights import WeightsError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, nargs="+", help="backbones and heads, two or more")
    parser.add_argument("--out", type=Path, required=True, help="weights file to write")
    parser.add_argument("--name", default="", help="what the net is called")
    arguments = parser.parse_args()
    if len(arguments.weights) < 2:
        parser.error("one net alone has no mean")
    with one_sentence("average", WeightsError, OSError):
        command = shlex.join(["average.py", *sys.argv[1:]])
        print(average(arguments.weights, arguments.out, arguments.name, command))


if __name__ == "__main__":
    main()
