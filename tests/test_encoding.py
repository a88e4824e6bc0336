"""Boards and moves survive the trip to the network and back; the batch move generator agrees with python-chess."""

from __future__ import annotations

import random
from collections.abc import Iterator

import chess
import numpy as np
import pytest

from dejavu.model.chess.attacks import attacks, legal_mask, legal_moves
from dejavu.model.chess.encoding import clock_byte, index_to_move, move_to_index, pack, stack, unpack
from dejavu.model.chess.features import features
from dejavu.model.chess.mates import mating_moves
from dejavu.model.chess.play import play
from dejavu.retrieval.moves import NO_MOVE, POLICY_SIZE

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
    planes = stack([pack(board) for board in boards])
    sets = attacks(planes)
    check = features(planes, np.zeros(len(boards), np.uint8), sets).squares[:, 27]
    for row, board in enumerate(boards):
        assert [int(mask) for mask in sets.by_square[row]] == [board.attacks_mask(s) for s in range(64)]
        assert np.flatnonzero(check[row]).tolist() == list(board.checkers())


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


MATES_BY_SPECIAL_MOVES = {
    "en passant": [
        "5K2/8/2qk4/2nPp3/3r4/6B1/B7/3R4 w - e6 0 1",
        "8/8/8/8/pP1q1Q2/k1N5/2KQ4/q7 b - b3 0 1",
        "7q/8/5Q2/6K1/N3kPp1/6q1/3r4/8 b - f3 0 1",
        "4nbq1/5kq1/8/3PpKQ1/8/8/8/6N1 w - e6 0 1",
        "3q1b2/8/P7/1qq5/3pPkn1/8/3K4/4R3 b - e3 0 1",
    ],
    "castling": [
        "4Q3/8/8/8/8/1P1k4/1P6/R3K3 w Q - 0 1",
        "8/8/1B2pN2/8/8/5k2/6R1/1R1K3R w KQ - 0 1",
        "r1k1r3/6r1/4PK2/4QN2/1r6/8/8/8 b kq - 0 1",
        "7N/4N3/8/4Q3/3R4/3p1k2/p7/R2KR3 w KQ - 0 1",
        "8/1b6/8/8/8/8/6Q1/2k2KR1 w K - 0 1",
        "2rk4/8/2nKP3/8/2r5/8/8/8 b q - 0 1",
    ],
    "step of two": [
        "8/8/5Q2/1K1k2r1/3bq3/8/2P2rR1/2N5 w - - 0 1",
        "1q3b2/6Rp/8/kr6/6KB/3P1B2/8/7r b - - 0 1",
        "2k5/p7/8/1B6/1K6/4Q1n1/r1q5/8 b - - 0 1",
    ],
    "knight": [
        "8/1n6/8/1rk5/2N5/2K5/1pb1b3/n7 b - - 0 1",
        "8/4R1P1/7k/r7/3RB1K1/4R3/5r2/8 w - - 0 1",
        "q5rk/8/8/8/2q4b/8/b5p1/5BK1 b - - 0 1",
        "3n1n2/4k1P1/3r1rQQ/8/2K5/7B/5R2/8 w - - 0 1",
    ],
}
"""Positions where nothing else mates."""

CHECKS_TAKEN_EN_PASSANT = [
    "2qb4/2p5/8/1P6/PK6/3q4/8/5k2 b - - 0 1",
    "1K4Q1/8/6pp/6pk/5p1p/8/6P1/6Q1 w - - 0 1",
    "8/3Bp3/2r5/2nP4/3K3k/n5q1/8/8 b - - 0 1",
]
"""A pawn's step of two would mate if it could not be taken in passing."""


def special(board: chess.Board, move: chess.Move) -> str:
    """The key of MATES_BY_SPECIAL_MOVES that `move` belongs to; empty for a usual move."""
    if board.is_castling(move):
        return "castling"
    if board.is_en_passant(move):
        return "en passant"
    if move.promotion == chess.KNIGHT:
        return "knight"
    is_pawn = board.piece_type_at(move.from_square) == chess.PAWN
    return "step of two" if is_pawn and abs(move.to_square - move.from_square) == 16 else ""


