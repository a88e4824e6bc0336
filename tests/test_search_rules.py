"""What the search knows of the rules: repetitions, fifty moves, dead draws, tablebases."""

from collections.abc import Callable

import chess
import numpy as np
import pytest
from fake_evaluator import FakeEvaluator, even, material
from numpy.typing import NDArray
from searching import check_tree, child_named, played, search

from dejavu.engine.options import Config
from dejavu.engine.search.tablebase import Tablebases
from dejavu.engine.search.tree import DRAWN, LOST, UNPROVEN, WON
from dejavu.model.chess.encoding import REPEATED
from dejavu.model.evaluations import Evaluations

# Draws


TWICE_AT_THE_START = "g1f3 g8f6 f3g1 f6g8 g1f3 g8f6 f3g1"


def test_the_third_time_is_a_draw() -> None:
    run, _, _ = search(played(TWICE_AT_THE_START), 200, FakeEvaluator(lambda board: 0.3))
    assert run.tree.proof[child_named(run, "f6g8")] == DRAWN
    assert run.tree.proof[child_named(run, "b8c6")] == UNPROVEN


def test_the_second_time_is_none_and_the_network_is_told() -> None:
    evaluator = FakeEvaluator(even)
    flags: list[int] = []
    inner = evaluator.evaluate

    def evaluate(planes: NDArray[np.uint64], clocks: NDArray[np.uint8], memory: bool = True) -> Evaluations:
        flags.extend((clocks & REPEATED).tolist())
        return inner(planes, clocks, memory)

    evaluator.evaluate = evaluate  # type: ignore[method-assign]
    run, _, _ = search(played("g1f3 g8f6 f3g1"), 200, evaluator)
    assert run.tree.proof[child_named(run, "f6g8")] == UNPROVEN
    assert sum(flag > 0 for flag in flags) >= 1
    repeated = run.tree.key[child_named(run, "f6g8")]
    assert run.cache.get((repeated, 4 | REPEATED)) is not None
    assert run.cache.get((repeated, 4)) is None


def test_a_position_seen_once_hides_no_mate() -> None:
    fen = "6k1/3r4/6K1/8/8/8/8/4Q3 w - - 0 1"
    # 1...Rd7 would let White mate as he could have done before.
    run, best, _ = search(played("e1c1 d7d8 c1e1", fen), 3000, FakeEvaluator(material))
    assert run.tree.proof[child_named(run, "d8d7")] == LOST
    assert best.move != "d8d7"


def test_the_sign_of_the_draw_score_seeks_or_avoids_a_repetition() -> None:
    game = played(TWICE_AT_THE_START)
    _, sought, info = search(game, 300, FakeEvaluator(even), Config(draw_score=0.5, score_type="Q"))
    assert sought.move == "f6g8"
    assert info.lines[0].score == 5000
    run, avoided, _ = search(game, 300, FakeEvaluator(even), Config(draw_score=-0.5))
    assert avoided.move != "f6g8"
    repetition = child_named(run, "f6g8")
    assert run.tree.visits[repetition] == min(run.tree.visits[child] for child in run.tree.children[run.root])
    # What the tree stores stays plain, so that it can be kept under another DrawScore.
    assert run.tree.value_sum[repetition] == 0


def test_a_repetition_needs_the_same_side_to_move_and_rights() -> None:
    # The king moved and came back: the rights are gone, so the position is new.
    game = played("e2e4 e7e5 e1e2 e8e7 e2e1")
    run, _, _ = search(game, 100)
    assert run.tree.proof[child_named(run, "e7e8")] == UNPROVEN
    game = played("e2e4 e7e5 e1e2 e8e7 e2e1 e7e8 e1e2 e8e7 e2e1 e7e8 e1e2 e8e7 e2e1")
    run, _, _ = search(game, 100)
    assert run.tree.proof[child_named(run, "e7e8")] == DRAWN


