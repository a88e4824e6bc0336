"""Inputs of a network, to trace it with and to warm it up."""

from __future__ import annotations

import random

import chess
import numpy as np
from numpy.typing import NDArray

from dejavu.model.chess.encoding import Packed, pack, stack
from dejavu.model.chess.features import Features, features
from dejavu.model.config import NetworkConfig
from dejavu.model.neighbours import EncodedArrays, RecordArrays
from dejavu.retrieval.moves import CONTINUATION_PLIES


def example_features(count: int) -> Features:
    """The starting position, `count` times."""
    return features(stack([pack(chess.Board())] * count), np.zeros(count, np.uint8))


def varied_features(count: int) -> Features:
    """Positions of random games, every fourth an ending of few men, always the same."""
    rng = random.Random(1)
    keys: list[Packed] = []
    while len(keys) < count:
        keys.append(pack(_random_ending(rng) if len(keys) % 4 == 3 else _random_game(rng)))
    return features(stack(keys), np.zeros(count, np.uint8))


def _random_game(rng: random.Random) -> chess.Board:
    board = chess.Board()
    for _ in range(rng.randrange(4, 80)):
        if board.is_game_over():
            break
        board.push(rng.choice(list(board.legal_moves)))
    return board


def _random_ending(rng: random.Random) -> chess.Board:
    while True:
        board = chess.Board(None)
        men = ["K", "k", *rng.choices("PpPpNnBbRrQq", k=rng.randrange(1, 5))]
        for square, man in zip(rng.sample(chess.SQUARES, len(men)), men, strict=True):
            board.set_piece_at(square, chess.Piece.from_symbol(man))
        if board.is_valid():
            return board


def example_records(count: int) -> RecordArrays:
    """The starting position with some continuation, `count` times."""
    board = example_features(count)
    plies = np.zeros((count, CONTINUATION_PLIES), np.int64)
    return RecordArrays(board.squares, board.clocks, plies, np.full((count, 3), 1 / 3, np.float32))


def example_neighbours(config: NetworkConfig, tokens: NDArray[np.float32], count: int) -> EncodedArrays:
    """Neighbours of `count` positions, all of them with the same encoding, tokens [r, c]."""
    shape = count, config.chunks if config.retrieve_by == "chunk" else 1, config.neighbours
    return EncodedArrays(
        tokens=np.broadcast_to(tokens, (*shape, *tokens.shape)).copy(),
        distances=np.ones(shape, np.float32),
        present=np.ones(shape, np.bool_),
        moves=np.zeros(shape, np.int64),
        wdl=np.full((*shape, 3), 1 / 3, np.float32),
    )
