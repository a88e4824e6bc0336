"""The tree search: against a plain reference, and on positions where the right answer is known."""

import math
from dataclasses import replace

import chess
import numpy as np
import pytest
from fake_evaluator import (
    Client,
    FakeEvaluator,
    Value,
    best_move,
    even,
    field,
    last_info,
    material,
    scattered,
    scattered_preference,
)
from numpy.typing import NDArray
from searching import check_tree, child_named, search

from dejavu.engine.options import Config
from dejavu.engine.search.evaluator import CLOCK_STEP, EvaluationCache, Expansion, UniformEvaluator, priors
from dejavu.engine.search.limits import Limits
from dejavu.engine.search.lines import Info
from dejavu.engine.search.search import MAX_COLLISIONS, Leaf
from dejavu.engine.search.stoppers import NodesStopper
from dejavu.engine.search.tree import DRAWN, LOST, UNPROVEN, WON, Tree
from dejavu.engine.uci.session import Session
from dejavu.model.chess.attacks import attacks, legal_moves
from dejavu.model.chess.encoding import index_to_move, pack, stack
from dejavu.model.chess.mates import mating_moves
from dejavu.model.evaluations import Evaluations
from dejavu.retrieval.moves import NO_MOVE

# A plain reference: one node an object, one visit at a time, every move looked at


class Reference:
    """PUCT written down as in the papers, for minibatches of one and games without draws by rule."""

    def __init__(self, board: chess.Board, evaluator: FakeEvaluator, config: Config, draw_score: float) -> None:
        self.board, self.config = board, config
        self.draw_score = draw_score
        """Of a draw, for this node's side to move."""
        planes = stack([pack(board)])
        answer = evaluator.evaluate(planes, np.zeros(1, np.uint8))
        moves, probabilities = priors(answer, config.policy_temperature)
        self.moves = [index_to_move(int(move), board) for move in moves]
        self.priors = [float(p) for p in probabilities]
        self.children: list[Reference | None] = [None] * len(self.moves)
        self.value = float(answer.wdl[0, 0] - answer.wdl[0, 2])
        self.draw = float(answer.wdl[0, 1])
        self.evaluator = evaluator
        self.visits = 1
        self.total, self.total_draw = self.value, self.draw

    def visit(self) -> tuple[float, float]:
        """One more visit; the value for this node's side to move, and the probability of a draw."""
        config, n = self.config, self.visits
        cpuct = config.cpuct + config.cpuct_factor * math.log((n + config.cpuct_base) / config.cpuct_base)
        seen = sum(p for p, child in zip(self.priors, self.children, strict=True) if child)
        fpu = (self.total + self.draw_score * self.total_draw) / n - config.fpu_value * math.sqrt(seen)

        def score(index: int) -> float:
            child = self.children[index]
            q = (-child.total + self.draw_score * child.total_draw) / child.visits if child else fpu
            visits = child.visits if child else 0
            return q + cpuct * self.priors[index] * math.sqrt(max(n - 1, 1)) / (1 + visits)

        index = max(range(len(self.moves)), key=score)
        child = self.children[index]
        if child is None:
            board = self.board.copy(stack=False)
            board.push(self.moves[index])
            child = self.children[index] = Reference(board, self.evaluator, config, -self.draw_score)
            value, draw = -child.value, child.draw
        else:
            value, draw = child.visit()
            value = -value
        self.visits += 1
        self.total += value
        self.total_draw += draw
        return value, draw


@pytest.mark.parametrize("value", [scattered, material])
@pytest.mark.parametrize(
    "fen", [chess.STARTING_FEN, "r1bqkb1r/pppp1ppp/2n2n2/4p3/2B1P3/5N2/PPPP1PPP/RNBQK2R w KQkq - 4 4"]
)
@pytest.mark.parametrize("draw_score", [0.0, 0.6, -0.6])
def test_tree_is_that_of_the_reference(value: Value, fen: str, draw_score: float) -> None:
    config = Config(minibatch_size=1, draw_score=draw_score)
    evaluator = FakeEvaluator(value, scattered_preference)
    run, _, _ = search(fen, 300, evaluator, config)
    reference = Reference(chess.Board(fen), evaluator, config, draw_score)
    for _ in range(299):
        reference.visit()
    tree = run.tree
    compared = 0

    def compare(node: int, expected: Reference) -> None:
        nonlocal compared
        compared += 1
        assert tree.visits[node] == expected.visits
        assert -tree.value_sum[node] == pytest.approx(expected.total, abs=1e-4)
        seen = {move: child for move, child in zip(expected.moves, expected.children, strict=True) if child is not None}
        assert len(tree.children[node]) == len(seen)
        for child in tree.children[node]:
            compare(child, seen[index_to_move(tree.move_into(child), expected.board)])

    compare(run.root, reference)
    assert compared == 300


