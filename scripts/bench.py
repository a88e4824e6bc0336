"""Measure how fast parts of Dejavu are on this machine.

    python scripts/bench.py engine --json runs/bench-engine.json
    python scripts/bench.py knn --json runs/bench-knn.json
    python scripts/bench.py training --json runs/bench-training.json

engine  The shipped net and memory: start-up, positions a second of every backend and how far it agrees with torch in
     float32, the search for neighbours, nodes a second with memory and without, what the tree costs beside the
     network, and how soon `stop` is obeyed.

knn  The comparison of the article "Retrieval Transformer Enhanced Reinforcement Learning": one query for the
     nearest of n embeddings of 20 x 20 numbers, row by row against one matrix product. The article measured
     33 s row by row (`apply`) and 14.5 s for its matrix version at 500,000 embeddings. Beside it, the
     clustered index on keys like those of a memory.

training  Samples a second of whole training steps, the arithmetic in them, and its share of the rate at which the
     same cores multiply large matrices at the same time of day; and how fast batches are prepared.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benches import engine, knn, training
from command_line.exit import one_sentence

from dejavu.retrieval.atomic import write_text

BENCHES: dict[str, Callable[[], dict[str, Any]]] = {
    "engine": engine.bench,
    "knn": knn.bench,
    "training": training.bench,
}


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("bench", choices=BENCHES, help="what to measure")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers there")
    arguments = parser.parse_args()
    with one_sentence("bench", OSError):
        numbers = BENCHES[arguments.bench]()
        if arguments.json:
            write_text(arguments.json, json.dumps(numbers, indent=1) + "\n")


if __name__ == "__main__":
    main()
