"""The file of what the engine has learned in play: show, check, repair, merge, forget, export.

    python scripts/learned.py list --newest 20
    python scripts/learned.py check
    python scripts/learned.py repair
    python scripts/learned.py merge laptop.dejavu club.dejavu
    python scripts/learned.py forget --since 2026-11-20
    python scripts/learned.py forget --fen "rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - 0 1"
    python scripts/learned.py export --out mine.pgn

It works on the file that the engine uses, or on --file. An engine that runs sees every change at its next `isready`.
`check` ends with status 1 if records are damaged. What is merged is known here afterwards wherever it was searched
deeper. The exported games are lessons, which `remember.py` puts into a memory and any chess program reads.
"""

from __future__ import annotations

import argparse
import sys
from datetime import date
from pathlib import Path

from command_line.exit import one_sentence

from dejavu.engine.seeing.learned import file_lines, lessons, newest_lines
from dejavu.engine.seeing.played import QuestionError, read_position
from dejavu.engine.uci.learned_file import forget_days, merge, opened
from dejavu.engine.uci.learning import learned_file
from dejavu.model.chess.encoding import pack
from dejavu.model.weights import WeightsError
from dejavu.retrieval.atomic import write_text
from dejavu.retrieval.learned_records import LearnedFileError
from dejavu.retrieval.memory import MemoryFileError


def run(arguments: argparse.Namespace) -> None:
    """What the command line asks for."""
    if arguments.command == "merge":
        learned, count = merge(arguments.file, arguments.others)
        print(f"{count:,} positions taken over; {learned.path} has {len(learned):,}")
        return
    learned = opened(arguments.file)
    if arguments.command == "list":
        print("\n".join(file_lines(learned) + newest_lines(learned, arguments.newest)))
    elif arguments.command == "check":
        print("\n".join(file_lines(learned)))
        sys.exit(bool(learned.damaged))
    elif arguments.command == "repair":
        count = learned.repair()
        print(f"{count:,} records that were damaged or out of date are gone; {len(learned):,} positions stay")
    elif arguments.command == "forget":
        if arguments.fen is not None:
            count = learned.forget([pack(read_position(arguments.fen))])
        else:
            count = forget_days(learned, arguments.since or date.min, arguments.until or date.max)
        print(f"{count:,} positions forgotten; {len(learned):,} stay")
    else:
        write_text(arguments.out, "".join(lessons(learned)))
        print(f"wrote {arguments.out}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", type=Path, default=learned_file(), help="default: the engine's own")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list").add_argument("--newest", type=int, default=10, help="positions shown (10)")
    commands.add_parser("check")
    commands.add_parser("repair")
    commands.add_parser("merge").add_argument("others", nargs="+", type=Path, metavar="FILE")
    forgetting = commands.add_parser("forget")
    forgetting.add_argument("--fen", help="this position")
    forgetting.add_argument("--since", type=date.fromisoformat, metavar="DAY", help="what was learned from that day on")
    forgetting.add_argument("--until", type=date.fromisoformat, metavar="DAY", help="and up to that day")
    commands.add_parser("export").add_argument("--out", type=Path, required=True, metavar="PGN")
    arguments = parser.parse_args()
    if arguments.command == "forget" and not (arguments.fen or arguments.since or arguments.until):
        parser.error("say what to forget: --fen, --since or --until")
    with one_sentence("learned", LearnedFileError, MemoryFileError, WeightsError, QuestionError, OSError):
        run(arguments)


if __name__ == "__main__":
    main()
