"""Game files: every compression, damage of every kind, and what the scripts that read them say of it."""

from __future__ import annotations

import bz2
import gzip
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard
from training import SCRIPTS

from dejavu.model.data.game_files import GameFileError, read_games

ENGINE = Path(__file__).parent / "scripted_engine.py"
GAMES = [f'[Event "{number}"]\n\n1. e4 e5 2. Nf3 {{remark {number**40}}} Nc6 *\n\n' for number in range(500)]
TEXT = "".join(GAMES).encode()


def zst(text: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(text)


PACKERS: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".bz2": bz2.compress, ".zst": zst}


@pytest.mark.parametrize("ending", PACKERS)
def test_games_come_out_as_they_went_in_also_from_several_packed_pieces(tmp_path: Path, ending: str) -> None:
    pack, path = PACKERS[ending], tmp_path / f"games.pgn{ending}"
    path.write_bytes(pack(TEXT))
    assert list(read_games(path)) == GAMES
    path.write_bytes(pack(TEXT[:1000]) + pack(TEXT[1000:50_000]) + pack(TEXT[50_000:]))
    assert list(read_games(path)) == GAMES
    path.write_bytes(pack(b""))
    assert list(read_games(path)) == []


def cut_short(packed: bytes) -> bytes:
    return packed[: len(packed) * 2 // 3]


def overwritten(packed: bytes) -> bytes:
    middle = len(packed) // 2
    return packed[:middle] + bytes(64) + packed[middle + 64 :]


def something_else(packed: bytes) -> bytes:
    return TEXT


@pytest.mark.parametrize("damage", [cut_short, overwritten, something_else])
@pytest.mark.parametrize("ending", PACKERS)
def test_damage_is_one_sentence_that_names_the_file(
    tmp_path: Path, ending: str, damage: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / f"games.pgn{ending}"
    path.write_bytes(damage(PACKERS[ending](TEXT)))
    with pytest.raises(GameFileError, match=rf"^game file .*games\.pgn{ending} is damaged: .") as raised:
        list(read_games(path))
    assert "\n" not in str(raised.value)


def test_a_file_that_must_not_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(GameFileError, match=r"^game file .* cannot be read: Is a directory$"):
        list(read_games(tmp_path))


# The scripts


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    path = tmp_path / "games.pgn.zst"
    path.write_bytes(cut_short(zst(TEXT)))
    return path


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """What an earlier run has written."""
    path = tmp_path / "earlier"
    path.write_bytes(b"of an earlier run")
    return path


def run_script(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_prepare_data_names_a_damaged_file(damaged: Path, earlier: Path) -> None:
    run = run_script(SCRIPTS / "prepare_data.py", damaged, "--out", earlier, "--processes", 1)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith(f"prepare_data: game file {damaged} is damaged: ")
    assert "Traceback" not in run.stderr
    assert earlier.read_bytes() == b"of an earlier run"


def test_annotate_names_a_damaged_file(damaged: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.pgn"
    words = [SCRIPTS / "annotate.py", damaged, "--out", out, "--nodes", 1, "--processes", 1]
    words += ["--engine", f'"{sys.executable}" "{ENGINE}"']
    good = zst("".join(GAMES[:2]).encode())
    damaged.write_bytes(good)
    assert run_script(*words).returncode == 0
    earlier = out.read_bytes()
    assert earlier.count(b"[Event ") == 2
    damaged.write_bytes(good + b"rubbish")
    run = run_script(*words)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith(f"annotate: game file {damaged} is damaged: ")
    assert "Traceback" not in run.stderr
    assert out.read_bytes() == earlier


def test_build_memory_names_a_damaged_file(damaged: Path, earlier: Path) -> None:
    run = run_script(SCRIPTS / "build_memory.py", "--games", damaged, "--out", earlier, "--threads", 1)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith(f"build_memory: game file {damaged} is damaged: ")
    assert "Traceback" not in run.stderr
    assert earlier.read_bytes() == b"of an earlier run"


def test_remember_names_a_damaged_file(damaged: Path) -> None:
    out = damaged.with_name("new.safetensors")
    run = run_script(SCRIPTS / "remember.py", damaged, "--out", out)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith(f"remember: game file {damaged} is damaged: ")
    assert "Traceback" not in run.stderr
    assert not out.exists()


@pytest.fixture
def preparing(tmp_path: Path, earlier: Path) -> Iterator[subprocess.Popen[bytes]]:
    """prepare_data.py in the middle of many games."""
    games = tmp_path / "many.pgn"
    games.write_text("\n".join(f"{game} " for game in GAMES * 120), encoding="utf-8")
    words = [SCRIPTS / "prepare_data.py", games, "--out", earlier, "--processes", 2]
    process = subprocess.Popen(
        [sys.executable, *map(str, words)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
    )
    yield process
    process.kill()
    process.communicate()


@pytest.mark.skipif(os.name != "posix", reason="Windows has no signal that asks a process to end")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_prepare_data_can_be_stopped(preparing: subprocess.Popen[bytes], earlier: Path, number: signal.Signals) -> None:
    assert preparing.stderr is not None
    told = b""
    while b"positions" not in told:  # it has begun
        byte = os.read(preparing.stderr.fileno(), 1000)
        assert byte, told
        told += byte
    time.sleep(1)  # its processes have begun, too; they read 240,000 positions
    if number == signal.SIGINT:
        os.killpg(preparing.pid, number)  # as the terminal does
    else:
        preparing.send_signal(number)
    told += preparing.communicate(timeout=60)[1]
    assert preparing.returncode == 130
    assert b"prepare_data: stopped; nothing was written" in told
    assert b"Traceback" not in told
    assert earlier.read_bytes() == b"of an earlier run"