@pytest.mark.parametrize("batch", [1, 7, 64])
@pytest.mark.parametrize(
    "fen",
    [
        chess.STARTING_FEN,
        "8/8/8/8/8/5k2/6p1/6K1 w - - 0 1",
        "6k1/5ppp/8/8/8/8/r4PPP/3R2K1 w - - 97 80",
        "r5rk/5p1p/5R2/4B3/8/8/7P/7K w - - 0 1",
    ],
)
def test_tree_is_consistent_and_node_limits_exact(batch: int, fen: str) -> None:
    evaluator = FakeEvaluator(scattered, scattered_preference)
    run, _, info = search(fen, 500, evaluator, Config(minibatch_size=batch))
    check_tree(run)
    assert info.nodes == run.tree.visits[run.root]
    assert info.nodes == 500 or run.tree.proof[run.root]
    assert max(evaluator.batches) <= batch
    if batch > 1 and fen == chess.STARTING_FEN:
        assert max(evaluator.batches) > 1


def test_a_young_tree_gets_small_minibatches_and_an_old_one_full_ones() -> None:
    run, _, _ = search(chess.STARTING_FEN, 1, FakeEvaluator(), Config(minibatch_size=24))
    run.task = replace(run.task, node_limit=None)
    sizes: dict[int, int] = {}
    while (visits := run.tree.visits[run.root]) < 400:
        batch = run.gather()
        sizes[visits] = len(batch.leaves)
        run.settle(batch, run.evaluate(batch.leaves))
    for visits, size in sizes.items():
        assert size <= min(24, visits, max(8, visits / 8))
    assert max(size for visits, size in sizes.items() if visits < 64) == 8
    assert max(size for visits, size in sizes.items() if visits >= 192) == 24


def test_few_walks_collide_where_all_of_them_go_the_same_way() -> None:
    def prefer_e4(board: chess.Board, move: chess.Move) -> float:
        return 30.0 if move.uci() in ("e2e4", "e7e5") else 0.0

    run, _, _ = search(chess.STARTING_FEN, 1, FakeEvaluator(even, prefer_e4), Config(minibatch_size=8))
    run.task = replace(run.task, node_limit=None)
    walks, select = 0, run._select

    def counted() -> tuple[int, int]:
        nonlocal walks
        walks += 1
        return select()

    run._select = counted  # type: ignore[method-assign]
    while run.tree.visits[run.root] < 40:
        walks = 0
        batch = run.gather()
        collided = sum(batch.collisions.values())
        assert collided <= MAX_COLLISIONS
        if collided == MAX_COLLISIONS and len(batch.leaves) == 1:
            assert walks == 1 + 6  # 1, 1, 2, 4, 8 and 16 at the leaf
            break
        run.settle(batch, run.evaluate(batch.leaves))
    else:
        pytest.fail("no minibatch met the limit")
    run.settle(batch, run.evaluate(batch.leaves))
    check_tree(run)


def test_one_node_plays_the_policys_move() -> None:
    def prefer_a3(board: chess.Board, move: chess.Move) -> float:
        return 1.0 if move.uci() == "a2a3" else 0.0

    run, best, info = search(chess.STARTING_FEN, 1, FakeEvaluator(even, prefer_a3))
    assert best.move == "a2a3"
    assert info.lines[0].moves == ("a2a3",)
    assert info.nodes == 1
    assert run.tree.visits[run.root] == 1


def test_priors_are_a_softmax_with_temperature_per_position() -> None:
    logits = np.array([1.0, 2.0, 3.0, 100.0, 101.0], np.float32)
    answer = Evaluations(
        np.array([0, 3, 3, 5]),
        np.array([7, 8, 9, 1, 2], np.uint16),
        logits,
        np.full(3, NO_MOVE, np.uint16),
        np.full((3, 3), 1 / 3, np.float32),
    )
    moves, probabilities = priors(answer, 2.0)
    assert moves.tolist() == [9, 8, 7, 2, 1]
    weights = [math.exp(x / 2) for x in (3, 2, 1)]
    expected = [weight / sum(weights) for weight in weights] + [
        1 / (1 + math.exp(-0.5)),
        1 / (1 + math.exp(0.5)),
    ]
    assert probabilities.tolist() == pytest.approx(expected, rel=1e-5)