def mates_in_one(board: chess.Board) -> set[chess.Move]:
    """By asking python-chess."""
    found = set()
    for move in board.legal_moves:
        if board.gives_check(move):
            board.push(move)
            if board.is_checkmate():
                found.add(move)
            board.pop()
    return found


def scattered_pieces(count: int, seed: int) -> Iterator[chess.Board]:
    """Positions of few pieces around a king, with pawns that may take in passing, promote, or step, and castling."""
    rng = random.Random(seed)
    while count:
        board = chess.Board(None, chess960=True)
        king = rng.choice(range(64))
        board.set_piece_at(king, chess.Piece(chess.KING, chess.BLACK))
        home, rook, file = rng.randrange(1, 7), rng.choice((0, 7)), rng.randrange(7)
        board.set_piece_at(home, chess.Piece(chess.KING, chess.WHITE))
        board.set_piece_at(rook, chess.Piece(chess.ROOK, chess.WHITE))
        board.castling_rights = chess.BB_SQUARES[rook]
        for square in (32 + file, 48 + rng.randrange(8), 8 + rng.randrange(8)):
            board.set_piece_at(square, chess.Piece(chess.PAWN, chess.WHITE))
        board.set_piece_at(33 + file, chess.Piece(chess.PAWN, chess.BLACK))
        board.ep_square = 41 + file
        near = list(chess.SquareSet(chess.BB_KING_ATTACKS[king]))
        for colour, squares in ((chess.WHITE, range(64)), (chess.BLACK, near)):
            for _ in range(rng.randrange(1, 5)):
                piece = rng.choice((chess.KNIGHT, chess.BISHOP, chess.ROOK, chess.QUEEN))
                if board.piece_at(square := rng.choice(squares)) is None:
                    board.set_piece_at(square, chess.Piece(piece, colour))
        wrong = chess.STATUS_INVALID_EP_SQUARE | chess.STATUS_BAD_CASTLING_RIGHTS | chess.STATUS_OPPOSITE_CHECK
        kings = chess.STATUS_NO_WHITE_KING | chess.STATUS_NO_BLACK_KING | chess.STATUS_PAWNS_ON_BACKRANK
        if not board.status() & (wrong | kings):
            count -= 1
            yield board if rng.random() < 0.5 else board.mirror()


def mating_moves_of(boards: list[chess.Board]) -> list[int]:
    """Of every board, a policy index that mates, or NO_MOVE."""
    planes = stack([pack(board) for board in boards])
    sets = attacks(planes)
    found: list[int] = mating_moves(planes, sets, legal_moves(planes, sets)).tolist()
    return found


def test_every_mate_in_one_is_found_and_nothing_else_is() -> None:
    boards = [board.copy(stack=False) for board in all_positions()]
    boards += [*scattered_pieces(3000, seed=5), *(chess.Board(fen) for fen in CHECKS_TAKEN_EN_PASSANT)]
    mates = 0
    for board, index in zip(boards, mating_moves_of(boards), strict=True):
        expected = mates_in_one(board)
        mates += bool(expected)
        if expected:
            assert index != NO_MOVE, board.fen()
            assert index_to_move(index, board) in expected, board.fen()
        else:
            assert index == NO_MOVE, board.fen()
    assert mates > 250


@pytest.mark.parametrize("kind", MATES_BY_SPECIAL_MOVES)
def test_mates_by_special_moves_are_found(kind: str) -> None:
    boards = [chess.Board(fen, chess960=True) for fen in MATES_BY_SPECIAL_MOVES[kind]]
    boards += [board.mirror() for board in boards]
    for board, index in zip(boards, mating_moves_of(boards), strict=True):
        expected = mates_in_one(board)
        assert {special(board, move) for move in expected} == {kind}, board.fen()
        assert index != NO_MOVE, board.fen()
        assert index_to_move(index, board) in expected, board.fen()


def test_a_position_after_a_move_is_that_of_python_chess() -> None:
    boards = [board.copy(stack=False) for board in all_positions()][::2]
    moves = 0
    for board in [*boards, *scattered_pieces(500, seed=9)]:
        packed = pack(board)
        for move in list(board.legal_moves):
            played = play(packed, move_to_index(move, board))
            starts_clock = board.is_zeroing(move)
            board.push(move)
            assert played == (pack(board), starts_clock), (board.fen(), move)
            board.pop()
            moves += 1
    assert moves > 50_000
