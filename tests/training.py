"""Small training runs, for tests."""

from __future__ import annotations

import csv
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import chess
import chess.pgn

from dejavu.model.training.backbone_run import BackboneRun, train_backbone
from dejavu.model.training.retrieval_run import RetrievalRun, train_retrieval

SCRIPTS = Path(__file__).parent.parent / "scripts"
TINY: dict[str, Any] = {
    "batch": 16,
    "held_out": 64,
    "part": 6,
    "threads": 2,
    "checkpoint_every": 4,
    "evaluate_every": 4,
    "learning_rate": 0.003,
}
"""A small run of either stage."""
TINY_WORDS = [word for name, value in TINY.items() for word in (f"--{name.replace('_', '-')}", str(value))]
"""The same as arguments of train.py."""


def run_script(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script to its end, whatever that is."""
    command = [sys.executable, str(SCRIPTS / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def run_backbone(data: Path, run: Path, steps: int, **options: Any) -> None:
    """Stage 1 in this process, which saves seconds of imports."""
    train_backbone(BackboneRun(data=[data], folder=run, steps=steps, **{"preset": "tiny", **TINY, **options}))


def run_retrieval(data: Path, backbone: Path, memory: Path, run: Path, steps: int, **options: Any) -> None:
    """Stage 2 in this process, on the backbone of the run in the folder `backbone`."""
    files: dict[str, Any] = {"data": [data], "memory": memory, "folder": run}
    files["weights"] = backbone / "weights.safetensors"
    train_retrieval(RetrievalRun(**files, steps=steps, **{"neighbours": 4, **TINY, **options}))


def curve(run: Path) -> list[tuple[str, ...]]:
    """The learning curve without its times: step, policy loss, value loss and top-1 on held-out positions."""
    with (run / "held_out.csv").open(newline="") as file:
        return [(row["step"], row["policy_loss"], row["value_loss"], row["top1"]) for row in csv.DictReader(file)]


def rows_without_times(path: Path) -> list[dict[str, str]]:
    """The rows of a run's log, but for the seconds that it took."""
    with path.open(newline="") as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def write_random_games(path: Path) -> None:
    """60 short random games, where the better move always captures if it can."""
    rng = random.Random(7)
    with path.open("w") as file:
        for _ in range(60):
            game = chess.pgn.Game()
            node: chess.pgn.GameNode = game
            board = game.board()
            for _ in range(40):
                moves = list(board.legal_moves)
                if not moves:
                    break
                captures = [move for move in moves if board.is_capture(move)]
                move = rng.choice(captures or moves)
                node = node.add_variation(move)
                board.push(move)
            game.headers["Result"] = rng.choice(["1-0", "0-1", "1/2-1/2"])
            print(game, file=file, end="\n\n")