# Mates


@pytest.mark.parametrize(
    ("fen", "mate"),
    [
        ("6k1/5ppp/8/8/8/8/5PPP/3R2K1 w - - 0 1", 1),
        ("r1bqkb1r/pppp1ppp/2n2n2/4p2Q/2B1P3/8/PPPP1PPP/RNB1K1NR w KQkq - 4 4", 1),
        ("7k/R7/8/8/8/8/8/1R4K1 w - - 0 1", 1),
        ("3r2k1/5ppp/8/8/8/8/5PPP/6K1 b - - 0 1", 1),
        ("kbK5/pp6/1P6/8/8/8/8/R7 w - - 0 1", 2),
        ("7k/8/8/8/8/1R6/R7/7K w - - 0 1", 2),
    ],
)
@pytest.mark.parametrize("batch", [1, 16])
def test_short_mates_are_found_without_any_knowledge(fen: str, mate: int, batch: int) -> None:
    _, best, info = search(fen, 2000, config=Config(minibatch_size=batch))
    assert best.reason == "proven"
    assert info.lines[0].mate == mate
    board = chess.Board(fen)
    for move in info.lines[0].moves:
        board.push_uci(move)
    assert board.is_checkmate()
    assert len(info.lines[0].moves) == 2 * mate - 1


def test_being_mated_is_seen() -> None:
    _, best, info = search("k7/2K5/8/8/8/8/8/1R6 b - - 0 1", 500)
    assert (best.move, info.lines[0].mate) == ("a8a7", -1)


def test_a_proven_loss_is_avoided_however_much_it_was_liked() -> None:
    # Black to move: only moves that stop Ra8 mate hold; the policy loves the others.
    fen = "6k1/5ppp/8/8/8/8/8/R5K1 b - - 0 1"
    saves = {"h7h6", "h7h5", "g7g6", "g7g5", "f7f6", "f7f5", "g8f8"}

    def love_losing(board: chess.Board, move: chess.Move) -> float:
        return -3.0 if chess.Move(move.from_square ^ 56, move.to_square ^ 56).uci() in saves else 3.0

    run, best, _ = search(fen, 300, FakeEvaluator(even, love_losing))
    assert best.move in saves
    assert run.tree.proof[child_named(run, "g8h8")] == LOST


def tree_of(children: int) -> tuple[Tree, list[int]]:
    """A root with some legal moves, all of them visited once."""
    tree = Tree(pack(chess.Board()), 0)
    moves = np.arange(children, dtype=np.uint16).tobytes()
    tree.expand(0, Expansion(moves, np.full(children, 1 / children, np.float32).tobytes(), 0.0, 0.0))
    tree.back_up(0, 0, 0.0, 0.0)
    nodes = [tree.add_child(0, bytes([number]), 0) for number in range(children)]
    for node in nodes:
        tree.back_up(node, 0, 0.0, 0.0)
    return tree, nodes


@pytest.mark.parametrize(
    ("fen", "move"),
    [
        ("5K2/8/2qk4/2nPp3/3r4/6B1/B7/3R4 w - e6 0 1", "d5e6"),
        ("4Q3/8/8/8/8/1P1k4/1P6/R3K3 w Q - 0 1", "e1c1"),
        ("2k5/p7/8/1B6/1K6/4Q1n1/r1q5/8 b - - 0 1", "a7a5"),
        ("8/4R1P1/7k/r7/3RB1K1/4R3/5r2/8 w - - 0 1", "g7g8n"),
    ],
)
def test_a_mate_by_a_special_move_is_found_in_the_first_visit(fen: str, move: str) -> None:
    client = Client(UniformEvaluator())
    lines = client.go(f"position fen {fen}", "go nodes 2")
    client.close()
    assert best_move(lines) == move
    assert field(last_info(lines), "mate") == "1"


def test_the_shorter_of_two_known_mates_is_played() -> None:
    tree, (slow, quick) = tree_of(2)
    tree.back_up(slow, 0, 1.0, 0.0)
    for node, plies in ((slow, 4), (quick, 2)):
        tree.proof[node], tree.plies_to_mate[node] = WON, plies
    assert tree.ranked_children(0) == [quick, slow]


