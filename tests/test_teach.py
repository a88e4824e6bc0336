"""What is taught and what it is compared with: positions of all held-out games, and none of them both."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import chess.pgn
import numpy as np
import pytest
from memories import small_memory
from numpy.typing import NDArray
from training import write_random_games

from dejavu.engine.match import teach as teach_module
from dejavu.engine.match.teach import TeachRun, teach
from dejavu.model.data.dataset import HELD_OUT, TRAIN, Dataset
from dejavu.model.data.games import read_game
from dejavu.model.data.records import join
from dejavu.model.weights import read_weights
from dejavu.retrieval.memory import Memory


class Learner:
    """An engine that errs in two of three positions."""

    def __init__(self, weights: Path, memory: Path, threads: int) -> None:
        pass

    def plays(self, dataset: Dataset, row: int, nodes: int) -> bool:
        return row % 3 == 0


def test_others_are_drawn_from_all_games_and_are_not_taught(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    games = tmp_path / "games.pgn"
    write_random_games(games)
    with games.open() as file:
        read = [read_game(str(game)) for game in iter(lambda: chess.pgn.read_game(file), None)]
    dataset = join(read, [HELD_OUT, TRAIN] * (len(read) // 2), [0] * len(read), ["random"])
    data, path = tmp_path / "data", tmp_path / "memory"
    dataset.save(data)
    replace(small_memory(), fingerprint=read_weights(weights)[0].fingerprint).write(path)
    taught, asked = [], []

    def remember(memory: Memory, weights: Path, threads: int, dataset: Dataset, rows: list[int]) -> Memory:
        taught.extend(rows)
        return memory

    def ask(weights: Path, memory: Path, threads: int, dataset: Dataset, rows: NDArray[np.int64], name: str) -> float:
        asked.append(rows)
        return 0.5

    monkeypatch.setattr(teach_module, "TaughtEngine", Learner)
    monkeypatch.setattr(teach_module, "with_lessons", remember)
    monkeypatch.setattr(teach_module, "top1", ask)
    report = teach(TeachRun(data, weights, path, positions=20, others=60, threads=1))
    assert (report.taught, report.others) == (len(taught), len(np.unique(asked[0]))) == (20, 60)
    assert np.array_equal(asked[0], asked[1])
    assert not np.isin(asked[0], taught).any()
    for rows in (asked[0], np.array(taught)):
        assert (dataset.split[dataset.game[rows]] == HELD_OUT).all()
    assert len(np.unique(dataset.game[asked[0]])) > 15
    assert len(np.unique(dataset.game[taught])) > 10
