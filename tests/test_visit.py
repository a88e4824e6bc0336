"""scripts/visit.py from the outside: which positions it draws, what is written of them, how it goes on after a kill."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import chess
import numpy as np
import pytest
from training import SCRIPTS

from dejavu.engine.annotation.output import OutputError
from dejavu.engine.annotation.teacher import TeacherSettings
from dejavu.engine.annotation.visit import VisitRun, visit
from dejavu.model.chess.encoding import Packed, index_to_move, move_to_index, pack, unpack
from dejavu.model.data.dataset import HELD_OUT, MEMORY, TRAIN, Dataset, DatasetError
from dejavu.model.data.games import read_game
from dejavu.model.data.prepare import PrepareRun, prepare
from dejavu.model.data.records import join

ENGINE = Path(__file__).parent / "scripted_engine.py"
BACK_RANK = "6k1/5ppp/8/8/8/8/8/K2R4 b - - 0 1"
"""Black loses to a mate at once if the king goes to the corner, and not by any other move."""
FORTRESS = "4k3/8/1p1p1p1p/1P1P1P1P/8/8/8/4K3 w - - 0 1"
NOT_TO_TRAIN_ON = "7k/8/p1p1p1p1/P1P1P1P1/8/8/8/K7 w - - 0 1"
DEEPEST = 4
SIZES: dict[str, Any] = {"search_nodes": 60, "draw": 1000, "positions": 70, "at_once": 1, "processes": 1}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two positions of training games, and one of a game that is kept for the memory."""
    path = tmp_path_factory.mktemp("data") / "data.safetensors"
    moves = {BACK_RANK: "1... h6", FORTRESS: "1. Kd2", NOT_TO_TRAIN_ON: "1. Kb2"}
    games = [read_game(f'[SetUp "1"]\n[FEN "{fen}"]\n\n{move} *\n') for fen, move in moves.items()]
    join(games, [TRAIN, TRAIN, MEMORY], [0, 0, 0], ["teacher.pgn"]).save(path)
    return path


def arguments(folder: Path, data: Path, weights: Path, *engine: str) -> list[str]:
    """Command line that writes `folder`/visited.pgn; the teacher finds every position 30 centipawns good."""
    teacher = " ".join([sys.executable, str(ENGINE), "score=30", *engine])
    files = ["--data", data, "--weights", weights, "--out", folder / "visited.pgn"]
    sizes = [word for name, value in SIZES.items() for word in (f"--{name.replace('_', '-')}", value)]
    return list(map(str, [*files, "--engine", teacher, "--nodes", 1, *sizes]))


