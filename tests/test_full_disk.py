"""A full disk ends every script with one sentence, leaves nothing behind, and loses nothing that was whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from disk import posix, room
from test_annotate import annotate, rounds
from test_explore import explore
from test_selfplay import run as play_games
from test_visit import arguments as visit_arguments
from training import TINY_WORDS, curve, run_backbone, run_script, write_random_games

from dejavu.engine.loader import wanted
from dejavu.engine.match.record import Record
from dejavu.engine.options import Config
from dejavu.retrieval.atomic import WriteError
from dejavu.retrieval.memory import Memory

pytestmark = posix
FULL = "cannot be written: File too large"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def test_prepare_data(tmp_path: Path) -> None:
    games, out = tmp_path / "games.pgn", tmp_path / "data.safetensors"
    write_random_games(games)
    with room(1000):
        done = run_script("prepare_data.py", games, "--out", out, "--processes", 1)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"prepare_data: {out} {FULL}; nothing was written"
    assert "wrote" not in done.stdout
    assert names(tmp_path) == {"games.pgn"}


def test_build_memory(tmp_path: Path, data: Path, weights: Path) -> None:
    out = tmp_path / "memory.safetensors"
    options = ["--data", data, "--weights", weights, "--out", out, "--threads", 1, "--entries", 100]
    with room(20_000):
        done = run_script("build_memory.py", *options)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(f"{FULL}; the same command goes on from here")
    assert "wrote" not in done.stdout
    assert not out.exists()
    assert not list(tmp_path.rglob("*.partial"))
    assert run_script("build_memory.py", *options).returncode == 0
    assert names(tmp_path) == {out.name}
    assert len(Memory.open(out)) == 100


def test_remember_keeps_the_memory_and_tells_of_no_success(tmp_path: Path) -> None:
    games, memory = tmp_path / "games.pgn", tmp_path / "memory.safetensors"
    games.write_text("1. a3 h6 *\n")
    shipped = wanted(Config()).memory
    assert shipped is not None
    memory.write_bytes(shipped.read_bytes())
    with room(100_000):
        done = run_script("remember.py", games, "--memory", memory)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"remember: {memory} {FULL}; the memory is as it was"
    assert done.stdout == ""
    assert memory.read_bytes() == shipped.read_bytes()
    assert names(tmp_path) == {"games.pgn", "memory.safetensors", "memory.safetensors.lock"}


def test_annotate_counts_what_is_on_the_disk_and_goes_on(tmp_path: Path) -> None:
    games = ["--games", "4", "--plies", "16"]
    with room(2500):
        done = annotate(tmp_path, *games)
    kept = len(rounds(tmp_path))
    assert 0 < kept < 4
    out = tmp_path / "out.pgn"
    assert done.stderr.splitlines()[-1] == f"annotate: {out} {FULL}; the same command goes on from here"
    assert f"out.pgn holds {kept} games, 0 from before" in done.stdout
    done = annotate(tmp_path, *games)
    assert done.returncode == 0, done.stderr
    assert f"out.pgn holds 4 games, {kept} from before" in done.stdout
    assert rounds(tmp_path) == [1, 2, 3, 4]


def test_annotate_without_room_for_a_game_holds_none(tmp_path: Path) -> None:
    write_random_games(tmp_path / "given.pgn")
    with room(2000):
        done = annotate(tmp_path, "given.pgn")
    assert "out.pgn holds 0 games, 0 from before" in done.stdout
    assert not (tmp_path / "out.pgn").exists()


def test_a_match_record_keeps_whole_games_and_takes_the_next(tmp_path: Path) -> None:
    path = tmp_path / "match.pgn"
    game = '[Event "E"]\n[White "A"]\n[Black "B"]\n[Result "1-0"]\n\n1. e4 {mate} 1-0\n\n'
    record = Record(path, "E")
    record.add(game)
    with room(len(game) + 20), pytest.raises(WriteError, match=FULL):
        record.add(game)
    assert path.read_text() == game
    assert len(record.games) == 1
    record.add(game)
    assert path.read_text() == 2 * game


def test_explore_keeps_whole_labels_and_goes_on(tmp_path: Path, weights: Path) -> None:
    with room(500):
        done = explore(tmp_path, weights)
    evaluated = tmp_path / "lines.pgn.labels"
    assert done.stderr.splitlines()[-1] == f"explore: {evaluated} {FULL}; the same command goes on from here"
    assert evaluated.read_bytes().endswith(b"]\n")
    done = explore(tmp_path, weights)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.glob("*.partial"))


def test_visit_keeps_whole_lines(tmp_path: Path, data: Path, weights: Path) -> None:
    with room(50):
        command = [sys.executable, "scripts/visit.py", *visit_arguments(tmp_path, data, weights)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent.parent)
    drawn = tmp_path / "visited.pgn.drawn"
    assert done.stderr.splitlines()[-1] == f"visit: {drawn} {FULL}; the same command goes on from here"
    assert names(tmp_path) == set()


def test_train_ends_and_goes_on_to_the_same_curve(tmp_path: Path, data: Path, backbone: Path) -> None:
    size = (backbone / "weights.safetensors").stat().st_size
    command = ["backbone", "--data", data, "--run", tmp_path, "--steps", 12, "--preset", "tiny", *TINY_WORDS]
    with room(size // 2):
        done = run_script("train.py", *command)
    sentence = f"{FULL}; the same command goes on from the last checkpoint"
    assert f"train: {tmp_path / 'checkpoint.safetensors'} {sentence}\n" in done.stderr
    assert not list(tmp_path.glob("*.partial"))
    run_backbone(data, tmp_path, 12)
    assert curve(tmp_path) == curve(backbone)


def test_selfplay_ends_and_goes_on(tmp_path: Path) -> None:
    with room(1000), pytest.raises(WriteError, match=FULL):
        play_games(tmp_path, 4)
    assert names(tmp_path) == {"settings.json"}
    play_games(tmp_path, 4)
    assert len(list(tmp_path.glob("games-*.safetensors"))) == 4