def test_repetitions_inside_the_tree_are_draws() -> None:
    # Kings and blocked pawns only: whoever shuffles comes back to where the search began.
    run, _, _ = search("4k3/8/8/p1p1p1p1/P1P1P1P1/8/8/4K3 w - - 0 1", 3000)
    tree = run.tree
    drawn = [node for node in range(len(tree)) if tree.proof[node] == DRAWN and not tree.children[node]]
    assert drawn

    def repeats(node: int) -> bool:
        key, above = tree.key[node], tree.parent[node]
        while above >= 0:
            if tree.key[above] == key:
                return True
            above = tree.parent[above]
        return False

    assert all(repeats(node) for node in drawn)


def test_the_winning_side_does_not_repeat() -> None:
    game = played("a1a2 h8g8 a2a1 g8h8 a1a2 h8g8 a2a1 g8h8 a1a2 h8g8", "7k/8/8/8/8/8/8/R3K3 w - - 0 1")
    _, best, _ = search(game, 400, FakeEvaluator(material))
    assert best.move not in ("a2a1",)


@pytest.mark.parametrize(("clock", "proof"), [(90, UNPROVEN), (99, DRAWN)])
def test_fifty_move_rule(clock: int, proof: int) -> None:
    run, _, _ = search(f"7k/8/8/8/8/8/R7/K7 w - - {clock} 90", 60)
    assert run.tree.proof[child_named(run, "a2b2")] == proof


@pytest.mark.parametrize("clock", [101, 127, 128, 250])
def test_fifty_moves_are_long_over(clock: int) -> None:
    run, _, _ = search(f"8/8/8/4k3/8/8/4K3/R6R w - - {clock} 200", 60)
    assert run.tree.proof[child_named(run, "a1a4")] == DRAWN


def test_mate_on_the_hundredth_ply_counts() -> None:
    _, best, info = search("6k1/5ppp/8/8/8/8/5PPP/3R2K1 w - - 99 90", 200)
    assert best.move == "d1d8"
    assert info.lines[0].mate == 1


def test_insufficient_material_is_a_draw() -> None:
    run, _, _ = search("8/8/8/3k4/8/8/2p5/2K5 w - - 0 1", 400)
    assert run.tree.proof[child_named(run, "c1c2")] == DRAWN


def test_stalemate_is_a_draw() -> None:
    run, best, _ = search("7k/8/6K1/8/8/8/8/5Q2 w - - 0 1", 300, FakeEvaluator(material))
    assert run.tree.proof[child_named(run, "f1f7")] == DRAWN
    assert best.move == "f1f8"


# Proofs


def test_proofs_climb_and_correct_the_sums() -> None:
    run, _, _ = search("kbK5/pp6/1P6/8/8/8/8/R7 w - - 0 1", 2000)
    tree = run.tree
    assert tree.proof[run.root] == LOST  # for Black, who moved into the root
    assert tree.plies_to_mate[run.root] == 3
    assert tree.value_sum[run.root] == -tree.visits[run.root]
    check_tree(run)


class Tables(Tablebases):
    """Tables that know positions of few men by a function."""

    def __init__(self, pieces: int, wdl: Callable[[chess.Board], int]) -> None:
        super().__init__("", pytest.fail)
        self.pieces, self._wdl = pieces, wdl

    def _probe(self, probe: Callable[[chess.Board], int], board: chess.Board) -> int | None:
        self.hits += 1
        return self._wdl(board)


def test_tablebase_results_are_proofs_without_a_mate_distance() -> None:
    def rook_wins(board: chess.Board) -> int:
        if not board.rooks:
            return 0
        return 2 if board.rooks & board.occupied_co[board.turn] else -2

    # Rxb2 leaves rook against king, which the tables call won; no mate is in sight.
    fen = "8/8/8/8/3k4/8/1r6/1R4K1 w - - 0 1"
    run, best, info = search(fen, 200, tablebases=Tables(3, rook_wins))
    assert best.move == "b1b2"
    assert run.tree.proof[child_named(run, "b1b2")] == WON
    assert info.lines[0].mate is None
    assert info.lines[0].score > 10_000
    assert info.tablebase_hits > 0


def test_spoiled_wins_are_draws_and_running_clocks_are_not_asked() -> None:
    tables = Tables(3, lambda board: 1)
    assert tables.result(chess.Board("8/8/8/8/3k4/8/8/1R4K1 w - - 0 1")) == 0
    assert tables.result(chess.Board("8/8/8/8/3k4/8/8/1R4K1 w - - 3 1")) is None
    assert tables.result(chess.Board("8/8/8/8/3k4/8/8/R3K3 w Q - 0 1")) is None
    assert tables.result(chess.Board("8/8/8/8/3k4/8/1r6/1R4K1 w - - 0 1")) is None