def run(folder: Path, data: Path, weights: Path, *engine: str) -> None:
    """The same in this process."""
    command = (sys.executable, str(ENGINE), "score=30", *engine)
    teacher = TeacherSettings(command, {}, nodes=1, movetime=None, patience=60)
    visit(VisitRun(data, teacher, folder / "visited.pgn", weights=str(weights), **SIZES))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, data: Path, weights: Path) -> Path:
    """Folder of a run that nothing has disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    run(folder, data, weights, f"log={folder / 'asked'}")
    return folder


def normal(board: chess.Board) -> Packed:
    """The position seen by the side to move, as everything is that the network sees."""
    return pack(board)


def below(root: str) -> set[Packed]:
    """The positions up to DEEPEST plies below a root."""
    found: set[Packed] = set()
    level = [chess.Board(root)]
    for _ in range(DEEPEST):
        following = {}
        for board in level:
            for move in board.legal_moves:
                after = board.copy(stack=False)
                after.push(move)
                following[normal(after)] = after
        level = [board for key, board in following.items() if key not in found]
        found |= following.keys()
    return found


def mates_at_once(board: chess.Board) -> bool:
    return any("#" in board.san(move) for move in board.legal_moves)


def drawn(out: Path, scratch: Path) -> Dataset:
    """The output as prepare_data.py reads it."""
    return prepare(PrepareRun([out], scratch / "visited.safetensors", memory=0, held_out=0, processes=1)).dataset


def asked(log: Path) -> int:
    """How many positions the teacher was asked for."""
    return log.read_text(encoding="utf-8").count("go ")


def test_positions_below_the_roots_are_labelled_and_read_back(whole: Path, tmp_path: Path) -> None:
    dataset = drawn(whole / "visited.pgn", tmp_path)
    assert len(dataset) == len(dataset.split) > 40
    assert asked(whole / "asked") == len(dataset)
    assert set(dataset.centipawns.tolist()) == {30}
    boards = [unpack(planes, clock) for planes, clock in zip(dataset.planes, dataset.clocks.tolist(), strict=True)]
    for board, best in zip(boards, dataset.best.tolist(), strict=True):
        # The teacher plays the first move in the alphabet.
        assert best == move_to_index(min(board.legal_moves, key=chess.Move.uci), board)
    keys = [normal(board) for board in boards]
    assert len(set(keys)) == len(keys)
    trees = [below(root) for root in (BACK_RANK, FORTRESS)]
    assert all(any(key in tree for key in keys) for tree in trees)
    assert set(keys) <= set().union(*trees)
    assert not {normal(chess.Board(root)) for root in (BACK_RANK, FORTRESS)} & set(keys)


def test_what_the_search_has_proven_needs_no_label(whole: Path, tmp_path: Path) -> None:
    dataset = drawn(whole / "visited.pgn", tmp_path)
    keys = set()
    for planes, clock in zip(dataset.planes, dataset.clocks.tolist(), strict=True):
        board = unpack(planes, clock)
        assert not board.is_game_over()
        assert not mates_at_once(board)
        keys.add(normal(board))
    replies = set()
    board = chess.Board(BACK_RANK)
    for move in list(board.legal_moves):
        board.push(move)
        if normal(board) in keys:
            replies.add(move.uci())
        board.pop()
    assert replies == {move.uci() for move in board.legal_moves} - {"g8h8"}


def test_without_searches_the_games_keep_their_moves_and_get_the_teachers_evaluations(
    tmp_path: Path, data: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SIZES, "draw", 0)
    run(tmp_path, data, weights, f"log={tmp_path / 'asked'}")
    assert asked(tmp_path / "asked") == 2
    dataset, games = drawn(tmp_path / "visited.pgn", tmp_path), Dataset.open(data)
    assert set(dataset.centipawns.tolist()) == {30}
    moves = dict(zip(map(tuple, dataset.planes.tolist()), dataset.best.tolist(), strict=True))
    training = games.rows(TRAIN)
    assert moves == dict(zip(map(tuple, games.planes[training].tolist()), games.best[training].tolist(), strict=True))


def test_moves_of_a_book_are_no_moves_to_keep(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIZES, "draw", 0)
    text = "1. e4 e5 2. Nf3 { [%eval 0.3] } Nc6 { [%eval 0.2] } 3. Bb5 1-0"
    join([read_game(text)], [TRAIN], [0], ["games.pgn"]).save(tmp_path / "data.safetensors")
    run(tmp_path, tmp_path / "data.safetensors", weights)
    dataset = drawn(tmp_path / "visited.pgn", tmp_path)
    moves = {
        str(index_to_move(int(best), unpack(planes))) for planes, best in zip(dataset.planes, dataset.best, strict=True)
    }
    assert moves == {"b1c3", "f1b5"}  # seen from the mover


def test_held_out_games_are_searched_only_to_judge_by(
    tmp_path: Path, data: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"draw": 0, "held_out": True}.items():
        monkeypatch.setitem(SIZES, name, value)
    with pytest.raises(DatasetError, match="the data set has no held-out positions from ''"):
        run(tmp_path, data, weights)
    games, held_out = Dataset.open(data), tmp_path / "data.safetensors"
    replace(games, split=np.where(games.split == MEMORY, HELD_OUT, games.split)).save(held_out)
    run(tmp_path, held_out, weights)
    dataset = drawn(tmp_path / "visited.pgn", tmp_path)
    assert [unpack(planes).board_fen() for planes in dataset.planes] == [chess.Board(NOT_TO_TRAIN_ON).board_fen()]


def test_a_kill_in_the_middle_of_drawing_changes_nothing(
    whole: Path, tmp_path: Path, data: Path, weights: Path
) -> None:
    lines = (whole / "visited.pgn.drawn").read_bytes()
    first, second = lines.splitlines(keepends=True)
    (tmp_path / "visited.pgn.drawn").write_bytes(first + second[: len(second) // 2])
    run(tmp_path, data, weights)
    for name in ("visited.pgn", "visited.pgn.drawn", "visited.pgn.labels"):
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes()


def test_a_kill_in_the_middle_of_judging_changes_nothing(
    whole: Path, tmp_path: Path, data: Path, weights: Path
) -> None:
    shutil.copy(whole / "visited.pgn.drawn", tmp_path)
    words = arguments(tmp_path, data, weights, "pause=0.5")  # half a second a position: time to be killed in
    labelled = tmp_path / "visited.pgn.labels"
    process = subprocess.Popen(
        [sys.executable, str(SCRIPTS / "visit.py"), *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not labelled.exists() or labelled.read_bytes().count(b"\n") < 3:
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not (tmp_path / "visited.pgn").exists()
    labelled.write_bytes(labelled.read_bytes()[:-5])
    known = labelled.read_bytes().count(b"\n")
    run(tmp_path, data, weights, f"log={tmp_path / 'asked'}")
    assert (tmp_path / "visited.pgn").read_bytes() == (whole / "visited.pgn").read_bytes()
    assert asked(tmp_path / "asked") == asked(whole / "asked") - known


@pytest.mark.parametrize("name", ["labels", "drawn"])
@pytest.mark.parametrize("damage", [b"rubbish\n", b"5\n", b'["a", 1, 2, 3, 4]\n', b"\xff\xfe\n"])
def test_a_damaged_file_gets_one_sentence(
    whole: Path,
    tmp_path: Path,
    data: Path,
    weights: Path,
    name: str,
    damage: bytes,
) -> None:
    for path in whole.glob("visited.*"):
        shutil.copy(path, tmp_path)
    damaged = tmp_path / f"visited.pgn.{name}"
    first, *others = damaged.read_bytes().splitlines(keepends=True)
    damaged.write_bytes(first + damage + b"".join(others))
    before = {path.name: path.read_bytes() for path in tmp_path.glob("visited.*")}
    with pytest.raises(OutputError) as error:
        run(tmp_path, data, weights)
    assert str(error.value) == f"{damaged} is damaged after byte {len(first)}: cut it there or remove it"
    assert {path.name: path.read_bytes() for path in tmp_path.glob("visited.*")} == before
