"""Evaluate a memory's own positions beforehand, so that no search has to compute them again.

    python scripts/evaluate_memory.py --memory runs/memory.safetensors --weights runs/retrieval/weights.safetensors

writes runs/memory.evaluations.npz, which an engine that loads the memory with these weights uses by itself. What is
there already stays: after `remember.py` only what was added is evaluated, and the same command goes on where it was
stopped.
"""

import argparse
import os
import time
from pathlib import Path

from command_line.arguments import positive
from command_line.exit import GOES_ON, one_sentence

from dejavu.engine.loader import wanted
from dejavu.engine.options import Config
from dejavu.model.inference import NetworkEvaluator
from dejavu.model.stored_evaluations import (
    Columns,
    StoredEvaluationsError,
    evaluate_entries,
    file_beside,
    join,
    read_columns,
    write_columns,
)
from dejavu.model.weights import WeightsError
from dejavu.retrieval.memory import MemoryFileError
from dejavu.retrieval.progress import print_above, progress_bar

AT_ONCE = 1024
"""Positions between two looks at the clock."""
SECONDS_A_WRITE = 60.0
"""What a kill may cost."""


def known(path: Path, checksum: str) -> Columns | None:
    """What an earlier run has evaluated; what cannot be used is said, and replaced."""
    try:
        return read_columns(path, checksum)
    except FileNotFoundError:
        return None
    except StoredEvaluationsError as error:
        print_above(f"evaluate_memory: {error}; it is made anew")
        return None


def evaluate(memory: Path, weights: Path, threads: int) -> str:
    """Evaluate all entries of a memory file; what came of it, in a line."""
    start = time.monotonic()
    network = NetworkEvaluator.load(weights, memory, threads)
    network.stored = None
    checksum, path, entries = network.weights.checksum, file_beside(memory), network.memories[0]
    with progress_bar("evaluate", "positions", len(entries)) as progress:
        parts, done, written = list[Columns](), 0, time.monotonic()
        for part in evaluate_entries(entries, network.evaluate, known(path, checksum), AT_ONCE):
            parts.append(part)
            done += len(part.entries)
            progress.reach(done)
            if time.monotonic() - written > SECONDS_A_WRITE:
                parts = [join(parts)]
                write_columns(path, checksum, parts[0])
                written = time.monotonic()
    columns = join(parts)
    write_columns(path, checksum, columns)
    megabytes = path.stat().st_size / 1e6
    return f"wrote {path}, {len(columns.entries):,} evaluations, {megabytes:.1f} MB, {time.monotonic() - start:.1f} s"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shipped = wanted(Config()).weights
    parser.add_argument("--memory", type=Path, required=True, help="memory whose positions to evaluate")
    parser.add_argument("--weights", type=Path, default=shipped, help="its network (default: the shipped one)")
    parser.add_argument("--threads", type=positive, default=os.cpu_count() or 1, help="CPU cores (all)")
    arguments = parser.parse_args()
    with one_sentence("evaluate_memory", MemoryFileError, WeightsError, OSError, stopped=GOES_ON):
        print(evaluate(arguments.memory, arguments.weights, arguments.threads))


if __name__ == "__main__":
    main()
