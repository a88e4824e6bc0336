"""What a game teaches: how its result flows back, and what of it becomes a lesson."""

from __future__ import annotations

from dataclasses import replace

import chess
import pytest

from dejavu.engine.uci.lessons import Note, Outcome, after_loss, blamed, lessons_of
from dejavu.model.chess.encoding import index_to_move, move_to_index, pack
from dejavu.retrieval.learned_records import LEARNED, TAUGHT, TAUGHT_NODES, Lesson

BOARD = chess.Board()
E4, D4, C4 = (move_to_index(BOARD.parse_uci(move), BOARD) for move in ("e2e4", "d2d4", "c2c4"))
NOTE = Note((E4,), (0.4, 0.4, 0.2), 1000, {E4: (0.2, 0.4, 900), D4: (0.1, 0.4, 90), C4: (0.5, 0.4, 3)})


def q(wdl: tuple[float, float, float]) -> float:
    return wdl[0] - wdl[2]


LOSS = Outcome(-1.0, 0.0)


def test_a_move_that_lost_makes_way_for_the_next_best() -> None:
    after, outcome = blamed(NOTE, E4, LOSS)
    assert after.moves == (D4,)  # c4 was hardly looked at
    assert q(after.wdl) == pytest.approx(0.1)
    assert outcome.q == pytest.approx(0.1)


def test_a_move_that_is_hardly_to_blame_stays_and_is_worth_less() -> None:
    after, outcome = blamed(NOTE, E4, Outcome(0.1, 0.5))
    assert after.moves == (E4,)
    assert outcome.q == pytest.approx(0.1 * 0.2 + 0.9 * 0.1)
    assert q(after.wdl) == pytest.approx(outcome.q)
    assert sum(after.wdl) == pytest.approx(1)


def test_what_came_of_a_move_never_makes_it_better_in_a_lost_game() -> None:
    assert blamed(NOTE, E4, Outcome(0.9, 0.0))[1].q == pytest.approx(0.2)


def test_few_visits_do_not_make_another_move_better() -> None:
    doubtful = replace(NOTE, others={E4: (-0.4, 0.0, 990), D4: (-0.3, 0.0, 10)})
    assert blamed(doubtful, E4, Outcome(-0.35, 0.0))[0].moves == (E4,)
    assert blamed(doubtful, E4, LOSS)[0].moves == (D4,)


def test_only_the_loser_is_taught_by_the_result_the_last_moves_most() -> None:
    moves = ["f2f3", "e7e5", "g2g4", "d8h4"]  # fool's mate
    notes: list[Note | None] = []
    board = chess.Board()
    for move in moves:
        index = move_to_index(board.parse_uci(move), board)
        notes.append(Note((index,), (0.3, 0.4, 0.3), 1000, {index: (0.0, 0.4, 1000)}))
        board.push_uci(move)
    lessons = lessons_of(chess.Board(), moves, [*notes, None])
    values = [q(lesson.wdl) for lesson in lessons]
    assert values[1] == values[3] == pytest.approx(0.0)
    assert values[2] < values[0] < 0
    assert {lesson.result for lesson in lessons} == {"0-1"}
    assert [lesson.nodes for lesson in lessons] == [1900, 1000, 1000, 1000]


def test_the_last_move_that_had_a_better_one_beside_it_is_to_blame_and_no_earlier_one() -> None:
    moves = ["e2e4", "e7e5", "g1f3", "b8c6", "f3e5", "c6e5", "h2h3", "h7h6"]
    board, notes = chess.Board(), list[Note | None]()
    for ply, move in enumerate(moves):
        index = move_to_index(board.parse_uci(move), board)
        other = move_to_index(board.parse_uci("d2d4" if ply < 6 else "a2a3"), board) if ply % 2 == 0 else index
        found, value = {0: (0.10, 0.08), 2: (0.10, 0.08), 4: (0.05, 0.04), 6: (-0.9, -0.95)}.get(ply, (0.0, 0.0))
        notes.append(Note((index,), (0.3, 0.4, 0.3), 1000, {index: (found, 0.0, 600), other: (value, 0.0, 400)}))
        board.push_uci(move)
    notes[-1] = Note((index,), (0.99, 0.0, 0.01), 1000, {})
    lessons = lessons_of(chess.Board(), moves, [*notes, None])
    assert {lesson.result for lesson in lessons} == {"0-1"}
    told = []
    board = chess.Board()
    for lesson, move in zip(lessons, moves, strict=True):
        told.append(board.san(index_to_move(lesson.continuation[0], board)))
        board.push_uci(move)
    assert told[::2] == ["e4", "Nf3", "d4", "h3"]
    assert q(lessons[4].wdl) == pytest.approx(0.04)
    assert q(lessons[6].wdl) < -0.9