def test_a_shorter_mate_that_is_found_later_counts() -> None:
    tree, (slow, quick, slower) = tree_of(3)
    for node, plies in ((slow, 4), (quick, 2), (slower, 6)):
        tree.prove(node, 0, WON, plies)
    assert (tree.proof[0], tree.plies_to_mate[0]) == (LOST, 3)
    assert tree.value_sum[0] == -tree.visits[0]


def test_the_longest_resistance_is_chosen_and_counted() -> None:
    tree, (quick, slow, other) = tree_of(3)
    tree.prove(quick, 0, LOST, 1)
    tree.prove(slow, 0, LOST, 5)
    assert tree.ranked_children(0) == [other, slow, quick]
    assert tree.proof[0] == UNPROVEN
    tree.prove(other, 0, LOST, 3)
    assert tree.ranked_children(0) == [slow, other, quick]
    assert (tree.proof[0], tree.plies_to_mate[0]) == (WON, 6)
    assert tree.value_sum[0] == tree.visits[0] == 4


def test_one_drawing_move_makes_a_draw() -> None:
    tree, (lost, drawn) = tree_of(2)
    tree.prove(lost, 0, LOST, 1)
    tree.prove(drawn, 0, DRAWN, 0)
    assert tree.proof[0] == DRAWN
    assert tree.draw_sum[0] == 3
    assert tree.ranked_children(0) == [drawn, lost]


# Other limits


@pytest.mark.parametrize("fen", [chess.STARTING_FEN, "6k1/5ppp/8/8/8/8/5PPP/R5K1 w - - 0 1"])
def test_moves_that_the_evaluator_overlooks_at_the_root_are_played_all_the_same(fen: str) -> None:
    class Blind(FakeEvaluator):
        def evaluate(self, planes: NDArray[np.uint64], clocks: NDArray[np.uint8], memory: bool = True) -> Evaluations:
            nothing = np.zeros(0)
            offsets = np.zeros(len(planes) + 1, np.int64)
            seen = super().evaluate(planes, clocks, memory)
            return replace(seen, offsets=offsets, moves=nothing.astype(np.uint16), logits=nothing.astype(np.float32))

    run, best, _ = search(fen, 40, Blind())
    assert chess.Move.from_uci(best.move or "") in chess.Board(fen).legal_moves
    assert run.tree.edge_count[0] == chess.Board(fen).legal_moves.count()


def test_leaves_without_answers_are_evaluated_later() -> None:
    evaluator = FakeEvaluator(material, scattered_preference)
    run, _, _ = search(chess.STARTING_FEN, 100, evaluator)
    run.task = replace(run.task, node_limit=400, stoppers=(NodesStopper(400),))
    given_up = run.gather()
    assert given_up.leaves
    run.settle(given_up, [])
    assert all(run.tree.visits[leaf.node] == 0 and run.tree.in_flight[leaf.node] == 0 for leaf in given_up.leaves)
    while run.reason_to_stop() is None:
        batch = run.gather()
        run.settle(batch, run.evaluate(batch.leaves))
    assert run.tree.visits[0] == 400
    check_tree(run)


def test_a_position_met_twice_in_a_minibatch_is_evaluated_once() -> None:
    evaluator = FakeEvaluator(even)
    run, _, _ = search("4k3/8/8/8/8/8/8/4K3 w - - 0 1", 2, evaluator)
    planes = run.tree.key[0]
    asked = sum(evaluator.batches)
    answers = run.evaluate([Leaf(0, 0, planes, 0), Leaf(0, 0, planes, 3), Leaf(0, 0, planes, 0)])
    assert sum(evaluator.batches) == asked + 2
    assert answers[0] is answers[2]


