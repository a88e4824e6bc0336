"""The solved endings: against themselves move by move, and in the search."""

import random

import chess
import pytest
from fake_evaluator import FakeEvaluator
from searching import search

from dejavu.engine.search.endings import Endings


@pytest.fixture(scope="module")
def endings() -> Endings:
    made = Endings()
    made.make()
    return made


def random_boards(symbol: str, count: int) -> list[chess.Board]:
    """Legal positions of two kings and a piece of either side, either side to move."""
    rng = random.Random(symbol)
    boards: list[chess.Board] = []
    while len(boards) < count:
        board = chess.Board(None)
        own, other, square = rng.sample(range(64), 3)
        piece = chess.Piece.from_symbol(symbol)
        piece.color = rng.random() < 0.5
        board.set_piece_at(own, chess.Piece(chess.KING, piece.color))
        board.set_piece_at(other, chess.Piece(chess.KING, not piece.color))
        board.set_piece_at(square, piece)
        board.turn = rng.random() < 0.5
        if board.is_valid() and not board.is_game_over():
            boards.append(board)
    return boards


def result_after(endings: Endings, board: chess.Board) -> tuple[int, int] | None:
    if board.is_checkmate():
        return -1, 0
    if board.is_stalemate() or board.is_insufficient_material():
        return 0, 0
    return endings.result(board)


@pytest.mark.parametrize("symbol", ["Q", "R", "P"])
def test_every_result_follows_from_those_a_move_later(endings: Endings, symbol: str) -> None:
    outcomes = set()
    for board in random_boards(symbol, 300):
        after = []
        for move in board.legal_moves:
            board.push(move)
            result = result_after(endings, board)
            board.pop()
            if result is None:
                assert move.promotion in (chess.KNIGHT, chess.BISHOP)
            else:
                after.append((-result[0], result[1]))
        result = endings.result(board)
        assert result is not None
        outcome, plies = result
        assert outcome == max(value for value, _ in after)
        best = [moves for value, moves in after if value == outcome]
        assert plies == (0 if outcome == 0 else 1 + (min(best) if outcome > 0 else max(best)))
        outcomes.add(outcome)
    assert outcomes == {1, 0, -1}


@pytest.mark.parametrize(
    ("fen", "result"),
    [
        ("8/8/8/8/8/1k6/7r/K7 b - - 0 1", (1, 1)),
        ("k7/8/1K6/8/8/8/8/7R w - - 0 1", (1, 1)),
        ("4k3/8/4K3/4P3/8/8/8/8 w - - 0 1", (1, 21)),  # the king on the sixth before its pawn
        ("8/8/8/4k3/4P3/4K3/8/8 w - - 0 1", (0, 0)),  # the king behind its pawn
        ("k7/8/1K6/P7/8/8/8/8 w - - 0 1", (0, 0)),  # the corner of a rook's pawn
        ("7k/5Q2/8/8/8/8/8/K7 b - - 0 1", (0, 0)),  # stalemate is no loss
    ],
)
def test_known_positions(endings: Endings, fen: str, result: tuple[int, int]) -> None:
    assert endings.result(chess.Board(fen)) == result


@pytest.mark.parametrize("fen", ["8/8/8/3k4/8/8/8/K6R w - - 0 1", "8/8/8/2K5/8/8/8/k6q b - - 0 1"])
def test_mate_is_given_in_as_many_moves_as_were_announced(endings: Endings, fen: str) -> None:
    board = chess.Board(fen)
    result = endings.result(board)
    assert result is not None
    for _ in range(result[1]):
        board.push(endings.best_moves(board)[0])
    assert board.is_checkmate()


def test_nothing_is_claimed_that_the_fifty_move_rule_may_spoil(endings: Endings) -> None:
    board = chess.Board("8/8/8/3k4/8/8/8/K6R w - - 90 60")
    assert endings.result(board) is None
    assert endings.best_moves(board) == []


def test_other_positions_are_unknown(endings: Endings) -> None:
    for fen in (chess.STARTING_FEN, "8/8/8/3k4/8/8/8/K6B w - - 0 1", "8/8/8/3k4/3p4/8/8/K6R w - - 0 1"):
        assert endings.result(chess.Board(fen)) is None
    assert Endings().result(chess.Board("8/8/8/3k4/8/8/8/K6R w - - 0 1")) is None


def test_the_search_goes_for_the_solved_ending(endings: Endings) -> None:
    fen = "8/8/8/8/1k6/8/2r5/K1R5 w - - 0 1"
    _, best, info = search(fen, 200, FakeEvaluator(), endings=endings)
    assert best.move == "c1c2"
    expected = endings.result(chess.Board("8/8/8/8/1k6/8/2R5/K7 b - - 0 1"))
    assert expected is not None
    assert info.lines[0].mate == (expected[1] + 2) // 2
