"""What earlier searches have proven: used in the tree and at the root, learned, kept, told; and where it fails."""

from __future__ import annotations

import random
from datetime import date
from typing import Any

import chess
import pytest
from fake_evaluator import FakeEvaluator, material, scattered_preference
from searching import child_named, played, search

from dejavu.engine.options import Config
from dejavu.engine.search.game import Game
from dejavu.engine.search.limits import Limits
from dejavu.engine.search.lines import BestMove
from dejavu.engine.search.proofs import Proof, Proofs
from dejavu.engine.search.request import make_task
from dejavu.engine.search.tablebase import Tablebases
from dejavu.engine.search.tree import DRAWN, LOST, UNPROVEN, Tree
from dejavu.engine.uci.learning import Learning
from dejavu.engine.uci.lessons import Note, after_loss, lessons_of, proofs_of
from dejavu.engine.uci.session import Session
from dejavu.model.chess.encoding import Packed, move_to_index, pack
from dejavu.retrieval.learned_records import (
    FAR,
    LEARNED,
    PROVEN,
    PROVEN_NODES,
    TAUGHT_NODES,
    Lesson,
    Space,
    are_sound,
    line_of,
    records_of,
    seal,
)
from dejavu.retrieval.names import GameName

MATE_IN_THREE = "6k1/1p1Rr3/p6p/4PQp1/8/P1r1B2P/P3n1K1/8 w - - 0 1"
LINE = "d7d8 g8g7 f5f6 g7h7 d8h8"
LAYOUT = Space("", "", 1, 1).record()


def proof(board: chess.Board, wins: bool, plies: int | None, line: str = "") -> dict[Packed, Proof]:
    after, indices = board.copy(), []
    for text in line.split() or [next(iter(board.legal_moves)).uci()]:
        indices.append(move_to_index(after.parse_uci(text), after))
        after.push_uci(text)
    return {pack(board): Proof(wins, plies, tuple(indices), board.halfmove_clock)}


def known_mate(clock: int = 0) -> tuple[chess.Board, Proofs]:
    board = chess.Board(MATE_IN_THREE)
    proofs = proof(board, True, 5, LINE)
    board.halfmove_clock = clock
    return board, proofs


def test_a_mate_that_was_proven_at_the_root_is_played_without_a_search() -> None:
    board, proofs = known_mate()
    run, best, info = search(board.fen(), 100, proofs=proofs)
    assert best[:2] == ("d7d8", "g8g7")
    assert info.lines[0].mate == 3
    assert info.lines[0].moves == tuple(LINE.split())
    assert info.nodes == 2
    assert run.tree.proof[run.root] == LOST  # for the side that is mated


def test_it_is_played_from_a_kept_tree_without_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    before = "7k/1p1Rr3/p6p/4PQp1/8/P1r1B2P/P3n1K1/8 b - - 0 1"
    known: dict[Packed, Proof] = {}
    monkeypatch.setattr(Learning, "proofs", known)
    session = Session(lambda _: FakeEvaluator(material, scattered_preference), pytest.fail)
    answers: list[BestMove] = []

    def go(moves: list[str], limits: Limits) -> None:
        session.set_position(before, moves)
        session.go(limits, lambda info: None, answers.append)
        session.wait()

    go([], Limits(nodes=1500))
    go(["h8g8"], Limits(wtime=90))
    assert answers[-1].move != "d7d8"
    known |= known_mate()[1]
    go(["h8g8"], Limits(wtime=90))
    assert answers[-1].move == "d7d8"
    assert answers[-1].reason == "time"


def test_without_the_proof_so_few_nodes_do_not_find_it() -> None:
    assert search(MATE_IN_THREE, 2)[2].lines[0].mate is None


def test_what_is_proven_deeper_in_the_tree_counts_there() -> None:
    board = chess.Board()
    board.push_uci("a2a3")
    _, best, info = search(chess.STARTING_FEN, 100, proofs=proof(board, False, 8, "e7e5 g1f3"))
    assert best.move == "a2a3"
    assert info.lines[0].moves == ("a2a3", "e7e5", "g1f3")
    assert info.lines[0].mate == 5


def test_moves_to_what_is_proven_won_for_the_other_side_are_avoided() -> None:
    board, proofs = chess.Board(), dict[Packed, Proof]()
    for move in board.legal_moves:
        if move.uci() != "h2h4":
            board.push(move)
            proofs |= proof(board, True, 7)
            board.pop()
    run, best, _ = search(chess.STARTING_FEN, 100, proofs=proofs)
    assert best.move == "h2h4"
    assert run.tree.proof[run.root] == UNPROVEN


def test_a_win_without_a_known_distance_is_proven_and_no_mate_is_told() -> None:
    board = chess.Board()
    board.push_uci("a2a3")
    run, best, info = search(chess.STARTING_FEN, 100, proofs=proof(board, False, None))
    assert (best.move, info.lines[0].mate) == ("a2a3", None)
    assert info.lines[0].wdl == (1000, 0, 0)
    assert run.tree.proof[run.root] == LOST


@pytest.mark.parametrize(
    ("plies", "proven_at", "clock", "holds"),
    [(5, 0, 95, True), (5, 0, 96, False), (5, 96, 96, True), (None, 10, 10, True), (None, 10, 11, False)],
)
def test_the_fifty_move_rule_comes_before_a_distant_mate(
    plies: int | None, proven_at: int, clock: int, holds: bool
) -> None:
    assert Proof(True, plies, (0,), proven_at).holds(clock) is holds


