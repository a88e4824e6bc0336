"""Tables of the values of all moves: what becomes of a line, and which lines are refused."""

from __future__ import annotations

from pathlib import Path

import chess
import numpy as np
import pytest
from valued_moves import table_line, write_table

from dejavu.model.chess.encoding import index_to_move, pack, stack
from dejavu.model.data.all_moves import AllMoves, read_all_moves
from dejavu.model.data.game_files import GameFileError

CASTLES = "4k3/8/8/8/8/8/PPP1PPP1/3QK2R w K - 7 1"
MATES = "6k1/5ppp/8/8/8/8/5PPP/R5K1 w - - 0 1"
FALLS_BEHIND = "8/8/8/8/8/4k3/6q1/7K w - - 98 80"  # one move, and the queen is gone


def read(tmp_path: Path, *lines: str) -> AllMoves:
    path = tmp_path / "values.txt.zst"
    write_table(path, *lines)
    return read_all_moves(path, 2)


def test_the_values_soften_the_policy(tmp_path: Path) -> None:
    found = read(tmp_path, table_line(CASTLES, e1g1=40, d1d7=28), table_line(FALLS_BEHIND))
    board = chess.Board(CASTLES)
    assert index_to_move(int(found.moves[0, 0]), board) == chess.Move.from_uci("e1g1")
    assert index_to_move(int(found.moves[0, 1]), board) == chess.Move.from_uci("d1d7")
    assert np.allclose(found.shares.sum(axis=1), 1)
    assert found.shares[0, 1] / found.shares[0, 0] == pytest.approx(np.exp(-12 / (20 + 4)))
    assert (found.shares[0] > 0).sum() == board.legal_moves.count()
    assert found.shares[1, 0] == 1
    assert found.centipawns.tolist() == [40, 0]
    assert found.clocks.tolist() == [7, 98]
    assert found.planes.tolist() == stack([pack(board), pack(chess.Board(FALLS_BEHIND))]).tolist()


def test_the_positions_after_the_moves_are_valued_from_the_other_side(tmp_path: Path) -> None:
    found = read(tmp_path, table_line(MATES, a1a8=19998, a1a7=500, g1f1=-30))
    board = chess.Board(MATES)
    assert len(found.child_planes) == board.legal_moves.count() - 1  # after the mate there is nothing to tell
    for uci, value in (("a1a7", -500), ("g1f1", 30)):
        board.push_uci(uci)
        at = [row.tolist() for row in found.child_planes].index(stack([pack(board)])[0].tolist())
        assert found.child_centipawns[at] == value
        assert found.child_clocks[at] == 1
        board.pop()


@pytest.mark.parametrize(
    ("broken", "complaint"),
    [
        ("x" + table_line(MATES), "invalid"),
        ("", "empty fen"),
        ("8/8/8/8/8/8/8/K7 w - - 0 1|a1a2 0", "is no position of chess"),
        (table_line(MATES) + "|a1a9 0", "'a1a9 0' is not a move and its value"),
        (table_line(MATES) + "|a1a8", "'a1a8' is not a move and its value"),
        (table_line(MATES) + "|a1h8 0", "its moves are not the legal moves"),
        (table_line(MATES) + "|a1a8 0", "its moves are not the legal moves"),
        (table_line(MATES).rpartition("|")[0], "its moves are not the legal moves"),
        (MATES, "its moves are not the legal moves"),
        ("|".join([MATES, *reversed(table_line(MATES, a1a8=9).split("|")[1:])]), "the best first"),
        (table_line(MATES, a1a8=40000), "not from 20000 to -20000"),
    ],
)
def test_a_broken_line_is_named_in_one_sentence(tmp_path: Path, broken: str, complaint: str) -> None:
    lines = [table_line(CASTLES)] * 300 + [broken] + [table_line(CASTLES)] * 300
    with pytest.raises(GameFileError, match=rf"values\.txt\.zst, line 301: .*{complaint}") as raised:
        read(tmp_path, *lines)
    assert "\n" not in str(raised.value)


def test_a_file_without_positions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GameFileError, match=r"values\.txt\.zst holds no positions"):
        read(tmp_path)