def test_the_root_keeps_the_moves_the_tables_keep() -> None:
    def rook_wins(board: chess.Board) -> int:
        mine, theirs = (bool(board.rooks & board.occupied_co[colour]) for colour in (board.turn, not board.turn))
        return 2 * (mine - theirs)

    board = chess.Board("8/8/8/8/3k4/8/1r6/1R4K1 w - - 0 1")
    assert Tables(4, rook_wins).root_moves(board) == [chess.Move.from_uci("b1b2")]
    # Rook against king: every move that keeps the rook wins, and the fake says that all are equally near.
    board = chess.Board("8/8/8/8/3k4/8/8/1R4K1 w - - 4 9")
    assert len(Tables(3, rook_wins).root_moves(board)) == board.legal_moves.count()
    assert Tables(2, rook_wins).root_moves(board) == []


def test_of_winning_moves_the_nearest_to_zeroing_are_kept() -> None:
    tables = Tables(3, lambda board: -2)
    board = chess.Board("8/8/8/8/3k4/8/8/1R4K1 w - - 4 9")

    def rank(board: chess.Board) -> tuple[int, int]:
        rook = next(iter(board.pieces(chess.ROOK, chess.WHITE)))
        return 2, chess.square_rank(rook)

    tables._rank = rank  # type: ignore[method-assign]
    kept = tables.root_moves(board)
    assert kept
    for move in kept:
        after = board.copy()
        after.push(move)
        assert rank(after)[1] == 0


class FakeTables:
    """What python-chess is asked, answered by functions; a KeyError is a table that is missing."""

    def __init__(self, wdl: Callable[[chess.Board], int], dtz: Callable[[chess.Board], int]) -> None:
        self.probe_wdl, self.probe_dtz = wdl, dtz


def kept_by(wdl: Callable[[chess.Board], int], dtz: Callable[[chess.Board], int], fen: str) -> list[str]:
    tables = Tablebases("", pytest.fail)
    tables.pieces, tables._tables = 4, FakeTables(wdl, dtz)  # type: ignore[assignment]
    return sorted(move.uci() for move in tables.root_moves(chess.Board(fen)))


def lost_without_rook(board: chess.Board) -> int:
    mine, theirs = (bool(board.rooks & board.occupied_co[colour]) for colour in (board.turn, not board.turn))
    return 2 * (mine - theirs)


def missing(board: chess.Board) -> int:
    raise KeyError(board.fen())


ROOK_ENDING = "8/8/8/8/3k4/8/8/1R4K1 w - - 4 9"


def test_of_winning_moves_the_tables_tell_the_nearest_to_zeroing() -> None:
    def far_from_the_last_rank(board: chess.Board) -> int:
        return chess.square_rank(chess.msb(board.rooks)) - 9

    assert kept_by(lost_without_rook, far_from_the_last_rank, ROOK_ENDING) == ["b1b8"]


def test_a_move_that_zeroes_is_nearer_than_any_other() -> None:
    assert kept_by(lost_without_rook, lambda board: -1, "8/8/8/8/3k4/8/1P6/1R4K1 w - - 4 9") == ["b2b3", "b2b4"]


def test_a_mate_is_nearer_than_anything() -> None:
    assert kept_by(lost_without_rook, lambda board: -1, "7k/8/6K1/8/8/8/8/R7 w - - 4 9") == ["a1a8"]
    with_pawn = "7k/8/6K1/8/8/8/1P6/R7 w - - 4 9"
    assert kept_by(lost_without_rook, lambda board: -1, with_pawn) == ["a1a8"]


def test_tables_that_are_missing_decide_nothing() -> None:
    assert kept_by(missing, missing, ROOK_ENDING) == []
    # Without distances, all moves that win are as good.
    assert len(kept_by(lost_without_rook, missing, ROOK_ENDING)) == chess.Board(ROOK_ENDING).legal_moves.count()