def test_a_mate_that_the_fifty_move_rule_forbids_is_not_claimed() -> None:
    board, proofs = known_mate(clock=97)
    info = search(board.fen(), 300, proofs=proofs)[2]
    assert info.lines[0].mate is None


def test_a_proven_move_that_repeats_the_game_is_not_taken_on_trust() -> None:
    game = played("g1f3 g8f6 f3g1 f6g8")
    info = search(game, 100, proofs=proof(chess.Board(), True, 9, "g1f3"))[2]
    assert info.lines[0].mate is None
    assert info.nodes == 100


def test_a_search_that_is_to_err_gets_no_proofs() -> None:
    board, proofs = known_mate()
    game = Game(board.fen(), chess960=False)

    def given(config: Config) -> Proofs:
        tree = Tree(pack(board), 0)
        tables = Tablebases("", pytest.fail)
        moves = list(board.legal_moves)
        return make_task(game, Limits(nodes=1), config, tree, 0, moves, tables, proofs, random.Random()).proofs

    assert given(Config()) == proofs
    assert given(Config(limit_strength=True)) == {}
    assert given(Config(temperature=1.0)) == {}


def test_a_line_that_ends_in_a_repetition_does_not_go_on_behind_it() -> None:
    game = played("g1f3 g8f6 f3g1 f6g8 g1f3 g8f6 f3g1")
    proofs = proof(chess.Board(), True, 9, "e2e4")
    run, _, info = search(game, 200, config=Config(multi_pv=30), proofs=proofs)
    [line] = [line for line in info.lines if line.moves[0] == "f6g8"]
    assert run.tree.proof[child_named(run, "f6g8")] == DRAWN
    assert line.moves == ("f6g8",)


@pytest.mark.parametrize("wrong", [{"kind": PROVEN}, {"continuation": ()}])
def test_a_record_that_cannot_be_a_proof_is_passed_over(wrong: dict[str, Any]) -> None:
    sound = Lesson(b"\0" * 32, 0, (E4,), (1.0, 0.0, 0.0), PROVEN_NODES, "", kind=PROVEN + 3)
    records = records_of([sound, sound._replace(**wrong)], LAYOUT)
    seal(records)
    assert are_sound(records).tolist() == [True, False]


# What is learned of a proof

START = chess.Board()
E4 = move_to_index(chess.Move.from_uci("e2e4"), START)
D4 = move_to_index(chess.Move.from_uci("d2d4"), START)


def test_a_proof_is_learned_and_read_again() -> None:
    won = Note((E4,), (0.99, 0.0, 0.01), 300, {}, (True, 7))
    lost = Note((D4,), (0.0, 0.0, 1.0), 300, {}, (False, None))
    lessons = lessons_of(START, ["e2e4"], [won, lost])
    assert [(lesson.kind, lesson.nodes) for lesson in lessons] == [
        (PROVEN + 7, PROVEN_NODES),
        (PROVEN + FAR, PROVEN_NODES),
    ]
    assert lessons[0].wdl == (1.0, 0.0, 0.0)
    proofs = proofs_of(records_of([*lessons, Lesson(b"\0" * 32, 0, (E4,), (1.0, 0.0, 0.0), 900, "")], LAYOUT))
    after = START.copy()
    after.push_uci("e2e4")
    assert proofs == {pack(START): Proof(True, 7, (E4,), 0), pack(after): Proof(False, None, (D4,), 0)}


def test_a_mate_too_far_to_store_is_still_a_win() -> None:
    [lesson] = lessons_of(START, [], [Note((E4,), (1.0, 0.0, 0.0), 300, {}, (True, 400))])
    assert [found.plies for found in proofs_of(records_of([lesson], LAYOUT)).values()] == [None]


def test_a_win_that_was_proven_and_given_away_is_remembered_as_a_win_and_blames_no_earlier_move() -> None:
    moves = ["f2f3", "e7e5", "g2g4", "d8h4"]
    notes: list[Note | None] = []
    board = chess.Board()
    for ply, move in enumerate(moves):
        index = move_to_index(board.parse_uci(move), board)
        notes.append(Note((index,), (0.3, 0.4, 0.3), 1000, {index: (0.0, 0.4, 1000)}, (True, 9) if ply == 2 else None))
        board.push_uci(move)
    lessons = lessons_of(chess.Board(), moves, [*notes, None])
    assert lessons[2].wdl == (1.0, 0.0, 0.0)
    assert lessons[2].kind == PROVEN + 9
    assert lessons[0].wdl[0] - lessons[0].wdl[2] == pytest.approx(0.0)


def test_a_loss_does_not_take_the_place_of_a_proof() -> None:
    loss = Lesson(b"", 0, (E4,), (0.0, 0.1, 0.9), 200, "Dejavu's game", "0-1", game=2)
    assert after_loss(loss, {"kind": PROVEN + 5, "game": 1, "nodes": PROVEN_NODES}).nodes == 200
    assert PROVEN_NODES < TAUGHT_NODES
    assert after_loss(loss, {"kind": LEARNED, "game": 1, "nodes": 900}).nodes == 900


def test_a_proof_is_told_in_words() -> None:
    today = date(2026, 11, 29).toordinal()
    line = line_of(b"Dejavu's game", PROVEN + 5, today, 1)
    assert line == "Dejavu's game, learned 2026-11-29, mate in 3, 1-0"
    assert str(GameName.parse(line)) == line
    assert line_of(b"Dejavu's game", PROVEN + FAR, today, 0) == "Dejavu's game, learned 2026-11-29, proven"