def test_equal_positions_are_evaluated_once() -> None:
    evaluator = FakeEvaluator(scattered, scattered_preference)
    run, _, _ = search(chess.STARTING_FEN, 3000, evaluator, Config(minibatch_size=1))
    tree = run.tree
    evaluated = [node for node in range(len(tree)) if tree.first_edge[node] >= 0]
    positions = {(tree.key[node], tree.clock[node] // CLOCK_STEP) for node in evaluated}
    assert sum(evaluator.batches) == len(positions) < len(evaluated)


def test_cache_keeps_the_recently_used() -> None:
    cache = EvaluationCache(3 * EvaluationCache.ENTRY_BYTES)
    entry = Expansion(b"", b"", 0.0, 0.0)
    keys = [(bytes([number]), 0) for number in range(4)]
    for key in keys[:3]:
        cache.put(key, entry)
    cache.get(keys[0])
    cache.put(keys[3], entry)
    assert cache.get(keys[0]) is entry
    assert cache.get(keys[1]) is None
    assert len(cache) == 3


class MateSeeing(FakeEvaluator):
    """Tells the moves that mate at once, as the network's evaluator does."""

    def evaluate(self, planes: NDArray[np.uint64], clocks: NDArray[np.uint8], memory: bool = True) -> Evaluations:
        """See `dejavu.engine.search.evaluator.Evaluator`."""
        sets = attacks(planes)
        return replace(
            super().evaluate(planes, clocks, memory), mating=mating_moves(planes, sets, legal_moves(planes, sets))
        )


@pytest.mark.parametrize("nodes", [60, 61, 62, 63, 64, 400])
def test_a_mate_the_evaluator_sees_is_proven_without_a_visit_and_the_limit_is_kept(nodes: int) -> None:
    fen = "8/8/8/8/8/2k5/7r/K7 b - - 0 1"  # 1... Kb3 2. Kb1 Rh1#
    seeing, _, info = search(fen, nodes, MateSeeing())
    blind, _, _ = search(fen, nodes, FakeEvaluator())
    assert info.nodes <= nodes
    assert seeing.tree.visits[seeing.root] <= blind.tree.visits[blind.root] <= nodes


def test_a_mate_in_two_is_proven_as_soon_as_every_reply_is_seen() -> None:
    fen = "8/8/8/8/8/2k5/7r/K7 b - - 0 1"
    seeing, best, info = search(fen, 2000, MateSeeing())
    blind, _, _ = search(fen, 2000, FakeEvaluator())
    assert best.move == "c3b3"
    assert info.lines[0].mate == 2
    assert info.lines[0].moves == ("c3b3", "a1b1", "h2h1")
    assert seeing.tree.visits[seeing.root] < blind.tree.visits[blind.root]


@pytest.mark.parametrize(
    "fen",
    [
        "8/8/8/8/8/2k5/7r/K7 b - - 0 1",
        "rr4k1/p4p1p/2n1pp2/2p5/8/P3PbP1/3P1P1P/2N2KR1 b - - 0 1",
        "4R3/p7/1p1B4/1P4k1/P1p3B1/1n1b2PP/2n4K/8 w - - 0 1",
    ],
)
def test_multipv_proves_a_mate_in_two_and_goes_on_with_other_lines(fen: str) -> None:
    client = Client(MateSeeing(material))
    client.send("setoption name MultiPV value 3", f"position fen {fen}")
    lines = client.go("go nodes 500")
    client.close()
    final = [line for line in lines if " multipv " in line][-3:]
    assert [field(line, "multipv") for line in final] == ["1", "2", "3"]
    assert len({field(line, "pv") for line in final}) == 3
    assert field(final[0], "mate") == "2"
    assert [len(line.split(" pv ")[1].split()) > 1 for line in final] == [True, True, True]


def test_the_mating_move_is_played_whatever_the_policy_says() -> None:
    board = chess.Board("6k1/5ppp/8/8/8/8/5PPP/R5K1 w - - 0 1")
    evaluator = MateSeeing(logit=lambda _, move: -9.0 if move == chess.Move.from_uci("a1a8") else 0.0)
    for nodes in (1, 2, 50):
        _, best, info = search(board.fen(), nodes, evaluator)
        assert best.move == "a1a8"
        assert info.nodes <= min(nodes, 2)


@pytest.mark.parametrize(
    ("fen", "searchmoves", "move"),
    [("k7/8/1K6/8/8/p7/P7/1R6 b - - 0 1", (), "a8b8"), (chess.STARTING_FEN, ("a2a4",), "a2a4")],
)
def test_the_only_move_is_named_though_stop_has_overtaken_its_evaluation(
    fen: str, searchmoves: tuple[str, ...], move: str
) -> None:
    session = Session(lambda _: FakeEvaluator(material), pytest.fail)
    session.set_position(fen, [])
    infos: list[Info] = []
    run = session.search(Limits(nodes=50, searchmoves=searchmoves), infos.append)
    batch = run.gather()
    run.settle(batch, run.evaluate(batch.leaves))
    batch = run.gather()
    assert batch.leaves
    run.settle(batch, [])
    assert run.answer("stop").move == move
    assert infos[-1].lines[0].moves == (move,)
