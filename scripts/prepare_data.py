"""Games (PGN, plain or .zst/.bz2/.gz) -> a compact data set for training and for the memory.

    python scripts/prepare_data.py games.pgn.zst more.pgn --out runs/data.safetensors

Games are split by their content into train, memory and held-out, so that the same game always falls on the same
side. Broken games are skipped, counted, and named by file and game number.
"""

import argparse
import signal
from pathlib import Path

from command_line.arguments import game_file
from command_line.exit import one_sentence

from dejavu.model.data.game_files import GameFileError, name_broken
from dejavu.model.data.prepare import PrepareRun, prepare


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,  # what is not given is as PrepareRun has it
    )
    parser.add_argument("games", nargs="+", type=game_file, help="PGN files, plain or .zst, .bz2, .gz")
    parser.add_argument("--out", type=Path, default=Path("runs/data.safetensors"), help="data set to write")
    parser.add_argument("--memory", type=float, help="share of the games kept for the memory (0.18)")
    parser.add_argument("--held-out", type=float, help="share of the games kept for evaluation (0.02)")
    parser.add_argument("--processes", type=int, help="CPUs")
    run = PrepareRun(**vars(parser.parse_args()))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with one_sentence("prepare_data", GameFileError, OSError):
        report = prepare(run)
        name_broken(report.broken)
        print(report)


if __name__ == "__main__":
    main()
