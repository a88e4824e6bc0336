"""Games -> data set: targets, splits, broken games, every kind of compression."""

from __future__ import annotations

import bz2
import gzip
import io
import subprocess
import sys
from pathlib import Path

import chess
import numpy as np
import pytest
import zstandard

from dejavu.model.encoding import move_to_index, pack, stack
from dejavu.model.training.dataset import MATE, NO_EVALUATION, NO_RESULT, Dataset, DatasetError
from dejavu.model.training.games import BrokenGameError, read_game, split_games

SCRIPT = Path(__file__).parent.parent / "scripts" / "prepare_data.py"

EVALUATED = """[Event "Test, \u00fcber"]
[White "A"]
[Black "B"]
[Date "2024.03.01"]
[Result "1-0"]
[ECO "C20"]
[Opening "King's pawn"]

{[%eval 0.20]} 1. e4 {[%eval 0.31]} 1... f6? {a slip [%eval 1.50]} (1... e5 {[%eval 0.30]} 2. Nf3) (1... c5)
2. d4 {[%eval 1.40]} (2. Qh5+ $2 {[%eval 0.10]} g6 (2... g6 3. Qh4)) g5 {[%eval #1]} 3. Qh5# 1-0
"""
PLAIN = """[Event "?"]
[White "C"]
[Black "D"]
[Result "1/2-1/2"]

1. d4 d5 {no evaluation here} 2. c4 1/2-1/2
"""
BROKEN = """[Event "?"]
[White "E"]
[Black "F"]

1. e4 e5 2. Ke3 *
"""
EMPTY = """[Event "?"]
[Result "*"]

*
"""


def index(board: chess.Board, san: str) -> int:
    return move_to_index(board.parse_san(san), board)


def test_an_evaluated_game_gives_the_better_move_and_the_evaluation_before_the_move() -> None:
    game = read_game(EVALUATED)
    board = chess.Board()
    boards = [board.copy(stack=False)]
    for san in ("e4", "f6", "d4", "g5"):
        board.push_san(san)
        boards.append(board.copy(stack=False))
    assert np.array_equal(game.planes, stack([pack(board) for board in boards]))
    assert game.played.tolist() == [
        index(board, san) for board, san in zip(boards, ("e4", "f6", "d4", "g5", "Qh5#"), strict=True)
    ]
    assert game.best.tolist() == [
        index(board, san) for board, san in zip(boards, ("e4", "e5", "Qh5+", "g5", "Qh5#"), strict=True)
    ]
    assert game.centipawns.tolist() == [20, -31, 150, -140, MATE - 1]
    assert game.result.tolist() == [1, -1, 1, -1, 1]
    assert game.name == "A - B, Test, \u00fcber, 2024, King's pawn (C20)"


def test_a_game_without_evaluations_keeps_its_result() -> None:
    game = read_game(PLAIN)
    assert (game.centipawns == NO_EVALUATION).all()
    assert game.result.tolist() == [0, 0, 0]
    assert (read_game(PLAIN.replace("1/2-1/2", "*")).result == NO_RESULT).all()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BROKEN, "Ke3"),
        (PLAIN.replace("[Result", '[FEN "8/8/8/8/8/8/8/K7 w - - 0 1"]\n[Result'), "not legal"),
        (PLAIN.replace("[Result", '[FEN "rubbish"]\n[Result'), "rubbish"),
        (PLAIN.replace("[Result", '[Variant "Atomic"]\n[Result'), "atomic"),
    ],
)
def test_a_broken_game_says_why(text: str, reason: str) -> None:
    with pytest.raises(BrokenGameError, match=reason):
        read_game(text)


def test_games_are_split_at_their_tags_whatever_the_comments_hold() -> None:
    tricky = PLAIN.replace("{no evaluation here}", "{\n[%eval 0.3]\n\n[a remark] }")
    assert list(split_games(io.StringIO(EVALUATED + "\n" + tricky + "\n\n" + EMPTY))) == [
        EVALUATED + "\n",
        tricky + "\n\n",
        EMPTY,
    ]


def prepare(out: Path, *games: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, games), "--out", str(out), "--processes", "1"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_compression_gives_the_same_data_set_and_broken_games_are_named(tmp_path: Path) -> None:
    text = (EVALUATED + "\n" + BROKEN + "\n" + EMPTY + "\n" + PLAIN).encode()
    packers = {"": bytes, ".gz": gzip.compress, ".bz2": bz2.compress, ".zst": zstandard.ZstdCompressor().compress}
    for ending, compress in packers.items():
        games = tmp_path / f"games.pgn{ending}"
        games.write_bytes(compress(text))
        out = tmp_path / "data.safetensors"
        run = prepare(out, games)
        assert run.returncode == 0, run.stderr
        assert f"{games}, game 2: illegal san" in run.stderr
        assert "8 positions of 2 games, 1 broken" in run.stdout
        dataset = Dataset.open(out)
        assert len(dataset) == 8
        assert dataset.game.tolist() == [0] * 5 + [1] * 3
        assert [dataset.game_name(game) for game in range(2)] == [read_game(EVALUATED).name, "C - D"]
        assert dataset.sources == [games.name]


def test_the_same_game_always_falls_on_the_same_side(tmp_path: Path) -> None:
    first, second = tmp_path / "a.pgn", tmp_path / "b.pgn"
    first.write_text(EVALUATED + "\n" + PLAIN, encoding="utf-8")
    second.write_text(PLAIN + "\n" + PLAIN.replace("C", "G") + "\n" + EVALUATED, encoding="utf-8")
    sides = []
    for games in (first, second):
        assert prepare(tmp_path / "data.safetensors", games).returncode == 0
        dataset = Dataset.open(tmp_path / "data.safetensors")
        sides.append({dataset.planes[dataset.game == game].tobytes(): side for game, side in enumerate(dataset.split)})
    assert sides[0] == sides[1]


def test_no_games_at_all_is_one_clear_sentence(tmp_path: Path) -> None:
    games = tmp_path / "games.pgn"
    games.write_text(EMPTY)
    run = prepare(tmp_path / "data.safetensors", games)
    assert run.returncode != 0
    assert "no game with a legal move" in run.stderr
    assert "Traceback" not in run.stderr
    missing = prepare(tmp_path / "data.safetensors", tmp_path / "nowhere.pgn")
    assert "does not exist" in missing.stderr


def test_value_targets_grow_with_the_evaluation_and_mates_are_certain(tmp_path: Path) -> None:
    games = tmp_path / "games.pgn"
    games.write_text(EVALUATED + "\n" + PLAIN, encoding="utf-8")
    assert prepare(tmp_path / "data.safetensors", games).returncode == 0
    dataset = Dataset.open(tmp_path / "data.safetensors")
    wdl = dataset.wdl_target(np.arange(8))
    assert np.allclose(wdl.sum(axis=1), 1, atol=1e-6)
    assert (wdl >= 0).all()
    expectation = wdl[:, 0] - wdl[:, 2]
    assert expectation[1] < 0 < expectation[0] < expectation[2] < expectation[4]
    assert wdl[4, 0] > 0.999
    assert np.allclose(wdl[5:], [0, 1, 0])


def test_a_damaged_data_set_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.safetensors"
    path.write_bytes(b"rubbish")
    with pytest.raises(DatasetError, match=r"data\.safetensors"):
        Dataset.open(path)
    with pytest.raises(DatasetError, match="does not exist"):
        Dataset.open(tmp_path / "nowhere")
