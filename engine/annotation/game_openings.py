"""Openings that are played: how the games of a data set begin."""

from __future__ import annotations

from pathlib import Path

import chess
import numpy as np

from dejavu.engine.match.openings import Opening, OpeningError
from dejavu.model.chess.encoding import index_to_move, unpack
from dejavu.model.data.dataset import MEMORY, TRAIN, Dataset
from dejavu.retrieval.moves import NO_MOVE


def game_openings(data: Path, source: str | None = None, plies: int = 12) -> list[Opening]:
    """The first `plies` moves of every game that is not held out, each as often as it was played.

    `source` takes only game files with this in their name. Raises DatasetError and OpeningError.
    """
    dataset = Dataset.open(data)
    rows = np.concatenate([dataset.rows(split, source) for split in (TRAIN, MEMORY)])
    games = np.unique(dataset.game[rows])
    begins, ends = (np.searchsorted(dataset.game, games, side).tolist() for side in ("left", "right"))
    openings = [_opening(dataset, begin, min(end, begin + plies)) for begin, end in zip(begins, ends, strict=True)]
    if not openings:
        raise OpeningError(f"{data} holds no games" + (f" from {source}" if source else ""))
    return openings


def _opening(dataset: Dataset, begin: int, end: int) -> Opening:
    board = unpack(dataset.planes[begin], int(dataset.clocks[begin]))
    fen = board.fen()
    moves: list[chess.Move] = []
    for index in dataset.played[begin:end].tolist():
        if index == NO_MOVE:
            break
        moves.append(index_to_move(index, board))
        board.push(moves[-1])
    return Opening(fen, tuple(moves))
