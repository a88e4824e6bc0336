"""Learning without training: put games into a memory of their own, add more, or forget them again.

    python scripts/remember.py games.pgn --lessons --out runs/mine.safetensors
    python scripts/remember.py repertoire.pgn --repertoire --memory runs/mine.safetensors
    python scripts/remember.py --list --memory runs/mine.safetensors
    python scripts/remember.py --forget games.pgn --memory runs/mine.safetensors

and then `setoption name MemoryFile value <shipped>:/full/path/of/runs/mine.safetensors` (`;` for `:` on Windows):
beside the shipped memory yours has the last word on what both know. With --lessons the engine plays the moves of the
games. Without, it is reminded of them and of how the games went on, and plays them where it half believes in them.
With --repertoire it plays the moves of every variation, too.

Games are read as by prepare_data.py: a variation beside a played move names the better move, which is what will be
remembered there, and evaluations come from `[%eval]`; without, a game teaches moves alone. The memory is replaced in
one step, and an engine that plays with the old one goes on undisturbed until the next isready, ucinewgame or setoption.
Of two runs at once on the same memory the second waits a few seconds, and then ends with a sentence.
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
from dejavu.model.data.remember_run import Wishes, remember_file, told
from dejavu.model.inference import load_backbone
from dejavu.model.stored_evaluations import file_beside
from dejavu.model.weights import WeightsError
from dejavu.retrieval.atomic import atomic_write
from dejavu.retrieval.lock import hold_lock
from dejavu.retrieval.memory import Memory, MemoryFileError
from dejavu.retrieval.remember import UnknownSourceError, emptied, forget


class NothingToRememberError(ValueError):
    """Games without a position that is to be remembered; the message is one sentence."""


def change_alone(arguments: argparse.Namespace, shipped: Path) -> None:
    """Add or forget while no other program changes the memory that is written. Raises OSError if one does for long."""
    target: Path = (arguments.out or arguments.memory).resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    with hold_lock(target.with_name(f"{target.name}.lock")):
        if arguments.memory is None and target.exists():
            out = arguments.out
            raise FileExistsError(f"{out} is there already: give --memory {out} to add to it, or another --out")
        change(arguments, shipped)


def change(arguments: argparse.Namespace, shipped: Path) -> None:
    """Add or forget, and write the result."""
    start = time.monotonic()
    source, beside = arguments.memory, None
    if arguments.forget is not None:
        memory, count = forget(Memory.open(source, all_sums=True), arguments.forget)
        done = [f"{count:,} entries forgotten"]
    else:
        backbone = load_backbone(arguments.weights, os.cpu_count() or 1)
        memory = Memory.open(source or shipped, backbone.fingerprint, all_sums=True)
        if source is None:
            memory, beside = emptied(memory), memory
        wishes = Wishes(arguments.plies, arguments.lessons, arguments.repertoire, arguments.keep_known, beside)
        done = []
        for path in arguments.games:
            memory, sentence = remember_file(memory, path, wishes, backbone)
            done.append(sentence)
    if not len(memory):
        if arguments.forget is not None:
            raise NothingToRememberError(f"{source} has nothing but {arguments.forget}: delete the file instead")
        raise NothingToRememberError("; ".join([*done, "a memory without entries is not written"]))
    out = arguments.out or source
    memory.write(out)
    if source is not None and out != source and file_beside(source).exists():
        with atomic_write(file_beside(out)) as file:  # those of all entries that have not changed stay good
            file.write(file_beside(source).read_bytes())
    print("\n".join(done))
    print(f"wrote {out}, {len(memory):,} entries, {time.monotonic() - start:.1f} s")
    if source is None:
        print(f"to use it: setoption name MemoryFile value <shipped>{os.pathsep}{out.resolve()}")


def main() -> None:
    shipped = wanted(Config())
    assert shipped.memory is not None
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("games", nargs="*", type=game_file, help="PGN files to add, plain or .zst, .bz2, .gz")
    parser.add_argument("--forget", metavar="SOURCE", help="take out the games added from a file of this name")
    parser.add_argument("--list", action="store_true", help="show what the memory was made from")
    parser.add_argument("--memory", type=Path, help="memory to add to (without: a new one, for these games alone)")
    parser.add_argument("--weights", type=Path, default=shipped.weights, help="its network (default: the shipped one)")
    parser.add_argument("--out", type=Path, help="memory to write (default: --memory, in its place)")
    played = parser.add_mutually_exclusive_group()
    played.add_argument("--lessons", action="store_true", help="the moves are to be played, not only known")
    tree = "the same, and every variation is a line of its own, the main line first, instead of naming a better move"
    played.add_argument("--repertoire", action="store_true", help=tree)
    known = "add only positions that are not remembered yet, in the shipped memory either where a new one is made"
    parser.add_argument("--keep-known", action="store_true", help=known)
    parser.add_argument("--plies", type=int, help="only the first so many positions of a game")
    arguments = parser.parse_args()
    if bool(arguments.games) + (arguments.forget is not None) + arguments.list != 1:
        parser.error("give games to add, or --forget, or --list")
    if arguments.forget is not None and arguments.memory is None:
        parser.error("games are forgotten in a memory of yours: give --memory")
    if not (arguments.out or arguments.memory or arguments.list):
        parser.error("give --out for a new memory, or --memory to add to")
    with one_sentence(
        "remember",
        MemoryFileError,
        WeightsError,
        UnknownSourceError,
        NothingToRememberError,
        GameFileError,
        OSError,
        stopped="the memory is as it was",
    ):
        if arguments.list:
            print("\n".join(told(Memory.open(arguments.memory or shipped.memory))))
        else:
            change_alone(arguments, shipped.memory)


if __name__ == "__main__":
    main()
