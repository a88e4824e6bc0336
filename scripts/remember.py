"""Learning without training: add games to a memory, or forget them again.

    python scripts/remember.py games.pgn --out runs/mine.safetensors
    python scripts/remember.py more.pgn.zst --memory runs/mine.safetensors
    python scripts/remember.py --list --memory runs/mine.safetensors
    python scripts/remember.py --forget games.pgn --memory runs/mine.safetensors

and then `setoption name MemoryFile value runs/mine.safetensors`. Games are read as by prepare_data.py: a variation
beside a played move names the better move, which is what will be remembered there, and evaluations come from
`[%eval]`; without, a game teaches moves alone. The memory is replaced in one step, and an engine that plays with the
old one goes on undisturbed until the next isready, ucinewgame or setoption.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from command_line.arguments import game_file
from command_line.exit import one_sentence

from dejavu.engine.loader import wanted
from dejavu.engine.options import Config
from dejavu.model.data.game_files import GameFileError
from dejavu.model.data.remember_run import remember_file, told
from dejavu.model.inference import load_backbone
from dejavu.model.stored_evaluations import file_beside
from dejavu.model.weights import WeightsError
from dejavu.retrieval.atomic import atomic_write
from dejavu.retrieval.memory import Memory, MemoryFileError
from dejavu.retrieval.remember import UnknownSourceError, forget


def change(arguments: argparse.Namespace, source: Path, out: Path) -> None:
    """Add or forget, and write the result."""
    start = time.monotonic()
    if arguments.forget is not None:
        memory, count = forget(Memory.open(source), arguments.forget)
        done = [f"{count:,} entries forgotten"]
    else:
        backbone = load_backbone(arguments.weights, os.cpu_count() or 1)
        memory = Memory.open(source, backbone.fingerprint)
        done = []
        for path in arguments.games:
            memory, sentence = remember_file(memory, path, arguments.plies, arguments.keep_known, backbone)
            done.append(sentence)
    memory.write(out)
    evaluations = file_beside(source)
    if out != source and evaluations.exists():  # those of all entries that have not changed stay good
        with atomic_write(file_beside(out)) as file:
            file.write(evaluations.read_bytes())
    print("\n".join(done))
    print(f"wrote {out}, {len(memory):,} entries, {time.monotonic() - start:.1f} s")


def main() -> None:
    shipped = wanted(Config())
    assert shipped.memory is not None
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("games", nargs="*", type=game_file, help="PGN files to add, plain or .zst, .bz2, .gz")
    parser.add_argument("--forget", metavar="SOURCE", help="take out the games added from a file of this name")
    parser.add_argument("--list", action="store_true", help="show what the memory was made from")
    parser.add_argument("--memory", type=Path, help="memory to start from (default: the shipped one)")
    parser.add_argument("--weights", type=Path, default=shipped.weights, help="its network (default: the shipped one)")
    parser.add_argument("--out", type=Path, help="memory to write (default: --memory, in its place)")
    parser.add_argument("--keep-known", action="store_true", help="add only positions that are not remembered yet")
    parser.add_argument("--plies", type=int, help="only the first so many positions of a game")
    arguments = parser.parse_args()
    if bool(arguments.games) + (arguments.forget is not None) + arguments.list != 1:
        parser.error("give games to add, or --forget, or --list")
    if not (arguments.out or arguments.memory or arguments.list):
        parser.error("the shipped memory stays as it is: give --out")
    source = arguments.memory or shipped.memory
    with one_sentence(
        "remember",
        MemoryFileError,
        WeightsError,
        UnknownSourceError,
        GameFileError,
        OSError,
        stopped="the memory is as it was",
    ):
        if arguments.list:
            print("\n".join(told(Memory.open(source))))
        else:
            change(arguments, source, arguments.out or source)


if __name__ == "__main__":
    main()
