"""Games -> data set: targets, splits, broken games, every kind of compression."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import chess
import numpy as np
import pytest
import zstandard
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from dejavu.model.chess.encoding import move_to_index, pack, stack
from dejavu.model.data.columns import MATE, NO_EVALUATION, NO_RESULT
from dejavu.model.data.dataset import FORMAT, MEMORY, TRAIN, Dataset, DatasetError, Searches
from dejavu.model.data.game_files import read_games
from dejavu.model.data.games import BrokenGameError, read_game, split_games
from dejavu.model.data.records import join

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
    assert game.name == "A - B, Test, \u00fcber, 2024, King's pawn (C20), 1-0"


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
    packers: dict[str, Callable[[bytes], bytes]] = {
        "": bytes,
        ".gz": gzip.compress,
        ".bz2": bz2.compress,
        ".zst": zstandard.ZstdCompressor().compress,
    }
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
        assert [dataset.game_name(game) for game in range(2)] == [read_game(EVALUATED).name, "C - D, 1/2-1/2"]
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


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("game", np.zeros(8, np.int64), "int64"),
        ("clocks", np.zeros(7, np.uint8), r"\[7\]"),
        ("planes", np.zeros((8, 3), np.uint64), r"\[8, 3\]"),
        ("name_offsets", np.zeros(0, np.int64), r"\[0\]"),
        ("name_offsets", np.array([0, 10**15, 3]), "end to end"),
        ("game", np.full(8, 10**9, np.int32), "game by game"),
        ("game", np.arange(8, dtype=np.int32)[::-1] % 2, "game by game"),
        ("split", np.full(2, 3, np.uint8), "split"),
        ("source", np.full(2, 200, np.uint8), "file that it does not name"),
        ("source_names", np.full(3, 255, np.uint8), "file that it does not name"),
        ("best", np.full(8, 60_000, np.uint16), "move"),
        ("searches.rows", np.zeros(1, np.int64), "searches"),
    ],
)
def test_a_data_set_that_does_not_fit_together_is_refused(
    tmp_path: Path, name: str, value: NDArray[Any], complaint: str
) -> None:
    games, path = tmp_path / "games.pgn", tmp_path / "data.safetensors"
    games.write_text(EVALUATED + "\n" + PLAIN, encoding="utf-8")
    assert prepare(path, games).returncode == 0
    tensors = load_file(path)
    assert tensors[name].dtype == value.dtype or complaint == "int64"
    save_file(tensors | {name: np.ascontiguousarray(value)}, path, {"format": FORMAT})
    with pytest.raises(DatasetError, match=complaint) as caught:
        Dataset.open(path)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"offsets": [0, 3, 2]}, "end to end"),
        ({"offsets": [0, 2, 10**15]}, "end to end"),
        ({"rows": [5, 5]}, "searches"),
        ({"rows": [5, 10**9]}, "searches"),
        ({"moves": [1, 2, 60_000]}, "move"),
        ({"visits": [1, 0, 1]}, "visits"),
    ],
)
def test_searches_that_do_not_fit_a_data_set_are_refused(
    tmp_path: Path, changes: dict[str, list[int]], complaint: str
) -> None:
    games, path = tmp_path / "games.pgn", tmp_path / "data.safetensors"
    games.write_text(EVALUATED + "\n" + PLAIN, encoding="utf-8")
    assert prepare(path, games).returncode == 0
    given = {"rows": [1, 5], "offsets": [0, 2, 3], "moves": [1, 2, 3], "visits": [1, 1, 1]}
    wdl = np.full((2, 3), 1 / 3, np.float32)
    for values, refused in ((given, False), (given | changes, True)):
        searches = Searches(
            np.array(values["rows"], np.int64),
            wdl,
            np.array(values["offsets"], np.int64),
            np.array(values["moves"], np.uint16),
            np.array(values["visits"], np.uint32),
        )
        replace(Dataset.open(path), searches=searches).save(tmp_path / "searched")
        with pytest.raises(DatasetError, match=complaint) if refused else contextlib.nullcontext():
            Dataset.open(tmp_path / "searched")


def test_a_book_teaches_nothing() -> None:
    evaluated = read_game("1. e4 e5 2. Nf3 { [%eval 0.3] } Nc6 { [%eval 0.2] } 3. Bb5 1-0")
    plain = read_game("1. d4 d5 2. c4 1-0")
    dataset = join([evaluated, plain], [TRAIN, MEMORY], [0, 0], ["games"])
    rows = np.arange(len(dataset))
    # What stands behind a move is the evaluation of the position after it.
    assert dataset.is_book(rows).tolist() == [True, True, True, False, False, False, False, False]
    assert dataset.rows_to_learn((TRAIN,)).tolist() == [3, 4]
    assert dataset.rows_to_learn((MEMORY,)).tolist() == [5, 6, 7]
    assert dataset.rows_to_learn((TRAIN, MEMORY), "games").tolist() == [3, 4, 5, 6, 7]


def test_a_pass_is_no_move() -> None:
    with pytest.raises(BrokenGameError, match="move 1 is a pass"):
        read_game("1. e4 -- 2. d4 *")
    board = chess.Board()
    board.push_san("e4")
    d5, e5 = (move_to_index(board.parse_san(move), board) for move in ("d5", "e5"))
    shown = read_game("1. e4 e5 ( 1... -- 2. Qh5 ) ( 1... d5 2. exd5 -- 3. d6 ) 2. Nf3 *")
    assert shown.best[1] == d5  # a threat that is shown names no better move
    assert shown.played[1] == e5
    assert len(shown.lines[1]) == 2  # up to the pass


def test_a_byte_order_mark_and_comments_belong_to_no_game(tmp_path: Path) -> None:
    path = tmp_path / "games.pgn"
    path.write_bytes(
        b"\xef\xbb\xbf; of a collection\n% made by hand\n" + b'[Event "One"]\n\n1. e4 *\n\n[Event "Two"]\n\n1. d4 *\n'
    )
    assert [read_game(text).name for text in read_games(path)] == ["? - ?, One", "? - ?, Two"]
