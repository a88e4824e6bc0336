"""Mates in two at the root: found exactly, whatever the network thinks, and left to err by a weakened engine."""

from __future__ import annotations

import random
from pathlib import Path

import chess
import pytest
from fake_evaluator import Client, FakeEvaluator, best_move, material, scattered_preference
from searching import search

from dejavu.engine.options import Config
from dejavu.engine.search.mate_in_two import mate_in_two
from dejavu.model.chess.encoding import pack

MATES = Path(__file__).parent / "positions" / "mates.epd"


def problems(moves: int) -> list[str]:
    """Positions with a forced mate in so many moves and no shorter one."""
    boards = [chess.Board.from_epd(line) for line in MATES.read_text().splitlines() if line]
    return [board.fen() for board, operations in boards if operations["dm"] == moves]


def mates_by_the_rules(board: chess.Board) -> set[chess.Move]:
    """Every move after which all replies allow a mate at once, by trying everything; none if one mates itself."""

    def mates_at_once() -> bool:
        for move in board.legal_moves:
            board.push(move)
            mate = board.is_checkmate()
            board.pop()
            if mate:
                return True
        return False

    found: set[chess.Move] = set()
    if mates_at_once():
        return found
    for move in list(board.legal_moves):
        board.push(move)
        replies = list(board.legal_moves)
        held = not replies
        for reply in replies:
            board.push(reply)
            held |= not mates_at_once()
            board.pop()
            if held:
                break
        board.pop()
        if not held:
            found.add(move)
    return found


def few_pieces(rng: random.Random) -> chess.Board:
    """A position where a mate is near, often with pawns about to promote or to take in passing."""
    while True:
        board = chess.Board(None)
        squares = rng.sample(range(64), 8)
        board.set_piece_at(squares[0], chess.Piece(chess.KING, chess.WHITE))
        board.set_piece_at(rng.choice((0, 1, 7, 40, 56, 57, 60, 63)), chess.Piece(chess.KING, chess.BLACK))
        for square, symbol in zip(squares[1:], rng.sample("QRBNPPRpprbn", 7), strict=True):
            if board.piece_at(square) is None and not (symbol in "Pp" and square // 8 in (0, 7)):
                board.set_piece_at(square, chess.Piece.from_symbol(symbol))
        if board.is_valid() and board.legal_moves and not board.is_game_over():
            return board


def test_it_finds_what_the_rules_say() -> None:
    rng = random.Random(5)
    found = 0
    for _ in range(400):
        board = few_pieces(rng)
        expected = mates_by_the_rules(board)
        move = mate_in_two(board, list(board.legal_moves), set())
        assert (move in expected) if expected else move is None, board.fen()
        found += bool(expected)
    assert found > 40


@pytest.mark.parametrize("fen", problems(2))
def test_the_search_proves_every_mate_in_two_with_few_nodes(fen: str) -> None:
    """Without a network all moves are alike, so that without the look-ahead it would take thousands."""
    _, best, info = search(fen, 100)
    assert info.lines[0].mate == 2
    assert len(info.lines[0].moves) == 3
    board = chess.Board(fen)
    for move in info.lines[0].moves:
        board.push_uci(move)
    assert board.is_checkmate()
    assert best.move == info.lines[0].moves[0]


@pytest.mark.parametrize(
    ("fen", "move"),
    [
        ("rr4k1/p4p1p/2n1pp2/2p5/8/P3PbP1/3P1PRP/2N2K2 w - - 0 1", "g2g1"),
        ("1r4k1/5p1p/4pRp1/1Pp5/p1q5/8/3P4/1KR5 w - - 0 1", "f6f2"),
        ("8/7Q/p1p5/4kp2/1p3n1P/1BN3P1/PP3P2/6K1 b - - 0 2", "e5f6"),
        ("8/p2k4/1p1b4/5p1P/3p4/PP1P4/2r5/5nK1 w - - 0 1", "g1h1"),
    ],
)
def test_it_is_played_from_a_kept_tree_without_any_time(fen: str, move: str) -> None:
    client = Client(FakeEvaluator(material, scattered_preference))
    client.go(f"position fen {fen}", "go nodes 1500")
    lines = client.go(f"position fen {fen} moves {move}", "go wtime 90 btime 90")
    client.close()
    board = chess.Board(fen)
    board.push_uci(move)
    assert chess.Move.from_uci(best_move(lines)) in mates_by_the_rules(board)


def test_a_weakened_engine_may_miss_it() -> None:
    fens = problems(2)
    found = sum(search(fen, 5, config=Config(limit_strength=True))[2].lines[0].mate == 2 for fen in fens)
    assert found < len(fens) / 2


def test_only_moves_that_may_be_played_are_looked_at() -> None:
    board = chess.Board(problems(2)[0])
    move = mate_in_two(board, list(board.legal_moves), set())
    others = [other for other in board.legal_moves if other not in mates_by_the_rules(board)]
    assert move is not None
    assert mate_in_two(board, others, set()) is None


def test_a_position_met_before_is_a_draw_and_no_mate() -> None:
    board = chess.Board(problems(2)[0])
    met = set()
    for move in mates_by_the_rules(board):
        board.push(move)
        met.add(pack(board))
        board.pop()
    assert mate_in_two(board, list(board.legal_moves), met) is None
    assert mate_in_two(board, list(board.legal_moves), set()) is not None


@pytest.mark.parametrize("fen", problems(2)[:8])
def test_a_reply_that_leads_back_into_the_game_is_a_draw(fen: str) -> None:
    board = chess.Board(fen)
    met = set()
    for move in mates_by_the_rules(board):
        board.push(move)
        board.push(list(board.legal_moves)[-1])
        met.add(pack(board))
        board.pop()
        board.pop()
    assert mate_in_two(board, list(board.legal_moves), met) is None
    assert mate_in_two(board, list(board.legal_moves), set()) is not None


def test_the_fifty_move_rule_may_come_first() -> None:
    board = chess.Board(problems(2)[0])
    board.halfmove_clock = 97
    assert mate_in_two(board, list(board.legal_moves), set()) is None
