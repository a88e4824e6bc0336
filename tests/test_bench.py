"""What the search costs beside its network."""

import chess
from fake_evaluator import FakeEvaluator

from dejavu.engine.options import Config
from dejavu.engine.search.bench import cost, grow
from dejavu.engine.search.evaluator import UniformEvaluator
from dejavu.model.chess.encoding import pack, stack


def test_every_node_is_evaluated_and_once_more_without_the_search() -> None:
    evaluator = FakeEvaluator(seconds=0.001)
    measured = cost(evaluator, [chess.STARTING_FEN] * 2, 60, Config())
    assert measured.nodes == measured.evaluated == 120
    half = len(evaluator.batches) // 2
    assert evaluator.batches[:half] == evaluator.batches[half:]
    assert measured.evaluator_seconds >= half * 0.001
    assert measured.efficiency > 0


def test_the_tree_grows_to_the_nodes_asked_for() -> None:
    assert grow(UniformEvaluator(), chess.STARTING_FEN, 500, Config()).visits[0] == 500


def test_without_a_network_all_moves_are_alike() -> None:
    board = chess.Board("r3k2r/8/8/8/8/8/P7/R3K2R w KQkq - 0 1")
    answer = UniformEvaluator().evaluate(stack([pack(board)] * 2), stack([pack(board)]).astype("uint8")[:, 0])
    assert answer.offsets.tolist() == [0, board.legal_moves.count(), 2 * board.legal_moves.count()]
    assert not answer.logits.any()
