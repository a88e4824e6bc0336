"""Moves drawn at random: in what proportion, and where chance has no say."""

import random

import chess
import numpy as np
import pytest
from fake_evaluator import FakeEvaluator, even, scattered_preference

from dejavu.engine.options import Config
from dejavu.engine.search.limits import Limits
from dejavu.engine.search.lines import BestMove, Info
from dejavu.engine.search.tablebase import Tablebases
from dejavu.engine.search.temperature import decayed, move_probabilities
from dejavu.engine.uci.session import Session


def play(
    config: Config, nodes: int, fen: str | None = None, seed: int = 0, evaluator: FakeEvaluator | None = None
) -> tuple[str, Info]:
    """The move chosen in a position, and the last report before it."""
    player = evaluator or FakeEvaluator(even, scattered_preference)
    session = Session(lambda _: player, pytest.fail, random.Random(seed))
    session.configure(config)
    session.set_position(fen, [])
    answers: list[BestMove] = []
    infos: list[Info] = []
    session.go(Limits(nodes=nodes), infos.append, answers.append)
    session._thread.join()  # type: ignore[union-attr]
    move = answers[0].move
    assert move is not None
    return move, infos[-1]


def test_chances_are_powers_of_the_weights() -> None:
    weights = np.array([0.0, 1.0, 4.0])
    assert move_probabilities(weights, 1.0) == pytest.approx([0, 0.2, 0.8])
    assert move_probabilities(weights, 0.5) == pytest.approx([0, 1 / 17, 16 / 17])
    assert move_probabilities(weights, 1e-3) == pytest.approx([0, 0, 1])
    assert move_probabilities(weights * 1e9, 100.0)[1] == pytest.approx(0.4965, abs=1e-3)


def test_the_temperature_falls_to_zero_over_the_moves() -> None:
    assert [decayed(2.0, 4, moves) for moves in (0, 1, 4, 50)] == [2.0, 1.5, 0.0, 0.0]
    assert decayed(2.0, 0, 50) == 2.0


def test_without_temperature_the_move_is_always_the_same() -> None:
    assert len({play(Config(), 60, seed=seed)[0] for seed in range(5)}) == 1


@pytest.mark.parametrize("nodes", [1, 60])
def test_with_temperature_moves_vary_and_the_last_line_begins_with_the_move(nodes: int) -> None:
    moves = set()
    for seed in range(12):
        move, info = play(Config(temperature=1.0), nodes, seed=seed)
        assert info.lines[0].moves[0] == move
        moves.add(move)
    assert len(moves) > 2


def test_moves_are_drawn_by_the_number_of_the_game_s_move() -> None:
    config = Config(temperature=5.0, temperature_decay_moves=10)
    late = chess.STARTING_FEN.replace("0 1", "0 11")
    assert len({play(config, 40, seed=seed)[0] for seed in range(6)}) > 1
    assert len({play(config, 40, late, seed=seed)[0] for seed in range(6)}) == 1


@pytest.mark.parametrize("nodes", [1, 300])
def test_a_mate_is_never_left_to_chance(nodes: int) -> None:
    def see_mate(board: chess.Board, move: chess.Move) -> float:
        # The evaluator puts a mating move first; here by a hair, so that at one node chance would rarely choose it.
        return 0.01 * (board.san(move) == "Ra8#")

    for seed in range(5):
        fen = "6k1/5ppp/8/8/8/8/8/R5K1 w - - 0 1"
        move, _ = play(Config(temperature=100.0), nodes, fen, seed, FakeEvaluator(even, see_mate))
        assert move == "a1a8"


def test_a_proven_loss_is_not_drawn() -> None:
    # 1. g4 allows Qh4#.
    fen = "rnbqkbnr/pppp1ppp/8/4p3/8/5P2/PPPPP1PP/RNBQKBNR w KQkq - 0 2"
    evaluator = FakeEvaluator(even, lambda board, move: 3.0 * (move.uci() == "g2g4"))
    moves = [play(Config(temperature=1.0), 600, fen, seed, evaluator)[0] for seed in range(8)]
    assert "g2g4" not in moves
    assert len(set(moves)) > 1


def test_where_the_tablebases_know_the_result_nothing_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = [chess.Move.from_uci("b1b2"), chess.Move.from_uci("b1a1")]
    monkeypatch.setattr(Tablebases, "root_moves", lambda self, board: kept)
    moves = {play(Config(temperature=100.0), 20, "8/8/8/8/3k4/8/1r6/1R4K1 w - - 0 1", seed)[0] for seed in range(8)}
    assert len(moves) == 1
