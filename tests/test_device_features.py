"""Features computed on the device: bit for bit those that numpy computes for play."""

from __future__ import annotations

import random

import chess
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dejavu.model.chess.encoding import mirror, pack, stack
from dejavu.model.chess.features import features
from dejavu.model.training import device_features
from dejavu.model.training.device_features import DeviceFeatures

SPECIAL = {
    "castling": "r3k2r/pppq1ppp/2np1n2/2b1p3/2B1P3/2NP1N2/PPPQ1PPP/R3K2R w KQkq - 4 8",
    "castling of one side": "r3k2r/8/8/8/8/8/8/R3K2R b Kq - 99 80",
    "castling in Chess960": "1rk3r1/pppppppp/8/8/8/8/PPPPPPPP/1RK3R1 w GBgb - 0 1",
    "en passant": "rnbqkbnr/ppp1p1pp/8/3pPp2/8/8/PPPP1PPP/RNBQKBNR w KQkq f6 0 3",
    "en passant for Black": "rnbqkbnr/pppp1ppp/8/8/3Pp3/5N2/PPP1PPPP/RNBQKB1R b KQkq d3 0 3",
    "en passant that is pinned": "8/8/8/K2pP2r/8/8/8/7k w - d6 0 1",
    "promotion": "1n1n4/P1P3k1/8/8/8/8/5ppK/6N1 w - - 0 60",
    "promotion of Black": "8/P5k1/8/8/8/8/1p4K1/N1R5 b - - 12 70",
    "double check": "4k3/8/5N2/8/4R3/8/8/4K3 b - - 1 40",
    "nine queens": "QQQQQQQQ/7Q/8/k7/8/8/8/K7 b - - 100 90",
}


def boards() -> list[chess.Board]:
    rng = random.Random(11)
    found = [chess.Board(fen, chess960="Chess960" in what) for what, fen in SPECIAL.items()]
    for _ in range(30):
        board = chess.Board.from_chess960_pos(rng.randrange(960)) if rng.random() < 0.3 else chess.Board()
        while not board.is_game_over() and board.ply() < 120:
            board.push(rng.choice(list(board.legal_moves)))
            found.append(board.copy(stack=False))
    return found


@pytest.fixture(scope="module")
def planes() -> NDArray[np.uint64]:
    found = stack([pack(board) for board in boards()])
    assert len(found) > 2000
    return found


def tensor(planes: NDArray[np.uint64]) -> torch.Tensor:
    return torch.from_numpy(planes.view(np.int64))


def test_features_are_those_of_numpy(planes: NDArray[np.uint64]) -> None:
    clocks = np.arange(len(planes)).astype(np.uint8)  # every clock, repeated positions included
    expected = features(planes, clocks)
    found = DeviceFeatures(torch.device("cpu"))(tensor(planes), torch.from_numpy(clocks))
    for name, value in found._asdict().items():
        array = getattr(expected, name)
        assert value.numpy().dtype == array.dtype, name
        assert np.array_equal(value.numpy(), array), name


def test_mirrored_positions_are_those_of_numpy(planes: NDArray[np.uint64]) -> None:
    assert np.array_equal(device_features.mirror(tensor(planes)).numpy().view(np.uint64), mirror(planes))


def test_castling_rights_are_seen(planes: NDArray[np.uint64]) -> None:
    rights = [bool(board.clean_castling_rights()) for board in boards()]
    assert device_features.has_castling(tensor(planes)).tolist() == rights
