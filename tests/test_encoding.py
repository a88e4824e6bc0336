"""Boards and moves survive the trip to the network and back; the batch move generator agrees with python-chess."""

from __future__ import annotations

import random
from collections.abc import Iterator

import chess
import numpy as np
import pytest

from dejavu.model.attacks import attacks, checkers, king_squares, legal_mask
from dejavu.model.encoding import (
    NO_MOVE,
    POLICY_SIZE,
    clock_byte,
    index_to_move,
    move_to_index,
    pack,
    stack,
    unpack,
)
from dejavu.model.mates import mating_moves

PERFT_FENS = [
    "r3k2r/p1ppqpb1/bn2pnp1/3PN3/1p2P3/2N2Q1p/PPPBBPPP/R3K2R w KQkq - 0 1",
    "8/2p5/3p4/KP5r/1R3p1k/8/4P1P1/8 w - - 0 1",
    "r3k2r/Pppp1ppp/1b3nbN/nP6/BBP1P3/q4N2/Pp1P2PP/R2Q1RK1 w kq - 0 1",
    "rnbq1k1r/pp1Pbppp/2p5/8/2B5/8/PPP1NnPP/RNBQK2R w KQ - 1 8",
    "8/8/8/8/k2Pp2Q/8/8/3K4 b - d3 0 1",  # en passant would open the rank
    "8/8/8/2k5/3Pp3/8/8/4K3 b - d3 0 1",  # en passant takes the checker
    "1n6/P1P5/8/8/8/8/k1K5/8 w - - 0 1",
]


def random_games(start: Iterator[chess.Board], plies: int, seed: int) -> Iterator[chess.Board]:
    """Every position of random games from each board of `start`."""
    rng = random.Random(seed)
    for board in start:
        for _ in range(plies):
            yield board
            moves = list(board.legal_moves)
            if not moves:
                break
            board.push(rng.choice(moves))


def all_positions() -> Iterator[chess.Board]:
    standard = (chess.Board() for _ in range(25))
    traps = (chess.Board(fen) for fen in PERFT_FENS for _ in range(6))
    shuffled = (chess.Board.from_chess960_pos(number) for number in range(0, 960, 24))
    yield from random_games(standard, 120, seed=1)
    yield from random_games(traps, 40, seed=2)
    yield from random_games(shuffled, 80, seed=3)


def test_every_legal_move_round_trips_and_has_its_own_index() -> None:
    positions = 0
    for board in all_positions():
        moves = list(board.legal_moves)
        indices = [move_to_index(move, board) for move in moves]
        assert [index_to_move(index, board) for index in indices] == moves, board.fen()
        assert len(set(indices)) == len(moves), board.fen()
        assert all(0 <= index < POLICY_SIZE for index in indices)
        positions += 1
    assert positions > 5000


def test_the_batch_generator_finds_exactly_the_legal_moves() -> None:
    boards = [board.copy(stack=False) for board in all_positions()]
    masks = legal_mask(stack([pack(board) for board in boards]))
    for board, mask in zip(boards, masks, strict=True):
        expected = sorted(move_to_index(move, board) for move in board.legal_moves)
        assert np.flatnonzero(mask).tolist() == expected, board.fen()


def test_attack_sets_and_checks_agree_with_python_chess() -> None:
    boards = [board.copy(stack=False) for board in all_positions()][::7]
    boards = [board if board.turn else board.mirror() for board in boards]
    sets = attacks(stack([pack(board) for board in boards]))
    check = checkers(sets, king_squares(sets.codes))
    for row, board in enumerate(boards):
        assert [int(mask) for mask in sets.by_square[row]] == [board.attacks_mask(s) for s in range(64)]
        assert int(check[row]) == board.checkers_mask()


def test_unpacking_gives_back_the_position_from_the_movers_side() -> None:
    for board in all_positions():
        seen = unpack(pack(board), clock_byte(board.halfmove_clock, repeated=False))
        expected = board if board.turn == chess.WHITE else board.mirror()
        assert seen.epd() == expected.epd(), board.fen()
        assert pack(seen) == pack(board)


@pytest.mark.parametrize("standard_spelling", [True, False])
def test_both_spellings_of_castling_have_one_index(standard_spelling: bool) -> None:
    board = chess.Board("r3k2r/8/8/8/8/8/8/R3K2R b KQkq - 0 1", chess960=not standard_spelling)
    spelled = "e8g8" if standard_spelling else "e8h8"
    assert move_to_index(chess.Move.from_uci(spelled), board) == chess.E1 * 64 + chess.H1
    assert board.uci(index_to_move(chess.E1 * 64 + chess.A1, board)) == ("e8c8" if standard_spelling else "e8a8")


def test_an_unplayable_en_passant_square_does_not_change_the_position() -> None:
    after_e4 = chess.Board("rnbqkbnr/pppppppp/8/8/4P3/8/PPPP1PPP/RNBQKBNR b KQkq e3 0 1")
    without = chess.Board("rnbqkbnr/pppppppp/8/8/4P3/8/PPPP1PPP/RNBQKBNR b KQkq - 0 1")
    assert pack(after_e4) == pack(without)


def test_the_clock_byte_keeps_the_half_move_clock_and_the_repetition_apart() -> None:
    assert clock_byte(37, repeated=False) == 37
    assert clock_byte(250, repeated=True) == 128 + 100


def test_mating_moves_are_found_and_nothing_else_is() -> None:
    boards = [board.copy(stack=False) for board in all_positions()]
    planes = stack([pack(board) for board in boards])
    sets = attacks(planes)
    found = mating_moves(planes, sets, legal_mask(planes, sets))
    mates = 0
    for board, index in zip(boards, found.tolist(), strict=True):
        expected = set()
        for move in board.legal_moves:
            pushed_two = (
                board.piece_type_at(move.from_square) == chess.PAWN and abs(move.to_square - move.from_square) == 16
            )
            looked_at = not board.is_castling(move) and not board.is_en_passant(move) and not pushed_two
            if looked_at and move.promotion in (None, chess.QUEEN) and board.gives_check(move):
                board.push(move)
                if board.is_checkmate():
                    expected.add(move)
                board.pop()
        mates += bool(expected)
        if expected:
            assert index != NO_MOVE, board.fen()
            assert index_to_move(index, board) in expected, board.fen()
        else:
            assert index == NO_MOVE, board.fen()
    assert mates > 30
