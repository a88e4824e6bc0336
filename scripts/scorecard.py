"""Measure the shipped net and memory: strength, what the memory gives and costs, prediction, lessons, speed.

    python scripts/scorecard.py --data runs/data.safetensors --suite wac.epd --write-docs
    python scripts/scorecard.py --memory-games 20 --stockfish-games 4 --run runs/glance
    python scripts/scorecard.py --tables

The first takes an hour or two. Each part is in the run folder once it is measured, so the same command goes on after a
kill. Without --data nothing is predicted or taught; without stockfish on the PATH that match is left out.
--write-docs makes docs/scorecard.json of the figures, and the tables of README.md and docs/results.md; --tables makes
these tables alone, from that file.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from command_line.arguments import positive
from command_line.exit import GOES_ON, one_sentence

from dejavu.engine.scorecard.measure import Request, ScorecardError, measure
from dejavu.engine.scorecard.tables import table, write_table
from dejavu.model.weights import WeightsError
from dejavu.retrieval.atomic import write_text
from dejavu.retrieval.memory import MemoryFileError

SCRIPTS = Path(__file__).resolve().parent
ROOT = SCRIPTS.parent
CARD = ROOT / "docs" / "scorecard.json"


def run_script(words: Sequence[str]) -> None:
    """Run a script of this folder; raises ScorecardError where it fails."""
    status = subprocess.run([sys.executable, str(SCRIPTS / words[0]), *words[1:]], check=False).returncode
    if status:
        raise ScorecardError(f"{words[0]} ended with status {status}")


def write_tables() -> None:
    """Write the documents' tables from the scorecard there."""
    card = json.loads(CARD.read_text(encoding="utf-8"))
    write_table(ROOT / "README.md", card, short=True)
    write_table(ROOT / "docs" / "results.md", card, short=False)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/scorecard"), help="folder (runs/scorecard)")
    parser.add_argument("--data", type=Path, help="data set of scripts/prepare_data.py with the held-out games")
    parser.add_argument(
        "--sources", nargs="+", default=Request.sources, metavar="NAME", help="game files of it (teacher tcec)"
    )
    parser.add_argument("--suite", type=Path, nargs="+", default=[], metavar="FILE", help="EPD files to solve")
    parser.add_argument("--memory-games", type=positive, default=Request.memory_games, help="memory on, off (400)")
    parser.add_argument("--stockfish-games", type=positive, default=Request.stockfish_games, help="(60)")
    parser.add_argument("--stockfish-elo", type=positive, default=Request.stockfish_elo, help="its UCI_Elo (2000)")
    parser.add_argument("--positions", type=positive, default=Request.positions, help="of each source (8192)")
    parser.add_argument("--taught", type=positive, default=Request.taught, help="errors put right (200)")
    parser.add_argument("--write-docs", action="store_true", help="also write docs/scorecard.json and the tables")
    parser.add_argument("--tables", action="store_true", help="measure nothing, write the tables anew")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    errors = ScorecardError, WeightsError, MemoryFileError, OSError
    with one_sentence("scorecard", *errors, stopped=GOES_ON):
        if arguments.tables:
            write_tables()
            return
        request = Request(
            memory_games=arguments.memory_games,
            stockfish=shutil.which("stockfish"),
            stockfish_elo=arguments.stockfish_elo,
            stockfish_games=arguments.stockfish_games,
            data=arguments.data,
            sources=tuple(arguments.sources),
            positions=arguments.positions,
            taught=arguments.taught,
            suites=tuple(arguments.suite),
        )
        card = measure(request, arguments.run, run_script, lambda text: print(text, flush=True))
        print(f"\n{table(card, short=False)}")
        if arguments.write_docs:
            write_text(CARD, json.dumps(card, indent=1) + "\n")
            write_tables()


if __name__ == "__main__":
    main()
