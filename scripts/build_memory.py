"""Build the memory: games set aside for it, embedded by a trained backbone, in one file.

    python scripts/build_memory.py --data runs/data.safetensors --weights runs/small/weights.safetensors \\
        --out runs/memory.safetensors --entries 150000
    python scripts/build_memory.py --games *.pgn.zst --out runs/large.safetensors --entries 1000000
    python scripts/build_memory.py --memory runs/large.safetensors --weights new.safetensors --out runs/new.safetensors

The first takes the games that a data set keeps for the memory, the second all games of files, for the shipped network:
a large memory to play with (MemoryFile). A limited memory keeps the positions that most games met. The third makes a
memory of one network into the same memory of another.

    python scripts/build_memory.py ... --cluster auto

The last has the positions embedded on the workers of a Ray cluster; a worker that dies loses its own shard alone.

Started again with the same arguments after a kill, a build goes on where it was and ends with the same file.
"""

import argparse
import shlex
import sys
from pathlib import Path

from command_line.arguments import game_file, natural, positive
from command_line.exit import GOES_ON, one_sentence

from dejavu.engine.loader import wanted
from dejavu.engine.options import Config
from dejavu.model.data.dataset import SPLITS, DatasetError
from dejavu.model.data.game_files import GameFileError
from dejavu.model.data.memory_run import MemoryRun, make_memory
from dejavu.model.weights import WeightsError
from dejavu.retrieval.build import BuildError
from dejavu.retrieval.cluster import ClusterError
from dejavu.retrieval.memory import MemoryFileError
from dejavu.retrieval.progress import print_above

ERRORS = (GameFileError, DatasetError, WeightsError, BuildError, MemoryFileError, ClusterError, OSError)


def complain(text: str) -> None:
    """Say on standard error what does not stop the build."""
    print_above(f"build_memory: {text}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,  # what is not given is as MemoryRun has it
    )
    source = parser.add_mutually_exclusive_group(required=True)
    data_sets = "data sets of scripts/prepare_data.py, folders of scripts/selfplay.py; the same as in training"
    source.add_argument("--data", type=Path, nargs="+", help=data_sets)
    source.add_argument("--games", nargs="+", type=game_file, metavar="PGN", help="or all games of these files")
    source.add_argument("--memory", type=Path, help="or all that a memory of any network holds")
    shipped = wanted(Config()).weights
    parser.add_argument("--weights", type=Path, default=shipped, help="trained backbone (default: the shipped one)")
    parser.add_argument("--out", type=Path, required=True, help="memory to write")
    parser.add_argument("--entries", type=positive, help="at most so many, those met in the most games (default: all)")
    parser.add_argument("--split", choices=SPLITS, nargs="+", help="which games (default: those set aside for it)")
    parser.add_argument("--work", type=Path, help="folder of unfinished work (default: beside the memory)")
    parser.add_argument("--seed", type=natural, help="0")
    parser.add_argument("--threads", type=positive, help="CPU cores, of each worker, too (all)")
    cluster = "embed on this Ray cluster (HOST:PORT, auto, or local: this machine's cores)"
    parser.add_argument("--cluster", metavar="ADDRESS", help=cluster)
    given = vars(parser.parse_args())
    run = MemoryRun(**given, command=shlex.join(["build_memory.py", *sys.argv[1:]]))
    if run.memory is not None and not given.keys().isdisjoint({"entries", "split"}):
        parser.error("--entries and --split do not go with --memory, of which everything is taken")
    with one_sentence("build_memory", *ERRORS, stopped=GOES_ON):
        print(make_memory(run, complain))


if __name__ == "__main__":
    main()