def test_a_loss_takes_the_place_of_what_earlier_games_taught_and_of_nothing_else() -> None:
    lost = Lesson(b"", 0, (E4,), (0.0, 0.1, 0.9), 200, "Dejavu's game", "0-1", game=2)
    deeper_game, analysis = ({"kind": LEARNED, "game": game, "nodes": 900} for game in (1, 0))
    assert after_loss(lost, deeper_game).nodes == 900
    assert after_loss(lost._replace(nodes=1000), deeper_game).nodes == 1000
    for record in (None, analysis, {"kind": TAUGHT, "game": 1, "nodes": TAUGHT_NODES}):
        assert after_loss(lost, record).nodes == 200
    for other in (lost._replace(black=True), lost._replace(result="1/2-1/2"), lost._replace(result="")):
        assert after_loss(other, deeper_game).nodes == 200


def test_a_game_that_a_search_was_sure_of_has_a_result() -> None:
    sure = Note((E4,), (0.97, 0.03, 0.0), 1000, {})
    [lesson] = lessons_of(chess.Board(), [], [sure])
    assert lesson.result == "1-0"
    [lesson] = lessons_of(chess.Board(), [], [NOTE])
    assert lesson.result == ""


SHUFFLED = ["g1f3", "g8f6", "f3g1", "f6g8", "g1f3", "g8f6", "f3g1"]
"""After one move more the first position stands for the third time."""


def found(win: float, loss: float, nodes: int) -> Note:
    return Note((E4,), (win, 1 - win - loss, loss), nodes, {})


def test_the_last_search_tells_the_result_however_short_it_was_and_only_deep_ones_are_lessons() -> None:
    moves = ["e2e4", "e7e5", "g1f3", "b8c6"]
    notes = [found(0.9, 0.05, 500), None, found(0.3, 0.3, 199), None, found(0.01, 0.97, 3)]
    [lesson] = lessons_of(chess.Board(), moves, notes)
    assert (lesson.planes, lesson.result) == (pack(chess.Board()), "0-1")
    assert q(lesson.wdl) < -0.8
    assert lessons_of(chess.Board(), moves, [None, *notes[1:]]) == []


@pytest.mark.parametrize(
    ("fen", "moves", "result"),
    [
        (chess.STARTING_FEN, SHUFFLED, "0-1"),
        (chess.STARTING_FEN, [*SHUFFLED, "f6g8"], "1/2-1/2"),
        ("k7/8/8/8/8/8/q7/5R1K w - - 97 90", ["f1g1"], "0-1"),
        ("k7/8/8/8/8/8/q7/5R1K w - - 98 90", ["f1g1"], "0-1"),
        ("k7/8/8/8/8/8/q7/5R1K w - - 99 90", ["f1g1"], "1/2-1/2"),
        ("k7/8/8/8/8/8/q7/7K w - - 0 90", [], "0-1"),
        ("k7/8/8/8/8/8/8/7K w - - 0 90", [], "1/2-1/2"),
    ],
)
def test_a_lost_game_is_drawn_only_where_it_is_over_and_not_where_a_draw_was_to_be_had(
    fen: str, moves: list[str], result: str
) -> None:
    notes = [*[None] * len(moves), found(0.0, 0.96, 1000)]
    if len(moves) % 2:
        notes = [*notes[:-2], found(0.0, 0.96, 1000), None]
    lessons = lessons_of(chess.Board(fen), moves, notes)
    assert [lesson.result for lesson in lessons] == [result]
