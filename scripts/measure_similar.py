"""How often a person would call similar what scripts/similar.py finds, on positions of held-out games.

    python scripts/measure_similar.py --data runs/data.safetensors --source tcec

A found position counts if it has the same pawn structure (all pawns within two moves of each other), the same material
and an opening of the same family (ECO): the share of such ones among the first ten, each of another game. It is
compared with the network's keys alone, the Hamming distance of boards, the pawn structure alone, and chance. Intervals
are 95 %, from a bootstrap of games.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
from command_line.arguments import positive
from command_line.exit import one_sentence

from dejavu.engine.loader import wanted
from dejavu.engine.options import Config
from dejavu.model.data.dataset import HELD_OUT, Dataset, DatasetError
from dejavu.model.data.shards import open_data
from dejavu.model.inference import load_backbone
from dejavu.model.measurement.similarity import (
    CRITERIA,
    FIRST,
    ORDERS,
    Asked,
    Precision,
    family,
    measure_similarity,
)
from dejavu.model.weights import WeightsError
from dejavu.retrieval.memory import Memory, MemoryFileError
from dejavu.retrieval.progress import progress_bar

PLIES = range(10, 60)
"""Positions of a game that are asked about: from the opening on, while there is something of it to see."""


def drawn(dataset: Dataset, source: str | None, a_game: int) -> Asked:
    """So many positions of each held-out game whose opening is known, drawn at random."""
    rows = dataset.rows(HELD_OUT, source)
    generator = np.random.default_rng(0)
    chosen, families = [], []
    for game in np.unique(dataset.game[rows]).tolist():
        name = family(dataset.game_name(game))
        of_game = rows[dataset.game[rows] == game][PLIES.start : PLIES.stop]
        if name and len(of_game):
            taken = np.sort(generator.permutation(of_game)[:a_game])
            chosen.append(taken)
            families += [name] * len(taken)
    if not chosen:
        raise DatasetError("no held-out game says what its opening is (an ECO code)")
    asked = np.concatenate(chosen)
    return Asked(dataset.planes[asked], dataset.clocks[asked], np.array(families), dataset.game[asked])


def show(precision: Precision) -> None:
    """Print a table as the documents have it."""
    print(f"| order | {' | '.join(CRITERIA)} |\n|---{'|---' * len(CRITERIA)}|")
    for order, name in enumerate(ORDERS):
        cells = [
            "{:.3f} ({:.3f} to {:.3f})".format(*precision.mean(order, criterion)) for criterion in range(len(CRITERIA))
        ]
        print(f"| {name} | {' | '.join(cells)} |")
    hamming = ORDERS.index("Hamming distance of boards")
    print("{} less {}: {:+.3f} ({:+.3f} to {:+.3f})".format(ORDERS[0], ORDERS[hamming], *precision.mean(0, 0, hamming)))


def main() -> None:
    shipped = wanted(Config())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="data sets of scripts/prepare_data.py")
    parser.add_argument("--source", help="games of files with this in their names alone")
    parser.add_argument("--weights", type=Path, default=shipped.weights, help="default: the shipped ones")
    parser.add_argument("--memory", type=Path, default=shipped.memory, help="default: the shipped one")
    parser.add_argument("--a-game", type=positive, default=3, help="positions of each game (3)")
    arguments = parser.parse_args()
    with one_sentence("measure_similar", DatasetError, WeightsError, MemoryFileError, OSError):
        asked = drawn(open_data(arguments.data), arguments.source, arguments.a_game)
        backbone = load_backbone(arguments.weights, os.cpu_count() or 1)
        memory = Memory.open(arguments.memory, backbone.fingerprint)
        with progress_bar("searching", "positions", len(asked.planes)) as bar:
            precision = measure_similarity(memory, backbone.embed_chunks, asked, bar.update)
        print(f"{len(asked.planes):,} positions of {len(np.unique(asked.games)):,} games, precision at {FIRST}")
        show(precision)
        enough = precision.where_enough(0)
        if len(enough.games):
            print(f"\nof the {len(enough.games):,} for which {FIRST} games have a position that is all three")
            show(enough)


if __name__ == "__main__":
    main()
